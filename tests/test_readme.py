"""The README, the guide to the house and the page of results say nothing that the project does not do."""

import ast
import itertools
import json
import re
import shlex

import numpy as np
import pytest
from scipy import stats

from dlt_core import CHECKOUT, TieMap, count_parameters, expected_independent
from dlt_core.corpora.sources import HUB, LM1B_HELD_OUT, LOCAL, SPLITS
from dlt_core.corpora.tokenization import GPT2_LOCAL
from dlt_core.experiments import EXPERIMENTS, PRESETS, Experiment, load_data
from dlt_core.learner.accounting import gpt2_parameters
from dlt_core.records.record import load_all
from dlt_core.records.statistics import bits_and_nats, holm, p_value
from dlt_core.studies import contrasts
from dlt_core.studies.gate import is_a_look
from dlt_core.tie_map import PATTERNS

README, GUIDE, RESULTS, TEACHING = PAGES = (
    "README.md", "dlt_core/README.md", "figures/README.md", "notebooks/README.md"
)  # fmt: skip
TEXT = {page: (CHECKOUT / page).read_text(encoding="utf-8") for page in PAGES}
PROSE = {page: " ".join(text.split()) for page, text in TEXT.items()}
MARKS = {
    README: ["result", "headline", "notebooks", "benchmark"],
    GUIDE: ["released"],
    RESULTS: [
        "results", "hours", "patience", "gate", "claim", "depth_looks", "agent", "learning", "layer_zero", "registered",
        "frozen", "table_world", "many_decisions", "surrogate", "looks_maps", "looks_truth", "looks_bert",
        "looks_two_sets", "looks_sets", "looks_rewards", "rule", "elsewhere", "patterns", "still", "charged",
        "more_sets", "rule_changed", "deeper", "habits", "regime_gpu", "images",
    ],
    TEACHING: ["routes", "needs"],
}  # fmt: skip
REWARDED = ("dynamic_paired", "dynamic_first_order_gain")
PYTHON = [
    pytest.param(code, id=f"{page}-{number}")
    for page, text in TEXT.items()
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
]
# The commands in code blocks and in running text, without those that only show the form of one.
COMMANDS = sorted(
    {
        command.partition("#")[0].strip()
        for text in TEXT.values()
        for command in re.findall(r"-m dlt_core\b ?([^\n`&]*)", text)
    }
)


@pytest.fixture(scope="module")
def tables():
    from dlt_core.reproduce.marked_tables import marked_tables

    return marked_tables(CHECKOUT)


@pytest.mark.parametrize(("page", "mark"), [(page, mark) for page, marks in MARKS.items() for mark in marks])
def test_the_tables_are_made_from_what_is_committed(page, mark, tables):
    table = TEXT[page].partition(f"<!-- {mark}: begin -->\n")[2].partition(f"\n<!-- {mark}: end -->")[0]
    assert table == tables[page][mark], "run: python -m dlt_core reproduce --in-place"
    assert len(table.splitlines()) >= (1 if mark in ("claim", "layer_zero", "hours", "patience") else 3)


@pytest.mark.parametrize(("contrast", "question", "in_words"), [
    ("sharing: sandwich-2 minus conventional", "What does sharing weights give?", "What sharing gives"),
    ("agent: dynamic minus random", "What does its agent add?", "What the agent adds"),
])  # fmt: skip
def test_all_tables_say_one_thing_of_the_two_contrasts_named_in_advance(contrast, question, in_words):
    (shown,) = re.findall(rf"^\| depth \| {contrast} \|.* \| ([^|]+) \|$", TEXT[RESULTS], re.M)
    differs = shown.split(",")[0] in ("better", "worse")
    (verdict,) = re.findall(rf"^\| {re.escape(question)} \|.*: ([a-z ]+) \(perplexity [^|]+\|$", TEXT[README], re.M)
    assert verdict == (shown.split(",")[0] if differs else "not told apart")
    (sentence,) = re.findall(rf"^- \*\*{in_words}\.\*\* (.*)$", TEXT[README], re.M)
    end = "than where chance decides" if contrast.startswith("agent") else "than without ties"
    assert (f"(no difference is shown) {end}" in sentence) == (not differs)
    assert f" {end}" in sentence
    if contrast.startswith("agent"):  # of the rows with unchanged settings
        every = re.findall(rf"^\| [\w-]+ \| {contrast} \|.* \| ([^|:,]+)[^|]* \|$", TEXT[RESULTS], re.M)
        counted = [f"{word} in {every.count(word)}" for word in ("better", "worse", "equal within 3 %", "open")]
        assert len(every) > 1
        assert f"over all of them: {', '.join(counted)}; on average over these {len(every)}, " in TEXT[RESULTS]


@pytest.mark.parametrize(("question", "row"), [
    ("What does sharing weights give?", r"depth \| `conventional`"),
    ("And beside a smaller model?", r"depth \| `shallow-2`"),
    ("What works better?", r"depth \| `random`"),
    ("And without a look?", r"depth \| `gradient-2-restart` minus `cycle_rev-2`"),
])  # fmt: skip
def test_what_is_better_or_worse_on_the_front_page_stays_so_where_all_rows_are_corrected(question, row):
    """README says so of notebooks 13 and 15. The tables of 15 are these; the rule's runs are those of `sandwich-2`."""
    assert "what is better or worse here stays so there" in TEXT[README]
    assert re.search(r"^\| depth \| `sandwich-2` .*\| the same map, so the same run \|$", TEXT[RESULTS], re.M)
    (verdict,) = re.findall(
        rf"^\| {re.escape(question)} \|.*: (better|worse) \(perplexity [^|]+\|$", TEXT[README], re.M
    )
    (corrected,) = re.findall(rf"^\| {row} \| \d+ \|.* \| ([^|]+) \|$", TEXT[RESULTS], re.M)
    assert corrected == verdict


def test_the_first_row_of_the_front_page_stays_so_in_notebook_13():
    notebook = json.loads((CHECKOUT / "notebooks" / "13_is_the_map_good.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    text = "\n".join("".join(output.get("data", {}).get("text/markdown", "")) for output in outputs)
    row = r"^\| `dynamic` \| (\S+ ± \S+): ([a-z]+) \|"
    question = re.escape("What does the paper's method give?")
    (first,) = re.findall(rf"^\| {question} .*\| (\S+ ± \S+): ([a-z]+) ", TEXT[README], re.M)
    assert first in re.findall(row, text, re.M)


def test_what_a_look_costs():
    """Three looks at ten seeds that differ in nothing, by a paired t test: how often is one p below 0.05, and what does
    p have to be below for 5 %?"""
    z = np.random.default_rng(0).standard_normal((100_000, 10))
    p = np.stack([stats.ttest_1samp(z[:, :n], 0, axis=1).pvalue for n in (5, 9, 10)]).min(0)
    (said,) = re.findall(r"in about (\d+) % of the cases, .* single test has to be below (0\.\d+)", PROSE[RESULTS])
    percent, below = map(float, said)
    assert 100 * (p < 0.05).mean() == pytest.approx(percent, abs=0.5)
    assert np.quantile(p, 0.05) == pytest.approx(below, abs=0.0006)
    start = r"^\| depth \| ([^|]+) \| \d+ \|.* \| (?:&lt; )?(0\.\d+)"
    rows = re.findall(start + r" \| (?:better|worse) \|$", TEXT[RESULTS], re.M)
    rows += re.findall(start + r" \| 1\.000 \| worse \|$", TEXT[RESULTS], re.M)
    assert len(rows) > 10
    assert [name for name, p in rows if float(p) >= below] == ["`shallow-2`"]


def test_what_the_last_look_at_a_longer_training_says():
    """When a patience of five would have ended it, and that six layers were still better than two."""
    runs = [r for r in load_all(CHECKOUT / "figures" / "records") if is_a_look(r) and r.experiment["episodes"] == 160]
    full, small = sorted(runs, key=lambda r: r.method)
    ended_by = r"with ([\d,]+) steps a patience of five evaluations would have ended conventional training after step "
    ((steps, ended),) = re.findall(ended_by + r"([\d,]+)", PROSE[RESULTS])
    assert f"{full.budget['optimizer_steps']:,}" == steps
    assert full.stopped_by(5) == (int(ended.replace(",", "")), True)
    assert full.test["bits_per_byte"] < small.test["bits_per_byte"]


def test_what_the_looks_at_the_rewards_left_open():
    """By p after Holm's correction: over the eight rows that were then tests, and over the four that are."""
    of = {name: {} for name in ("depth", "agents-embedded")}
    for r in load_all(CHECKOUT / "figures" / "records"):
        if r.experiment["name"] in of and not r.changes and r.method in ("random", "dynamic", *REWARDED):
            of[r.experiment["name"]].setdefault(r.method, []).append(r)
    seen = {}
    for n, which in itertools.product((9, 10), (["depth"], ["depth", "agents-embedded"])):
        bits = {
            (name, one, other): bits_and_nats(of[name][one], of[name][other])[0]
            for name in which
            for one in REWARDED
            for other in ("random", "dynamic")
        }
        p = holm({pair: p_value(of_seeds[:n]) for pair, of_seeds in bits.items()})
        seen[n, len(p)] = {pair: f"{p[pair]:.3f}" for pair in p if pair[0] == "depth"}
    open_then = "depth", "dynamic_first_order_gain", "random"
    then, now = seen[9, 8][open_then], seen[9, 4][open_then]
    assert f"open (p {then}; the rows that cannot tell" in PROSE[RESULTS]
    assert f"without them it was {now})." in PROSE[RESULTS]
    assert float(then) > 0.05 > float(now)
    assert f"Over all eight rows the largest of the four would be {max(seen[10, 8].values())}." in PROSE[RESULTS]


def test_each_table_has_its_marks_and_each_mark_its_table(tables):
    marks = {page: set(re.findall(r"<!-- ([\w-]+): begin -->", text)) for page, text in TEXT.items()}
    assert marks == {page: set(names) for page, names in MARKS.items()}
    assert {page: set(names) for page, names in tables.items()} == marks


def test_the_front_page_is_short():
    assert len(TEXT[README].splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_file_named_is_there(page):
    for target in re.findall(r"\]\((?!http)([^)\s]+)\)", TEXT[page]):
        path, _, anchor = target.partition("#")
        path = (CHECKOUT / page).parent / path if path else CHECKOUT / page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), target
    for path in re.findall(r"\btests/[\w/.]+", TEXT[page]):
        assert (CHECKOUT / path).exists(), path
    for name in re.findall(r"`(?:dlt_core/)?((?:\w+/)*\w+\.py)`", TEXT[page]):
        if name != "state_plot.py":  # a script of the authors
            assert (CHECKOUT / "dlt_core" / name).exists(), name


def anchors(text):
    """The anchors of a page: those of its headings, as GitHub makes them, and those that it names itself."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings} | set(named(text))


def named(text):
    return re.findall(r'<a id="([\w-]+)"></a>', text)


@pytest.mark.parametrize("notebook", sorted((CHECKOUT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_notebooks_name_files_commands_and_numbers_that_are_there(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    words = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for name in re.findall(r"`dlt_core/((?:\w+/)*\w+\.py)`", text):
        assert (CHECKOUT / "dlt_core" / name).exists(), name
    for target in re.findall(r"\]\((?!http)([^)#\s]+)", words):
        assert (notebook.parent / target).exists(), target
    assert not re.findall(r"-m dlt_core\.\w+", text)
    if "number 14" in text:
        assert "dlt_core/README.md, number 14" in text


@pytest.mark.parametrize("code", PYTHON)
def test_the_python_examples_run_as_pasted(code, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert '"laptop",' not in code or "surrogate" in code, "an example must be done in seconds"
    if "REGISTRY" in code:
        from dlt_core.studies import methods

        monkeypatch.setattr(methods, "REGISTRY", dict(methods.REGISTRY))
    names = {}
    exec(compile(code, "an example", "exec"), names)
    printed = capsys.readouterr().out
    assert printed
    if "tie_layers" in code and "LlamaConfig" not in code:
        before, after = map(int, printed.split())
        block = sum(p.numel() for p in names["model"].transformer.h[0].parameters())
        assert before - after == 6 * block
        assert after == count_parameters(names["model"])
    if "MeanRewardAgent" in code:
        assert "gpt2-embedded, mean_reward, seed 0" in printed
        assert all(means[0] for means in _means_of(names)[1:])  # each layer has tried an action
    if "short_sighted" in code:
        assert "| `short_sighted` | 0." in printed
        error = names["env"].error
        assert error.rms > error.rms_of_trend, "as the page says"
    if "A2C" in code:
        assert "gpt2-embedded, a2c, seed 0" in printed
    if "python-code" in code:
        assert printed.startswith("gpt2-embedded on python-code, dynamic, seed 0:")
        assert names["record"].experiment["corpus"] == names["record"].corpus["name"] == "python-code"
        held_out = [names["record"].corpus["bytes"][split] for split in ("train", "validation")]
        assert sum(held_out) == len(names["train"].encode())
        assert printed.splitlines()[-1] in code, "the example says what is printed"
    if "LlamaConfig" in code:
        assert re.findall(r"^(.+) minus (.+): [+-]\d\.\d{3} ± \d\.\d{3} nats, .+; perplexity ", printed, re.M) == [
            ("sandwich-2", "conventional"),
            ("q", "random"),
        ]
    if "scaled" in code:
        tied, scaled = (int(n.replace(",", "")) for n in re.findall(r"trainable parameters  ([\d,]+),", printed))
        e = names["record"].experiment
        assert scaled - tied == e["n_layer"] * e["n_embd"]
        assert names["record"].method == "scaled"
        _stops_and_goes_on(names, tmp_path / "a.checkpoint")
    if "halves" in code:
        assert names["record"].method == "halves"
        assert TieMap(names["record"].tie_map) == TieMap((0, 0, 2, 2))


def _stops_and_goes_on(names, checkpoint):
    """The example's own training, stopped after a decision: the same call ends as the uninterrupted run did."""
    experiment = names["Experiment"].preset("gpt2-embedded", "smoke")
    how = {"method": "scaled", "data": load_data(experiment), "checkpoint": checkpoint}
    assert names["train_scaled"](experiment, **how, max_decisions=1).status == "stopped"
    assert names["train_scaled"](experiment, **how).test == names["record"].test


def _means_of(names):
    """What the example's agent remembers after a run of its own, since the example keeps no agent."""
    agent = names["MeanRewardAgent"](names["experiment"].n_layer)
    names["train_dynamic"](names["experiment"], agent=agent)
    return agent.means


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_understood(command, capsys):
    from dlt_core.__main__ import main

    with pytest.raises(SystemExit) as caught:
        main([*shlex.split(command), *([] if command.endswith("--help") else ["--help"])])
    assert caught.value.code == 0
    known = capsys.readouterr().out
    words = command.split()
    for option, value in zip(words, [*words[1:], ""], strict=True):  # which --help has not looked at
        assert not option.startswith("--") or re.search(rf"{option}\b", known), option
        assert value in {"--preset": PRESETS, "--experiment": EXPERIMENTS}.get(option, value), value


def test_each_command_is_named_on_the_front_page_and_its_options_in_the_guide():
    assert {command.split()[0] for command in COMMANDS} == {
        "reproduce", "train", "figures", "table-world", "many-decisions", "looks", "surrogate", "images", "benchmark",
        "first-light",
        "side-by-side", "exercises", "html",
        "--help",
    }  # fmt: skip
    for command in ("reproduce", "train", "benchmark", "html"):
        assert f"-m dlt_core {command}" in TEXT[README]
    for option in (
        "--preset",
        "--notebooks",
        "--seeds",
        "--jobs",
        "--dask",
        "--out",
        "--in-place",
        "--list",
        "--dry-run",
    ):
        assert option in TEXT[GUIDE]


def test_the_first_line_is_the_two_lines():
    first, second = re.findall(r"^pip install.*$", TEXT[README], flags=re.MULTILINE)
    assert first == "pip install -r requirements.txt && python -m dlt_core reproduce --notebooks 00 01 02 03"
    assert second == "pip install -r requirements.txt && python -m pytest"


def test_the_settings_named_for_a_gpu_are_no_presets():
    plain = Experiment.preset("gpt2-wikitext2", "gpu")
    named = re.findall(r"`(\w+)=([\w\"-]+)`", section(GUIDE, "On a GPU"))
    assert len(named) == 6
    for field, value in named:
        assert plain.replace(**{field: ast.literal_eval(value)}) != plain


def section(page, heading):
    return TEXT[page].partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_every_part_of_the_package_has_its_row():
    rooms = section(GUIDE, "The rooms")
    for path in (CHECKOUT / "dlt_core").iterdir():
        if path.suffix == ".py" and not path.name.startswith("_"):
            assert f"`{path.name}`" in rooms
        elif (path / "__init__.py").exists():
            assert f"`{path.name}/`" in rooms


def test_every_field_of_a_record_has_its_row():
    fields = re.findall(r"`(\w+)`(?=[^|]*\| )", section(GUIDE, "Records"))
    record = json.loads(next((CHECKOUT / "figures" / "records").glob("gpt2-embedded-laptop-dynamic-*")).read_text())
    assert set(fields) >= record.keys()


def test_every_figure_is_shown():
    for path in (CHECKOUT / "figures").glob("*.png"):
        assert f"({path.name})" in TEXT[RESULTS], path.name
    blocks = section(RESULTS, "The figures").split("\n\n")
    for before, image in itertools.pairwise(blocks):
        if image.startswith("!["):
            assert before.startswith("**"), image
            assert "`python -m dlt_core " in before, "the command that makes it"


def test_the_differences_of_the_released_code_are_listed_with_their_switches():
    listed = re.findall(
        r"^\| (\d+[ab]?) \|.*\| `(\w+)` \|$", section(GUIDE, "The code as released"), flags=re.MULTILINE
    )
    assert {name: number for number, name in listed} == contrasts.NUMBERS


def test_the_deviations_keep_their_numbers():
    numbers = re.findall(r"^(\d+)\. \*\*", section(GUIDE, "Deviations and interpretations"), flags=re.MULTILINE)
    assert list(map(int, numbers)) == list(range(1, 24))


def test_the_numbers_about_the_presets():
    prose = PROSE[GUIDE]
    paper, gpu = (Experiment.preset("gpt2-wikitext2", preset) for preset in ("paper", "gpu"))
    steps = paper.episodes * (paper.n_layer - 1) * paper.steps_per_action
    assert f"{paper.n_layer} layers of width {paper.n_embd}, {paper.episodes} turns, {steps:,} steps" in prose
    assert f"{steps * paper.batch_size * paper.block_size / 1e6:.0f}M tokens of training" in prose
    gpu_steps = gpu.episodes * (gpu.n_layer - 1) * gpu.steps_per_action
    assert f"{gpu.n_layer} layers of width {gpu.n_embd} with the paper's K = {gpu.episodes} turns" in prose
    assert f"{gpu_steps:,} steps a run" in prose
    same = ("episodes", "steps_per_action", "batch_size", "learning_rate", "q_learning_rate", "epsilon", "epsilon_min")
    assert [getattr(gpu, field) for field in same] == [getattr(paper, field) for field in same]
    bert = Experiment.preset("bert-wikitext2", "paper")
    assert f"(BERT: {bert.n_layer} layers of width {bert.n_embd})" in prose
    limits = {Experiment.preset(f"gpt2-{name}", "laptop").train_bytes for name in ("wikitext103", "lambada", "lm1b")}
    assert limits == {16 * 2**20}
    assert "the first 16 MB of the large corpora" in prose
    assert f"the first {LM1B_HELD_OUT:,} sentences of the training text" in prose
    assert f"our {paper.n_head} heads are GPT-2 XL's" in prose
    laptop = Experiment.preset("gpt2-embedded", "laptop")
    assert "The learning rate is 1e-3, and 2e-3 in `depth` and `truth-bert`. There is no dropout, but in " in prose
    every = {name: Experiment.preset(name, "laptop") for name in EXPERIMENTS}
    assert {e.learning_rate for e in every.values()} == {1e-3, 2e-3}
    assert {name for name, e in every.items() if e.learning_rate == 2e-3} == {"depth", "truth-bert"}
    assert {name for name, e in every.items() if e.dropout} == {"regime-gpu"}
    assert laptop.epsilon_decay < paper.epsilon_decay
    assert {EXPERIMENTS["truth"]["laptop"]["n_layer"]} == {4}
    assert f"all {bell(4)} maps were trained from scratch" in PROSE[RESULTS]


def test_how_often_the_texts_are_read_is_as_the_records_say():
    every = [r for r in load_all(CHECKOUT / "figures" / "records") if r.experiment["preset"] == "laptop"]
    runs = [r for r in every if r.status == "finished" and not is_a_look(r)]
    often: dict[bool, set[str]] = {True: set(), False: set()}
    for r in runs:
        if r.corpus["name"] == "wikitext-2" and r.passes > 1:
            often["train_bytes" in r.changes].add(f"{r.passes:.1f}")
    *first, last = sorted(often[True], key=float)
    assert f"a part of it {', '.join(first)} and {last} times" in PROSE[GUIDE]
    assert f"one of twelve layers, which reads it {' and '.join(often[False])} times" in PROSE[GUIDE]
    embedded = [r for r in runs if r.corpus["name"] == "embedded"]
    whole, parts = (max(r.passes for r in embedded if ("train_bytes" in r.changes) == cut) for cut in (False, True))
    said = f"read up to {whole:.1f} times, and parts of it, in `regime`, up to {parts:.1f} times"
    assert said in PROSE[GUIDE]


def bell(n):
    """In how many ways n layers can share weights."""
    row = [1]
    for _ in range(n - 1):
        row = [row[-1], *(row[-1] + np.cumsum(row)).tolist()]
    return row[-1]


def test_the_numbers_about_the_papers_264_million_parameters():
    paper = Experiment.preset("gpt2-wikitext2", "paper")
    shape = {"vocab_size": 50_257, "n_positions": paper.n_positions, "n_embd": paper.n_embd}
    six = gpt2_parameters(**shape, num_groups=6)
    positions = paper.n_positions * paper.n_embd
    assert f"six make {six / 1e6:.1f}M, and {(six - positions) / 1e6:.1f}M without the position table" in PROSE[GUIDE]


def test_the_numbers_about_chance():
    """How many of 48 layers are independent if each picks evenly: the sum of 48 draws, of probability 1 / (i + 1)."""
    probability = np.array([1.0])
    for layer in range(48):
        probability = np.convolve(probability, [layer / (layer + 1), 1 / (layer + 1)])
    at_most = probability.cumsum()
    largest = sum(1 - at_most[:-1] ** 300)  # the mean of a count is the sum of the probabilities to reach 1, 2, ...
    mean = probability @ np.arange(49)
    assert mean == pytest.approx(expected_independent(48))
    assert (
        f"leaves {mean:.2f} of 48 independent on average, at least 6 with probability {probability[6:].sum():.2f}, and "
        f"7 to 10 with probability {probability[7:11].sum():.2f}; the largest count after 300 turns is {largest:.1f} "
        "on average" in PROSE[GUIDE]
    )
    at_least_6, from_7_to_10 = f"{probability[6:].sum():.2f}", f"{probability[7:11].sum():.2f}"
    assert f"at least 6 with probability {at_least_6}, and 7 to 10 with {from_7_to_10}" in PROSE[TEACHING]
    assert f"7 to 10 with probability {from_7_to_10}, and at least 6 with {at_least_6}" in PROSE[RESULTS]
    assert Experiment.preset("gpt2-wikitext2", "paper").episodes == 300


def test_the_data_table_is_the_cores():
    table = section(GUIDE, "Data")
    for name, source in HUB.items():
        assert f"`{source.repository}`" in table
        assert f"`{source.configuration or source.revision}`" in table
        for layout in LOCAL[name]:
            for split in SPLITS:
                where = getattr(layout, split).where
                folder = where.split("/")[0]
                assert f"`{folder}/" in table, where
    for file in GPT2_LOCAL:
        assert f"`{file}`" in table


def test_the_oldest_versions_are_those_that_the_package_asks_for():
    oldest = dict(re.findall(r"(torch|transformers)==([\d.]+)", section(GUIDE, "Develop")))
    requirements = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    for name, version in oldest.items():
        assert re.search(rf'"{name} ?>= ?{re.escape(version.removesuffix(".0"))}', requirements), name
    assert set(oldest) == {"torch", "transformers"}


def test_the_plan_of_a_class_fills_it_and_each_notebook_is_on_a_route():
    plan = [int(minutes) for minutes in re.findall(r"^\| (\d+) \|", section(TEACHING, "Ninety minutes"), re.MULTILINE)]
    assert sum(plan) == 90
    days = re.findall(r"^\| (\d+) \|", section(TEACHING, "Two weeks"), re.MULTILINE)
    assert days == [str(day) for day in range(1, 11)]
    numbers = [path.name[:2] for path in sorted((CHECKOUT / "notebooks").glob("[0-9]*.ipynb"))]
    assert all(number in section(TEACHING, "Two weeks") for number in numbers if not "05" <= number <= "07")
    assert "one of 05 to 08" in section(TEACHING, "Two weeks")


def test_the_lecturers_plan_names_sections_and_tasks_that_are_there():
    text = {
        path.name[:2]: "\n".join(
            "".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        )
        for path in (CHECKOUT / "notebooks").glob("[0-9]*.ipynb")
    }
    for number, last in (("02", 9), ("12", 6)):  # numbered headings, with "·" or "."
        assert re.search(rf"^## {last}(?: ·|\.) ", text[number], re.MULTILINE)
    needs = section(TEACHING, "What each notebook needs")
    assert re.search(r"\[5, \d+ minutes\]\(exercises/02_q_learning_for_architecture\.ipynb\)", needs)
    assert "nor more than 3 GB of memory" in needs
    memory = re.findall(r"(?:under|below) (\d+) GB", "\n".join(text.values()))
    assert max(map(int, memory)) == 3


def test_the_front_pages_words_need_no_glossary():
    words = re.sub(r"`[^`]*`|```.*?```", "", TEXT[README], flags=re.DOTALL)
    for word in ("ε", "γ", "TD", "DQN", "K =", "die"):
        assert not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", words), word


def test_the_words_beside_two_tables_of_the_results_are_those_of_their_rows():
    found = {mark: TEXT[RESULTS].partition(f"{mark}: begin -->\n")[2].partition("<!--")[0] for mark in MARKS[RESULTS]}
    changed = r"\| depth, (?:n_layer=12|.*n_embd=128)"
    to_two = rf"^(?!{changed}).*\| (\S+) ± (\S+) \(n = \d+\) to `shallow-2`.*\| cannot tell \|$"
    shallow = re.findall(to_two, found["gate"], re.M)
    assert len(shallow) == found["gate"].count("| cannot tell |") - 2
    twelve = (
        r"^\| depth, n_layer=12 .*\| (\S+) ± (\S+) \(n = 3\) to `shallow-2` \| (\S+) ± (\S+) \(n = 3\) \| cannot tell"
    )
    ((fewer, half, moving, wide),) = re.findall(twelve, found["gate"], re.M)
    assert float(fewer) + float(half) < 0, "twelve layers are better"
    assert 0 < float(moving) < float(wide), "what moving ties cost is open"
    ((fewer, half, moving, narrow),) = re.findall(twelve.replace("n_layer=12", ".*n_embd=128"), found["gate"], re.M)
    assert abs(float(fewer)) < float(half), "whether six wider layers are better than two is open"
    assert float(moving) > float(narrow), "there moving ties cost something"
    assert min(float(bits) for bits, _ in shallow) > 0, "in none are more layers better"
    assert sum(float(bits) > float(half) for bits, half in shallow) > len(shallow) / 2, "in most, two are"
    looks = [row.split(" | ") for row in found["depth_looks"].splitlines()[2:]]
    steps = [[int(row[i].replace(",", "")) for i in (4, 2)] for row in looks]
    assert [best < 0.9 * last for best, last in steps[:4]] == [True, True, True, False], "come to their end"
    assert [float(row[-1].strip("| ")) < 0 for row in looks] == [False] * 3 + [True] * 2, "six layers are better"
    shown = dict(re.findall(r"`gradient-3-restart` minus `([^`]+)` .* \| ([a-z]+) \|\n", found["more_sets"]))
    assert (shown["gradient-2-restart"], shown["conventional"]) == ("better", "worse")
    plain = re.findall(r"`gradient-3-restart` minus `shallow-[23]` \| \d+ \| (\S+) ± (\S+) \|", found["more_sets"])
    assert [abs(float(bits)) < float(half) for bits, half in plain] == [True, True], "not told apart"
    row = r"^\| depth, n_layer=12 \| `(\S+)` \| (\d+) \| (\S+) ± (\S+) .*\| ([a-z ]+) \|$"
    wider = re.findall(row.replace("n_layer=12", ".*n_embd=128"), found["rule_changed"], re.M)
    assert {(n, word) for _, n, _, _, word in wider} == {("3", "cannot tell")}
    clear = {other: float(mean) > 0 for other, _, mean, half, _ in wider if abs(float(mean)) > float(half)}
    assert clear == {"random": False, "shallow-2": True, "conventional": True}, "ahead of chance, behind the others"
    twelve = re.findall(row, found["rule_changed"], re.M)
    assert {(n, word) for _, n, _, _, word in twelve} == {("3", "cannot tell")}
    bits = {other: (float(mean), float(half)) for other, _, mean, half, _ in twelve}
    assert [other for other, (mean, _) in bits.items() if mean < 0] == ["random"], "ahead of chance alone"
    assert abs(bits["random"][0]) < bits["random"][1], "the lead stays open"
    assert bits["conventional"][0] > 2 * bits["conventional"][1], "far from 0"
    lead = re.findall(r"^\| depth \| `gradient-2-restart` minus `(.+?)` .* \| (\S+) ± (\S+) ", found["charged"], re.M)
    paid = {name: (float(mean), float(half)) for name, mean, half in lead}
    assert paid["random"][0] + paid["random"][1] < 0
    assert all(abs(paid[name][0]) < paid[name][1] for name in ("cycle-2", "cycle_rev-2")), "the two best"
    (paired,) = re.findall(r"`dynamic_paired` minus `random` .* \| \+(\S+) ± (\S+) \(", found["charged"])
    assert float(paired[0]) > float(paired[1]), "it costs more than it brings"
    ranks = [row.split(" | ")[2] for row in found["looks_bert"].splitlines()[2:]]
    assert float(ranks[-2].strip()) > max(float(rank.split(" ")[0]) for rank in ranks[:-2]), "counting ranks better"
    worth = {row.split(" | ")[0]: row.strip("| ").split(" | ")[-2:] for row in found["looks_sets"].splitlines()[2:]}
    assert worth["| truth"] == ["2 (3 of 3)", "2"]
    assert int(worth["| truth-bert"][0][0]) < int(worth["| truth-bert"][1]), "it stops too early"
    moving, choice = ([float(x) for x in re.findall(pattern, found["patterns"])] for pattern in (
        r"minus `random` \| \d+ \| (\S+) ±", r"`gradient-2-restart` minus `\S+` \| \d+ \| (\S+) ±"))  # fmt: skip
    assert max(moving) < min(choice) < 0, "standing still is worth more than the choice"


def _plain(word):
    """A word as the glossary has it: without emphasis, plural and genitive."""
    return re.sub(r"('s|s)\b", "", " ".join(re.sub(r"[*`-]", " ", word.lower()).split()))


GLOSSARY = {  # the anchor of a row -> its words, and the notebook of their first use
    anchor: ([_plain(word) for word in forms.split(", ")], number)
    for anchor, forms, number in re.findall(
        r'^\| <a id="([\w-]+)"></a>([^|]+) \| [^|]+ \| (\d\d)[\d, ]* \|$', section(TEACHING, "Words and symbols"), re.M
    )
}


def glossary_links(path):
    """(what is linked, the anchor) of each link of a notebook's words into the page for teachers."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.findall(r"\[([^]]+)\]\(README\.md#([\w-]+)\)", text)


def test_each_word_of_the_glossary_stands_once_and_has_an_anchor_of_its_own():
    table = section(TEACHING, "Words and symbols").split("| symbol |")[0]
    assert len(GLOSSARY) == table.count("\n| ") - 2 > 50, "all rows but the heading have one"
    words = [word for forms, _ in GLOSSARY.values() for word in forms]
    assert len(words) == len(set(words))
    for anchor, (forms, _) in GLOSSARY.items():
        assert _plain(anchor) == re.sub(r"[_%' ]+", " ", forms[0]), "the word in lower case, with hyphens"
    numbers = [number for _, number in GLOSSARY.values()]
    assert numbers == sorted(numbers), "in the order of first use"
    assert named(TEXT[TEACHING]) == [*GLOSSARY], "each of them once"
    assert not GLOSSARY.keys() & anchors(re.sub(r"<a id.*?</a>", "", TEXT[TEACHING])), "no heading has it, too"


@pytest.mark.parametrize("path", sorted((CHECKOUT / "notebooks").glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_each_link_to_the_glossary_finds_its_word_there(path):
    for link, anchor in glossary_links(path):
        assert anchor in anchors(TEXT[TEACHING]), f"{link}: {anchor}"
        if anchor in GLOSSARY:
            assert any(re.search(rf"\b{re.escape(word)}\b", _plain(link)) for word in GLOSSARY[anchor][0]), link
        elif anchor == "words-and-symbols":
            assert link == "glossary"


def test_the_glossarys_patterns_are_the_cores():
    glossary = re.sub(r"<a id.*?</a>", "", section(TEACHING, "Words and symbols"))
    for name in PATTERNS:
        sets = None if name in ("pairs", "mirror") else 2
        rows = [
            line for line in glossary.splitlines() if re.search(rf"[ |]{name}(-2)?[ ,]", line.split(" | ")[0] + " ")
        ]
        assert str(list(TieMap.pattern(name, 6, sets))) in rows[0], name


@pytest.mark.parametrize("path", sorted((CHECKOUT / "notebooks").glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_the_glossarys_words_are_linked_in_the_notebook_of_their_first_use(path):
    links = glossary_links(path)
    assert ("glossary", "words-and-symbols") in links
    needed = {anchor for anchor, (_, number) in GLOSSARY.items() if number == path.name[:2]}
    assert not needed - {anchor for _, anchor in links}
