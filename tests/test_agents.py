"""The agents: layout of Q, exploration, the update by hand, and probe problems with known answers."""

import functools
import json
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlt_core.agents import AGENT, CycleAgent, FixedAgent, QAgent, RandomAgent, ReplayAgent, q_slice
from dlt_core.records import checkpoints
from dlt_core.studies.bandits import ThompsonAgent
from dlt_core.studies.dqn import DQNAgent
from dlt_core.tie_map import ORPHANS, TieMap, random_map
from tests.conftest import tie_maps

L = 4


def practise(agent, turns: int, *, optimum: TieMap | None = None) -> list:
    """Let the agent act and learn on a world without transformer; returns all that it did, exactly."""
    state, log = TieMap.all_tied(L), []
    for _ in range(turns):
        for layer in range(1, L):
            action = agent.act(state, layer)
            next_state = state.with_action(layer, action)
            if optimum is None:
                reward = math.sin(sum(next_state) + layer)
            else:
                reward = -sum(a != b for a, b in zip(next_state, optimum, strict=True))
            loss = agent.learn(state, layer, action, reward, next_state)
            log.append((layer, action, loss, agent.q_values(next_state, layer).tobytes()))
            state = next_state
        agent.end_episode()
    return log


def greedy_turn(agent: QAgent, state: TieMap) -> TieMap:
    for layer in range(1, L):
        state = state.with_action(layer, int(np.argmax(agent.q_values(state, layer))))
    return state


# --- Q ---


@pytest.mark.parametrize("num_layers", range(1, 49))
def test_the_slices_tile_the_outputs_without_gaps(num_layers):
    covered = [k for layer in range(num_layers) for k in range(1000**2)[q_slice(layer)]]
    assert covered == list(range(num_layers * (num_layers + 1) // 2))
    assert [q_slice(i).stop - q_slice(i).start for i in range(num_layers)] == list(range(1, num_layers + 1))


@given(st.integers(2, 12).flatmap(lambda n: st.tuples(tie_maps(n), st.integers(0, n - 1))))
@settings(max_examples=20)
def test_q_values_are_the_networks_outputs_for_the_layer(case):
    state, layer = case
    agent = QAgent(len(state), hidden=8, seed=0)
    outputs = agent.q_network(torch.tensor(list(state), dtype=torch.float32)).detach().numpy()
    values = agent.q_values(state, layer)
    assert isinstance(values, np.ndarray)
    assert values.shape == (layer + 1,)
    first = sum(range(layer + 1))
    assert values.tolist() == outputs[first : first + layer + 1].tolist()
    assert values.tolist() == agent.q_values(np.array(list(state)), layer).tolist()
    assert values.tolist() == agent.q_values(list(state), layer).tolist()


def test_the_papers_defaults():
    agent = QAgent(12, seed=0)
    shapes = [tuple(p.shape) for p in agent.q_network.parameters()]
    assert shapes == [(128, 12), (128,), (78, 128), (78,)]
    (group,) = agent.optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-3, 0.01)
    assert (agent.gamma, agent.epsilon, agent.epsilon_decay, agent.epsilon_min) == (0.99, 1.0, 0.95, 0.1)


# --- exploration ---


@given(st.floats(0, 1), st.floats(0.01, 1), st.floats(0, 1), st.integers(0, 200))
def test_epsilon_follows_the_closed_form(epsilon, decay, least, turns):
    agent = QAgent(2, hidden=1, epsilon=epsilon, epsilon_decay=decay, epsilon_min=least, seed=0)
    for _ in range(turns):
        agent.end_episode()
    expected = epsilon if turns == 0 else max(least, epsilon * decay**turns)
    assert agent.epsilon == pytest.approx(expected, rel=1e-12)


def test_the_papers_epsilon_reaches_its_floor_after_45_turns():
    agent = QAgent(2, seed=0)
    seen = []
    for _ in range(60):
        seen.append(agent.epsilon)
        agent.end_episode()
    assert seen[0] == 1.0
    assert seen[44] > 0.1
    assert seen[45:] == [0.1] * 15


@pytest.mark.parametrize("make", [lambda: QAgent(6, seed=1), lambda: RandomAgent(6, seed=1)])
def test_full_exploration_is_uniform_over_the_layers_actions(make):
    agent, n = make(), 3000
    for layer in range(6):
        counts = np.bincount([agent.act(TieMap.all_tied(6), layer) for _ in range(n)], minlength=layer + 1)
        assert counts.shape == (layer + 1,)
        p = 1 / (layer + 1)
        assert np.abs(counts - n * p).max() <= 4 * math.sqrt(n * p * (1 - p))


def test_without_exploration_the_best_action_is_taken():
    agent = QAgent(L, epsilon=0.0, epsilon_min=0.0, seed=3)
    practise(agent, 20)
    states = [TieMap.all_tied(L), TieMap.independent(L), TieMap((0, 0, 2, 2)), TieMap((0, 1, 1, 0))]
    chosen = set()
    for state in states:
        for layer in range(L):
            action = agent.act(state, layer)
            values = agent.q_values(state, layer)
            assert all(values[action] >= value for value in values)
            assert agent.explored is False
            chosen.add(action)
    assert len(chosen) > 1


def test_a_share_of_epsilon_of_the_actions_is_explored():
    agent, n = QAgent(L, epsilon=0.3, seed=5), 2000
    explored = 0
    greedy = int(np.argmax(agent.q_values(TieMap.all_tied(L), 3)))
    for _ in range(n):
        action = agent.act(TieMap.all_tied(L), 3)
        explored += agent.explored
        assert agent.explored or action == greedy
    assert abs(explored - 0.3 * n) < 4 * math.sqrt(n * 0.3 * 0.7)


# --- the update ---


def test_updates_equal_q_learning_with_adamw_by_hand():
    gamma, lr, decay, eps = 0.9, 1e-2, 0.01, 1e-8
    agent = QAgent(L, hidden=5, gamma=gamma, learning_rate=lr, seed=2)
    weights = [p.detach().double().numpy().copy() for p in agent.q_network.parameters()]
    first, second = [0.0 * w for w in weights], [0.0 * w for w in weights]

    def forward(state, layer):
        w1, b1, w2, b2 = weights
        before = w1 @ np.array(list(state), dtype=float) + b1
        return before, (w2 @ np.maximum(before, 0) + b2)[layer * (layer + 1) // 2 :][: layer + 1]

    steps = [
        (TieMap((0, 0, 0, 0)), 3, 2, -1.5, TieMap((0, 0, 0, 0))),
        (TieMap((0, 1, 1, 0)), 2, 2, 4.0, TieMap((0, 1, 2, 0))),
        (TieMap((0, 1, 2, 0)), 2, 0, -7.0, TieMap((0, 1, 0, 0))),
    ]
    for n, (state, layer, action, reward, next_state) in enumerate(steps, start=1):
        before, q = forward(state, layer)
        error = q[action] - (reward + gamma * forward(next_state, layer)[1].max())
        loss = agent.learn(state, layer, action, reward, next_state)
        assert loss == pytest.approx(error**2, rel=1e-5)

        row = layer * (layer + 1) // 2 + action
        grad_out = np.zeros(L * (L + 1) // 2)
        grad_out[row] = 2 * error
        grad_hidden = (weights[2].T @ grad_out) * (before > 0)
        gradients = [
            np.outer(grad_hidden, list(state)),
            grad_hidden,
            np.outer(grad_out, np.maximum(before, 0)),
            grad_out,
        ]
        for p, g in zip(agent.q_network.parameters(), gradients, strict=True):
            np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-4, atol=1e-6)
        outputs = agent.q_network[2]
        others = [k for k in range(L * (L + 1) // 2) if k != row]
        assert not outputs.weight.grad[others].any()
        assert not outputs.bias.grad[others].any()
        assert outputs.bias.grad[row] != 0
        for k, g in enumerate(gradients):
            first[k] = 0.9 * first[k] + 0.1 * g
            second[k] = 0.999 * second[k] + 0.001 * g**2
            step = first[k] / (1 - 0.9**n) / (np.sqrt(second[k] / (1 - 0.999**n)) + eps)
            weights[k] = weights[k] * (1 - lr * decay) - lr * step
        for p, w in zip(agent.q_network.parameters(), weights, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_q_converges_to_the_value_of_a_constant_reward(gamma):
    """r = 1 for ever is worth 1 / (1 - γ)."""
    agent = QAgent(2, hidden=16, gamma=gamma, learning_rate=1e-2, seed=0)
    state = TieMap((0, 0))
    for n in range(400):
        loss = agent.learn(state, 1, n % 2, 1.0, state)
    np.testing.assert_allclose(agent.q_values(state, 1), 1 / (1 - gamma), rtol=0.02)
    assert loss < 1e-2


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_known_optimum_is_found(seed):
    """Reward: minus the number of layers that are tied otherwise than in the optimum."""
    optimum = TieMap((0, 1, 1, 3))
    agent = QAgent(L, gamma=0.5, learning_rate=5e-3, epsilon_decay=0.98, epsilon_min=0.2, seed=seed)
    untrained = greedy_turn(agent, TieMap.all_tied(L))
    practise(agent, 250, optimum=optimum)
    assert untrained != optimum
    assert greedy_turn(agent, TieMap.all_tied(L)) == optimum
    assert greedy_turn(agent, TieMap.independent(L)) == optimum


# --- reproducible ---


def test_a_seed_decides_everything_and_another_seed_differs():
    assert practise(QAgent(L, seed=7), 15) == practise(QAgent(L, seed=7), 15)
    assert practise(QAgent(L, seed=7), 15) != practise(QAgent(L, seed=8), 15)
    assert practise(RandomAgent(L, seed=7), 15) == practise(RandomAgent(L, seed=7), 15)
    assert practise(RandomAgent(L, seed=7), 15) != practise(RandomAgent(L, seed=8), 15)
    one, again, other = (RandomAgent(L, num_groups=2, seed=seed) for seed in (7, 7, 8))
    assert practise(one, 15) == practise(again, 15) != practise(other, 15)


def test_the_global_generators_are_left_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
    practise(QAgent(L, seed=1), 3)
    practise(RandomAgent(L, seed=1), 3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]
    log = practise(QAgent(L, seed=1), 3)
    torch.manual_seed(99)
    np.random.seed(99)
    assert practise(QAgent(L, seed=1), 3) == log


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: QAgent(L, seed=seed),
        lambda seed: RandomAgent(L, seed=seed),
        lambda seed: RandomAgent(L, num_groups=2, seed=seed),
    ],
    ids=["q", "random", "random with 2 weight sets"],
)
@pytest.mark.parametrize("turns", [0, 7])
@pytest.mark.parametrize("used", [0, 3])
def test_a_restored_agent_goes_on_to_the_bit(make, turns, used, tmp_path):
    """Saved after `turns` turns, through a file, and loaded into an agent that has itself done `used` turns."""
    agent = make(1)
    practise(agent, turns)
    checkpoints.save(tmp_path / "run.safetensors", {"agent": agent.state_dict()}, {"note": 5})
    expected = practise(agent, 10)
    twin = make(1 if used == 0 else 2)
    practise(twin, used)
    parts, values = checkpoints.load(tmp_path / "run.safetensors")
    twin.load_state_dict(parts["agent"])
    assert values == {"note": 5}
    assert practise(twin, 10) == expected


@pytest.mark.parametrize("make", [QAgent, RandomAgent, functools.partial(RandomAgent, num_groups=3)])
def test_a_state_dict_is_a_snapshot_whose_values_are_json(make):
    agent = make(L, seed=1)
    practise(agent, 3)
    state = agent.state_dict()
    values = json.loads(json.dumps(state["values"]))
    expected = practise(agent, 5)  # moves the agent, not the snapshot
    twin = make(L, seed=1)
    twin.load_state_dict({"tensors": state["tensors"], "values": values})
    assert practise(twin, 5) == expected


# --- the siblings ---


@given(tie_maps(6), tie_maps(6), st.sampled_from(ORPHANS))
def test_one_turn_of_a_fixed_agent_leads_to_its_map_from_anywhere(wanted, state, orphans):
    agent = FixedAgent(wanted)
    for layer in range(1, 6):
        state = state.with_action(layer, agent.act(state, layer), orphans=orphans)
    assert state == wanted


@given(st.integers(1, 6), tie_maps(6), st.sampled_from(ORPHANS), st.integers(0, 100))
def test_a_random_agent_over_maps_leads_to_another_map_with_its_weight_sets_each_turn(num_groups, state, orphans, seed):
    agent, rng = RandomAgent(6, num_groups=num_groups, seed=seed), np.random.default_rng((seed, AGENT))
    for _ in range(3):
        drawn = random_map(6, num_groups, rng.random)
        for layer in range(1, 6):
            state = state.with_action(layer, agent.act(state, layer), orphans=orphans)
            assert agent.explored
        assert state == drawn
        agent.end_episode()


def test_a_random_agent_over_maps_draws_a_new_one_for_each_turn_alone():
    agent, start, reached = RandomAgent(6, num_groups=3, seed=0), TieMap.all_tied(6), []
    for _ in range(40):
        turns = [[agent.act(start, layer) for layer in range(6)] for _ in range(2)]
        assert turns[0] == turns[1], "within a turn always the same"
        reached.append(TieMap(turns[0]))
        agent.end_episode()
    assert {m.num_independent for m in reached} == {3}
    assert len(set(reached)) > 25  # of 90


def test_a_random_agent_over_maps_says_its_settings_and_goes_on_within_a_turn():
    assert RandomAgent(6, num_groups=3, seed=5).settings == {"seed": 5, "num_groups": 3}
    assert RandomAgent(6, seed=5).settings == {"seed": 5}
    agent, start = RandomAgent(6, num_groups=3, seed=5), TieMap.all_tied(6)
    agent.act(start, 1)
    twin = RandomAgent(6, num_groups=3, seed=6)
    twin.load_state_dict(agent.state_dict())
    assert [twin.act(start, layer) for layer in range(2, 6)] == [agent.act(start, layer) for layer in range(2, 6)]


def test_a_cycle_agent_takes_the_source_after_the_present_one():
    """By hand, for four layers. The state holds roots: once layer 1 is tied again, everything is."""
    turns = [
        [(1, 1, (0, 1, 0, 0)), (2, 1, (0, 1, 1, 0)), (3, 1, (0, 1, 1, 1))],
        [(1, 0, (0, 0, 0, 0)), (2, 1, (0, 0, 0, 0)), (3, 1, (0, 0, 0, 0))],
    ]
    agent, state = CycleAgent(L), TieMap.all_tied(L)
    for turn in turns + turns:
        for layer, action, after in turn:
            assert agent.act(state, layer) == action
            assert not agent.explored
            state = state.with_action(layer, action)
            assert tuple(state) == after
    assert [agent.act(TieMap((0, 1, 2, 2)), layer) for layer in range(L)] == [0, 0, 0, 3]
    assert [agent.act((0, 0, 1, 3), layer) for layer in range(L)] == [0, 1, 2, 0]


def test_a_replay_repeats_what_was_done():
    agent = QAgent(L, seed=4)
    log = practise(agent, 3)
    replay = ReplayAgent([action for _, action, _, _ in log])
    assert [(e[0], e[1]) for e in practise(replay, 3)] == [(e[0], e[1]) for e in log]
    with pytest.raises(ValueError, match="9 actions"):
        replay.act(TieMap.all_tied(L), 1)


def test_a_replay_goes_on_where_it_was_and_refuses_what_does_not_fit():
    replay = ReplayAgent([1, 0, 2, 1])
    assert [replay.act(TieMap.all_tied(L), 1), replay.act(TieMap.all_tied(L), 2)] == [1, 0]
    twin = ReplayAgent([1, 0, 2, 1])
    twin.load_state_dict(replay.state_dict())
    with pytest.raises(ValueError, match=r"layer 1 .*0\.\.1"):
        twin.act(TieMap.all_tied(L), 1)
    assert twin.act(TieMap.all_tied(L), 3) == 2


@pytest.mark.parametrize(
    "agent",
    [
        RandomAgent(L, seed=0),
        RandomAgent(L, num_groups=2, seed=0),
        FixedAgent(TieMap.all_tied(L)),
        ReplayAgent([0, 0]),
        CycleAgent(L),
    ],
)
def test_siblings_have_the_same_methods_and_learn_nothing(agent):
    state = TieMap.all_tied(L)
    assert agent.act(state, 1) in (0, 1)
    assert agent.q_values(state, 2).shape == (3,)
    assert agent.learn(state, 1, 0, -3.0, state) == 0.0
    assert agent.end_episode() is None


# --- errors ---


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_raises_and_teaches_nothing(reward):
    agent = QAgent(L, seed=0)
    before = agent.q_values(TieMap.all_tied(L), 2)
    with pytest.raises(ValueError, match=r"layer 2.*(nan|inf)"):
        agent.learn(TieMap.all_tied(L), 2, 1, reward, TieMap.all_tied(L))
    assert agent.q_values(TieMap.all_tied(L), 2).tolist() == before.tolist()


@pytest.mark.parametrize(("layer", "action"), [(2, 3), (2, -1), (L, 0), (-1, -1)])
def test_an_action_or_layer_that_does_not_exist_raises(layer, action):
    agent = QAgent(L, seed=0)
    with pytest.raises(ValueError, match=f"layer {layer}"):
        agent.learn(TieMap.all_tied(L), layer, action, 0.0, TieMap.all_tied(L))


@pytest.mark.parametrize("action", [1.0, True, "1", None])
def test_an_action_that_is_no_int_raises(action):
    with pytest.raises(ValueError, match="action must be an int"):
        QAgent(L, seed=0).learn(TieMap.all_tied(L), 2, action, 0.0, TieMap.all_tied(L))
    with pytest.raises(ValueError, match="recorded action 1 must be an int"):
        ReplayAgent([0, action])


def test_numbers_of_numpys_become_plain_ones_that_a_record_can_hold():
    agents = [
        QAgent(L, gamma=np.float32(0.5), epsilon=np.float32(1), hidden=np.int64(8), seed=np.int64(3)),
        RandomAgent(L, num_groups=np.int64(2), seed=np.int64(3)),
        DQNAgent(L, capacity=np.int64(8), batch_size=np.int64(2), seed=np.int64(3)),
        ThompsonAgent(L, discount=np.float32(0.5), seed=np.int64(3)),
        ReplayAgent(np.array([0, 1])),
        FixedAgent(np.zeros(L, int)),
    ]
    for agent in agents:
        assert json.loads(json.dumps([agent.settings, agent.epsilon])) == [agent.settings, agent.epsilon]
    assert agents[0].settings | {"hidden": 8, "seed": 3, "gamma": 0.5} == agents[0].settings


@pytest.mark.parametrize("layer", [L, -1])
def test_acting_on_a_layer_that_does_not_exist_raises(layer):
    random_ones = RandomAgent(L, seed=0), RandomAgent(L, num_groups=2, seed=0)
    for agent in (QAgent(L, seed=0), *random_ones, FixedAgent(TieMap.all_tied(L)), CycleAgent(L)):
        with pytest.raises(ValueError, match=f"layer {layer}"):
            agent.act(TieMap.all_tied(L), layer)
        with pytest.raises(ValueError, match="5"):
            agent.act(TieMap.all_tied(5), 1)


@pytest.mark.parametrize(
    "bad",
    [
        {"num_layers": 1},
        {"gamma": 1.1},
        {"gamma": -0.1},
        {"epsilon": 1.5},
        {"epsilon_min": -0.1},
        {"epsilon_decay": 0.0},
        {"epsilon_decay": 1.1},
        {"gamma": math.nan},
    ],
)
def test_settings_that_cannot_be_raise(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=name):
        QAgent(**{"num_layers": L, "seed": 0, **bad})


@pytest.mark.parametrize("num_groups", [0, L + 1, -1, 2.0])
def test_a_random_agent_over_maps_that_do_not_exist_raises(num_groups):
    with pytest.raises(ValueError, match="num_groups"):
        RandomAgent(L, num_groups=num_groups, seed=0)
