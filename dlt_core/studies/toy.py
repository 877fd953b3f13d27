"""The toy of notebook 02, but for the lesson itself: what several seeds of an agent did, and the exact answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from dlt_core.agents import QAgent
from dlt_core.env import BASELINE_RATE, REWARDS
from dlt_core.records.statistics import mean_interval, plus_minus
from dlt_core.studies.seeds import welch
from dlt_core.studies.tables import markdown_table
from dlt_core.tie_map import TieMap


@dataclass(frozen=True)
class Played:
    """What some seeds of one agent did. paths, actions: a list for each seed, with the map after each decision and its
    action. agents: as they are afterwards. perplexity: of a map."""

    paths: list[list[TieMap]]
    actions: list[list[int]]
    agents: list[Any]
    perplexity: Callable[[TieMap], float]

    @property
    def per_turn(self) -> int:
        return len(self.paths[0][0]) - 1

    @property
    def perplexities(self) -> np.ndarray:
        """Mean toy perplexity of each turn, shape (seeds, turns)."""
        values = np.array([[self.perplexity(m) for m in path] for path in self.paths], dtype=float)
        return values.reshape(len(values), -1, self.per_turn).mean(axis=2)

    @property
    def late(self) -> list[float]:
        """Mean toy perplexity of the last quarter of the turns, for each seed."""
        values = self.perplexities
        return [float(v) for v in values[:, -max(1, values.shape[1] // 4) :].mean(axis=1)]

    @property
    def repeats(self) -> float:
        """Share of the decisions in the last quarter that repeat what the layer chose in the turn before."""
        actions = np.array(self.actions).reshape(len(self.actions), -1, self.per_turn)
        last = actions[:, -max(2, actions.shape[1] // 4) :]
        return float((last[:, 1:] == last[:, :-1]).mean())

    def places(self, ranking: Sequence[TieMap]) -> np.ndarray:
        """Share of the decisions in the last quarter at each map, shape (seeds, maps)."""
        late = [path[-len(path) // 4 :] for path in self.paths]
        return np.array([[path.count(m) / len(path) for m in ranking] for path in late])

    def __str__(self) -> str:
        return plus_minus(*mean_interval(self.late), 2)


class WatchedAgent(QAgent):
    """QAgent that keeps the largest Q of each decision, before it learns from it, in `seen`."""

    def learn(self, state: Any, layer: int, *step: Any) -> float:
        self.seen = [*getattr(self, "seen", []), float(self.q_values(state, layer).max())]
        return super().learn(state, layer, *step)


class LogImprovement:
    """The core's reward of that name with the running mean that its environment keeps, for a loss(map, decision) in
    nats. Decision 0 begins anew."""

    def __init__(self, loss: Callable[[TieMap, int], float]) -> None:
        self.loss, self.baseline = loss, 0.0

    def __call__(self, s: TieMap, n: int) -> float:
        loss = self.loss(s, n)
        self.baseline = self.baseline if n else loss
        reward = REWARDS["log_improvement"](loss, self.baseline)
        self.baseline += BASELINE_RATE * (loss - self.baseline)
        return reward


def exact_q(
    rewards: Mapping[TieMap, float], *, same_layer: bool, gamma: float = 0.99, sweeps: int = 1500
) -> dict[tuple[TieMap, int], np.ndarray]:
    """(map, layer) -> Q of each action: the fixed point of Q(s, a) = r(s') + γ max_a' Q(s', a'), a' of the same layer
    or of the next one in turn. rewards: of every map."""
    last = len(next(iter(rewards))) - 1
    q = {(m, i): np.zeros(i + 1) for m in rewards for i in range(1, last + 1)}
    after = {(m, i): [m.with_action(i, a) for a in range(i + 1)] for m, i in q}
    for _ in range(sweeps):
        best = {key: row.max() for key, row in q.items()}
        for (m, i), following in after.items():
            j = i if same_layer else i % last + 1
            q[m, i] = np.array([rewards[s] + gamma * best[s, j] for s in following])
    return q


def verdict(ours: Played, theirs: Played, name: str = "random") -> str:
    """What the 95 % interval of the difference of two means allows to say; of perplexity less is better."""
    mean, half = welch(ours.late, theirs.late)
    if abs(mean) <= half:
        low, high = (100 * (mean + end) / fmean(theirs.late) for end in (-half, half))
        return f"not told apart from {name}: perplexity {low:+.0f} to {high:+.0f} %"
    return f"better than {name}" if mean < 0 else f"worse than {name}"


def table(rows: Mapping[str, Played], baseline: Played, ends: Mapping[str, str] | None = None) -> str:
    """A Markdown table with a line for each agent. ends: where it ends without exploring, if that is to be shown."""
    return markdown_table(
        [
            {
                "agent": name,
                "toy perplexity, last quarter": str(played),
                "repeats its action": f"{played.repeats:.0%}",
                **({} if ends is None else {"without exploring it ends on the best map": ends.get(name, "")}),
                "compared with the random agent": "" if played is baseline else verdict(played, baseline),
            }
            for name, played in rows.items()
        ]
    )


def _half_of_deviation(counts: np.ndarray) -> float:
    """Half of the 95 % interval of a standard deviation, for many values that lie about normally."""
    return 1.96 * float(counts.std(ddof=1)) / math.sqrt(2 * len(counts))


def same_as_derived(counts: np.ndarray, n_layer: int) -> dict[str, Any]:
    """A row: mean and standard deviation of the number of independent layers, derived and simulated. Raises
    AssertionError where the means are more than four standard errors apart."""
    p = 1 / np.arange(1, n_layer + 1)
    mean, sd = float(p.sum()), math.sqrt(float((p * (1 - p)).sum()))
    assert abs(counts.mean() - mean) < 4 * sd / math.sqrt(len(counts)), "the simulation is not what was derived"
    half = mean_interval(counts.tolist())[1]
    return {
        "L": n_layer,
        "mean, derived": f"{mean:.2f}",
        "mean, simulated": plus_minus(float(counts.mean()), half, 2),
        "standard deviation, derived": f"{sd:.2f}",
        "simulated": plus_minus(float(counts.std(ddof=1)), _half_of_deviation(counts), 2),
    }
