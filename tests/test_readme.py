"""The README says nothing that the project does not do."""

import ast
import re

import pytest

from dlt_core import CHECKOUT
from dlt_core.corpora.sources import HUB, LM1B_HELD_OUT, LOCAL, SPLITS
from dlt_core.corpora.tokenization import GPT2_LOCAL
from dlt_core.experiments import Experiment
from dlt_core.learner.accounting import gpt2_parameters
from dlt_core.reproduce import batch, train
from dlt_core.studies import contrasts
from dlt_core.studies.benchmark import report

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["benchmark", "results", "agent", "learning", "released", "notebooks"])
def test_the_tables_are_made_from_what_is_committed(name):
    table = README.partition(f"<!-- {name}: begin -->\n")[2].partition(f"\n<!-- {name}: end -->")[0]
    assert table == batch.readme_tables(CHECKOUT)[name], "run: python -m dlt_core.reproduce --in-place"
    assert len(table.splitlines()) >= 3


def test_every_link_and_file_named_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (CHECKOUT / target).exists(), target
    for name in re.findall(r"`(?:dlt_core/)?(\w+\.py)`", README):
        assert (CHECKOUT / "dlt_core" / name).exists(), name


def test_the_python_examples_run(monkeypatch, tiny_data):
    first, second = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert '"gpt2-embedded", "laptop"' in first
    exec(compile(first.replace('"laptop"', '"smoke"'), "README", "exec"), {})

    import torch

    from dlt_core.blocks import build_gpt2
    from dlt_core.tying import read_tie_map

    model = build_gpt2(vocab_size=50, n_positions=8, n_layer=12, n_head=2, n_embd=8, dropout=0.0)
    exec(second, {"model": model, "optimizer": torch.optim.AdamW(model.parameters())})
    assert read_tie_map(model).num_independent == 6


def test_the_differences_of_the_released_code_are_listed_with_their_switches():
    section = README.partition("## The code as released\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| (\d+[ab]?) \|.*\| `(\w+)` \|$", section, flags=re.MULTILINE)
    assert {name: number for number, name in listed} == contrasts.NUMBERS


def test_the_numbers_in_its_prose():
    paper, gpu = (Experiment.preset("gpt2-wikitext2", preset) for preset in ("paper", "gpu"))
    steps = paper.episodes * (paper.n_layer - 1) * paper.steps_per_action
    prose = " ".join(README.split())
    assert f"{paper.n_layer} layers of width {paper.n_embd}, {paper.episodes} turns, {steps:,} steps" in prose
    gpu_steps = gpu.episodes * (gpu.n_layer - 1) * gpu.steps_per_action
    assert f"{gpu.n_layer} layers of width {gpu.n_embd} with the paper's K = {gpu.episodes}" in prose
    assert f"{gpu_steps:,} steps a run" in prose
    same = ("episodes", "steps_per_action", "batch_size", "learning_rate", "q_learning_rate", "epsilon", "epsilon_min")
    assert [getattr(gpu, field) for field in same] == [getattr(paper, field) for field in same]
    bert = Experiment.preset("bert-wikitext2", "paper")
    assert f"(BERT: {bert.n_layer} layers of width {bert.n_embd})" in prose
    limits = {Experiment.preset(f"gpt2-{name}", "laptop").train_bytes for name in ("wikitext103", "lambada", "lm1b")}
    assert limits == {16 * 2**20}
    assert "the first 16 MB of the large corpora" in prose
    assert f"the first {LM1B_HELD_OUT:,} sentences of the training text" in prose
    six = gpt2_parameters(vocab_size=50257, n_positions=paper.n_positions, n_embd=paper.n_embd, num_groups=6)
    assert f"six make {six / 1e6:.1f}M" in README
    laptop = Experiment.preset("gpt2-embedded", "laptop")
    assert "learning rate 1e-3, no dropout" in README
    assert (laptop.learning_rate, laptop.dropout) == (1e-3, 0.0)
    assert laptop.epsilon_decay < paper.epsilon_decay


def test_the_commands_are_understood(capsys):
    for line in re.findall(r"python -m dlt_core\.reproduce([^\n`&#]*)", README):
        arguments = line.split()
        if any("[" in a for a in arguments):
            continue
        with pytest.raises(SystemExit) as caught:
            batch.main([*arguments, "--help"])
        assert caught.value.code == 0
    with pytest.raises(SystemExit):
        batch.main(["--help"])
    usage = capsys.readouterr().out
    for option in ("--preset", "--notebooks", "--seeds", "--jobs", "--dask", "--out", "--in-place"):
        assert option in README
        assert option in usage


def test_the_other_commands_and_the_settings_that_they_name(capsys):
    commands = dict(re.findall(r"-m dlt_core\.(train|benchmark)([^\n`&#.]*)", README))
    assert commands.keys() == {"train", "benchmark"}
    for name, arguments in commands.items():
        with pytest.raises(SystemExit) as caught:
            {"train": train, "benchmark": report}[name].main([*arguments.split(), "--help"])
        assert caught.value.code == 0
    assert "--set" in capsys.readouterr().out
    plain = Experiment.preset("gpt2-wikitext2", "gpu")
    named = re.findall(r"`(\w+)=([\w\"-]+)`", README.partition("## I have a GPU")[2].partition("\n## ")[0])
    assert len(named) == 5
    for field, value in named:
        changed = plain.replace(**{field: ast.literal_eval(value)})
        assert changed != plain, "no preset uses any of these"


def test_the_data_table_is_the_cores():
    for name, source in HUB.items():
        assert f"`{source.repository}`" in README
        assert f"`{source.configuration or source.revision}`" in README
        for layout in LOCAL[name]:
            for split in SPLITS:
                where = getattr(layout, split).where
                folder = where.split("/")[0]
                assert f"`{folder}/" in README, where
    for file in GPT2_LOCAL:
        assert f"`{file}`" in README
