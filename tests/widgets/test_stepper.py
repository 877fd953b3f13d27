"""Widget 2: what it tells of a run is what happened, and what nobody recorded is not made up."""

import dataclasses
import itertools
import json
import math

import pytest

from dlt_core.agents import QAgent, RandomAgent
from dlt_core.algorithm1 import train_conventional, train_dynamic
from dlt_core.experiments import Experiment
from dlt_core.widgets import Stepper
from dlt_core.widgets.stepper import decisions, frames, greedy, lines, replayed_targets


class Watched(QAgent):
    """Notes the target of each step."""

    def learn(self, state, layer, action, reward, next_state):
        target = reward + self.gamma * float(self.q_values(next_state, layer).max())
        seen.append(target)
        return super().learn(state, layer, action, reward, next_state)


seen: list[float] = []


@pytest.fixture(scope="module")
def experiment():
    return Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=5, evaluate_every=2)


@pytest.fixture(scope="module")
def record(experiment, tiny_data):
    seen.clear()
    agent = Watched(experiment.n_layer, seed=experiment.seed, epsilon_decay=0.5)
    made = train_dynamic(experiment, agent=agent, data=tiny_data)
    made.agent["class"] = "QAgent"
    return made


def test_targets_are_those_that_the_agent_learned_from(record):
    found = decisions(record)
    assert [d["target"] for d in found] == pytest.approx(seen, rel=1e-6)
    for d in found:
        assert d["error"] ** 2 == pytest.approx(d["td_loss"], rel=1e-3)
        assert d["reward"] + d["bootstrap"] == pytest.approx(d["target"])


def test_a_target_that_cannot_be_confirmed_is_not_shown(record):
    for changes in ({"seed": 1}, {"class": "Another"}, {"gamma": 0.5}):
        other = dataclasses.replace(record, agent=record.agent | changes)
        assert replayed_targets(other) is None
        assert decisions(other)[0]["target"] is decisions(other)[0]["error"] is None
    spoiled = dataclasses.replace(record, history=record.history | {"reward": [None, *record.history["reward"][1:]]})
    assert replayed_targets(spoiled) is None


def test_a_decision_tells_what_the_record_tells(record):
    found = decisions(record)
    assert found[0]["before"] == [0, 0, 0, 0]
    for before, after in itertools.pairwise(found):
        assert after["before"] == before["after"]
    for t, d in enumerate(found):
        assert d["after"] == record.history["tie_map"][t]
        assert d["q"] == record.history["q_values"][t][d["action"]]
        assert d["q_values"][d["greedy"]] == max(d["q_values"])
        assert d["explored"] or d["action"] == d["greedy"]


def test_frames_follow_the_algorithm(record):
    shown = frames(record)
    assert shown[0] == [0, 1]
    assert {line for _, line in shown} == set(range(1, len(lines()) + 1))
    layers = 3
    assert [t for t, line in shown if line == 8] == list(range(layers - 1, 15, layers)), "after each turn"
    assert [t for t, line in shown if line == 9] == [5, 11, 14], "every second turn, and at the end"
    for t in range(15):
        assert [line for d, line in shown if d == t and 1 < line < 8] == [2, 3, 4, 5, 6, 7]


def test_an_agent_without_q_values_has_none(experiment, tiny_data):
    record = train_dynamic(experiment, agent=RandomAgent(experiment.n_layer, seed=0), data=tiny_data)
    assert {d["greedy"] for d in decisions(record)} == {d["target"] for d in decisions(record)} == {None}
    json.dumps(Stepper(record).state(), allow_nan=False)


def test_the_state_is_json_even_of_a_run_that_broke(record):
    broken = dataclasses.replace(record, history=record.history | {"reward": [math.nan] * 15})
    json.dumps(Stepper(broken).state(), allow_nan=False)


def test_the_greedy_action_is_the_lowest_of_equals():
    assert greedy([0.5, 1.0, 1.0]) == 1
    assert greedy([0.5, None]) is greedy([]) is None


def test_a_run_without_decisions_is_refused(experiment, tiny_data):
    with pytest.raises(ValueError, match="has no decisions to step through"):
        Stepper(train_conventional(experiment, data=tiny_data))
