"""Notebook 11's tables: paired by seed, judged only on one text, with what is still allowed and an untaught null."""

import dataclasses

import numpy as np
import pytest

from dlt_core.agents import QAgent
from dlt_core.studies import released_tables
from dlt_core.studies.methods import COLLAPSE, PUT_IN
from dlt_core.studies.released_code import ReleasedCode
from dlt_core.studies.tables import grouped, row_name
from dlt_core.tie_map import TieMap
from tests.studies.conftest import made_up, table_cells, variant


def decided(record, actions, explored=(False, False), states=((0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0))):
    """Two decisions about layers 1 and 2, of an agent with the paper's network."""
    record.agent = record.agent | {"class": "QAgent", "hidden": 8, "seed": record.seed}
    record.history = {
        "layer": [1, 2], "action": list(actions), "explored": list(explored), "reward": [-9.0, -8.0],
        "tie_map": [[0] * 6, [0] * 6], "state": [list(s) for s in states], "weight_sets": [2, 1],
        "num_independent": [2, 3], "q_values": [[0.1, 0.2], [0.5, 0.1, 0.0]], "loss": [3.0, 3.0],
    }  # fmt: skip
    return record


@pytest.fixture
def rows():
    found = []
    for seed in (0, 1):
        found.append(decided(made_up("dynamic", seed, 2.0, name="differences-embedded"), (0, 0)))
        for i, (switch, released) in enumerate(PUT_IN.items()):
            bits = {"clipped_reward": 2.0, "bf16_weights": 2.1 + 0.001 * seed}.get(switch, 2.0 + 0.1 * (-1) ** seed)
            found.append(decided(variant(released, seed, bits), (0, i % 3)))
        found.append(decided(variant(ReleasedCode.all(), seed, 2.4), (1, 2)))
        found.append(decided(variant(COLLAPSE, seed, 2.5), (1, 2)))
    for record in found:
        record.corpus["sha256"] = "marked" if "marked_blocks" in record.method else "plain"
    return grouped(found, row_name)


def test_each_difference_has_its_verdict_and_what_is_left_open_if_the_text_is_the_same(rows):
    lines = {line[1]: line for line in table_cells(released_tables.singles(rows, PUT_IN, "dynamic"))}
    assert lines["`clipped_reward`"][3] == "+0.000 ± 0.000: exactly equal"
    assert lines["`bf16_weights`"][3].startswith("+0.101 ± 0.006: worse (perplexity +4.7 to +5.3 %)")
    assert ": not told apart (perplexity -" in lines["`frozen_start`"][3]
    assert lines["`marked_blocks`"][3].endswith(": other text")
    assert released_tables.shown_of_all(rows, PUT_IN, "dynamic") == ["bf16_weights"]
    one_seed = {name: runs[:1] for name, runs in rows.items()}
    assert released_tables.shown_of_all(one_seed, PUT_IN, "dynamic") == []
    told = released_tables.told(rows, PUT_IN, "dynamic")
    assert told["worse"] == ["bf16_weights"]
    assert told["exactly equal"] == ["clipped_reward"]
    assert lines["`bf16_weights`"][4:7] == ["worse", "3.0", "1.0"]
    assert [lines[f"`{switch}`"][4] for switch in ("clipped_reward", "frozen_start", "marked_blocks")] == [
        "exactly equal",
        "open",
        "",
    ]


@pytest.mark.parametrize(("apart", "word"), [(0.005, "worse"), (0.0075, "borderline"), (0.02, "not told apart")])
def test_a_verdict_on_the_edge_is_borderline(rows, apart, word):
    for seed, record in enumerate(rows["described-with-frozen_start"]):  # 0.1, half the interval: 12.7 times apart
        record.test["bits_per_byte"] = 2.1 + apart * (-1) ** seed
    assert released_tables.judged(rows, "described-with-frozen_start", "dynamic").startswith(f"{word} (")


def test_the_ladder_and_the_resemblance_say_what_is_left_after_holm(rows):
    found = dict.fromkeys({*released_tables.RUNGS, *released_tables.RESEMBLES}, rows["dynamic"])
    found["released"] = [dataclasses.replace(r, corpus={**r.corpus, "sha256": "marked"}) for r in rows["released"]]
    ladder = table_cells(released_tables.ladder(found))
    assert ladder[0][3:5] == ["step from the rung above", "after Holm"]
    assert [row[4] for row in ladder[1:4]] == ["", "", "exactly equal"], "the first is of another text"
    table = {row[0]: row for row in table_cells(released_tables.resemblance(found))}
    assert table[""][2:6:3] == ["bits per byte minus all_tied", "after Holm, minus conventional"]
    assert table["Algorithm 1 as described"][3:6:2] == ["exactly equal", "exactly equal"]
    assert table["all layers independent"][3:6:2] == ["exactly equal", ""]
    assert table["one weight set, gradient of all positions"][3:6:2] == ["", ""], "the same difference once more"
    assert table["as released"][3:6:2] == ["", ""], "another text"


def test_choices_are_compared_with_networks_that_learned_nothing_in_the_states_that_the_agent_saw(rows):
    total, same, untaught = released_tables.alike(rows, "described-with-clipped_reward", "dynamic")
    assert (total, same, untaught) == (4, 4, 4)
    assert released_tables.other_choices(rows, "described-with-clipped_reward", "dynamic") == "0% (0%)"
    for record in rows["released"]:  # after the first decision it was somewhere else, though memory was not
        untaught_agent, there = QAgent(6, hidden=8, seed=record.seed), None
        for i in range(6):
            for j in range(i + 1):
                state = TieMap.all_tied(6).with_action(i, j) if i else TieMap.all_tied(6)
                if np.argmax(untaught_agent.q_values(state, 2)) != np.argmax(
                    untaught_agent.q_values(TieMap.all_tied(6), 2)
                ):
                    there = list(state)
        if there:
            record.history["state"][0] = there
    total, same, untaught = released_tables.alike(rows, "released", "dynamic")
    assert (total, same) == (4, 0)
    assert untaught < 4
    twins = {"released-without-clipped_reward": rows["dynamic"], "released": rows["dynamic"]}
    assert released_tables.cut_changed(twins).startswith("of 4 greedy decisions of the code as released **0%** differ")
    rows["released"][0].history["layer"] = [2, 1]
    twins["released"] = rows["released"]
    assert released_tables.cut_changed(twins).startswith("no decision")
    assert released_tables.other_choices(rows, "released", "dynamic") == "other number"


def test_when_all_storages_are_one(rows):
    record = rows["released"][0]
    assert released_tables.one_set_from(record) == f"one weight set from turn 1 of {record.experiment['episodes']}"
    record.history["weight_sets"] = [3, 2]
    assert released_tables.one_set_from(record) == "never one weight set"
    assert released_tables.turns_to_one_set(2, seed=0) >= 1
    text = released_tables.collapses({**rows, "released-random": rows["released"]}, layers=(4,), trials=5)
    assert "A random policy, 4 layers, 5 trials" in text
    assert "As released, **25%** of the decisions" in text
