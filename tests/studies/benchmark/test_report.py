"""The benchmark at tiny scale: its parts run, and what they count is right. No time is asserted."""

import copy
import json
from pathlib import Path

import pytest
import torch

from dlt_core import CHECKOUT, figures
from dlt_core.__main__ import main
from dlt_core.studies.benchmark import report, timings
from dlt_core.studies.benchmark.timings import Bench
from dlt_core.studies.benchmark.trainers import (
    Decision,
    HuggingFaceTrainer,
    PlainLoop,
    Stopwatch,
    noise,
    steps,
    take_turns,
)

QUICK = [name for name in report.PARTS if name not in ("compiled", "processes")]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """The JSON of the parts that need no compiler and no other process."""
    path = tmp_path_factory.mktemp("benchmark") / "cpu.json"
    report.run(Bench("tiny", 1, "cpu"), QUICK, path)
    return path


@pytest.fixture
def found(path) -> dict:
    return json.loads(path.read_text())


def rows(found, part):
    return found["parts"][part]["rows"]


def test_every_part_has_rows_with_the_same_columns_and_says_what_it_measures(found):
    assert list(found["parts"]) == QUICK
    for name, part in found["parts"].items():
        assert part["rows"]
        assert len({tuple(row) for row in part["rows"]}) == 1
        assert report.PARTS[name].__doc__


def test_ratios_are_medians_with_quartiles_against_what_is_named(found):
    first = rows(found, "steps")[0]
    assert first["training"] == "conventional"
    assert [first[f"ratio_to_conventional{q}"] for q in ("", "_q25", "_q75")] == [1, 1, 1]
    cells = timings.quartiles([1.0, 2.0, 3.0, 4.0, 100.0], "x")
    assert cells == {"x": 3.0, "x_q25": 2.0, "x_q75": 4.0}


def test_the_state_is_the_closed_forms_and_the_peak_falls_with_the_weight_sets(found):
    for row in rows(found, "memory"):
        assert row["largest_difference"] < 0.02
        assert row["state_mb"] == pytest.approx(row["closed_form_mb"], rel=0.02)
    deepest = [row for row in rows(found, "memory") if row["layers"] == 4]
    assert [row["weight_sets"] for row in deepest] == [4, 2, 1]
    for column in ("state_ratio", "peak_ratio", "checkpointed_peak_ratio"):
        assert deepest[0][column] == 1
        assert deepest[0][column] < deepest[1][column] < deepest[2][column]
    assert all(row["checkpointed_peak_mb"] < row["peak_mb"] for row in deepest)


def test_six_of_the_papers_48_weight_sets(found):
    (six,) = [row for row in rows(found, "paper") if row["weight_sets"] == 6]
    assert six["closed_form_ratio"] == pytest.approx(5.845, abs=0.001)


def test_no_wait_within_the_steps_and_one_is_noticed(found, monkeypatch):
    few, many = rows(found, "waits")
    assert (few["steps"], many["steps"]) == (3, 6)
    assert {name: n for name, n in few.items() if name != "steps"} == {n: many[n] for n in many if n != "steps"}
    from dlt_core.learner import training

    mean_loss = training.mean_loss

    def nosy(model, batch, *limits):
        loss = mean_loss(model, batch, *limits)
        assert loss.item() > 0
        return loss

    monkeypatch.setattr(training, "mean_loss", nosy)
    few, many = timings.waits(Bench("tiny", 1, "cpu"))
    assert (few["aten::item"], many["aten::item"]) == (3, 6)


def test_the_logits_in_chunks_have_a_lower_peak(found):
    whole, chunks = rows(found, "output")
    assert whole["tokens_at_once"] == whole["tokens"] > chunks["tokens_at_once"]
    assert chunks["peak_mb"] < whole["peak_mb"] / 2


def test_a_hundred_ties_compile_nothing_new(monkeypatch):
    real = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, mode: real(self, backend="eager"))
    found = timings.compiled(Bench("tiny", 1, "cpu"))
    torch._dynamo.reset()
    assert [(row["mode"], row["gradient"]) for row in found] == [("default", "shared"), ("default", "source")]
    assert [row["new_graphs"] for row in found] == [0, 0]
    assert all(row["graphs"] > 0 and not row.get("failed") for row in found)

    def no_compiler(self, mode):
        raise RuntimeError("no compiler\nfound")

    monkeypatch.setattr(torch.nn.Module, "compile", no_compiler)
    assert {row["failed"] for row in timings.compiled(Bench("tiny", 1, "cpu"))} == {"RuntimeError: no compiler"}


def test_ddp_and_the_flat_sum_train_alike_in_two_processes():
    flat, ddp = timings.processes(Bench("tiny", 1, "cpu"))
    assert flat["processes"] == ddp["processes"] == 2
    assert ddp["weight_difference"] < 1e-5


def test_all_trainers_train_the_same_model_on_the_same_batches():
    bench = Bench("tiny", 1, "cpu")
    e = bench.still.replace(weight_decay=0.0)  # from which the Trainer spares norms and biases
    ours, plain, trainer = bench.learner(e), PlainLoop(e, bench.data), HuggingFaceTrainer(e, bench.data)
    ours.train(bench.k)
    plain()
    assert trainer() > 0
    for other in (plain.learner, trainer.learner):
        for a, b in zip(ours.model.parameters(), other.model.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_a_decision_does_what_was_drawn_so_that_a_twin_can_have_its_ties():
    bench = Bench("tiny", 1, "cpu")
    decision = Decision(bench.experiment, bench.data)
    seen = set()
    for _ in range(12):
        expected = decision.next_map
        decision()
        assert decision.learner.tie_map == decision.env.tie_map == expected
        seen.add(expected)
    assert len(seen) > 3
    assert decision.learner.step == 12 * bench.k


def test_the_pieces_of_a_decision_are_timed_one_by_one():
    bench = Bench("tiny", 1, "cpu")
    stopwatch = Stopwatch(bench.device)
    decision = Decision(bench.experiment, bench.data, stopwatch)
    stopwatch.seconds.clear()  # the ties at the start
    for _ in range(4):
        decision()
    pieces = ("Q-values and action", "ties", "k steps", "reward", "Q update")
    assert {name: len(spent) for name, spent in stopwatch.seconds.items()} == dict.fromkeys(pieces, 4)
    assert all(second > 0 for spent in stopwatch.seconds.values() for second in spent)


def test_trainers_take_turns_in_an_order_that_alternates():
    turns = []
    trainers = {name: lambda name=name: turns.append(name) for name in "ab"}
    seconds = take_turns({**trainers, "c": lambda: 7.0}, 3, torch.device("cpu"))
    assert "".join(turns) == "ab" + "ba" + "ab" + "ba"
    assert {len(found) for found in seconds.values()} == {3}
    assert list(seconds["c"]) == [7.0] * 3


def test_noise_has_every_token_and_no_text():
    data = noise(64)
    assert data.vocab_size == 64
    assert set(data.tokens["train"]) == set(range(64))


def test_parts_that_are_there_are_kept_unless_machine_scale_or_code_changed(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(report, "PARTS", {n: lambda b, n=n: calls.append(n) or [{"x": 1}] for n in ("one", "two")})
    path = tmp_path / "new" / "cpu.json"
    bench = Bench("tiny", 1, "cpu")
    report.run(bench, ["two"], path)
    both = report.run(bench, ["one", "two"], path)
    assert calls == ["two", "one"]
    assert list(both["parts"]) == ["one", "two"]
    assert json.loads(path.read_text()) == both
    report.run(Bench("tiny", 2, "cpu"), ["one"], path)  # other repetitions
    assert calls == ["two", "one", "one"]
    path.unlink()
    assert report.run(bench, ["one", "two"], path, max_seconds=-1)["parts"] == {}
    assert "one: left for the next call" in capsys.readouterr().err


def test_the_command_prints_its_tables_and_says_where_they_are(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = ["benchmark", "--scale", "tiny", "--parts", "paper", "--repetitions", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "## paper" in printed
    for ending in ("json", "md", "png", "svg"):
        assert f"{tmp_path / 'cpu'}.{ending}" in printed
        assert (tmp_path / f"cpu.{ending}").stat().st_size > 0
    for wrong in (["--repetitions", "0"], ["--parts", "nothing"], ["--scale", "huge"]):
        with pytest.raises(SystemExit):
            main(["benchmark", *wrong])


def test_tables_findings_and_figure_of_what_is_there(found):
    text = report.report(found)
    for name in QUICK:
        assert f"## {name}\n" in text
    assert "| conventional |" in text
    assert " %" not in text.partition("## steps")[2].partition("##")[0]  # quartiles stand behind their median
    said = report.findings(found)
    assert said.count("\n- ") == 5
    assert "reads a number out of a tensor 0 times" in said
    assert "compiled" not in said
    whole = copy.deepcopy(found)
    row = {"mode": "default", "gradient": "shared", "seconds_to_compile": 3.0, "graphs": 4, "new_graphs": 0,
           "ratio_to_eager": 0.5, "ratio_to_eager_q25": 0.4, "ratio_to_eager_q75": 0.6}  # fmt: skip
    whole["parts"]["compiled"] = {"rows": [row, {**row, "failed": "no compiler"}]}
    assert "0 new compilations in 100 random ties and unties" in report.findings(whole)
    assert "failed, no compiler" in report.findings(whole)
    figure = figures.benchmark(found)
    left, middle, right = figure.axes
    assert all(ax.get_title() and ax.get_xlabel() for ax in figure.axes)
    assert not figure.get_suptitle(), "it would float between the panels"
    assert "measured on: cpu" in figure.get_supxlabel()
    percent = [100 * row["ratio_to_k_steps"] for row in rows(found, "control")[2:]]
    assert [line.get_xdata()[0] for line in middle.lines if line.get_marker() == "o"] == pytest.approx(percent)
    assert len(figures.benchmark({**found, "parts": {"memory": found["parts"]["memory"]}}).axes) == 1
    assert [label.get_text() for label in left.get_yticklabels()] == [r["training"] for r in rows(found, "steps")]
    assert len(middle.get_yticklabels()) == len(rows(found, "control")) - 2
    assert right.get_xscale() == "log"


def test_the_committed_tables_and_figures_are_those_of_the_committed_json(tmp_path):
    """If this fails: python -m dlt_core figures, and look at what changed."""
    committed = sorted((CHECKOUT / "figures" / "benchmark").glob("*.json"))
    assert committed
    for path in committed:
        (tmp_path / path.name).write_bytes(path.read_bytes())
        for made in report.show(tmp_path / path.name):
            assert made.read_bytes() == (path.parent / made.name).read_bytes(), made.name


def test_steps_are_the_learners():
    bench = Bench("tiny", 1, "cpu")
    learner = bench.learner()
    steps(learner, 3)()
    assert learner.step == 3
