"""Records of the studies to rows, differences, tables and sentences: by hand, on made-up runs."""

import copy
import dataclasses
import math

import pytest

from dlt_core.experiments import Experiment
from dlt_core.learner.training import Learner
from dlt_core.records.record import RunRecord
from dlt_core.studies import comparison, findings
from dlt_core.studies.comparison import compare
from dlt_core.studies.findings import (
    against,
    collect,
    correlations,
    label,
    points,
    rows_of,
    said,
    same_text_and_budget,
    share_of_parameters,
    table,
)
from dlt_core.studies.tables import training_flops
from dlt_core.tie_map import all_maps

TINY = {"device": "cpu", "episodes": 2, "evaluation_tokens": 256}


@pytest.fixture(scope="module")
def real(tiny_data) -> RunRecord:
    experiment = Experiment.preset("truth", "smoke", **TINY)
    return compare(experiment, ["conventional"], data=tiny_data)[0]


@pytest.fixture
def made(real):
    """made(method, seed, bits, field=value, ...): the real run as if of another method, with another test."""

    def make(method: str = "dynamic", seed: int = 0, bits: float = 2.0, overrides=None, **fields) -> RunRecord:
        experiment = real.experiment | {"seed": seed, "overrides": overrides or {}}
        test = real.test | {"bits_per_byte": bits, "perplexity": math.exp(bits)}
        fields = {"experiment": experiment, "method": method, "seed": seed, "test": test} | fields
        return dataclasses.replace(copy.deepcopy(real), **fields)

    return make


# --- rows ---


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, "thompson"),
        ({"reward": "log_improvement"}, "thompson, log_improvement"),
        (
            {"steps_per_action": 3, "reward": "log_improvement", "episodes": 60, "epsilon_decay": 0.9},
            "thompson, log_improvement, k=3",
        ),
        (
            {"steps_per_action": 3, "evaluate_every": 5, "price": 0.5, "gamma": 0.0},
            "thompson, k=3, price 0.5, gamma=0.0",
        ),
        (
            {"train_bytes": 4096, "episodes": 2, "evaluate_every": 1},
            "thompson, episodes=2, evaluate_every=1, train_bytes=4096",
        ),
        (
            {"train_bytes": 4096, "episodes": 2, "evaluate_every": 1, "learning_rate": 1e-4},
            "thompson, episodes=2, evaluate_every=1, learning_rate=0.0001, train_bytes=4096",
        ),
        ({"episodes": 2}, "thompson, episodes=2"),
        ({"n_layer": 8, "episodes": 2, "gamma": 0.5}, "thompson, episodes=2, gamma=0.5, n_layer=8"),
    ],
)
def test_a_label_is_the_method_and_what_was_changed(overrides, expected, made):
    record = made("thompson", overrides=dict(overrides))
    assert label(record) == label(record) == expected
    assert record.experiment["overrides"] == overrides, "the record is as it was"


def test_rows_are_the_finished_runs_of_one_study_by_seed(made):
    runs = [
        made("dynamic", 2),
        made("dynamic", 0),
        made("dynamic", 1, overrides={"steps_per_action": 3}),
        made("random", 1),
        made("dynamic", 1, status="stopped"),
        made("dynamic", 3, status="diverged"),
    ]
    for other in ({"name": "regime"}, {"preset": "laptop"}):
        runs.append(made("random", 0))
        runs[-1].experiment |= other
    rows = rows_of(runs, "truth", "smoke")
    assert {name: [run.seed for run in found] for name, found in rows.items()} == {
        "dynamic": [0, 2],
        "dynamic, k=3": [1],
        "random": [1],
    }
    assert rows["random"][0] is runs[3]
    assert [run.seed for run in rows_of(runs, "truth")["random"]] == [0], "the laptop preset, if nothing is said"
    assert rows_of(runs, "agents-embedded") == {}


def test_a_row_is_against_another_on_the_seeds_that_both_have(made):
    rows = {
        "dynamic": [made("dynamic", seed, bits) for seed, bits in ((0, 2.5), (1, 2.25), (4, 9.0))],
        "random": [made("random", seed, bits) for seed, bits in ((0, 2.0), (1, 2.5), (3, 9.0))],
    }
    assert against(rows, "dynamic", "random") == [0.5, -0.25]
    assert against(rows, "random", "dynamic") == [-0.5, 0.25]
    assert against(rows, "random", "random") == [0, 0, 0]
    assert against(rows, "dqn", "random") == against(rows, "random", "dqn") == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.2, 0.3], "+0.200 ± 0.248 (not told apart, n = 3)"),  # 4.303 · 0.1 / √3
        ([0.2, 0.3, 0.4], "+0.300 ± 0.248 (worse, n = 3)"),
        ([-0.2, -0.3, -0.4], "-0.300 ± 0.248 (better, n = 3)"),
        ([0.0, 0.0], "+0.000 ± 0.000 (exactly equal, n = 2)"),
        ([-0.1234], "-0.123 (one seed, n = 1)"),
    ],
)
def test_differences_in_words(values, expected):
    assert said(values) == expected


def test_a_difference_is_quoted_with_what_is_still_possible(made):
    rows = {
        m: [made(m, s, b + s * more) for s in (0, 1, 2)] for m, b, more in (("dqn", 2.1, 0.1), ("random", 2.0, 0.0))
    }
    expected = "+0.200 ± 0.248 (not told apart, n = 3; perplexity -4.7 to +56.6 %)"  # of exp(0.2 - 0.248) and + 0.248
    assert findings.difference(rows, "dqn", "random") == expected
    assert said([0.1, 0.2, 0.3], nats=[0.1, 0.2, 0.3]) == expected
    assert findings.difference(rows, "dqn", "thompson") == "not run"
    near = [0.25 + x for x in (-0.1, 0.0, 0.1)]  # half the interval is 0.248
    assert said(near) == "+0.250 ± 0.248 (borderline, n = 3)"


def test_what_is_left_of_a_family_after_holm(made):
    seeds, sure, weak = range(4), (-1.0, -1.1, -1.0, -1.1), (0.2, 0.4, 0.1, 0.3)  # p about 0.0002 and 0.03
    assert findings.corrected({"weak": weak}) == {"weak": "worse"}
    family = {"weak": weak, "sure": sure, "none": (0.1, -0.1, 0.2, -0.3), "equal": (0.0, 0.0), "one": (1.0,)}
    after = {"weak": "open", "sure": "better", "none": "open", "equal": "exactly equal", "one": "open"}
    assert findings.corrected(family) == after
    rows = {"random": [made("random", s, 2.0) for s in seeds]}
    rows |= {name: [made("dqn", s, 2.0 + x) for s, x in zip(seeds, family[name], strict=False)] for name in family}
    lines = cells(findings.family_table(rows, {f"the {n}": (n, "random") for n in (*family, "not run")}, "what"))
    assert {line["what"].removeprefix("the "): line["after Holm"] for line in lines} == after
    assert lines[0]["test bits per byte"] == findings.difference(rows, "weak", "random")
    assert lines[0]["difference"] == "`weak` minus `random`"


def test_words_with_other_digits_and_of_nothing():
    assert said([0.12, 0.16], 1) == "+0.1 ± 0.3 (not told apart, n = 2)"
    with pytest.raises(ValueError, match="no values"):
        said([])


# --- tables ---


def cells(text: str) -> list[dict[str, str]]:
    names, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [dict(zip(names, line, strict=True)) for line in lines]


def test_a_table_is_best_first_and_says_what_the_records_say(made):
    half = {"unique": 500, "conventional": 1000}
    rows = {
        "random": [made("random", seed, bits, seconds=5.0) for seed, bits in ((0, 2.0), (1, 2.1), (2, 2.2))],
        "dqn": [made("dqn", seed, bits, seconds=9.0) for seed, bits in ((0, 2.2), (1, 2.4), (2, 2.6))],
        "pairs": [made("pairs", seed, bits, parameters=half) for seed, bits in ((0, 1.6), (1, 1.8), (2, 1.7))],
        "dynamic": [made("dynamic", 2, 2.3)],
    }
    found = cells(table(rows, ["dqn", "dynamic", "unknown", "random", "pairs"], "random"))
    assert [line["row"] for line in found] == ["`pairs`", "`random`", "`dynamic`", "`dqn`"]
    pairs, random, dynamic, dqn = found
    # differences -0.4, -0.3, -0.5: ± 4.303 · 0.1 / √3
    assert pairs["minus `random`"] == "-0.400 ± 0.248"
    assert pairs["test bits per byte"] == "1.700"
    assert {line["verdict"] for line in found} == {"cannot tell"}  # there is no model of fewer layers
    without = cells(table(rows, ["dqn", "dynamic", "unknown", "random", "pairs"], "random", verdicts=False))
    assert without == [{name: cell for name, cell in line.items() if name != "verdict"} for line in found]
    # of perplexity, which is e to the bits here: from exp(-0.4 - 0.248) to exp(-0.4 + 0.248)
    assert (pairs["allowed"], random["allowed"]) == ("perplexity -47.7 to -14.1 %", "perplexity equal")
    assert (pairs["seeds"], dynamic["seeds"]) == ("3", "1")
    assert (pairs["parameters"], random["parameters"]) == ("50%", "100%")
    assert (dqn["time"], random["time"]) == ("9 s", "5 s")
    assert dqn["IQM"] == "+0.300"
    shapes = (("dqn", 2.0, 0.02), ("random", 1.8, 0.0))
    ten = {name: [made(name, s, bits + s * more) for s in range(10)] for name, bits, more in shapes}
    low, high = (float(end) for end in cells(table(ten, ["dqn"], "random"))[0]["bootstrap"].split(" to "))
    assert 0.2 <= low < 0.29 < high <= 0.38
    assert (dynamic["minus `random`"], dynamic["bootstrap"], dynamic["allowed"]) == ("+0.100", "", "perplexity +10.5 %")
    assert dqn["bootstrap"] == "", "of three seeds it would be too narrow"
    assert dqn["FLOPs"] == f"{training_flops(rows['dqn'][0]) / 1e12:.2f}T"


def test_where_the_study_can_tell_there_are_verdicts(made):
    seeds = ((0, 2.0), (1, 2.1), (2, 2.2))
    bits = {"conventional": 0.0, "shallow-2": 0.5, "random": 0.3, "dqn": 0.1}
    rows = {m: [made(m, s, b + more + s / 1000 * more) for s, b in seeds] for m, more in bits.items()}
    for run in rows["shallow-2"]:
        run.tie_map = [0, 1]
    assert findings.gate_of_rows(rows).can_tell
    assert findings.compared(rows, "dqn", "random").startswith("-0.200 ± 0.000 (better, n = 3; perplexity -18.")
    assert [line["verdict"] for line in cells(table(rows, ["dqn", "shallow-2"], "random"))] == ["better", "worse"]
    assert findings.compared(rows, "dqn", "thompson") == ""
    few = {name: rows[name] for name in ("dqn", "random")}
    assert "(cannot tell, n = 3" in findings.compared(few, "dqn", "random")
    assert "(better, n = 3" in findings.compared(few, "dqn", "random", findings.gate_of_rows(rows))


def test_twins_are_looked_at_in_three_ways_and_for_equivalence(made):
    rows = {m: [made(m, s, b) for s, b in enumerate(bits)] for m, bits in {
        "dynamic": (2.0, 2.01, 1.99), "random": (2.0, 2.0, 2.0)}.items()}  # fmt: skip
    one = {name: runs[:1] for name, runs in rows.items()}
    found, single = cells(findings.twins_table({"a": rows, "b": one}, "dynamic", "random"))
    assert found["mean, Student's t"] == "-0.000 ± 0.025"
    assert found["verdict"] == "not told apart"
    assert found["allowed"] == "perplexity -2.5 to +2.5 %"
    assert float(found["p of equal within 3 %"]) == pytest.approx(0.018, abs=0.005)  # t = 0.0296 √3 / 0.01, 2 degrees
    assert (single["seeds"], single["bootstrap"], single["p of equal within 3 %"]) == ("1", "", "")


def test_a_table_of_nothing_is_nothing(made):
    assert table({"dynamic": [made("dynamic", 0)], "random": [made("random", 1)]}, ["dynamic"], "random") == ""
    assert table({}, ["dynamic"], "random") == ""


def test_the_share_of_parameters_is_of_the_conventional_model(made):
    record = made(parameters={"unique": 300, "conventional": 400})
    assert share_of_parameters(record) == 0.75
    rows = {"dynamic": [record, made("dynamic", 1, 2.5)], "random": [made("random", 0, 1.5)]}
    assert points(rows, ["random", "dynamic"]) == {"random": ([1.0], [1.5]), "dynamic": ([0.75, 1.0], [2.0, 2.5])}


@pytest.mark.parametrize(
    ("what", "changed"),
    [
        ("text", {"corpus": {"sha256": "another"}}),
        ("steps", {"budget": {"optimizer_steps": 7}}),
        ("tokens", {"budget": {"tokens": 7}}),
    ],
)
def test_one_text_and_one_budget_for_all(what, changed, made):
    runs = [made("dynamic", 0), made("halving", 1)]
    runs[1].budget["steps_of_the_chosen"] = 4
    same_text_and_budget(runs)
    ((field, values),) = changed.items()
    getattr(runs[1], field).update(values)
    with pytest.raises(AssertionError, match=f"another {what}"):
        same_text_and_budget(runs)


# --- maps against maps ---


def test_the_rand_index_by_hand():
    assert findings.rand_index([0, 0, 2, 2], [0, 0, 2, 2]) == 1
    assert findings.rand_index([0, 0, 0, 0], [0, 1, 2, 3]) == 0
    assert findings.rand_index([0, 0, 2, 2], [0, 0, 0, 3]) == pytest.approx(3 / 6)  # pairs 01, 03 and 13
    with pytest.raises(ValueError, match="shorter"):
        findings.rand_index([0, 0, 0], [0, 0])


def test_the_agreement_of_runs_is_that_of_their_pairs(made):
    runs = [made(final_tie_map=m) for m in ([0, 0, 0], [0, 0, 0], [0, 1, 2])]
    assert findings.agreement(runs) == pytest.approx((1 + 0 + 0) / 3)
    assert findings.agreement(runs[:1]) == 1


# --- rewards against the truth ---


def test_the_regret_over_time_is_of_parts_of_the_run(made):
    """Three layers; from all tied, Q prefers to untie layer 1 twice, and then to leave it."""
    losses = {m: float(m.num_independent) for m in all_maps(3)}
    history = {
        "layer": [1, 1, 1, 1],
        "q_values": [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]],
        "tie_map": [[0, 0, 0]] * 4,
    }
    run = made(history=history)
    run.experiment["n_layer"] = 3
    # untied: 1 above the best; by chance 1/2; left as it is: 0
    assert findings.regret_over_time(run, losses, 2) == pytest.approx([0.5, -0.5])
    assert findings.regret_over_time(run, losses, 4) == pytest.approx([0.5, 0.5, -0.5, -0.5])


def test_the_correlations_of_runs_with_the_mean_truth(made):
    """From scratch, means over the seeds: 000 is the best, 011 the next, 012 the worst."""
    a, b, c = [0, 0, 0], [0, 1, 1], [0, 1, 2]
    bits = {"map-0-0-0": (1.0, 1.2), "map-0-1-1": (2.0, 1.1), "map-0-1-2": (1.5, 3.0)}
    maps = dict(zip(bits, (a, b, c), strict=True))
    scratch = [
        made(method, seed, values[seed], final_tie_map=maps[method])
        for method, values in bits.items()
        for seed in (0, 1)
    ]

    def searching(*losses):
        return made(history={"tie_map": [a, b, c, a, b, c], "loss": list(losses)})

    right, wrong = searching(1, 2, 3, 1, 2, 3), searching(3, 2, 1, 3, 2, 1)
    falling = searching(4.5, 4.2, 3.9, 2.5, 2.2, 1.9)  # falls by more than the maps differ: b, c seem best
    assert correlations(scratch, [right, wrong]) == pytest.approx([1, -1])
    as_they_are, _ = cells(findings.correlations_table(scratch, {"dynamic": [right, wrong]}, window=3))
    assert (as_they_are["runs"], as_they_are["smallest to largest"]) == ("2", "-1.00 to +1.00")
    assert correlations(scratch, [falling])[0] == pytest.approx(-1)
    trend = [10, 8, 6, 4, 2, 0]
    trending = searching(*(loss + fall for loss, fall in zip((1, 2, 4, 1, 2, 4), trend, strict=True)))
    assert correlations(scratch, [trending])[0] < correlations(scratch, [trending], window=3)[0]


def test_correlations_need_three_maps_from_scratch(made):
    run = made(history={"tie_map": [list(m) for m in all_maps(3)], "loss": [1.0] * 5})
    with pytest.raises(ValueError, match="only 1 maps in common"):
        correlations([made("map-0-0-0", final_tie_map=[0, 0, 0])], [run])


# --- collect ---


@pytest.fixture
def folder(made, tmp_path):
    """Records as the project could have committed them: two methods, two seeds, and one with other settings."""
    for seed in (0, 1):
        for method in ("conventional", "all_tied"):
            for changed in ({}, {"steps_per_action": 1}):
                experiment = Experiment.preset("truth", "smoke", seed=seed, **TINY, **changed).to_dict()
                record = made(method, seed, 1.0 + seed, experiment=experiment, versions={"dlt_core": "older"})
                record.save(tmp_path / "committed")
    return tmp_path / "committed"


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("nothing is needed that is not recorded")

    monkeypatch.setattr(Learner, "train", refuse)
    monkeypatch.setattr(comparison, "load_data", refuse)


@pytest.mark.parametrize("committed", [True, False])
def test_recorded_runs_are_collected_by_label_without_training(committed, folder, no_training, monkeypatch):
    recorded = folder
    if committed:  # what the project has, if no other folder is named
        monkeypatch.setattr(findings, "COMMITTED", folder)
        recorded = True
    methods = (name for name in ("all_tied", "conventional"))  # any iterable
    rows = collect("truth", "smoke", methods, (1, 0), recorded=recorded, **TINY)
    names = [f"{m}, episodes=2, evaluation_tokens=256" for m in ("all_tied", "conventional")]
    assert list(rows) == names
    for found in rows.values():
        assert [(run.seed, run.test["bits_per_byte"]) for run in found] == [(1, 2.0), (0, 1.0)]
    changed = collect("truth", "smoke", ["all_tied"], [0], recorded=recorded, **TINY, steps_per_action=1)
    assert list(changed) == ["all_tied, k=1, evaluation_tokens=256"]


def test_what_is_not_recorded_is_trained_and_all_of_it_on_request(folder, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "load_data", lambda experiment: tiny_data)
    monkeypatch.setattr(findings, "COMMITTED", folder)
    older = {"dlt_core": "older"}
    rows = collect("truth", "smoke", ["conventional", "sequence"], [0], out_dir=tmp_path / "out", **TINY)
    assert [run.versions == older for found in rows.values() for run in found] == [True, False]
    assert len(list((tmp_path / "out" / "records").iterdir())) == 1
    rows = collect("truth", "smoke", ["conventional"], [0], recorded=False, **TINY)
    assert [run.versions == older for found in rows.values() for run in found] == [False]


def test_the_committed_folder_is_the_projects():
    assert findings.COMMITTED.is_dir()
    assert findings.COMMITTED.parts[-2:] == ("figures", "records")


# --- the closing sentences ---


def turned(run: RunRecord, best: float, tie_map: list[int] | None = None) -> RunRecord:
    """The run with another validation curve, that falls to `best` and rises again, and other ties."""
    bits = [best + 1.0, best, best + 0.5]
    curves = run.curves | {"validation": {**run.curves["validation"], "bits_per_byte": bits}}
    return dataclasses.replace(run, curves=curves, final_tie_map=tie_map or run.final_tie_map)


def test_validation_chooses_and_the_test_has_no_part_in_it(made):
    rows = {
        "random": [turned(made("random", s, 2.0), 2.0) for s in (0, 1)],
        "dqn": [turned(made("dqn", s, 1.0), 1.9) for s in (0, 1)],  # the best test
        "dqn_plus": [turned(made("dqn_plus", 0, 3.0), 1.8)],  # the best validation, on the seed that it shares
        "thompson": [turned(made("thompson", 7, 0.1), 0.1)],  # no seed in common
    }
    assert findings.chosen(rows, ["dqn", "dqn_plus", "thompson"]) == "dqn_plus"
    with pytest.raises(ValueError, match="no row has a seed in common"):
        findings.chosen(rows, ["thompson"])


def test_better_agents_in_a_sentence(made):
    groups = round(findings.expected_independent(made().experiment["n_layer"]))
    rows = {
        "random": [turned(made("random", s, 2.0), 2.0) for s in (0, 1)],
        "dqn": [turned(made("dqn", s, 1.5 + s / 10), 1.9) for s in (0, 1)],
        "halving-4": [turned(made("halving-4", s, 1.0), 2.5) for s in (0, 1)],
        f"cycle-{groups}": [turned(made(f"cycle-{groups}", s, 1.25), 1.0) for s in (0, 1)],
    }
    sentence = findings.better_agents(rows)
    assert "Of 2 agents and searches" in sentence
    assert "validation chose `dqn`" in sentence
    assert findings.compared(rows, "dqn", "random").startswith("-0.450 ± 0.635 (cannot tell, n = 2; perplexity -66")
    assert findings.compared(rows, "dqn", "random") in sentence
    assert findings.compared(rows, "dqn", f"cycle-{groups}") in sentence
    assert findings.better_agents({name: runs for name, runs in rows.items() if name != "random"}) == ""
    assert findings.better_agents({"random": rows["random"]}) == ""


def test_the_map_in_a_sentence(made):
    groups = round(findings.expected_independent(made().experiment["n_layer"]))
    rows = {
        "retrained": [turned(made("retrained", s, 2.0), 2.0) for s in (0, 1)],
        "random_map": [turned(made("random_map", s, 2.0 + s, final_tie_map=[0, 0, 2]), 2.0) for s in (0, 1)],
        f"sequence-{groups}": [turned(made(f"sequence-{groups}", s, 1.75), 1.5) for s in (0, 1)],
    }
    sentence = findings.is_the_map_good(rows)
    both = findings.compared(rows, "retrained", "random_map")
    assert both in sentence
    rows["retrained"].append(turned(made("retrained", 2, 2.0), 2.0))
    rows["random_map"].append(turned(made("random_map", 2, 2.0, final_tie_map=[0, 0, 0]), 2.0))
    assert both in findings.is_the_map_good(rows), "of one weight set there is one map only"
    rows = {name: runs[:2] for name, runs in rows.items()}
    assert findings.compared(rows, "retrained", f"sequence-{groups}") in sentence
    assert f"`sequence-{groups}`" in sentence
    assert findings.is_the_map_good({}) == ""


def test_the_findings_are_the_sentences_of_what_was_run(made, monkeypatch):
    everything = [
        turned(made(m, s, 2.0 + (m == "dynamic") * (1 + s)), 2.0) for m in ("dynamic", "random") for s in (0, 1)
    ]
    embedded = [
        dataclasses.replace(r, experiment=r.experiment | {"name": "agents-embedded", "preset": "laptop"})
        for r in everything
    ]
    assert findings.findings(embedded) == "", "without the truth there is no sentence"
    layers = made().experiment["n_layer"]
    maps = list(all_maps(layers))
    scratch = [made("map-" + "-".join(map(str, m)), 0, 2.0 + i, final_tie_map=list(m)) for i, m in enumerate(maps)]
    search = made(
        "dynamic", 0, history={"loss": [1.0 + i for i in range(len(maps))], "tie_map": [list(m) for m in maps]}
    )
    small = [
        dataclasses.replace(r, experiment=r.experiment | {"name": "truth", "preset": "laptop"})
        for r in [*scratch, search]
    ]
    found = findings.findings([*embedded, *small])
    assert found.startswith("- Notebook 12: ")
    assert len(found.splitlines()) == 1
    assert "are +1.500 ± 6.353 (cannot tell, n = 2; perplexity" in found
    assert "that it sees are not shown to rank" in found, "one run has no interval"
    assert "Spearman's correlation is +1.00 without the trend of the training, +1.00 with it (n = 1)." in found
    assert findings.findings([*embedded, *small], preset="gpu") == ""


def test_more_decisions_take_as_many_steps():
    for k in (15, 4):
        plain = Experiment.preset("truth", "laptop", steps_per_action=k, episodes=10, epsilon_decay=0.5)
        more = plain.replace(**findings.more_decisions(plain))
        assert more.episodes == 10 * {15: 5, 4: 2}[k]
        assert more.steps_per_action * more.episodes == k * 10
        assert more.steps_per_action * more.evaluate_every == k * plain.evaluate_every
        assert more.epsilon_decay**more.episodes == pytest.approx(0.5**10, rel=0.3)
