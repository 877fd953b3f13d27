"""What rewards tell against what is true: by hand, by training it by hand, and by simulation of known numbers."""

import dataclasses
import math
from statistics import fmean

import numpy as np
import pytest
import torch
from scipy import stats

from dlt_core.agents import QAgent, RandomAgent
from dlt_core.env import LayerTyingEnv
from dlt_core.experiments import build_learner
from dlt_core.records.record import RunRecord
from dlt_core.studies import findings
from dlt_core.studies.diagnosis import (
    TableLearner,
    independent_by_chance,
    least_tried,
    losses_after_actions,
    q_scale,
    rank_correlation,
    regrets,
    seen_in_search,
    shared_decisions,
    signal_to_noise,
    truth,
    untaught_choices,
)
from dlt_core.tie_map import TieMap, all_maps, expected_independent

A, B, C = TieMap([0, 0, 0]), TieMap([0, 1, 1]), TieMap([0, 1, 2])


# --- what each action would lead to ---


@pytest.fixture
def learner(smoke, tiny_data):
    """In the middle of training, with dropout, under ties."""
    learner = build_learner(smoke.replace(dropout=0.2), tiny_data)
    learner.train(2)
    learner.tie(TieMap([0, 1, 1, 0]))
    learner.train(2)
    return learner


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_the_losses_after_actions_are_those_of_training_by_hand(layer, learner, smoke, tiny_data):
    state = learner.state_dict()
    found = losses_after_actions(learner, layer, steps=2, minibatches=3)
    assert found.shape == (layer + 1, 3)
    reached = set()
    for action in range(layer + 1):
        twin = build_learner(smoke.replace(dropout=0.2), tiny_data)
        twin.load_state_dict(state)
        twin.tie(TieMap([0, 1, 1, 0]).with_action(layer, action))
        twin.train(2)
        assert found[action].tolist() == [twin.probe(index) for index in range(3)]
        reached.add(twin.tie_map)
    assert len({tuple(row) for row in found.tolist()}) == len(reached), "other maps, other losses"
    assert len(set(found[0].tolist())) == 3, "and other minibatches"
    assert len(reached) >= 2


def test_the_learner_is_as_it_was_and_goes_on_to_the_bit(learner, smoke, tiny_data):
    before = learner.state_dict()
    losses_after_actions(learner, 3, steps=3, minibatches=2)
    after = learner.state_dict()
    assert after["values"] == before["values"]
    assert after["tensors"].keys() == before["tensors"].keys()
    assert all(torch.equal(after["tensors"][name], before["tensors"][name]) for name in before["tensors"])
    assert learner.tie_map == TieMap([0, 1, 1, 0])
    twin = build_learner(smoke.replace(dropout=0.2), tiny_data)
    twin.load_state_dict(before)
    assert learner.train(3) == twin.train(3)
    assert learner.probe(5) == twin.probe(5)


def test_an_action_that_changes_nothing_is_training_on(learner):
    found = losses_after_actions(learner, 2, steps=2, minibatches=2)  # layer 2 is tied to layer 1
    learner.train(2)
    assert found[1].tolist() == [learner.probe(0), learner.probe(1)]


# --- signal and noise ---


def test_signal_and_noise_by_hand():
    # actions at 1.5 and 3.5, of variance 2; the minibatches differ by 1 for both: hardness alone, nothing to take off
    found = signal_to_noise(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert (found.signal, found.noise) == (pytest.approx(math.sqrt(2)), pytest.approx(math.sqrt(0.5)))
    assert found.samples == pytest.approx((1.959964 + 0.841621) ** 2 * 0.5 / 2, rel=1e-6)
    # what is left after rows and columns is ±0.5, its variance 4 · 0.25 / 1, and half of that in a mean of two
    found = signal_to_noise(np.array([[1.0, 3.0], [4.0, 4.0]]))
    assert found.signal == pytest.approx(math.sqrt(2 - 0.5))
    assert found.noise == pytest.approx(1.0)  # variances 2 and 0


@pytest.mark.parametrize("losses", [[[1.0, 2.0], [1.0, 2.0]], [[0.0, 2.0], [2.0, 0.0]], [[1.0, 2.0], [2.2, 1.0]]])
def test_without_signal_no_number_of_samples_is_enough(losses):
    found = signal_to_noise(np.array(losses))
    assert found.signal == 0
    assert found.samples == math.inf
    assert found.noise > 0


@pytest.mark.parametrize(("signal", "hardness", "noise"), [(1.0, 0.0, 0.3), (0.2, 1.0, 0.5), (0.5, 2.0, 0.0)])
def test_a_known_signal_and_noise_are_found(signal, hardness, noise):
    """To the agent, the hardness of a minibatch is noise too."""
    rng = np.random.default_rng(0)
    actions, minibatches = 1500, 60
    losses = 3 + signal * rng.normal(size=(actions, 1)) + noise * rng.normal(size=(actions, minibatches))
    hard = rng.normal(size=minibatches)
    losses += hardness * (hard - hard.mean()) / hard.std(ddof=1)
    found = signal_to_noise(losses)
    assert found.signal == pytest.approx(signal, rel=0.08)
    assert found.noise == pytest.approx(math.hypot(hardness, noise), rel=0.03)


def test_neither_noise_nor_hardness_is_taken_for_signal():
    """Few actions on few minibatches: the mean square of the signal is right, and not 1 + 2² / 4 or 1 + 0.5² / 4."""
    rng, n = np.random.default_rng(1), 4000
    squares = []
    for _ in range(n):
        losses = rng.normal(size=(4, 1)) + 2 * rng.normal(size=(1, 4)) + 0.5 * rng.normal(size=(4, 4))
        squares.append(signal_to_noise(losses).signal ** 2)
    assert abs(fmean(squares) - 1) < 0.045


def test_so_many_samples_tell_two_actions_apart_four_times_out_of_five():
    """With actions at ± signal / √2, √2 signal apart, and as many rewards of each as stated."""
    found = signal_to_noise(np.array([[1.0, 3.5], [1.5, 4.0]]))  # 0.5 apart
    assert math.sqrt(2) * found.signal == pytest.approx(0.5)
    samples, rng = round(found.samples), np.random.default_rng(2)
    assert samples > 100
    means = rng.normal([[0.0], [0.5]], found.noise / math.sqrt(samples), size=(2, 20_000))
    z = np.abs(means[1] - means[0]) / (found.noise * math.sqrt(2 / samples))
    assert np.mean(z > stats.norm.ppf(0.975)) == pytest.approx(0.8, abs=0.015)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (4,), (2, 2, 2), (0, 3)])
def test_too_few_losses_raise(shape):
    with pytest.raises(ValueError, match="at least two actions on two minibatches"):
        signal_to_noise(np.zeros(shape))


# --- the truth, and how far from it ---


def made_up(method: str = "dynamic", seed: int = 0, **fields) -> RunRecord:
    experiment = {"name": "truth", "preset": "smoke", "n_layer": 3, "orphans": "follow", "overrides": {}}
    return RunRecord(experiment, method, seed, {}, status="finished", **fields)


def test_the_truth_is_of_given_maps_in_the_order_of_seeds():
    runs = [
        made_up("map-0-1-1", 2, final_tie_map=[0, 1, 1], test={"perplexity": math.exp(3.0)}),
        made_up("map-0-0-0", 1, final_tie_map=[0, 0, 0], test={"perplexity": math.exp(2.0)}),
        made_up("dynamic", 0, final_tie_map=[0, 1, 1], test={"perplexity": 1.0}),
        made_up("random_map", 0, final_tie_map=[0, 1, 1], test={"perplexity": 1.0}),
        made_up("map-0-1-1", 0, final_tie_map=[0, 1, 1], test={"perplexity": math.exp(1.0)}),
    ]
    assert truth(runs) == {B: [pytest.approx(1.0), pytest.approx(3.0)], A: [pytest.approx(2.0)]}
    assert truth(runs[2:4]) == {}


# --- regrets ---


LOSSES = {A: 5.0, B: 1.0, C: 2.0, TieMap([0, 0, 2]): 4.0, TieMap([0, 1, 0]): 3.5}


def test_regrets_by_hand():
    history = {
        "layer": [1, 2, 1],
        # first: of 000 and 010 Q prefers 000; then, at 010: 010, 011, 012; then, at 011: 000 or itself
        "q_values": [[0.5, 0.1], [-1.0, -2.0, 3.0], [-7.0, -6.0]],
        "tie_map": [[0, 1, 0], [0, 1, 1], [0, 0, 0]],  # what was done is another thing
    }
    ours, average = regrets(made_up(history=history), LOSSES)
    assert ours.tolist() == [5.0 - 3.5, 2.0 - 1.0, 0.0]
    assert average.tolist() == pytest.approx([(5 + 3.5) / 2 - 3.5, (3.5 + 1 + 2) / 3 - 1, (5 + 1) / 2 - 1])


def test_regrets_obey_the_rule_for_orphans():
    """At 0, 1, 1 the tie of layer 1 to layer 0 takes layer 2 along, or not."""
    history = {"layer": [1, 2, 1], "q_values": [[0, 1], [0, 1, 0], [1, 0]], "tie_map": [[0, 1, 0], [0, 1, 1], [0] * 3]}
    for orphans, reached in (("follow", 5.0), ("promote", 4.0)):
        record = made_up(history=history)
        record.experiment["orphans"] = orphans
        assert regrets(record, LOSSES)[0].tolist() == [0.0, 0.0, reached - 1.0]


@pytest.mark.parametrize("unknown", [None, [None, 0.5]])
def test_without_q_values_there_is_no_regret_to_compute(unknown):
    history = {"layer": [1, 2], "q_values": [[0.0, 1.0], unknown], "tie_map": [[0, 1, 0], [0, 1, 1]]}
    with pytest.raises(ValueError, match="truth-smoke-dynamic-seed0 has decisions without Q-values"):
        regrets(made_up(history=history), LOSSES)


# --- what a search sees ---


def test_what_was_seen_in_a_search_by_hand():
    history = {"loss": [4.0, 2.0, 3.0, 1.0, 1.5], "tie_map": [list(A), list(B), list(A), list(B), list(C)]}
    record = made_up(history=history)
    assert seen_in_search(record) == {A: 3.5, B: 1.5, C: 1.5}
    # the means of up to three around: 3, 3, 2, 11/6, 5/4
    assert seen_in_search(record, window=3) == {
        A: pytest.approx((1 + 1) / 2),
        B: pytest.approx((-1 - 5 / 6) / 2),
        C: pytest.approx(1 / 4),
    }
    assert seen_in_search(record, window=1) == {A: 0, B: 0, C: 0}


def test_what_was_seen_agrees_or_not():
    seen = {A: 1.0, B: 2.0, C: 30.0, TieMap([0, 0, 2]): -5.0}
    assert rank_correlation(seen, {A: 0.1, B: 0.2, C: 0.3}) == pytest.approx(1)
    assert rank_correlation(seen, {A: 3, B: 2, C: 1, TieMap([0, 1, 0]): 9}) == pytest.approx(-1)
    # ranks 1, 2, 3 against 1, 3, 2: 1 - 6 (0 + 1 + 1) / (3 · 8)
    assert rank_correlation(seen, {C: 5.0, A: 4.0, B: 6.0}) == pytest.approx(0.5)


@pytest.mark.parametrize("losses", [{}, {A: 1.0, B: 2.0}, {A: 1.0, B: 2.0, TieMap([0, 1, 0]): 3.0}])
def test_fewer_than_three_maps_have_no_rank_correlation(losses):
    with pytest.raises(ValueError, match=rf"only {len(losses.keys() & {A, B, C})} maps in common"):
        rank_correlation({A: 1.0, B: 2.0, C: 3.0}, losses)


# --- a world that is a table ---


def table(n_layer: int, seed: int = 0) -> dict[TieMap, float]:
    """Losses between 0.5 and 2.5 nats per token, far enough apart."""
    maps = list(all_maps(n_layer))
    losses = np.linspace(0.5, 2.5, len(maps))
    return dict(zip(maps, np.random.default_rng(seed).permutation(losses).tolist(), strict=True))


def walk(learner: TableLearner, agent, turns: int) -> RunRecord:
    """The agent in the world of that table, with what a record needs of it."""
    env, n_layer = LayerTyingEnv(learner, steps_per_action=2), len(learner.tie_map)
    history = {name: [] for name in ("layer", "reward", "loss", "tie_map", "q_values")}
    for _ in range(turns):
        for layer in range(1, n_layer):
            state = env.tie_map
            action, q_values = agent.act(state, layer), agent.q_values(state, layer)
            _, reward, _, _, info = env.step(action)
            agent.learn(state, layer, action, reward, env.tie_map)
            values = (layer, reward, info["loss"], list(env.tie_map), q_values.tolist())
            for name, value in zip(history, values, strict=True):
                history[name].append(value)
        agent.end_episode()
    record = made_up(history=history)
    record.experiment["n_layer"] = n_layer
    return record


def test_the_reward_is_minus_the_perplexity_of_the_table():
    losses = table(4)
    env = LayerTyingEnv(TableLearner(losses), steps_per_action=3)
    assert env.tie_map == TieMap.all_tied(4)
    for action in (1, 2, 0, 0, 1, 3):
        layer, before = env.layer, env.tie_map
        observation, reward, ended, _, info = env.step(action)
        expected = before.with_action(layer, action)
        assert TieMap(observation["tie_map"].tolist()) == env.learner.tie_map == expected
        assert reward == pytest.approx(-math.exp(losses[expected]))
        assert info["loss"] == losses[expected]
        assert info["train_loss"] == pytest.approx(losses[expected])
        assert ended == (layer == 3)


def test_a_table_without_noise_is_seen_as_it_is():
    losses = table(4)
    record = walk(TableLearner(losses), RandomAgent(4, seed=0), 60)
    seen = seen_in_search(record)
    assert len(seen) > 10
    assert seen == pytest.approx({tie_map: losses[tie_map] for tie_map in seen})
    assert rank_correlation(seen, losses) == pytest.approx(1)


def test_the_noise_of_a_table_is_as_large_as_stated_and_the_seeds():
    losses = table(3)
    draws = [[TableLearner(losses, noise=0.3, seed=seed).probe(0) for _ in range(2)] for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    learner = TableLearner(losses, noise=0.3)
    learner.tie(B)
    found = np.array([learner.probe(i) for i in range(4000)]) - losses[B]
    assert abs(found.mean()) < 4 * 0.3 / math.sqrt(4000)
    assert found.std() == pytest.approx(0.3, rel=0.05)
    assert learner.train(3) == [losses[B]] * 3, "what is trained on has none"


def test_a_trend_hides_the_order_of_maps_until_it_is_taken_out():
    losses = table(4)
    record = walk(TableLearner(losses, trend=lambda decision: -0.5 * decision), RandomAgent(4, seed=0), 40)
    still = walk(TableLearner(losses), RandomAgent(4, seed=0), 40)
    by_hand = [loss - 0.5 * decision for decision, loss in enumerate(still.history["loss"])]
    assert record.history["loss"] == pytest.approx(by_hand)
    hidden = rank_correlation(seen_in_search(record), losses)
    shown = rank_correlation(seen_in_search(record, window=9), losses)
    assert hidden < 0.5 < shown


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_on_a_still_table_without_noise_the_agent_finds_better_maps_than_chance(seed):
    losses = table(4, seed)
    agent = QAgent(4, gamma=0.0, learning_rate=5e-3, epsilon_decay=0.97, epsilon_min=0.0, seed=seed)
    learned = walk(TableLearner(losses), agent, 250)
    chance = walk(TableLearner(losses), RandomAgent(4, seed=seed), 250)
    last = 3 * 30
    assert fmean(learned.history["loss"][-last:]) < fmean(chance.history["loss"]) - 0.3
    ours, average = (values[-last:].mean() for values in regrets(learned, losses))
    assert ours < 0.5 * average, "it also says so itself"


# --- what the agent believed, and how alike it decides ---


def test_the_scales_of_belief_and_reward():
    history = {"q_values": [[0.5, -2.0], [1.0, 0.0, 1.5]], "reward": [-30.0, -7.0]}
    assert q_scale(RunRecord({}, "dynamic", 0, {}, history=history)) == (2.0, 7.0, 30.0)


def decided(seed, actions, explored=(False, False, False, True), layers=(1, 2, 3, 1), maps=None):
    """A run of a Q-agent with these decisions; all layers tied all the time, unless `maps` says otherwise."""
    maps = [[0, 0, 0, 0]] * len(layers) if maps is None else maps
    history = {"layer": list(layers), "action": list(actions), "explored": list(explored), "tie_map": maps}
    agent = {"class": "QAgent", "hidden": 16, "seed": seed}
    return made_up(seed=seed, agent=agent, history=history)


def test_what_an_untaught_network_chooses_is_what_the_agent_would_before_it_learns():
    agent = QAgent(4, hidden=16, epsilon=0.0, seed=7)
    maps = [[0, 1, 0, 0], [0, 1, 2, 0], [0, 1, 2, 1], [0, 0, 2, 1]]
    states = [[0, 0, 0, 0], *maps[:-1]]
    choices = [agent.act(state, layer) for state, layer in zip(states, (1, 2, 3, 1), strict=True)]
    assert untaught_choices(decided(7, (0,) * 4, maps=maps)) == choices
    assert untaught_choices(decided(7, (1, 1, 2, 0), (True,) * 4, maps=maps)) == choices, "whatever the run chose"
    assert {tuple(untaught_choices(decided(seed, (0,) * 4, maps=maps))) for seed in range(9)} != {tuple(choices)}
    other = dataclasses.replace(decided(7, (0,) * 4), agent={"class": "RandomAgent", "seed": 7})
    with pytest.raises(ValueError, match="no Q-network of the paper's kind, its agent is RandomAgent"):
        untaught_choices(other)


def test_a_recorded_runs_first_q_values_are_the_untaught_networks():
    """So the null is about the network that the run really began with."""
    record = RunRecord.load(findings.COMMITTED / "agents-embedded-laptop-dynamic-seed3.json")
    (first, *_), q_values = untaught_choices(record), record.history["q_values"]
    assert first == int(np.argmax(q_values[0]))
    agent = QAgent(6, hidden=record.agent["hidden"], seed=record.agent["seed"])
    assert agent.q_values([0] * 6, 1) == pytest.approx(q_values[0], rel=1e-4)


def test_decisions_that_two_experiments_share_by_hand():
    first, second = decided(0, (0, 1, 2, 1)), decided(0, (0, 2, 2, 1), (False, False, True, True))
    # of the first pair, decisions 0 and 1 count: one is the same; in the same states all untaught choices are
    assert shared_decisions([first, second]) == (2, 1, 2)
    assert shared_decisions([first, decided(1, (0, 1, 2, 1)), decided(0, (0,), (False,), (1,))]) is None  # no pair
    assert shared_decisions([first, first, second]) == (3 + 2 + 2, 3 + 1 + 1, 3 + 2 + 2)
    assert shared_decisions([first, decided(0, (0, 1, 2, 1), (True,) * 4)]) is None
    assert shared_decisions([first, RunRecord({}, "conventional", 0, {})]) is None


def test_the_null_is_counted_in_the_states_that_each_run_was_in():
    maps = [[0, 1, 2, 3], [0, 1, 2, 3], [0, 0, 2, 3], [0, 0, 0, 3]]
    for seed in range(20):
        here, there = decided(seed, (0, 1, 2, 1)), decided(seed, (0, 1, 2, 1), maps=maps)
        ours, theirs = untaught_choices(here), untaught_choices(there)
        expected = sum(a == b for a, b in zip(ours[:3], theirs[:3], strict=True))
        assert shared_decisions([here, there]) == (3, 3, expected)
        if expected < 3:
            return
    pytest.fail("no seed whose network chooses otherwise in another state")


# --- optimistic initial values ---


def test_what_was_tried_least_is_counted_by_hand():
    history = {"layer": [1, 1, 1, 1, 2, 2], "action": [0, 0, 1, 1, 2, 2], "explored": [True] + [False] * 5}
    # layer 1: after [1, 0] action 0 is not the least tried, 1 is after [2, 0], and after [2, 1] too; layer 2: all of
    # three are, then of [0, 0, 1] one of two others would be
    assert least_tried(history) == (5, 3, pytest.approx(1 / 2 + 1 / 2 + 1 / 2 + 1 + 2 / 3))


class TableOfQ:
    """Q-learning without a network: one number for each action of a layer, whatever the state."""

    def __init__(self, start: float) -> None:
        self.q = np.full((4, 4), start)

    def act(self, state, layer):
        return int(np.argmax(self.q[layer, : layer + 1]))

    def learn(self, state, layer, action, reward, next_state):
        self.q[layer, action] += 0.1 * (reward - self.q[layer, action])


@pytest.mark.parametrize(("start", "least"), [(0.0, 300), (-20.0, 3)])
def test_where_q_starts_above_all_rewards_what_was_tried_least_looks_best(start, least):
    """Optimistic initial values: with the reward -10, which is what clipping leaves, a table that begins at 0 always
    takes what it tried least, and one that begins below it stays with what it took first."""
    history, agent = {name: [] for name in ("layer", "action", "explored")}, TableOfQ(start)
    for n in range(300):
        layer = 1 + n % 3
        action = agent.act(None, layer)
        agent.learn(None, layer, action, -10.0, None)
        for name, value in zip(history, (layer, action, False), strict=True):
            history[name].append(value)
    greedy, found, chance = least_tried(history)
    assert (greedy, found) == (300, least)
    assert (found > chance) == (start == 0)


def test_chance_leaves_on_average_what_the_sum_of_1_over_i_plus_1_says():
    probability = independent_by_chance(48)
    assert probability.sum() == pytest.approx(1)
    assert probability @ np.arange(49) == pytest.approx(expected_independent(48))
    assert independent_by_chance(2) == pytest.approx([0, 0.5, 0.5])
