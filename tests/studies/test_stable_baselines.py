"""Agents of stable-baselines3 in our worlds and in our runs."""

import itertools
import random
from importlib import util

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_checker import check_env

from dlt_core.agents import FixedAgent
from dlt_core.algorithm1 import train_dynamic
from dlt_core.experiments import Experiment
from dlt_core.studies import stable_baselines
from dlt_core.studies.comparison import compare
from dlt_core.studies.methods import parse
from dlt_core.studies.stable_baselines import MODELS, build_model, learn_with
from dlt_core.studies.surrogate import SurrogateTyingEnv
from dlt_core.tie_map import TieMap
from tests.conftest import untimed

TINY = {"n_embd": 8, "n_head": 1, "n_positions": 8, "block_size": 8, "batch_size": 1, "steps_per_action": 1}
SMALL = Experiment.preset("gpt2-embedded", "smoke", device="cpu", evaluation_tokens=64, **TINY)


class Always:
    """A model that wants these actions, again and again, and learns nothing."""

    def __init__(self, env, actions):
        self.env, self.actions = env, actions

    def learn(self, total_timesteps, callback):
        self.env.reset(seed=99)
        for action in itertools.cycle(self.actions):
            if self.env.step(action)[2]:
                self.env.reset()
            if not callback(locals(), globals()):
                return


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (MaskablePPO, {"n_steps": 15, "batch_size": 15, "n_epochs": 1}),
        (PPO, {"n_steps": 15, "batch_size": 15, "n_epochs": 1}),
        (DQN, {"learning_starts": 20, "train_freq": 5, "buffer_size": 300}),
    ],
)
@pytest.mark.parametrize(
    ("name", "made_with", "decisions"),
    [("dlt_core/SurrogateTying-v0", {}, 300), ("dlt_core/LayerTying-v0", {"device": "cpu", **TINY}, 30)],
)
def test_they_train_in_the_worlds_that_gymnasium_makes(name, made_with, decisions, kind, settings):
    env = gymnasium.make(name, reward="log_improvement", **made_with)
    check_env(env.unwrapped)
    model = kind("MultiInputPolicy", env, seed=0, device="cpu", **settings)
    before = [p.detach().clone() for p in model.policy.parameters()]
    invalid = []

    def watch(local, _):
        invalid.extend(info["invalid_action"] for info in local["infos"])
        return True

    model.learn(decisions, callback=watch)
    assert env.unwrapped.decisions == len(invalid) == decisions
    assert any(invalid) == (kind is not MaskablePPO), "only one of them knows masks"
    assert any((p != was).any() for p, was in zip(model.policy.parameters(), before, strict=True)), "it has learned"


def test_a_model_and_an_agent_that_decide_alike_leave_the_same_run(tiny_data):
    experiment = SMALL.replace(episodes=3)
    outside = learn_with(experiment, lambda env: Always(env, (1, 0, 2)), method="always", data=tiny_data)
    ours = train_dynamic(experiment, agent=FixedAgent([0, 1, 0, 0]), data=tiny_data)
    assert outside.history["tie_map"][2::3] == [[0, 1, 0, 0]] * 3
    same = ("layer", "action", "reward", "loss", "tie_map", "episode")
    ours.history["action"][2::3] = [2] * 3  # another name for the same source
    assert {name: outside.history[name] for name in same} == {name: ours.history[name] for name in same}
    assert (outside.curves, outside.test) == (ours.curves, ours.test)
    assert outside.budget == ours.budget | {"invalid_actions": 0}
    assert outside.agent["class"] == "Always"


def test_an_impossible_action_is_entered_as_what_it_does(tiny_data):
    experiment = SMALL.replace(episodes=2)
    run = learn_with(experiment, lambda env: Always(env, (1, 1, 3, 3, 3, 0)), method="always", data=tiny_data)
    assert run.history["action"] == [1, 1, 3, 1, 1, 0]
    assert run.history["tie_map"][2:] == [*[[0, 1, 1, 3]] * 3, [0, 1, 1, 0]]
    assert run.budget["invalid_actions"] == 2


def test_their_methods_stand_beside_ours_in_a_comparison(tiny_data):
    experiment = SMALL.replace(episodes=2)
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    runs = compare(experiment, ["random", *MODELS], data=tiny_data)
    drawn = [float(torch.rand(())), np.random.random(), random.random()]
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    assert drawn == [float(torch.rand(())), np.random.random(), random.random()], "no global generator is touched"
    blind, *others = runs
    assert [run.agent["class"] for run in others] == ["MaskablePPO", "PPO", "DQN"]
    for run in others:
        assert (run.status, len(run.history["action"])) == ("finished", 6)
        assert {name: run.budget[name] for name in blind.budget} == blind.budget
        assert run.curves["validation"]["step"] == blind.curves["validation"]["step"]
        assert run.agent["learning_rate"] == experiment.q_learning_rate
        assert "num_timesteps" not in run.agent
        assert run.history["q_values"] == [None] * 6
    assert others[0].budget["invalid_actions"] == 0
    assert len(set(others[2].history["epsilon"])) > 1, "DQN explores less and less"


@pytest.mark.parametrize("name", ["maskable_ppo", "sb3_dqn"])
def test_interrupted_and_resumed_equals_not_interrupted(name, tiny_data, tmp_path):
    experiment = SMALL.replace(episodes=5, reward="log_improvement")

    def make_model(env):
        return build_model(name, experiment, env)

    whole = learn_with(experiment, make_model, method=name, data=tiny_data)
    how = {"method": name, "data": tiny_data, "checkpoint": tmp_path / "c.safetensors"}
    first = learn_with(experiment, make_model, max_decisions=8, **how)
    assert (first.status, len(first.history["action"])) == ("stopped", 8)
    second = learn_with(experiment, make_model, record_path=tmp_path, **how)
    assert untimed(second) == untimed(whole)
    again = learn_with(experiment, lambda env: Always(env, (0, 0, 0)), max_decisions=2, **how | {"method": "always"})
    assert again.status == "stopped"
    with pytest.raises(ValueError, match="decision 0 was 0 before the interruption and is 1 now"):
        learn_with(experiment, lambda env: Always(env, (1, 0, 0)), **how | {"method": "always"})


@pytest.mark.parametrize("n_layer", [2, 3, 4, 12])
@pytest.mark.parametrize("episodes", [1, 20, 300])
def test_no_batch_of_ppo_has_one_decision(n_layer, episodes):
    experiment = SMALL.replace(n_layer=n_layer, episodes=episodes)
    env = SurrogateTyingEnv({TieMap.all_tied(n_layer): 4.0})
    model = build_model("sb3_ppo", experiment, env)
    assert model.n_steps % model.batch_size == 0
    assert model.batch_size > 1
    assert model.n_steps % (n_layer - 1) == 0, "whole turns"


@pytest.mark.parametrize(
    ("decisions", "message"),
    [(2, "ended after 2 of 3 decisions: let it"), (4, "ended with decision 3: `learn` has to stop")],
)
def test_a_model_that_makes_fewer_or_more_decisions_than_the_run_has_is_refused(decisions, message, tiny_data):
    class Unheeding(Always):
        def learn(self, total_timesteps, callback):
            for action in (1, 2, 3, 1)[:decisions]:
                self.env.step(action)

    with pytest.raises(ValueError, match=message):
        learn_with(SMALL.replace(episodes=1), lambda env: Unheeding(env, ()), method="mine", data=tiny_data)


def test_what_cannot_be_run_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"freeze_after=0.5: leave it out"):
        parse("sb3_dqn", SMALL.replace(freeze_after=0.5))
    with pytest.raises(ValueError, match=r"freeze_after=0.5: leave it out"):
        learn_with(SMALL.replace(freeze_after=0.5), None, method="mine")
    with pytest.raises(ValueError, match="unknown model 'a2c'; known: maskable_ppo, sb3_ppo, sb3_dqn"):
        build_model("a2c", SMALL, None)
    monkeypatch.setattr(stable_baselines, "find_spec", lambda name: util.find_spec(name) if "sb3" not in name else None)
    with pytest.raises(ValueError, match=r'maskable_ppo needs the package sb3_contrib: pip install -e ".\[rl\]"'):
        parse("maskable_ppo", SMALL)
