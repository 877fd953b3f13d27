"""Rewards that say what the action did: what they are, what they cost, and that a run goes on where it was."""

import itertools

import pytest

from dlt_core.agents import QAgent, ReplayAgent
from dlt_core.algorithm1 import train_dynamic
from dlt_core.experiments import build_env, build_learner
from dlt_core.studies.comparison import compare
from dlt_core.studies.rule.gain import gain, use_gradients
from dlt_core.studies.rule.rewards import OPTIMISTIC, FirstOrderGain, Paired, train
from dlt_core.tie_map import TieMap

INDEPENDENT = TieMap.independent(4).groups


def test_the_first_order_gain_of_an_action_is_that_of_its_map_less_the_map_before(smoke, tiny_data):
    env = build_env(smoke, tiny_data, factory=FirstOrderGain)
    env.step(0)  # layer 1 stays
    learner = build_learner(smoke, tiny_data)
    learner.tie(TieMap.all_tied(4))
    learner.train(smoke.steps_per_action)
    gradients = use_gradients(learner, 1, first=1)
    _, reward, *_ = env.step(2)
    after = TieMap([0, 0, 2, 0])
    brought = gain(gradients, after.groups) - gain(gradients, [(0, 1, 2, 3)])
    assert reward == pytest.approx(100 * brought / gain(gradients, INDEPENDENT), rel=1e-5)
    assert reward > 0
    assert env.learner.tie_map == after
    assert env.cost == {"search_passes": 1}


def test_the_paired_reward_is_what_the_action_saved_on_the_same_batches(smoke, tiny_data):
    env = build_env(smoke, tiny_data, factory=Paired)
    moved, stayed = (build_env(smoke, tiny_data) for _ in range(2))
    for world in (env, moved, stayed):
        world.step(1)
    _, reward, *_, info = env.step(0)  # layer 2 is tied to 0 as it was
    assert reward == 0
    for world in (moved, stayed):
        world.step(0)
    _, reward, *_, info = env.step(3)
    *_, of_moved = moved.step(3)
    *_, of_stayed = stayed.step(0)
    assert info["loss"] == of_moved["loss"]
    assert reward == pytest.approx(100 * (of_stayed["loss"] - of_moved["loss"]))
    assert reward != 0
    assert env.cost == {"search_steps": 2 * smoke.steps_per_action}


@pytest.mark.parametrize("name", ["first_order_gain", "paired"])
def test_the_world_is_the_papers_but_for_the_reward_and_the_record_says_the_price(smoke, tiny_data, name, tmp_path):
    smoke = smoke.replace(episodes=3)
    (run,) = compare(smoke, [f"dynamic_{name}"], data=tiny_data)
    assert run.agent["reward"] == name
    assert "initial_value" not in run.agent
    agent = ReplayAgent(run.history["action"])
    same = train_dynamic(smoke, agent=agent, data=tiny_data)
    assert run.curves == same.curves
    assert run.history["tie_map"] == same.history["tie_map"]
    maps = [[0, 0, 0, 0], *run.history["tie_map"]]
    moves = sum(a != b for a, b in itertools.pairwise(maps))
    price = {"paired": {"search_steps": moves * smoke.steps_per_action}, "first_order_gain": {"search_passes": moves}}
    assert run.budget == {**same.budget, **price[name]}
    zero = [a == b for a, b in itertools.pairwise(maps)]
    assert [reward == 0 for reward in run.history["reward"]] == zero
    parts = {"checkpoint": tmp_path / "c", "data": tiny_data, "reward": name, "method": f"dynamic_{name}"}
    assert train(smoke, max_decisions=5, **parts).status == "stopped"
    again = train(smoke, **parts)
    assert (again.history, again.budget, again.test) == (run.history, run.budget, run.test)


def test_an_optimistic_agent_begins_above_what_it_will_get(smoke, tiny_data):
    plain, high = (QAgent(4, seed=0, initial_value=value) for value in (0.0, OPTIMISTIC))
    state = TieMap.all_tied(4)
    assert high.q_values(state, 3) - plain.q_values(state, 3) == pytest.approx(4 * [OPTIMISTIC], rel=1e-5)
    (run,) = compare(smoke.replace(episodes=1), ["dynamic_paired_optimistic"], data=tiny_data)
    assert run.agent["initial_value"] == OPTIMISTIC
    assert run.history["q_values"][0] == pytest.approx(high.q_values(state, 1).tolist(), rel=1e-4)


def test_a_world_that_costs_nothing_adds_nothing_to_the_budget(smoke, tiny_data):
    assert build_env(smoke, tiny_data).cost == {}
