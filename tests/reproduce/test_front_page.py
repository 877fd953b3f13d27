"""The two small tables of the front page."""

import re

import pytest

from dlt_core import CHECKOUT
from dlt_core.records.record import load_all
from dlt_core.reproduce.front_page import headline, speed_and_memory


@pytest.fixture(scope="module")
def records():
    return [
        record
        for record in load_all(CHECKOUT / "figures" / "records")
        if record.method in ("dynamic", "random", "conventional") and record.experiment["preset"] == "laptop"
    ]


def test_the_headline_counts_each_experiment_with_several_seeds_once(records):
    _, _, parameters, perplexity, agent = headline(records).splitlines()
    for row, other in ((perplexity, "conventional"), (agent, "random")):
        seeds = {}
        for record in records:
            if not record.experiment["overrides"] and record.method in ("dynamic", other):
                seeds.setdefault((record.experiment["name"], record.method), set()).add(record.seed)
        several = [
            name
            for name, method in seeds
            if method == "dynamic" and len(seeds[name, method] & seeds.get((name, other), set())) > 1
        ]
        total, better, worse, open_ = map(int, re.findall(r"(?:Of|in) (\d+)", row)[:4])
        assert total == better + worse + open_ == len(several)
    assert re.search(r"Yes: \d+% to \d+% of .* it is \d+% to \d+%", parameters)


def test_the_headline_says_how_much_the_interval_allows(records):
    mean, half, better, worse = re.search(
        r"is ([+-][\d.]+) ± ([\d.]+), so the agent may be better by (\d\.\d+) or worse by (\d\.\d+)", headline(records)
    ).groups()
    assert float(better) == pytest.approx(float(half) - float(mean), abs=0.0011)
    assert float(worse) == pytest.approx(float(half) + float(mean), abs=0.0011)


def test_without_the_other_methods_there_is_no_headline(records):
    assert headline([]) == ""
    assert headline([record for record in records if record.method == "dynamic"]) == ""


def test_speed_and_memory_are_of_the_parts_that_were_measured():
    def timed(name, column, value):
        return {name: "plain PyTorch loop", column: value, f"{column}, 25 %": 0.5, f"{column}, 75 %": 2.0}

    steps = {"steps": {"rows": [timed("training", "÷ conventional", 1.25)]}}
    assert speed_and_memory({"parts": {}, "steps_per_action": 3}) == ""
    (row,) = speed_and_memory({"parts": steps, "steps_per_action": 3}).splitlines()[2:]
    assert row == "| a step in a plain PyTorch loop, against a step in ours | 1.25 (0.50 to 2.00) |"
    memory = [{"layers": 16, "weight sets": n, "state": 2.0 * n, "peak": 10.0 + 2 * n} for n in (16, 4, 2, 1)]
    state, peak = speed_and_memory({"parts": {"memory": {"rows": memory}}, "steps_per_action": 3}).splitlines()[2:]
    assert state.endswith("16 layers with 2 weight sets, against 16 | 0.12 |")
    assert peak.endswith("16 layers with 2 weight sets, against 16 | 0.33 |")
