"""The toy of notebook 02: what is said of several seeds, and that its exact answer is one."""

import math

import numpy as np
import pytest

from dlt_core.agents import QAgent
from dlt_core.env import REWARDS
from dlt_core.records.statistics import mean_interval
from dlt_core.studies import toy
from dlt_core.tie_map import TieMap, all_maps
from tests.studies.conftest import table_cells

ALL_TIED, PAIRS, INDEPENDENT = TieMap([0, 0, 0]), TieMap([0, 0, 2]), TieMap([0, 1, 2])
PERPLEXITY = {m: 10.0 * n for n, m in enumerate(all_maps(3), 1)}


def played(*seeds):
    """Four turns over layers 1 and 2; seeds: the action of layer 1 in each."""
    paths, actions = [], []
    for chosen in seeds:
        moves = [(layer, action) for one in chosen for layer, action in ((1, one), (2, 2))]
        path = [ALL_TIED]
        for layer, action in moves:
            path.append(path[-1].with_action(layer, action))
        paths.append(path[1:])
        actions.append([action for _, action in moves])
    return toy.Played(paths, actions, [], PERPLEXITY.__getitem__)


def test_means_repeats_and_places_are_of_the_last_quarter_of_the_turns():
    some = played([0, 0, 0, 1], [1, 1, 1, 1])
    assert some.perplexities.shape == (2, 4)
    in_the_end = [PERPLEXITY[INDEPENDENT]] * 2
    assert some.late == in_the_end
    assert some.repeats == 3 / 4, "of two turns at least, four decisions; layer 1 of the first seed has changed"
    before = played([0, 0, 1, 0], [0, 0, 0, 0])
    assert before.places([PAIRS, INDEPENDENT]).tolist() == [[1, 0], [1, 0]]
    assert str(before) == f"{PERPLEXITY[PAIRS]:.2f} ± 0.00"


def test_a_verdict_needs_an_interval_without_zero_and_says_what_is_left_open():
    good, bad = played([1] * 4, [1] * 4), played([0] * 4, [0] * 4)
    mixed, other = played([0] * 4, [1] * 4), played([1] * 4, [0] * 4)
    assert toy.verdict(mixed, other, "other").startswith("not told apart from other: perplexity -")
    head, first, second = table_cells(toy.table({"random": mixed, "one": other}, mixed, {"one": "1 of 2"}))
    assert "without exploring it ends on the best map" in head
    assert first[-1] == ""
    assert second[1:4] == [str(other), "100%", "1 of 2"]
    assert PERPLEXITY[INDEPENDENT] > PERPLEXITY[PAIRS]
    noise = np.random.default_rng(0)
    close = toy.Played(bad.paths * 3, bad.actions * 3, [], lambda m: PERPLEXITY[m] + 0.1 * noise.random())
    far = toy.Played(good.paths * 3, good.actions * 3, [], lambda m: PERPLEXITY[m] + 0.1 * noise.random())
    assert toy.verdict(close, far) == "better than random"
    assert toy.verdict(far, close) == "worse than random"


@pytest.mark.parametrize("same_layer", [True, False])
def test_exact_q_is_a_fixed_point_of_its_rule(same_layer):
    rewards = {m: -value for m, value in PERPLEXITY.items()}
    q = toy.exact_q(rewards, same_layer=same_layer, gamma=0.5, sweeps=60)
    assert q.keys() == {(m, i) for m in rewards for i in (1, 2)}
    for (m, i), row in q.items():
        following = [m.with_action(i, a) for a in range(i + 1)]
        asked = i if same_layer else 3 - i
        assert row == pytest.approx([rewards[s] + 0.5 * q[s, asked].max() for s in following])


def test_the_reward_is_the_cores_and_begins_anew_with_each_run():
    reward = toy.LogImprovement(lambda s, n: math.log(PERPLEXITY[s]) - n)
    first = [reward(s, n) for n, s in enumerate((PAIRS, INDEPENDENT))]
    assert first[0] == 0
    assert first[1] == REWARDS["log_improvement"](math.log(PERPLEXITY[INDEPENDENT]) - 1, math.log(PERPLEXITY[PAIRS]))
    assert [reward(s, n) for n, s in enumerate((PAIRS, INDEPENDENT))] == first


def test_a_watched_agent_is_the_agent_and_keeps_what_it_thought():
    watched, plain = toy.WatchedAgent(3, seed=0), QAgent(3, seed=0)
    for agent in (watched, plain):
        thought = float(agent.q_values(ALL_TIED, 2).max())
        agent.learn(ALL_TIED, 2, 2, -1.0, PAIRS)
    assert watched.seen == [thought]
    assert (watched.q_values(PAIRS, 2) == plain.q_values(PAIRS, 2)).all()


def test_a_simulation_that_is_not_the_uniform_policy_is_found_out():
    counts = np.random.default_rng(0).binomial(1, [[1, 1 / 2, 1 / 3]] * 400).sum(axis=1)
    row = toy.same_as_derived(counts, 3)
    assert row["mean, derived"] == "1.83"
    assert row["mean, simulated"] == f"{counts.mean():.2f} ± {mean_interval(counts.tolist())[1]:.2f}"
    with pytest.raises(AssertionError, match="not what was derived"):
        toy.same_as_derived(counts + 1, 3)
