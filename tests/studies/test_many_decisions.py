"""Many decisions in a model that trains, judged by the table of the maps from scratch; the runs are made up."""

import functools
import json
import math

import pytest

from dlt_core import CHECKOUT
from dlt_core.__main__ import main
from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord, load_all
from dlt_core.studies import many_decisions
from dlt_core.studies.many_decisions import experiment, many_decisions_markdown, measure
from dlt_core.studies.table_world import LEARNED_FROM
from dlt_core.tie_map import TieMap, all_maps
from tests.studies.conftest import table_cells

FIGURES = CHECKOUT / "figures"
LOSSES = dict(zip(all_maps(3), (5.0, 4.0, 3.0, 2.0, 1.0), strict=True))  # the first: all tied


@pytest.fixture
def scratch():
    """Maps of three layers "from scratch", as if trained; and one of another setting, which does not count."""

    def run(sources, loss, **changes):
        settings = Experiment.preset("truth", "smoke", **changes).to_dict()
        method = "map-" + "-".join(map(str, sources))
        test = {"perplexity": 2.718281828459045**loss}
        return RunRecord(settings, method, 0, {}, status="finished", final_tie_map=list(sources), test=test)

    return [*(run(m, loss) for m, loss in LOSSES.items()), run(TieMap.all_tied(3), 99.0, architecture="bert")]


def test_the_runs_are_those_of_the_study_with_one_step_a_decision():
    full = experiment(14_100)
    assert (full.name, full.steps_per_action, full.episodes, full.epsilon_decay) == ("truth", 1, 4_700, 0.95)
    assert full.evaluate_every == 470


def never_trained(wanted, methods, *, data, out_dir, recorded):
    """In place of `compare`: the agent ends each turn at the worst map but for its last two, its twin at the best."""
    (method,) = methods
    assert recorded == out_dir / "records"
    layers, turns = [1, 2] * wanted.episodes, wanted.episodes
    ends = [[0, 1, 2]] * turns if method == "random" else [[0, 0, 0]] * (turns - 2) + [[0, 1, 0]] * 2
    history = {
        "layer": layers,
        "action": [0] * len(layers),
        "explored": [True, False] * turns,
        "tie_map": [m for end in ends for m in ([0, 0, 0], end)],
    }
    bits = wanted.seed + (2.0 if method == "random" else 2.5)
    test = {"bits_per_byte": bits, "perplexity": math.exp(3 * bits)}
    return [RunRecord(wanted.to_dict(), method, wanted.seed, {}, history=history, test=test)]


@pytest.fixture
def small(scratch, monkeypatch):
    """`measure` at its smallest, of runs that never were, also where the command calls it."""
    small = functools.partial(measure, preset="smoke", decisions=(8, 32))
    monkeypatch.setattr(many_decisions, "measure", small)
    monkeypatch.setattr(many_decisions, "compare", never_trained)
    monkeypatch.setattr(many_decisions, "load_data", lambda wanted: None)
    monkeypatch.setattr("dlt_core.records.load_all", lambda folder: scratch)
    return small


def test_agent_and_twin_are_judged_by_the_table(small, scratch, tmp_path, capsys):
    out = tmp_path / "out.json"
    assert main(["many-decisions", "--runs", str(tmp_path / "runs"), "--seeds", "0", "1", "--out", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    printed = capsys.readouterr().out
    assert many_decisions_markdown(found) in printed
    assert [row["reward"] for row in found["rows"]] == list(LEARNED_FROM)
    middle = LOSSES[TieMap([0, 1, 0])]
    for row in found["rows"]:  # of 16 turns the last 4, of the first 4 the last
        assert row["regret_minus_random"] == {"8": [4.0, 4.0], "32": [(5.0 + middle) / 2 - 1.0] * 2}
        assert row["at_the_worst_map"] == [0.5, 0.5]
        assert row["bits_per_byte_minus_random"] == [0.5, 0.5]
        assert row["log_perplexity_minus_random"] == pytest.approx([1.5, 1.5])
    assert (found["worst_map"], found["random_at_the_worst_map"]) == ([0, 0, 0], [0.0, 0.0])
    head, *rows = table_cells(printed)
    assert head[1:3] == ["regret after 8 decisions", "regret after 32 decisions"]
    assert [row[0] for row in rows] == list(LEARNED_FROM.values())
    with pytest.raises(ValueError, match="records of study truth are needed"):
        small(scratch[-1:], tmp_path / "runs")


@pytest.mark.usefixtures("small")
def test_seeds_that_are_there_are_kept_and_others_added(scratch, tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(many_decisions, "compare", lambda w, m, **how: ran.append(w.seed) or never_trained(w, m, **how))

    def made(out, *seeds):
        how = ["many-decisions", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / out), "--seeds"]
        assert main([*how, *map(str, seeds)]) == 0
        return json.loads((tmp_path / out).read_text(encoding="utf-8"))

    at_once = made("all.json", 0, 1, 2)
    made("some.json", 0, 1)
    ran.clear()
    assert made("some.json", 0, 1, 2) == at_once
    assert set(ran) == {2}
    assert [len(row["regret_minus_random"]["32"]) for row in at_once["rows"]] == [3, 3]
    ran.clear()
    assert made("some.json", 1) == at_once
    assert ran == []
    capsys.readouterr()
    with pytest.raises(ValueError, match="by another table"):
        measure(scratch, tmp_path / "runs", preset="smoke", decisions=(8, 16), seeds=[3], known=at_once)


def test_the_recorded_runs_have_what_an_interval_allows_of_perplexity():
    """The text is that of study "truth", so a bit per byte is everywhere as many nats per token."""
    recorded = json.loads((FIGURES / "many_decisions.json").read_text(encoding="utf-8"))
    test = next(r for r in load_all(FIGURES / "records") if r.experiment["name"] == "truth").test
    for row in recorded["rows"]:
        nats = [bits * math.log(2) * test["bytes"] / test["tokens"] for bits in row[many_decisions.TESTED]]
        assert row[many_decisions.TESTED_NATS] == pytest.approx(nats)
    last = [row[-1] for row in table_cells(many_decisions_markdown(recorded))[1:]]
    assert ["perplexity" in cell for cell in last] == ["not told apart" in cell for cell in last] == [True, False]
