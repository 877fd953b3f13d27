"""Wrong pieces of Q-learning, and what is said of them."""

import numpy as np
import pytest

from dlt_core.reproduce.checks.q_learning import (
    check_choose,
    check_policy,
    check_target,
    check_transition,
    check_uniform,
)
from dlt_core.tie_map import TieMap


def right(s, i, a):
    return TieMap(s).with_action(i, a)


def in_place(s, i, a):
    s[:] = right(s, i, a)
    return s


def move(s, i, a, also=None):
    new = list(right(s, i, a))
    if also is not None:
        new[also] = 0
    return new


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (in_place, "changes the state that it is given"),
        (lambda s, i, a: s[i], "an entry for each layer is asked for"),
        (lambda s, i, a: [*s[:i], a, *s[i + 1 :]], "is itself tied"),
        (lambda s, i, a: [*s[:i], s[a], *s[i + 1 :]], "means independent"),
        (lambda s, i, a: [*s[:i], i if a == i else s[a], *s[i + 1 :]], "which has moved"),
        (
            lambda s, i, a: [0 if i != 3 else j for j in move(s, 1, 0)] if i == 3 and a < 3 else right(s, i, a),
            "Look at",
        ),
        (lambda s, i, a: move(s, i, a, also=3) if i < 3 else right(s, i, a), "was not asked"),
    ],
)
def test_transition(told, answer, said):
    assert said in told(check_transition, answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda r, g, q: r + g * min(q), "the worst next action"),
        (lambda r, g, q: r + g * np.mean(q), "not drawn blindly"),
        (lambda r, g, q: r + g * sum(q), "Only one of the next actions"),
        (lambda r, g, q: r + max(q), "where is the discount"),
        (lambda r, g, q: g * max(q), "is left out"),
        (lambda r, g, q: r, "the reward alone"),
        (lambda r, g, q: g * (r + max(q)), "it is not discounted"),
        (lambda r, g, q: r - g * max(q), "not subtracted"),
        (lambda r, g, q: 0.0, "the discounted worth"),
        (lambda r, g, q: r + 0.5 * max(q), "With γ = 0"),
    ],
)
def test_target(told, answer, said):
    assert said in told(check_target, answer)


def choose(q, epsilon, rng, others_only=False):
    if rng.random() < epsilon:
        return int(rng.choice([0, 2] if others_only else [0, 1, 2]))
    return int(np.argmax(q))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda q, e, rng: 3, "is one of 0, 1, 2"),
        (lambda q, e, rng: int(rng.integers(3)), "nothing is random, but your choice is"),
        (lambda q, e, rng: int(np.argmin(q)), "not the best one"),
        (lambda q, e, rng: int(np.argmax(q)), "Who would try the others"),
        (lambda q, e, rng: choose(q, e, rng, others_only=True), "The best action is never drawn".lower()[4:]),
        (lambda q, e, rng: choose(q, e, rng) if e in (0, 1) else choose(q, 1 - e, rng), "have changed places"),
        (lambda q, e, rng: choose(q, e > 0, rng), "of the time. Too odd"),
        (lambda q, e, rng: choose(q, e, rng) if e < 1 else int(rng.choice([0, 1, 1, 2])), "not even"),
    ],
)
def test_choose(told, answer, said):
    assert said in told(check_choose, answer)


def mean(n):
    return sum(1 / (i + 1) for i in range(n))


@pytest.mark.parametrize(
    ("probability", "expected", "said"),
    [
        (lambda i: 0.5, mean, "Layer 0 has nobody to copy"),
        (lambda i: 1 / max(i, 1), mean, "Layer 1 has two actions"),
        (lambda i: 1 / (i + 1) if i < 2 else 1 / i, mean, "one action more than you think"),
        (lambda i: 2.0 if i else 1.0, mean, "is no probability"),
        (lambda i: 2.0**-i, mean, "Which actions has layer 2"),
        (lambda i: 1 / (i + 1), lambda n: mean(n) - 1, "Layer 0 counts"),
        (lambda i: 1 / (i + 1), lambda n: mean(n + 1), "one layer too many"),
        (lambda i: 1 / (i + 1), lambda n: n / 2 + 0.5, "The mean of a sum"),
    ],
)
def test_uniform(told, probability, expected, said):
    assert said in told(check_uniform, probability, expected)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda m, n: m, "is no probability"),
        (lambda m, n: m / n, "does layer 0 have the choice"),
        (lambda m, n: 0.5, "would leave 24.50 layers independent"),
    ],
)
def test_policy(told, answer, said):
    assert said in told(check_policy, answer)


def test_right_ones(passes):
    passes(check_transition, right)
    passes(check_target, lambda r, g, q: r + g * np.max(q))
    passes(check_choose, choose)
    passes(check_uniform, lambda i: 1 / (i + 1), mean)
    passes(check_policy, lambda m, n: (m - 1) / (n - 1))
