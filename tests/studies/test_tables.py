"""From records to rows, tables and figures: the means by hand, the gaps said aloud, the same bytes every time."""

import csv
import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import pytest

from dlt_core import CHECKOUT
from dlt_core.__main__ import main
from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord, load_all
from dlt_core.reproduce import outputs
from dlt_core.studies import contrasts as studies_of
from dlt_core.studies import tables
from dlt_core.studies.comparison import compare
from dlt_core.studies.contrasts import ablation_differences, ablation_figure, ladder, put_in
from dlt_core.studies.methods import LADDER, PUT_IN
from dlt_core.studies.released_code import ReleasedCode
from dlt_core.studies.tables import (
    NOT_RUN,
    UNKNOWN,
    agent_markdown,
    results_csv,
    results_markdown,
    shown,
    summary,
    with_gaps,
)

T2 = 4.302652729911275  # Student's t of a 95 % interval with 2 degrees of freedom, from a table
BPE = "per token of a 4,096-piece BPE"


def made_up(
    method: str = "dynamic",
    seed: int = 0,
    bits: float = 2.0,
    *,
    name: str = "gpt2-wikitext2",
    preset: str = "laptop",
    unit: str = BPE,
    is_sample: bool = False,
    peak: int | None = None,
    accuracy: float | None = None,
    independent: int = 2,
    **changes,
) -> RunRecord:
    """A finished run that never was; its numbers are multiples of its bits per byte."""
    experiment = Experiment.preset(name, preset, seed=seed, **changes)
    test = {"perplexity": 50 * bits, "unit": unit, "bits_per_byte": bits, "selected_step": 30}
    if accuracy is not None:
        test["last_word"] = {"accuracy": accuracy}
    return RunRecord(
        experiment.to_dict(),
        method,
        seed,
        {"name": experiment.corpus, "is_sample": is_sample},
        status="finished",
        hardware={"device": "cpu", "machine": "x86_64", "threads": 1, "cores": 2},
        budget={"optimizer_steps": 30, "tokens": 300},
        tie_map=[min(i, independent - 1) for i in range(experiment.n_layer)],
        final_tie_map=[min(i, independent - 1) for i in range(experiment.n_layer)],
        test=test,
        parameters={"unique": int(100 * bits), "conventional": 1000},
        bytes={"step_peak": peak},
        seconds=10 * bits,
    )


def only(rows: list[dict], **identity) -> dict:
    (row,) = [row for row in rows if all(row[name] == value for name, value in identity.items())]
    return row


def table_cells(markdown: str) -> list[list[str]]:
    """The rows of all tables in a Markdown text, without their heads."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ") and not line.startswith("| experiment")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| ---")]


# --- rows ---


def test_means_and_half_widths_by_hand():
    three = [
        made_up(seed=s, bits=b, peak=p, accuracy=a, independent=n)
        for s, b, p, a, n in ((0, 1.0, 10, 0.25, 1), (2, 3.0, 30, 0.5, 3), (1, 2.0, 35, 0.75, 5))
    ]
    (row,) = summary(three)
    assert (row["experiment"], row["preset"], row["method"], row["changes"]) == (
        "gpt2-wikitext2",
        "laptop",
        "dynamic",
        "",
    )
    assert row["n"] == 3
    assert row["bits_per_byte"] == 2.0
    assert row["bits_per_byte_half_width"] == pytest.approx(T2 * 1 / 3**0.5)  # standard deviation 1
    assert row["perplexity"] == 100.0
    assert row["perplexity_half_width"] == pytest.approx(T2 * 50 / 3**0.5)
    assert row["parameters"] == 200
    assert row["of_conventional"] == pytest.approx(0.2)
    assert row["independent_layers"] == 3
    assert row["layers"] == 6
    assert row["steps"] == 30
    assert row["seconds"] == 20
    assert row["peak_bytes"] == 25
    assert row["last_word_accuracy"] == 0.5
    assert row["unit"] == BPE
    assert row["hardware"] == "x86_64 CPU, 1 of 2 cores"
    cells = shown(row)
    assert cells["test perplexity"] == f"100.0 ± 124.2 {BPE}; 50.0% of last words guessed"
    assert cells["bits per byte"] == "2.000 ± 2.484"
    assert cells["parameters"] == "0.00M (20%)"
    assert cells["independent layers"] == "3.0 of 6"
    (written,) = csv.DictReader(io.StringIO(results_csv([row])))
    assert float(written["bits_per_byte_half_width"]) == row["bits_per_byte_half_width"]
    assert written["n"] == "3"


def test_one_seed_has_no_interval():
    rows = summary([made_up()])
    (written,) = csv.DictReader(io.StringIO(results_csv(rows)))
    assert (written["perplexity"], written["bits_per_byte"]) == ("100.0", "2.0")
    empty = ("perplexity_half_width", "bits_per_byte_half_width", "peak_bytes", "last_word_accuracy")
    assert [written[name] for name in empty] == [""] * 4
    ((*_, perplexity, bits, _, _, peak, _, _, _),) = table_cells(results_markdown(rows))
    assert (perplexity, bits, peak) == (f"100.0 {BPE}", "2.000", "not measured")


def test_unfinished_runs_make_no_row():
    broken = RunRecord(made_up().experiment, "dynamic", 1, {"name": "wikitext-2"}, status="diverged")
    (row,) = summary([made_up(), broken])
    assert row["n"] == 1
    assert summary([broken]) == []


def test_changed_settings_stand_apart_and_are_named():
    runs = [
        made_up(bits=1.0),
        made_up(bits=3.0, reward="neg_loss"),
        made_up(bits=5.0, reward="neg_loss", seed=1),
        made_up(bits=9.0, steps_per_action=5, episodes=72),
        made_up("conventional"),
    ]
    rows = summary(runs)
    names = ["dynamic", "conventional", "dynamic, episodes=72, steps_per_action=5", "dynamic, reward=neg_loss"]
    assert [shown(row)["method"] for row in rows] == names  # the plain ones first
    assert [tables.row_name(run) for run in runs[1:4:2]] == [names[3], names[2]]
    assert only(rows, method="dynamic", changes="reward=neg_loss")["bits_per_byte"] == 4.0
    assert only(rows, method="dynamic", changes="reward=neg_loss")["n"] == 2
    assert [row["paper"] == UNKNOWN for row in rows] == [False, True, True, True]


def test_units_corpora_presets_and_experiments_never_share_a_row():
    rows = summary(
        [
            made_up(bits=1.0),
            made_up(bits=2.0, seed=1, unit="per token of GPT-2's BPE"),
            made_up(bits=3.0, seed=2, is_sample=True),
            made_up(bits=4.0, seed=3, preset="gpu"),
            made_up(bits=5.0, seed=4, name="gpt2-wikitext103"),
        ]
    )
    assert sorted(row["bits_per_byte"] for row in rows) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert {row["n"] for row in rows} == {1}


def test_a_sample_is_marked():
    rows = summary([made_up(is_sample=True), made_up(name="gpt2-lm1b")])
    assert [row["corpus"] for row in rows] == ["wikitext-2 (sample)", "lm1b"]
    assert shown(rows[0])["corpus"] == "wikitext-2 (sample)"


def test_rows_come_in_the_order_of_presets_experiments_and_methods():
    runs = [
        made_up(method, name=name, preset=preset)
        for preset in ("gpu", "laptop")
        for name in ("bert-wikitext2", "gpt2-wikitext2")
        for method in ("all_tied", "conventional", "random", "dynamic")
    ]
    rows = summary(runs[::-1])
    assert [(r["preset"], r["experiment"], r["method"]) for r in rows] == [
        (preset, name, method)
        for preset in ("laptop", "gpu")
        for name in ("gpt2-wikitext2", "bert-wikitext2")
        for method in ("dynamic", "random", "conventional", "all_tied")
    ]


# --- the paper, and what was not run ---


def test_only_the_quoted_result_is_the_papers():
    rows = with_gaps(summary([made_up(), made_up("random"), made_up(name="gpt2-embedded"), made_up(name="ablations")]))
    for row in rows:
        quoted = (row["experiment"], row["method"]) == ("gpt2-wikitext2", "dynamic")
        assert (row["paper"] != UNKNOWN) == quoted, row
    text = only(rows, experiment="gpt2-wikitext2", method="dynamic", preset="laptop")["paper"]
    for fact in ("49.37 per GPT-2 BPE token", "264M parameters", "13.75 h", "Basis Sharing", "2410.03765, table 5"):
        assert fact in text
    markdown = table_cells(results_markdown(rows))
    assert len(markdown) == len(rows)
    assert {cells[-1] for cells in markdown} == {text, "not available to us"}


def test_experiments_of_the_paper_without_runs_are_said_to_be_not_run():
    rows = with_gaps(summary([made_up()]))
    gaps = [row for row in rows if row["n"] == 0]
    names = [f"{a}-{c}" for a in ("gpt2", "bert") for c in ("wikitext2", "wikitext103", "lambada", "lm1b")]
    expected = {(n, p, m) for n in names for p in ("laptop", "gpu", "paper") for m in ("dynamic", "conventional")}
    expected -= {("gpt2-wikitext2", "laptop", "dynamic")}
    assert len(gaps) == len(expected)
    assert {(row["experiment"], row["preset"], row["method"]) for row in gaps} == expected
    lines = [cells for cells in table_cells(results_markdown(gaps)) if cells[3] == "not run"]
    assert len(lines) == len(gaps)
    assert all(not any(cells[4:-1]) for cells in lines), "no numbers beside it"
    written = list(csv.DictReader(io.StringIO(results_csv(rows))))
    assert [row["hardware"] for row in written].count(NOT_RUN) == len(gaps)
    assert {row["perplexity"] for row in written if row["n"] == "0"} == {""}
    # with one run there is no gap any more; a changed setting does not fill one
    more = with_gaps(summary([made_up(), made_up("conventional"), made_up(name="gpt2-lm1b", gamma=0.5)]))
    assert not [
        row for row in more if row["n"] == 0 and row["experiment"] == "gpt2-wikitext2" and row["preset"] == "laptop"
    ]
    assert only(more, experiment="gpt2-lm1b", preset="laptop", method="dynamic", n=0)


# --- what training costs ---


def test_flops_of_a_run_follow_its_ties_where_tied_layers_are_constants(tiny_data):
    """By hand, step by step; with the gradient of all uses, ties save nothing."""
    for gradient in ("source", "shared"):
        experiment = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=3, gradient=gradient)
        dynamic, shallow, conventional = compare(experiment, ["dynamic", "shallow", "conventional"], data=tiny_data)
        shape = (experiment.n_embd, experiment.block_size, tiny_data.vocab_size, experiment.batch_size)

        def step(layers, constant, shape=shape):
            d, T, V, B = shape
            return B * T * (3 * (layers * (24 * d * d + 4 * T * d) + 2 * d * V) - constant * 24 * d * d)

        tied = [4 - n if gradient == "source" else 0 for n in dynamic.history["num_independent"]]
        assert tables.training_flops(dynamic) == sum(experiment.steps_per_action * step(4, n) for n in tied)
        steps = conventional.budget["optimizer_steps"]
        assert tables.training_flops(conventional) == steps * step(4, 0)
        assert tables.training_flops(shallow) == steps * step(2, 0)
    dynamic.budget["optimizer_steps"] += 1
    with pytest.raises(ValueError, match="do not share its steps evenly"):
        tables.training_flops(dynamic)


# --- ablations ---


def test_ablations_are_paired_with_the_unchanged_conventional_run():
    runs = [
        made_up("conventional", 0, 2.0, name="ablations"),
        made_up("conventional", 1, 3.0, name="ablations"),
        made_up("conventional", 0, 8.0, name="ablations", gradient="source"),
        made_up("dynamic", 1, 3.5, name="ablations"),
        made_up("dynamic", 0, 2.25, name="ablations"),
        made_up("dynamic", 0, 1.5, name="ablations", reward="neg_loss"),
        made_up("random", 5, 1.0, name="ablations"),
    ]
    assert ablation_differences(runs) == {"dynamic": {1: 0.5, 0: 0.25}, "dynamic, reward=neg_loss": {0: -0.5}}
    ax = ablation_figure(runs).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dynamic, reward=neg_loss", "dynamic"]  # best first
    assert "seeds: 1 to 2" in ax.get_xlabel()
    (interval,) = [segment[:, 0].tolist() for found in ax.collections for segment in found.get_segments()]
    half = 12.706204736432095 * 0.125  # t with 1 degree of freedom, and the standard error
    assert interval == pytest.approx([0.375 - half, 0.375 + half])


# --- the paper as described against the code as released ---


IMPLIED = ("reward", "gradient", "epsilon_min", "steps_per_action", "episodes", "evaluate_every")  # by all of them


def variant(released: ReleasedCode, seed: int, bits: float, name: str = "differences-embedded") -> RunRecord:
    settings = released.settings(Experiment.preset(name, "laptop"))
    options = {field: getattr(settings, field) for field in IMPLIED}
    record = made_up(released.method, seed, bits, name=name, **options)
    record.agent = {"released_code": dataclasses.asdict(released)}
    return record


def studies(*names: str) -> list[RunRecord]:
    """The whole ladder of each study: 0.1 bits a rung; and each difference alone."""
    found = []
    for name in names:
        for seed in (0, 1):
            found.append(made_up("dynamic", seed, 2.0, name=name))
            found += [variant(rung, seed, 3.1 - i / 10, name) for i, rung in enumerate(LADDER[:-2])]
            found += [variant(one, seed, 1.5 + seed, name) for one in PUT_IN.values()]
    return found


def test_the_ladder_is_paired_with_the_last_rung():
    runs = studies("differences-embedded")
    rungs = ladder(runs)
    assert list(rungs)[:2] == ["as released", "... and without marked_blocks"]
    assert list(rungs)[-2:] == ["... and without kept_optimizer_state", "as described"]
    assert len(rungs) == 12
    assert rungs["as released"] == pytest.approx({0: 1.1, 1: 1.1})
    assert rungs["... and without kept_optimizer_state"] == {0: -0.5, 1: 0.5}, "which is bf16 weights alone"
    assert rungs["as described"] == {0: 0.0, 1: 0.0}
    assert put_in(runs) == {name: {0: -0.5, 1: 0.5} for name in ReleasedCode.names()}
    table = table_cells(studies_of.singles_markdown(runs))[1:]
    assert [row[:2] for row in table] == [[number, f"`{name}`"] for name, number in studies_of.NUMBERS.items()]
    assert table[0][2] == "+0.000 ± 6.353: not told apart (n = 2)"
    assert table[-1][2] == "+0.000 ± 6.353: other text (n = 2)"
    table = table_cells(studies_of.ladder_markdown([*runs, *studies("differences-wikitext2")[:2]]))[1:]
    assert table[0] == ["as released", "+1.100 ± 0.000: other text (n = 2)", "+1.100: other text (n = 1)"]
    assert table[-1][1:] == ["+0.000 ± 0.000: exactly equal (n = 2)", "+0.000: exactly equal (n = 1)"]
    assert table[2][2] == "not run"
    without_a_rung = [r for r in runs if r.method != "released-without-marked_blocks"]
    assert len(ladder(without_a_rung)) == 11
    assert ladder([r for r in runs if r.method != "dynamic"]) == {}


def test_what_a_variants_name_implies_is_not_said_again():
    record = variant(ReleasedCode.all(), 0, 2.0)
    assert record.experiment["overrides"].keys() == set(IMPLIED)
    assert tables.changes(record) == ""
    alone = variant(ReleasedCode(frozen_start=True), 0, 2.0)
    alone.experiment["overrides"] = {"reward": "neg_loss", "episodes": 2}  # not what its name says
    assert tables.changes(alone) == "episodes=2, reward=neg_loss"
    record.experiment["overrides"]["reward"] = "neg_loss"
    assert tables.changes(record) == "reward=neg_loss"
    record.experiment["overrides"]["reward"] = "neg_perplexity_clipped"
    assert tables.changes(made_up(reward="neg_loss")) == "reward=neg_loss"
    record.experiment["overrides"]["gamma"] = 0.5
    assert tables.row_name(record) == "released, gamma=0.5"


def test_the_studies_have_figures_of_their_own_and_no_row_in_the_main_table(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(outputs.figures, "save", lambda figure, path: drawn.setdefault(path.stem, figure) and path)
    runs = studies("differences-embedded", "differences-wikitext2")
    outputs.write_tables_and_figures(runs, tmp_path)
    assert drawn.keys() == {"fig_released_ladder", "fig_released_singles"}
    figure = drawn["fig_released_ladder"]
    assert [ax.get_title() for ax in figure.axes] == ["differences-embedded", "differences-wikitext2"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(ladder(runs))
    assert "seeds: 2" in figure.get_supxlabel()
    dots = [line for line in figure.axes[1].lines if line.get_marker() == "."]
    assert list(dots[0].get_xdata()) == pytest.approx([1.1, 1.1])
    assert tables.main_table(summary(runs)) == []
    assert "| differences-embedded | embedded | released | 2 |" in (tmp_path / "results.md").read_text(encoding="utf-8")


# --- what the agent adds ---


def test_the_agent_is_compared_seed_by_seed_with_both_others():
    bits = {
        "gpt2-wikitext2": {"dynamic": (2.1, 2.2, 2.3), "conventional": (2.0, 2.1, 2.2), "random": (2.4, 2.1, 2.2)},
        "gpt2-lm1b": {"dynamic": (2.0,), "random": (2.5,)},
    }
    runs = [
        made_up(method, seed, value, name=name, is_sample=name == "gpt2-lm1b")
        for name, methods in bits.items()
        for method, values in methods.items()
        for seed, value in enumerate(values)
    ]
    changed = made_up("conventional", 0, 9.0, name="gpt2-lm1b", gamma=0.5)  # no pair for the unchanged run
    text = agent_markdown([*runs[::-1], changed, made_up(name="gpt2-embedded")])
    assert table_cells(text) == [
        ["gpt2-wikitext2", "wikitext-2", "3", "+0.100 ± 0.000: worse", "-0.033 ± 0.574: not told apart"],
        ["gpt2-lm1b", "lm1b (sample)", "1", "not run", "-0.500: one seed"],
    ]
    assert "against conventional training better in 0 experiments, worse in 1, not told apart in 0;" in text
    assert text.endswith("against the random policy better in 0 experiments, worse in 0, not told apart in 1.")
    assert text in results_markdown(summary(runs), [*runs, changed])
    for run, actions in ((runs[0], [0, 1]), (runs[9], [0, 0])):  # dynamic, seed 0, of both experiments
        assert (run.method, run.seed) == ("dynamic", 0)
        run.history = {"layer": [1, 2], "action": actions, "explored": [False, False]}
    assert agent_markdown(runs).endswith("50% of 2 are the same. Chance would give 42%.")
    assert agent_markdown([made_up(), made_up("random", seed=1)]) == ""


# --- all tables and figures ---


@pytest.fixture(scope="module")
def folder(tiny_data, tmp_path_factory) -> Path:
    """Records that look as if the laptop preset had been run: smoke runs under another name."""
    path = tmp_path_factory.mktemp("records")
    small = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=2, evaluation_tokens=256)
    for seed in (0, 1):
        runs = compare(small.replace(seed=seed), ["conventional", "dynamic", "random"], data=tiny_data)
        for name in ("gpt2-wikitext2", "ablations"):
            for record in runs:
                record.experiment |= {"name": name, "preset": "laptop", "overrides": {}}
                record.save(path)
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_two_processes_write_the_same_bytes(folder, tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    command = [sys.executable, "-m", "dlt_core", "figures", "--records", str(folder), "--out", str(one)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert main(["figures", "--records", str(folder), "--out", str(two)]) == 0
    assert contents(one) == contents(two)
    assert done.stdout.replace(str(one), str(two)) == capsys.readouterr().out
    drawn = (
        "fig_ablations", "fig_final_maps", "fig_independent_layers", "fig_learning_curves", "fig_memory",
        "fig_tie_map_evolution", "fig_tie_map_evolution_all",
    )  # fmt: skip
    pictures = {f"{name}.{ending}" for name in drawn for ending in ("png", "svg")}
    found = contents(one)
    assert found.keys() == {"results.md", "results.csv"} | pictures
    assert {Path(line).name for line in done.stdout.splitlines()} == found.keys()
    assert all(found[name].startswith(b"\x89PNG") for name in pictures if name.endswith("png"))
    assert all(b"<svg" in found[name] for name in pictures if name.endswith("svg"))
    rows = list(csv.DictReader(io.StringIO(found["results.csv"].decode())))
    ours = [row for row in rows if (row["experiment"], row["preset"]) == ("gpt2-wikitext2", "laptop")]
    assert [row["n"] for row in ours] == ["2"] * 3
    cells = table_cells(found["results.md"].decode())
    assert [len(row) for row in cells].count(12) == len(rows)
    assert [row[0] for row in cells if len(row) == 5] == ["gpt2-wikitext2", "ablations"]  # what the agent adds


def test_figures_show_the_lowest_seed_and_curves_and_the_main_table_all(folder, tmp_path, monkeypatch):
    calls = {}

    def note(name):
        monkeypatch.setattr(outputs.figures, name, lambda *arguments: calls.setdefault(name, arguments))

    for name in ("learning_curves", "independent_layers", "memory"):
        note(name)
    monkeypatch.setattr(outputs.figures, "save", lambda figure, path: path)
    records = load_all(folder)[::-1]
    changed = [dataclasses.replace(r, experiment=r.experiment | {"overrides": {"gamma": 0.5}}) for r in records]
    outputs.write_tables_and_figures([*records, *changed], tmp_path)
    for name in ("learning_curves", "independent_layers"):  # a panel for the one experiment
        assert calls[name][0].keys() == {"gpt2-wikitext2"}
        calls[name] = tuple(calls[name][0].values())
    for name in ("learning_curves", "independent_layers", "memory"):
        seeds = {0, 1} if name == "learning_curves" else {0}
        assert {record.seed for record in calls[name][0]} == seeds, name
        assert {record.experiment["name"] for record in calls[name][0]} == {"gpt2-wikitext2"}
        assert not any(record.experiment["overrides"] for record in calls[name][0]), name
    methods = [record.method for record in calls["learning_curves"][0]]
    assert list(dict.fromkeys(methods)) == ["dynamic", "random", "conventional"]
    assert [record.method for record in calls["independent_layers"][0]] == ["dynamic", "random"]
    rows = tables.main_table(summary(records))
    assert [row["n"] for row in rows] == ["2"] * 3
    assert [row["method"] for row in rows] == ["dynamic", "random", "conventional"]
    assert all("±" in row["test perplexity"] for row in rows)


def test_smoke_and_unfinished_runs_are_left_out(folder, tmp_path):
    smoke = made_up(preset="smoke", name="gpt2-embedded")
    stopped = RunRecord(made_up().experiment, "dynamic", 9, {"name": "wikitext-2"}, status="stopped")
    written = outputs.write_tables_and_figures([smoke, stopped], tmp_path)
    assert [path.name for path in written] == ["results.md", "results.csv"]
    cells = table_cells((tmp_path / "results.md").read_text())
    assert {row[3] for row in cells} == {"not run"}
    assert "smoke" not in (tmp_path / "results.csv").read_text()


@pytest.mark.parametrize("there", ["nothing", "empty", "a file"])
def test_without_records_it_says_so(there, tmp_path, capsys):
    path = tmp_path / "records"
    if there == "empty":
        path.mkdir()
    elif there == "a file":
        path.write_text("")
    with pytest.raises(SystemExit) as caught:
        main(["figures", "--records", str(path), "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    said = "there are no records in" if there == "empty" else "there is no folder"
    assert f"error: {said} {path}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_committed_figures_are_those_of_the_committed_records(tmp_path):
    """If this fails: python -m dlt_core figures, and look at what changed."""
    committed = CHECKOUT / "figures"
    outputs.write_tables_and_figures(load_all(committed / "records"), tmp_path)
    made = contents(tmp_path)
    kept = {p.name: p.read_bytes() for p in committed.iterdir() if p.suffix in (".png", ".svg", ".md", ".csv")}
    assert sorted(kept) == sorted(made), "a picture that no record makes, or one that is missing"
    assert [name for name in made if made[name] != kept[name]] == []
