"""Wrong schedules, wrong loops, wrong reports, and what is said of them."""

import types

import pytest

from dlt_core.reproduce.checks.algorithm1 import check_epsilon, check_replay, check_reported, check_turn


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda n, e, d, f: max(f, e * d ** (n + 1)), "nothing has been multiplied"),
        (lambda n, e, d, f: e * d**n, "fallen through the floor"),
        (lambda n, e, d, f: max(f, e - n * (1 - d)), "the listing multiplies"),
        (lambda n, e, d, f: max(f, e * d ** max(n - 1, 0)), "one turn too few"),
        (lambda n, e, d, f: e if n == 0 else max(f, e * d ** (n + 1)), "one turn too many"),
        (lambda n, e, d, f: e / d**n, "ε has grown"),
        (lambda n, e, d, f: e if n == 0 else 0.5, "by hand"),
    ],
)
def test_epsilon(told, answer, said):
    assert said in told(check_epsilon, answer)


def turn(agent, env, *, before=True, layer_before=True, ends=1, learns=True, action=None, reward=None, after=True):
    over = False
    while not over:
        state, layer = env.tie_map, env.layer
        chosen = agent.act(state, layer)
        _, r, over, _, _ = env.step(chosen if action is None else action)
        if learns:
            agent.learn(
                state if before else env.tie_map,
                layer if layer_before else env.layer,
                chosen,
                r if reward is None else reward,
                env.tie_map if after else state,
            )
    for _ in range(ends):
        agent.end_episode()


def never_asks(agent, env):
    over = False
    while not over:
        over = env.step(0)[2]


def without_end(agent, env):
    while True:
        env.step(agent.act(env.tie_map, env.layer))


def from_layer_zero(agent, env):
    for layer in range(4):
        env.step(agent.act(env.tie_map, layer))


def learns_last_only(agent, env):
    turn(agent, env, learns=False, ends=0)
    agent.learn(env.tie_map, 1, 0, 0.0, env.tie_map)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda agent, env: None, "was never asked"),
        (never_asks, "was never asked"),
        (without_end, "Your turn does not end"),
        (from_layer_zero, "asked about the layers [0, 1, 2, 3]"),
        (lambda agent, env: turn(agent, env, action=0), "the environment was told [0, 0, 0, 0]"),
        (lambda agent, env: turn(agent, env, learns=False), "the agent never learns".replace("the", "The", 1)),
        (learns_last_only, "learned 1 times"),
        (lambda agent, env: turn(agent, env, before=False), "the map *after* the action"),
        (lambda agent, env: turn(agent, env, layer_before=False), "the environment has moved on"),
        (lambda agent, env: turn(agent, env, reward=0.0), "other rewards"),
        (lambda agent, env: turn(agent, env, after=False), "the one before the action"),
        (lambda agent, env: turn(agent, env, ends=0), "line 8 is missing"),
        (lambda agent, env: turn(agent, env, ends=4), "called 4 times in one turn"),
    ],
)
def test_turn(told, answer, said):
    assert said in told(check_turn, answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda v, t: min(t), "by looking at the test split"),
        (lambda v, t: min(v), "of the validation text"),
        (lambda v, t: t[-1], "the model at the end"),
        (lambda v, t: t[0], "Which model is kept"),
    ],
)
def test_reported(told, answer, said):
    assert said in told(check_reported, answer)


ONE = types.SimpleNamespace(history={"reward": [1], "epsilon": [0.5], "layer": [2]})
OTHER = types.SimpleNamespace(history={"reward": [1], "epsilon": [0.0], "layer": [2]})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("reward", "a set of names of columns"),
        (["rewards"], "There are no columns ['rewards']"),
        ({"reward", "epsilon", "layer"}, "1 of the columns that you name differ"),
        ({"reward"}, "1 more columns are equal"),
    ],
)
def test_replay(told, answer, said):
    assert said in told(check_replay, lambda: answer, ONE, OTHER)


def test_right_ones(passes):
    passes(check_epsilon, lambda n, e, d, f: max(f, e * d**n))
    passes(check_turn, turn)
    passes(check_reported, lambda v, t: min(zip(v, t, strict=True))[1])
    passes(check_replay, lambda: ["layer", "reward"], ONE, OTHER)
