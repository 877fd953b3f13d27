"""The bandit for each layer: its means and samples by hand, what it finds, and what it cannot."""

import math

import numpy as np
import pytest

from dlt_core.studies.bandits import ThompsonAgent
from dlt_core.studies.dqn import DQNAgent
from dlt_core.tie_map import TieMap

L = 4


def test_the_bandits_means_are_discounted_by_hand():
    agent = ThompsonAgent(L, discount=0.5, seed=0)
    state = TieMap.all_tied(L)
    for action, reward in ((0, 1.0), (1, 5.0), (0, 3.0)):
        agent.learn(state, 1, action, reward, state)
    np.testing.assert_allclose(agent.q_values(state, 1), [(0.25 * 1 + 3) / 1.25, 5.0])
    np.testing.assert_allclose(agent.tries[1, :2], [1.25, 0.5])
    assert agent.learn(state, 1, 1, 2.0, state) == 9.0, "squared distance from the mean before"
    assert agent.learn(state, 3, 1, 2.0, state) == 0.0, "there was none"
    assert np.isnan(agent.q_values(state, 2)).all(), "other layers know nothing of it"


def test_the_bandit_tries_everything_once_and_then_samples():
    agent, state = ThompsonAgent(L, seed=0), TieMap.all_tied(L)
    first = []
    for _ in range(4):
        first.append(agent.act(state, 3))
        agent.learn(state, 3, first[-1], -float(first[-1] != 2), state)
    assert sorted(first) == [0, 1, 2, 3]
    assert len({agent.act(state, 3) for _ in range(100)}) > 1, "still uncertain"


def test_the_bandits_samples_are_of_the_stated_distribution():
    """Two actions with means 0 and 1, five tries each, so N(m, σ²/5): how often is the worse one's sample larger?"""
    agent, state = ThompsonAgent(L, discount=1.0, seed=0), TieMap.all_tied(L)
    rewards = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    for shift in (0, 1):
        for reward in rewards:
            agent.learn(state, 1, shift, float(reward + shift), state)
    sigma = np.concatenate([rewards, rewards + 1]).std()
    expected = 0.5 * math.erfc(1 / (sigma * math.sqrt(2 / 5)) / math.sqrt(2))
    assert np.mean([agent.act(state, 1) == 0 for _ in range(5000)]) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_bandit_finds_the_best_action_and_follows_when_it_moves(seed):
    rng, agent, state = np.random.default_rng(seed), ThompsonAgent(L, seed=seed), TieMap.all_tied(L)
    for best in (1, 3):
        for _ in range(150):
            action = agent.act(state, 3)
            agent.learn(state, 3, action, float(action == best) + 0.3 * rng.normal(), state)
        assert [agent.act(state, 3) for _ in range(50)].count(best) > 35


def test_the_bandit_cannot_solve_the_probe_that_needs_the_state():
    """Reward for layer 2: whether its source is where layer 1 was put. Each of the first two actions is right half of
    the time: a bandit, which does not see the state, knows no better. The DQN does."""
    rng = np.random.default_rng(0)
    bandit, dqn = (
        ThompsonAgent(3, discount=1.0, seed=0),
        DQNAgent(3, gamma=0.0, learning_rate=5e-3, one_hot=True, seed=0),
    )
    for _ in range(400):
        state = TieMap((0, int(rng.integers(2)), 0))
        for agent in (bandit, dqn):
            action = int(rng.integers(2))
            agent.learn(state, 2, action, float(action == state[1]), state)
    states = [TieMap((0, 0, 0)), TieMap((0, 1, 0))]
    assert all(abs(bandit.q_values(s, 2)[0] - bandit.q_values(s, 2)[1]) < 0.15 for s in states)
    assert [int(dqn.q_values(s, 2)[:2].argmax()) for s in states] == [0, 1]


@pytest.mark.parametrize("discount", [0.0, 1.5])
def test_a_discount_that_cannot_be_raises(discount):
    with pytest.raises(ValueError, match="discount"):
        ThompsonAgent(L, discount=discount, seed=0)
