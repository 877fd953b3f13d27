"""The command: it prints the numbers and where the record is, and refuses settings that cannot be."""

from pathlib import Path

import pytest

from dlt_core.experiments import Experiment
from dlt_core.learner import parallel
from dlt_core.records.record import RunRecord
from dlt_core.reproduce import train

SMOKE = ["--experiment", "gpt2-embedded", "--preset", "smoke"]


def refused(arguments, capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        train.main([*SMOKE, *arguments])
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: python -m dlt_core.train")
    return err


def test_a_run_prints_the_three_numbers_and_its_record(tiny_data, tmp_path, capsys):
    arguments = [*SMOKE, "--seed", "3", "--out", str(tmp_path)]
    settings = ["n_layer=3", "dropout=0.1", "tokenizer=bpe-512", "precision=bf16", "evaluation_tokens=None",
                "gradient=source", "activation_checkpointing=True", "device=cpu"]  # fmt: skip
    assert train.main([*arguments, "--set", *settings]) == 0
    printed = capsys.readouterr().out
    (path,) = (tmp_path / "records").iterdir()
    record = RunRecord.load(path)
    assert (record.status, record.method, record.seed) == ("finished", "dynamic", 3)
    changed = {"n_layer": 3, "dropout": 0.1, "precision": "bf16", "evaluation_tokens": None, "gradient": "source",
               "activation_checkpointing": True}  # fmt: skip
    assert record.experiment["overrides"] == changed
    assert printed.splitlines() == [
        "gpt2-embedded, dynamic, seed 3:",
        f"  test perplexity       {record.test['perplexity']:.1f} per token of a 512-piece BPE "
        f"({record.test['bits_per_byte']:.3f} bits per byte)",
        f"  trainable parameters  {record.parameters['unique']:,}, "
        f"{record.parameters['unique'] / record.parameters['conventional']:.0%} of "
        f"{record.parameters['conventional']:,} conventional",
        f"  independent layers    {len(set(record.tie_map))} of 3",
        f"  record                {path}",
    ]


def test_without_options_it_is_the_dynamic_run_of_the_gpu_preset(monkeypatch, capsys):
    seen = []

    def note(*arguments, **places) -> None:
        seen.append((arguments, places))
        raise ValueError("enough")

    monkeypatch.setattr(train, "compare", note)
    for options in ([], ["--preset", "paper", "--seed", "2", "--out", "there"]):
        with pytest.raises(SystemExit, match="2"):
            train.main(["--experiment", "bert-wikitext2", *options])
        assert "error: enough" in capsys.readouterr().err
    gpu, paper = (Experiment.preset("bert-wikitext2", name, seed=s) for name, s in (("gpu", 0), ("paper", 2)))
    assert seen == [((gpu, ["dynamic"]), {"out_dir": Path("runs")}), ((paper, ["dynamic"]), {"out_dir": Path("there")})]


def test_another_method_and_a_pattern(tiny_data, tmp_path, capsys):
    for method in ("all_tied", "sequence-2"):
        assert train.main([*SMOKE, "--method", method, "--set", "episodes=1", "--out", str(tmp_path)]) == 0
        assert f"gpt2-embedded, {method}, seed 0:" in capsys.readouterr().out
    maps = {record.method: record.tie_map for record in map(RunRecord.load, (tmp_path / "records").iterdir())}
    assert maps == {"all_tied": [0, 0, 0, 0], "sequence-2": [0, 0, 2, 2]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "layers=3"], "unknown fields layers; known: name, "),
        (["--set", "n_layer"], "--set takes FIELD=VALUE, got 'n_layer'"),
        (["--set", "n_layer=1"], "n_layer must be a whole number of at least 2, got 1"),
        (["--set", "n_layer=2.5"], "n_layer must be a whole number of at least 2, got 2.5"),
        (["--set", "n_layer=many"], "n_layer must be a whole number of at least 2, got 'many'"),
        (["--set", "learning_rate=fast"], "learning_rate must be a float, got 'fast'"),
        (["--set", "dropout=None"], "dropout must be a float, got None"),
        (["--set", "activation_checkpointing=false"], "activation_checkpointing must be a bool, got 'false'"),
        (["--set", "seed=3"], "multiple values for keyword argument 'seed'"),
        (["--set", "precision=fp8"], "unknown precision 'fp8'; known: fp32, tf32, bf16, bf16-weights"),
        (["--set", "gradient_accumulation_steps=3"], "batch_size=4 must be a multiple"),
        (["--set", "batch_size=10000"], "too few for one batch"),
        (["--method", "magic"], "unknown method 'magic'; known: dynamic, random"),
        (["--method", "sequence-9"], "num_groups must be between 1 and n_layer=4, got 9"),
        (["--preset", "huge"], "invalid choice: 'huge'"),
        (["--seed", "-1"], "seed must be a whole number of at least 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_reason(tiny_data, tmp_path, capsys, arguments, message):
    assert message in refused([*arguments, "--out", str(tmp_path)], capsys)
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize("method", ["halving", "evolution-8", "released", "released-random"])
def test_methods_for_one_process_are_refused_in_two(monkeypatch, capsys, method):
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    assert f"the method {method} runs in one process only" in refused(["--method", method], capsys)
