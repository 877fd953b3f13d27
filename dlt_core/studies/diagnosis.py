"""Does the agent learn? What its rewards tell, against what is true, where the truth can be computed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch
from scipy import stats

from dlt_core.agents import QAgent, q_slice
from dlt_core.learner.training import Learner
from dlt_core.records.record import RunRecord
from dlt_core.tie_map import TieMap


def losses_after_actions(
    learner: Learner, layer: int, *, steps: int, minibatches: int, actions: Sequence[int] | None = None
) -> np.ndarray:
    """What each action on a layer would lead to: nats per token, shape (actions, minibatches).

    actions: all layer + 1 by default. Two of them can lead to one map, and then to equal losses.

    From the learner's present state each action is tried in turn: tie, train `steps` steps on the batches that come
    next, and evaluate on the same reward minibatches, without dropout. At the end the learner is as it was.
    """
    before, state = learner.tie_map, learner.state_dict()
    actions = range(layer + 1) if actions is None else actions
    losses = np.empty((len(actions), minibatches))
    for row, action in enumerate(actions):
        learner.load_state_dict(state)
        learner.tie(before.with_action(layer, action))
        learner.train(steps)
        losses[row] = [learner.probe(index) for index in range(minibatches)]
    learner.load_state_dict(state)
    return losses


@dataclass(frozen=True)
class Signal:
    """Signal and noise of a reward, in the unit of the losses.

    signal: standard deviation of the actions' means. noise: of one action's losses over the minibatches. samples: how
    many rewards of *each* of two actions a test needs that finds their typical difference, √2 signal, four times out of
    five and errs once in twenty: (1.96 + 0.84)² (noise / signal)²; infinite where there is no signal.
    """

    signal: float
    noise: float
    samples: float


def signal_to_noise(losses: np.ndarray, *, paired: bool = False) -> Signal:
    """Of the losses (actions, minibatches) of `losses_after_actions`.

    All actions were tried on the same minibatches, so how hard a minibatch is does not blur the signal; what remains
    of the noise in the means is taken off. For the agent, which sees another minibatch each time, it is noise.
    paired: it is not, since what is compared is asked on one minibatch (common random numbers), so that a test needs
    so many pairs.
    Raises ValueError for fewer than two actions or minibatches.
    """
    if losses.ndim != 2 or min(losses.shape) < 2:
        raise ValueError(f"losses of at least two actions on two minibatches are needed, got shape {losses.shape}")
    actions, minibatches = losses.shape
    rest = losses - losses.mean(axis=0) - losses.mean(axis=1, keepdims=True) + losses.mean()
    of_rest = (rest**2).sum() / ((actions - 1) * (minibatches - 1))  # variance
    noise = math.sqrt(of_rest if paired else losses.var(axis=1, ddof=1).mean())
    of_means = of_rest / minibatches
    signal = math.sqrt(max(0.0, losses.mean(axis=1).var(ddof=1) - of_means))
    power = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    return Signal(signal, noise, (power * noise / signal) ** 2 if signal else math.inf)


def is_truth(record: RunRecord, preset: str = "laptop", study: str = "truth") -> bool:
    """Whether this is a run of the study "truth", or "truth-bert", with its preset's own settings."""
    return (record.experiment["name"], record.experiment["preset"], record.changes) == (study, preset, "")


def truth(records: Sequence[RunRecord]) -> dict[TieMap, list[float]]:
    """map -> test loss (nats per token) of its runs from scratch, the "map-..." methods, in the order of seeds."""
    losses: dict[TieMap, list[float]] = {}
    for record in sorted(records, key=lambda r: r.seed):
        if record.method.startswith("map-"):
            tie_map, test = TieMap(record.required(record.final_tie_map)), record.required(record.test)
            losses.setdefault(tie_map, []).append(math.log(test["perplexity"]))
    return losses


def true_losses(records: Sequence[RunRecord], preset: str = "laptop", study: str = "truth") -> dict[TieMap, float]:
    """The `truth` of all records of a study with its preset's own settings, means over the seeds; empty without any."""
    runs = [record for record in records if is_truth(record, preset, study)]
    return {tie_map: fmean(losses) for tie_map, losses in truth(runs).items()}


def regrets(
    record: RunRecord, losses: Mapping[TieMap, float], *, always_untie: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """For each decision how much worse than the best action's the map is that Q prefers, and how much worse the
    average action's: two arrays of shape (decisions,), in the unit of `losses`.

    What is compared is what the Q-values would choose, also where the run explored. always_untie: the action that
    unties the layer in place of Q's. Raises ValueError for a run without Q-values.
    """
    orphans = record.experiment["orphans"]
    state, ours, average = TieMap(record.first_ties(record.experiment["n_layer"])), [], []
    for layer, q_values, after in zip(*(record.history[n] for n in ("layer", "q_values", "tie_map")), strict=True):
        if q_values is None or None in q_values:
            raise ValueError(f"{record.key} has decisions without Q-values")
        reached = [losses[state.with_action(layer, a, orphans=orphans)] for a in range(layer + 1)]
        ours.append(reached[layer if always_untie else int(np.argmax(q_values))] - min(reached))
        average.append(fmean(reached) - min(reached))
        state = TieMap(after)
    return np.array(ours), np.array(average)


def seen_in_search(record: RunRecord, *, window: int | None = None) -> dict[TieMap, float]:
    """map -> mean loss of the reward minibatches (nats per token) while the run had it.

    window: take out the trend of training first: from each loss its mean over so many decisions around it, an odd
        number.
    """
    losses = np.array(record.history["loss"])
    if window is not None:
        half = window // 2
        losses = losses - [losses[max(0, i - half) : i + half + 1].mean() for i in range(len(losses))]
    seen: dict[TieMap, list[float]] = {}
    for tie_map, loss in zip(map(TieMap, record.history["tie_map"]), losses, strict=True):
        seen.setdefault(tie_map, []).append(float(loss))
    return {tie_map: fmean(values) for tie_map, values in seen.items()}


def rank_correlation(seen: Mapping[TieMap, float], losses: Mapping[TieMap, float]) -> float:
    """Spearman's correlation of what a search saw of the maps with their true losses: 1 if it orders them rightly, 0 if
    it says nothing. Raises ValueError for fewer than three maps in common."""
    common = [tie_map for tie_map in seen if tie_map in losses]
    if len(common) < 3:
        raise ValueError(f"only {len(common)} maps in common: a rank correlation needs three")
    return float(stats.spearmanr([seen[m] for m in common], [losses[m] for m in common]).statistic)


class TableLearner:
    """A learner that trains nothing: the loss of its map is read from a table.

    Put into `LayerTyingEnv` in place of a transformer it makes a world in which nothing hinders the agent but what we
    choose. losses: nats per token for each map. noise: standard deviation of what a minibatch adds. trend: what is
    added to the loss after so many decisions, in place of training.
    """

    def __init__(
        self,
        losses: Mapping[TieMap, float],
        *,
        noise: float = 0.0,
        trend: Callable[[int], float] = lambda decision: 0.0,
        seed: int = 0,
    ) -> None:
        self.losses = losses
        self.noise = noise
        self.trend = trend
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """From the start, independent until `tie` is called, with other noise."""
        self.rng = np.random.default_rng(seed)
        self.tie_map = TieMap.independent(len(next(iter(self.losses))))

    def tie(self, tie_map: TieMap) -> None:
        self.tie_map = tie_map

    def train(self, steps: int) -> list[float]:
        """The loss of the present map, `steps` times."""
        return [self.losses[self.tie_map]] * steps

    def state_dict(self) -> dict[str, Any]:
        return {"tie_map": self.tie_map, "rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.tie_map, self.rng.bit_generator.state = state["tie_map"], state["rng"]

    def probe(self, index: int) -> float:
        """The loss of the present map with noise and trend; index: the number of the decision."""
        return self.losses[self.tie_map] + self.trend(index) + self.noise * float(self.rng.normal())


def q_scale(record: RunRecord) -> tuple[float, float, float]:
    """The largest |Q| that the run's agent saw, and the smallest and largest |reward| that it got."""
    rewards = [abs(reward) for reward in record.history["reward"]]
    seen = [abs(q) for values in record.history["q_values"] for q in values or () if q is not None and q == q]
    return max(seen, default=0.0), min(rewards), max(rewards)


def untaught_choices(record: RunRecord) -> list[int]:
    """What the run's Q-network would have chosen at each decision, had it learned nothing: as it was at the start, in
    the states that the run was in. Raises ValueError for a run of another agent than the paper's."""
    if record.agent.get("class") != "QAgent":
        raise ValueError(f"{record.key} has no Q-network of the paper's kind, its agent is {record.agent.get('class')}")
    n_layer = len(record.history["tie_map"][0])
    agent = QAgent(n_layer, hidden=record.agent["hidden"], seed=record.agent["seed"])
    states = [record.first_ties(n_layer), *record.history["tie_map"][:-1]]
    layers = record.history["layer"]
    with torch.no_grad():
        values = agent.q_network(torch.tensor(states, dtype=torch.float32)).numpy()
    return [int(np.argmax(of[q_slice(layer)])) for of, layer in zip(values, layers, strict=True)]


def shared_decisions(runs: Iterable[RunRecord]) -> tuple[int, int, int] | None:
    """How alike an agent decides in different experiments: of the decisions that neither run of a pair made at random,
    how many there are, how many are the same, and how many would be the same had neither learned anything.

    That last number is the null. Runs of one seed begin with one Q-network and explore by the same random numbers, so
    they are in like states, and even networks without any learning agree in more than one of i + 1 choices.

    Pairs are runs of one seed with as many layers and decisions; runs without decisions have none. None if nothing
    remains.
    """
    total, same, untaught = 0, 0, 0
    decided = [(run, untaught_choices(run)) for run in runs if run.history.get("layer")]
    for (one, ours), (other, theirs) in itertools.combinations(decided, 2):
        if one.seed != other.seed or one.history["layer"] != other.history["layer"]:
            continue
        columns = (run.history[name] for name in ("explored", "action") for run in (one, other))
        for *explored, action, another, first, second in zip(*columns, ours, theirs, strict=True):
            if not any(explored):
                total, same, untaught = total + 1, same + (action == another), untaught + (first == second)
    return (total, same, untaught) if total else None


def least_tried(history: Mapping[str, Sequence[Any]]) -> tuple[int, int, float]:
    """Does what was tried least look best? Of the decisions that were not made at random: how many there are, how many
    took an action that the layer had tried least until then, and how many would by chance, one action being as good as
    another. history: of a record, or any with its `layer`, `action` and `explored`.

    That is what *optimistic initial values* do: where all rewards are below the values that Q starts with, whatever is
    tried looks worse afterwards than what was not.
    """
    tried: dict[int, list[int]] = {}
    greedy, least, chance = 0, 0, 0.0
    for layer, action, explored in zip(history["layer"], history["action"], history["explored"], strict=True):
        counts = tried.setdefault(layer, [0] * (layer + 1))
        if not explored:
            greedy, least = greedy + 1, least + (counts[action] == min(counts))
            chance += counts.count(min(counts)) / len(counts)
        counts[action] += 1
    return greedy, least, chance


def independent_by_chance(n_layer: int) -> np.ndarray:
    """The probability of 0, 1, ..., n_layer independent layers after a turn whose actions are all alike likely: layer i
    is independent in one of i + 1 cases."""
    probability = np.array([1.0])
    for layer in range(n_layer):
        probability = np.convolve(probability, [layer / (layer + 1), 1 / (layer + 1)])
    return probability
