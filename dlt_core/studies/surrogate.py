"""A surrogate of the world: the losses of tie maps out of a table, and no transformer. Tens of thousands of decisions a
second instead of a few, for writing an agent before it is let loose on `LayerTyingEnv`.

What is lost: each map shows its effect at once, whatever was trained before it, and the layers never diverge. How far
that is from recorded runs the surrogate says itself, in its `error`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np

from dlt_core import CHECKOUT
from dlt_core.env import LayerTyingEnv
from dlt_core.experiments import Experiment
from dlt_core.learner.training import Learner
from dlt_core.records.record import RunRecord
from dlt_core.studies.diagnosis import TableLearner, rank_correlation
from dlt_core.tie_map import TieMap, all_maps

# Settings that change what is decided and what is said of it, but not what a sequence of maps does to the losses.
OF_THE_AGENT = {
    "name", "preset_name", "seed", "device", "reward", "price", "gamma", "q_learning_rate", "q_hidden", "epsilon",
    "epsilon_decay", "epsilon_min", "freeze_after", "evaluate_every",
}  # fmt: skip
DEGREE = 3  # of the polynomial in log(1 + decision) that the trend of training is
FITTED_ON = 0.6  # share of the seeds that predict the others, for the error


@dataclass(frozen=True)
class Error:
    """How far a surrogate is from recorded runs. All of it is of seeds that were held out of the fit."""

    rms: float
    """Root mean square of predicted minus recorded loss after each decision, nats per token."""
    rms_of_trend: float
    """The same for the trend of training alone, as if all maps were one: most of both is a minibatch's noise."""
    rank_correlation: float
    """Spearman's, over maps: the surrogate's losses and the test losses from scratch; NaN for fewer than 3 maps."""
    maps: int
    """So many maps are known from scratch with both kinds of seeds, which is what it is over."""
    runs: int
    """So many runs were held out."""


class SurrogateTyingEnv(LayerTyingEnv):
    """`LayerTyingEnv` over a table: same observations, actions, masks, rewards and turns, and `reset` begins anew with
    a seed, of the noise, and goes on without.

    losses: nats per token for each map. noise: standard deviation of what a minibatch adds. trend: what is added to the
    loss after so many decisions, in place of training; after its end its last value. move: what is added after a
    decision that has moved a layer. error: see `Error`, None where there are no records to know it from. Others: as in
    `LayerTyingEnv`. Since the last `reset(seed=...)`: `maps`, the map after each decision, and `invalid_actions`.
    """

    def __init__(
        self,
        losses: Mapping[TieMap, float],
        *,
        noise: float = 0.0,
        trend: Sequence[float] = (),
        move: float = 0.0,
        error: Error | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        self.losses, self.error = losses, error
        learner = _MovedLearner(
            losses, noise=noise, trend=lambda n: trend[min(n, len(trend) - 1)] if trend else 0.0, seed=seed
        )
        learner.move = move
        self.maps: list[TieMap] = []
        self.invalid_actions = 0
        super().__init__(cast(Learner, learner), steps_per_action=1, **settings)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        if seed is not None:
            self.maps, self.invalid_actions = [], 0
        return super().reset(seed=seed, options=options)

    def step(self, action: int | np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        seen, reward, terminated, truncated, info = super().step(action)
        self.maps.append(self.tie_map)
        self.invalid_actions += info["invalid_action"]
        return seen, reward, terminated, truncated, info


class _MovedLearner(TableLearner):
    """A table in which it costs `move` nats to tie otherwise than before, once."""

    move = 0.0
    moved = False

    def tie(self, tie_map: TieMap) -> None:
        self.moved = tie_map != self.tie_map
        super().tie(tie_map)

    def probe(self, index: int) -> float:
        loss = super().probe(index) + self.move * self.moved
        self.moved = False
        return loss


@dataclass(frozen=True)
class Fit:
    """What of recorded runs a surrogate is made of: the arguments of `SurrogateTyingEnv`."""

    losses: Mapping[TieMap, float]
    trend: list[float]
    move: float
    noise: float

    def predicted(self, run: RunRecord) -> np.ndarray:
        """The loss after each decision of a run, (decisions,), without noise."""
        maps, moved = _visited(run)
        return np.array([self.losses[m] + self.move * moves for m, moves in zip(maps, moved, strict=True)]) + self.trend


class _OfPairs(dict[TieMap, float]):
    """The losses of all maps of a fit, each worked out when it is asked for: there are millions of twelve layers."""

    def __init__(self, n_layer: int, level: float, weights: np.ndarray) -> None:
        super().__init__()
        self.level, self.weights = level, weights
        self[TieMap.all_tied(n_layer)]  # the first entry says how many layers there are

    def __missing__(self, tie_map: TieMap) -> float:
        self[tie_map] = self.level + float(self.weights @ _pairs(tie_map))
        return self[tie_map]


def fit(runs: Sequence[RunRecord], table: Mapping[TieMap, float] | None = None) -> Fit:
    """Least squares of the losses after each decision of `runs`: a polynomial in log(1 + decision), `move` for each
    decision that moved a layer, and the maps' losses: those of `table`, or without one a weight for each pair of layers
    that are tied to each other."""
    n_layer = runs[0].experiment["n_layer"]
    visited = [_visited(run) for run in runs]
    decisions = len(visited[0][0])
    powers = np.log1p(np.arange(decisions))[:, None] ** np.arange(DEGREE + 1)
    of_trend = np.tile(powers, (len(runs), 1))
    moved = np.concatenate([moves for _, moves in visited])[:, None]
    losses = np.concatenate([run.history["loss"] for run in runs])
    maps = [tie_map for of_run, _ in visited for tie_map in of_run]
    if table is None:
        columns = np.hstack([of_trend, moved, np.array([_pairs(m) for m in maps])])
    else:
        columns, losses = np.hstack([of_trend, moved]), losses - [table[m] for m in maps]
    weights, _, rank, _ = np.linalg.lstsq(columns, losses, rcond=None)
    noise = math.sqrt(float(((losses - columns @ weights) ** 2).sum()) / max(1, len(losses) - int(rank)))
    trend = powers @ weights[: DEGREE + 1]
    if table is None:
        level, trend = float(trend[-1]), trend - trend[-1]
        table = _OfPairs(n_layer, level, weights[DEGREE + 2 :])
    return Fit(table, trend.tolist(), float(weights[DEGREE + 1]), noise)


def surrogate(records: Sequence[RunRecord], experiment: Experiment, **settings: Any) -> SurrogateTyingEnv:
    """The surrogate of an experiment, from those of `records` that differ from it in the agent alone.

    Where each of its maps was trained from scratch, as in study `truth`, the table is their mean test losses;
    otherwise it is fitted to the losses that runs have seen, see `fit`. settings: of `SurrogateTyingEnv`, instead of
    what was found, such as noise=0.0 or trend=().
    Raises ValueError where fewer than two seeds have runs that decided.
    """
    wanted = _what_trains(experiment.to_dict())
    alike = [
        run
        for run in records
        if run.status == "finished" and "released_code" not in run.agent and _what_trains(run.experiment) == wanted
    ]
    seeds = sorted({run.seed for run in _decided(alike)})
    if len(seeds) < 2:
        raise ValueError(
            f"a surrogate of {experiment.name} at preset {experiment.preset_name} needs recorded runs of at least two "
            f"seeds that decided, with these settings, and there are {len(seeds)}: name a folder that has them "
            "(records=...), or give a table of losses to SurrogateTyingEnv"
        )
    kept = seeds[: max(1, int(FITTED_ON * len(seeds)))]
    on, held = ([run for run in alike if (run.seed in kept) == which] for which in (True, False))
    known = _from_scratch(on)
    in_full = all(tie_map in known for tie_map in all_maps(experiment.n_layer))
    found, tried = (fit(_decided(of), _from_scratch(of) if in_full else None) for of in (alike, on))
    truth = _from_scratch(held)
    error = Error(
        rms=_rms(tried, _decided(held)),
        rms_of_trend=_rms(fit(_decided(on), defaultdict(float)), _decided(held)),
        rank_correlation=rank_correlation({m: tried.losses[m] for m in truth}, truth) if len(truth) > 2 else math.nan,
        maps=len(truth),
        runs=len(_decided(held)),
    )
    given = {name: getattr(experiment, name) for name in ("reward", "price", "orphans", "seed")}
    given["start"] = "tied" if experiment.init_from is None else "independent"
    return SurrogateTyingEnv(**{**vars(found), "error": error, **given, **settings})


def make_env(
    experiment: str = "truth",
    preset: str = "laptop",
    *,
    records: str | os.PathLike[str] = CHECKOUT / "figures" / "records",
    render_mode: str | None = None,
    **overrides: Any,
) -> SurrogateTyingEnv:
    """What gymnasium.make("dlt_core/SurrogateTying-v0", ...) calls: `surrogate` of the records in a folder.

    overrides: fields of the experiment such as reward="log_improvement", and noise, trend and move of the surrogate.
    Raises ValueError as `Experiment.preset` and `surrogate`.
    """
    of_surrogate = {name: overrides.pop(name) for name in ("noise", "trend", "move") if name in overrides}
    chosen = Experiment.preset(experiment, preset, **overrides)
    runs = [RunRecord.load(path) for path in sorted(Path(records).glob(f"{experiment}-{preset}-*.json"))]
    return surrogate(runs, chosen, render_mode=render_mode, **of_surrogate)


def _what_trains(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without the agent's; those that an older record does not know have their default."""
    defaults = {field.name: field.default for field in dataclasses.fields(Experiment)}
    given = defaults | dict(settings)
    return {name: given[name] for name in defaults.keys() - OF_THE_AGENT}


def _decided(runs: Sequence[RunRecord]) -> list[RunRecord]:
    return [run for run in runs if run.history.get("loss")]


def _from_scratch(runs: Sequence[RunRecord]) -> dict[TieMap, float]:
    """map -> mean test loss (nats per token) of the runs that never moved it."""
    losses: dict[TieMap, list[float]] = {}
    for run in runs:
        if run.agent.get("class") != "static":
            continue
        ties = run.required(run.final_tie_map)
        if len(ties) == run.experiment["n_layer"]:  # `shallow` has another depth
            losses.setdefault(TieMap(ties), []).append(math.log(run.required(run.test)["perplexity"]))
    return {tie_map: fmean(values) for tie_map, values in losses.items()}


def _visited(run: RunRecord) -> tuple[list[TieMap], list[bool]]:
    """The map after each decision of a run, and whether it is another than before."""
    maps = [TieMap(ties) for ties in run.history["tie_map"]]
    before = [TieMap(run.first_ties(len(maps[0]))), *maps[:-1]]
    return maps, [now != then for now, then in zip(maps, before, strict=True)]


def _pairs(tie_map: TieMap) -> np.ndarray:
    """[L (L - 1) / 2]: 1 for each pair of layers that are tied to each other, otherwise 0."""
    return np.array([float(a == b) for a, b in itertools.combinations(tie_map, 2)])


def _rms(of: Fit, runs: Sequence[RunRecord]) -> float:
    off = [of.predicted(run) - run.history["loss"] for run in runs]
    return float(np.sqrt(np.mean(np.square(off))))
