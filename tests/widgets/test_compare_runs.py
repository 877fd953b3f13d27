"""What CompareRuns shows are the numbers of `records.statistics`, and it refuses what cannot be compared."""

import copy
import json
import math

import pytest

from dlt_core.records.statistics import bits_per_byte, mean_interval, paired_differences, verdict
from dlt_core.widgets.compare_runs import CompareRuns, by_method, comparison, curve
from tests.studies.conftest import made_up


def run(method: str, seed: int, bits: float, **changes):
    record = made_up(method=method, seed=seed)
    record.test = {"perplexity": 2.0**bits, "unit": "per token", "bits_per_byte": bits}
    record.tie_map = record.final_tie_map = [0, 1, 0, 3]
    record.parameters = {"unique": 10, "conventional": 20}
    steps = [10, 20, 30]
    falling = [bits + 2 - step / 20 for step in steps]
    record.curves["validation"] = {
        "step": steps, "loss": falling, "perplexity": [2**x for x in falling], "bits_per_byte": falling
    }  # fmt: skip
    record.experiment["overrides"] = changes
    return record


@pytest.fixture
def groups():
    return {
        "dynamic": [run("dynamic", seed, 2.0 + 0.01 * seed) for seed in range(4)],
        "random": [run("random", seed, 2.1 + 0.02 * seed) for seed in range(1, 5)],
    }


def test_the_paired_difference_is_that_of_the_statistics(groups):
    found = comparison(groups)["differences"]["dynamic minus random"]
    expected = paired_differences(groups["dynamic"], groups["random"])
    assert found["seeds"] == list(expected) == [1, 2, 3]
    assert found["values"] == pytest.approx(list(expected.values()))
    assert (found["mean"], found["half"]) == pytest.approx(mean_interval(list(expected.values())))
    assert found["verdict"] == verdict(list(expected.values())) == "better"
    back = comparison(groups)["differences"]["random minus dynamic"]
    assert back["mean"] == pytest.approx(-found["mean"])
    assert back["verdict"] == "worse"


def test_curves_are_means_with_intervals_at_the_steps_that_all_have(groups):
    runs = groups["dynamic"]
    del runs[0].curves["validation"]["step"][2:]
    for name in ("loss", "perplexity", "bits_per_byte"):
        del runs[0].curves["validation"][name][2:]
    runs[1].curves["validation"]["perplexity"][0] = None
    found = curve(runs, "bits_per_byte")
    assert found["step"] == [10, 20]
    at_20 = [record.curves["validation"]["bits_per_byte"][1] for record in runs]
    assert (found["mean"][1], found["half"][1]) == pytest.approx(mean_interval(at_20))
    assert curve(runs, "perplexity")["step"] == [20]
    assert curve(runs[:1], "bits_per_byte")["half"] == [None, None]


def test_without_a_common_seed_there_is_no_difference(groups):
    groups["random"] = groups["random"][3:]
    assert comparison(groups)["differences"]["dynamic minus random"] is None


def test_each_group_has_its_maps_and_its_test_interval(groups):
    found = comparison(groups)["groups"][0]
    assert found["maps"] == [[0, 1, 0, 3]] * 4
    bits = [bits_per_byte(record) for record in groups["dynamic"]]
    assert (found["test"]["mean"], found["test"]["half"]) == pytest.approx(mean_interval(bits))


def test_records_are_grouped_by_method_and_settings():
    records = [run("dynamic", 0, 2.0), run("dynamic", 0, 2.0, gamma=0.5), run("random", 0, 2.0), run("dynamic", 1, 2)]
    assert {name: len(of) for name, of in by_method(records).items()} == {
        "dynamic": 2,
        "dynamic, gamma=0.5": 1,
        "random": 1,
    }


def test_what_cannot_be_compared_is_refused(groups):
    other = copy.deepcopy(groups)
    other["random"][0].corpus = {"name": "another", "sha256": "0"}
    twice = {"dynamic": [*groups["dynamic"], groups["dynamic"][0]]}
    unfinished = copy.deepcopy(groups)
    unfinished["random"][0].status = "running"
    for what, words in ((other, "different texts"), (twice, "two runs of one seed"), (unfinished, "not finished"),
                        ({}, "no runs"), ({"dynamic": []}, "no runs")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            comparison(what)


def test_the_widget_holds_plain_json_and_chooses_two(groups):
    widget = CompareRuns([*groups["dynamic"], *groups["random"]])
    state = json.loads(json.dumps(widget.state()))
    assert (state["first"], state["second"]) == ("dynamic", "random")
    assert not any(isinstance(x, float) and math.isnan(x) for x in state["runs"]["groups"][0]["curves"])
    assert CompareRuns(groups, first="random").second == "dynamic"
    assert CompareRuns({"dynamic": groups["dynamic"]}).second == "dynamic"
    with pytest.raises(ValueError, match="known: dynamic, random"):
        CompareRuns(groups, second="randm")
