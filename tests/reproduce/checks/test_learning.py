"""Wrong intervals, regrets, rewards and agents, and what is said of them."""

import math
from statistics import fmean, pstdev, stdev

import numpy as np
import pytest
from scipy import stats

from dlt_core.agents import FixedAgent, RandomAgent
from dlt_core.records.statistics import mean_interval
from dlt_core.reproduce.checks import learning
from dlt_core.reproduce.checks.common import NotYet
from dlt_core.reproduce.checks.learning import (
    check_agent,
    check_paired_interval,
    check_regret,
    check_reward,
    play,
    true_losses,
)
from dlt_core.tie_map import TieMap


def pairs(ours, theirs):
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def t(values):
    return float(stats.t.ppf(0.975, len(values) - 1))


def half(values):
    return t(values) * stdev(values) / math.sqrt(len(values))


def by_place(a, b):
    return [x - y for x, y in zip(a.values(), b.values(), strict=False)]


def with_half(rule):
    return lambda a, b: (fmean(pairs(a, b)), rule(pairs(a, b)))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda a, b: (fmean(pairs(b, a)), half(pairs(a, b))), "The sign is turned round"),
        (lambda a, b: (0.0, half(pairs(a, b))), "The mean difference is not"),
        (lambda a, b: (fmean(pairs(a, b)), half(by_place(a, b))), "by their place in the dictionary"),
        (
            lambda a, b: (
                fmean(pairs(a, b)),
                t([*a]) * math.sqrt((stdev(a.values()) ** 2 + stdev(b.values()) ** 2) / len(a)),
            ),
            "as strangers",
        ),
        (with_half(lambda d: 1.96 * stdev(d) / math.sqrt(len(d))), "1.96 is for very many runs"),
        (with_half(lambda d: stdev(d) / math.sqrt(len(d))), "the standard error"),
        (with_half(lambda d: t(d) * stdev(d)), "the mean of five is known better"),
        (with_half(stdev), "how the differences scatter"),
        (with_half(lambda d: t(d) * pstdev(d) / math.sqrt(len(d))), "divided by n"),
        (with_half(lambda d: 2 * half(d)), "That is the whole width"),
        (with_half(lambda d: half(d) / t(d) * stats.t.ppf(0.95, len(d) - 1)), "on *each* side"),
        (with_half(lambda d: half(d) / t(d) * stats.t.ppf(0.975, len(d))), "one too many"),
        (with_half(lambda d: 1.0), "half the width is not 1.0000"),
        (lambda a, b: (fmean([a[s] - b.get(s, 0) for s in a]), half(pairs(a, b))), "makes no pair"),
    ],
)
def test_paired_interval(told, answer, said):
    assert said in told(check_paired_interval, answer)


def reached(losses, state, layer):
    return [losses[state.with_action(layer, a)] for a in range(layer + 1)]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x, s, i, a: min(reached(x, s, i)) - reached(x, s, i)[a], "better than the best"),
        (lambda x, s, i, a: reached(x, s, i)[a] - min(x.values()), "with the best map of all"),
        (lambda x, s, i, a: reached(x, s, i)[a], "Against what is it a loss"),
        (lambda x, s, i, a: 0.5, "List the maps"),
        (lambda x, s, i, a: max(0, reached(x, s, i)[a] - x[s]), "with the map before"),
    ],
)
def test_regret(told, answer, said):
    assert said in told(check_regret, answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda loss, baseline: -1.0, "nothing to choose by"),
        (lambda loss, baseline: loss, "would look for the worst map"),
        (lambda loss, baseline: -loss, "far below zero"),
        (lambda loss, baseline: 100 - loss, "far above zero"),
        (lambda loss, baseline: 1e-6 * (baseline - loss), "near zero, but very small"),
    ],
)
def test_reward(told, answer, said, monkeypatch):
    monkeypatch.setattr(learning, "against_chance", lambda make, reward: [0.01, -0.02, 0.03])
    assert said in told(check_reward, answer)


def test_the_papers_own_reward_does_not_pass(told, monkeypatch):
    monkeypatch.setattr(learning, "SEEDS", range(3))
    assert "The interval is not below zero" in told(check_reward, lambda loss, baseline: -math.exp(loss))


class Mine(RandomAgent):
    """Remembers what each map has brought."""

    def __init__(self, num_layers, seed):
        super().__init__(num_layers, seed=seed)
        self.seen = {}

    def act(self, state, layer):
        maps = [state.with_action(layer, action) for action in range(layer + 1)]
        return int(np.argmax([fmean(self.seen[m]) if m in self.seen else np.inf for m in maps]))

    def learn(self, state, layer, action, reward, next_state):
        self.seen.setdefault(next_state, []).append(reward)
        return 0.0


class Outside(Mine):
    def act(self, state, layer):
        return layer + 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda n, seed: object(), "An agent also has act, q_values"),
        (Outside, "Layer 1 has the actions 0 to 1; the agent took 2"),
        (lambda n, seed: RandomAgent(n, seed=seed + 100), "What does your agent remember"),
    ],
)
def test_agent(told, answer, said):
    assert said in told(check_agent, answer)


def test_right_ones(passes):  # those of reward and agent, which take longer, are in the solved notebook
    passes(check_paired_interval, lambda a, b: mean_interval(pairs(a, b)))
    passes(check_regret, lambda x, s, i, a: reached(x, s, i)[a] - min(reached(x, s, i)))


def test_the_world_is_that_of_the_records():
    losses = true_losses()
    assert len(losses) == 15
    best, worst = min(losses, key=losses.get), max(losses, key=losses.get)
    assert play(FixedAgent(best), lambda loss, baseline: 0.0, turns=4) == 0
    spread = play(FixedAgent(worst), lambda loss, baseline: 0.0, turns=4)
    assert spread == pytest.approx(losses[worst] - losses[best])


def test_a_reward_that_is_no_number_is_refused():
    with pytest.raises(NotYet, match="nothing can be learned from it"):
        play(FixedAgent(TieMap.all_tied(4)), lambda loss, baseline: math.inf)


def test_without_records_it_says_where_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "COMMITTED", tmp_path)
    with pytest.raises(ValueError, match="run this from a checkout"):
        true_losses.__wrapped__()
