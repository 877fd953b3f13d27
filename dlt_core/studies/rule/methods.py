"""The rule as methods of a comparison: look once, then go on, or begin again with the map that was found.

`gradient-2` trains all layers tied for WARM_UP steps, looks at the gradients, unties once and goes on;
`gradient-2-restart` does the same and then begins again with that map; without a number the rule says itself how many
weight sets are worth having. Beside them stand methods from elsewhere that choose a map without reinforcement, and one
that unties without choosing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlt_core.algorithm1 import train_conventional
from dlt_core.experiments import Experiment, build_learner, load_data
from dlt_core.studies.rule import peers
from dlt_core.studies.rule.gain import (
    MINIBATCHES,
    balanced,
    best_maps,
    gain,
    gain_by_sets,
    tensor_sizes,
    use_gradients,
    worth_having,
)
from dlt_core.studies.rule.looks import Seen, put_back, train_with_looks
from dlt_core.tie_map import TieMap

if TYPE_CHECKING:
    from dlt_core.corpora.tokenization import TokenizedCorpus
    from dlt_core.learner.training import Learner
    from dlt_core.records.record import RunRecord

WARM_UP = 60  # steps with all layers tied
UNSHARE_AT = 0.1  # share of the training that `share_unshare` trains all layers tied

COMPARED, LOOKED_AT = 8, 3  # minibatches that candidates are compared on; how many of them are looked at closely
SCREEN, AHEAD = 15, 60  # optimiser steps of each candidate; of the best of them
FORKS = (4, 8, 16)  # decisions before which `fork_commit_freeze` looks; after the last no tie moves


def look_at_gradients(
    learner: Learner,
    num_groups: int | None = None,
    *,
    minibatches: int = MINIBATCHES,
    norm: str = "l1",
    per_tensor: bool = False,
) -> Seen:
    """The map that loses least by sharing, seen from where the learner is; it is untied afterwards.

    num_groups: weight sets; None: as many as are worth having. norm: see `gain.NORMS`. per_tensor: each tensor of a
    block has the same say, see `gain.balanced`.
    """
    n_layer = len(learner.tie_map)
    gradients = use_gradients(learner, minibatches)
    if per_tensor:
        gradients = balanced(gradients, tensor_sizes(learner), norm=norm)
    by_sets = gain_by_sets(gradients, norm=norm)
    num_groups = worth_having(by_sets) if num_groups is None else num_groups
    independent = gain(gradients, TieMap.independent(n_layer).groups, norm=norm)
    best = best_maps(gradients, num_groups, norm=norm)
    why = {
        "gain_by_sets": [float(f"{value:.4g}") for value in by_sets],
        "gains": [{"tie_map": list(m), "gain": float(f"{g / independent:.4g}")} for m, g in best],
    }  # gains as shares of that of independent layers
    return Seen(best[0][0], passes=minibatches, why=why)


def choose_map(
    learner: Learner,
    num_groups: int | None = None,
    *,
    warm_up: int = WARM_UP,
    minibatches: int = MINIBATCHES,
    norm: str = "l1",
    per_tensor: bool = False,
) -> tuple[TieMap, dict[str, Any]]:
    """The map that loses least by sharing, seen after `warm_up` steps with all layers tied; and what a record says of
    it: {"agent": ..., "budget": ...}. The learner has been used up afterwards. The others: see `look_at_gradients`."""
    learner.tie(TieMap.all_tied(len(learner.tie_map)))
    if warm_up:
        learner.train(warm_up)
    seen = look_at_gradients(learner, num_groups, minibatches=minibatches, norm=norm, per_tensor=per_tensor)
    agent = {**settings(num_groups, warm_up, minibatches, norm, per_tensor), **seen.why}
    return seen.tie_map, {"agent": agent, "budget": {"search_steps": warm_up, "search_passes": minibatches}}


def settings(
    num_groups: int | None,
    warm_up: int = WARM_UP,
    minibatches: int = MINIBATCHES,
    norm: str = "l1",
    per_tensor: bool = False,
) -> dict[str, Any]:
    """What a record says of how the rule decides."""
    rule = {"warm_up": warm_up, "minibatches": minibatches, "norm": norm} | ({"per_tensor": True} if per_tensor else {})
    return {"class": "gradient_rule", "num_groups": num_groups, **rule}


def train_restarted(
    experiment: Experiment,
    *,
    num_groups: int | None,
    chosen_by: Callable[..., tuple[TieMap, dict[str, Any]]] = choose_map,
    data: TokenizedCorpus | None = None,
    **options: Any,
) -> RunRecord:
    """`train_conventional` from the seed's weights with the map that `chosen_by(learner, num_groups)` finds for them,
    never moved. The steps of the search come on top; the record's budget says how many."""
    data = data or load_data(experiment)
    tie_map, found = chosen_by(build_learner(experiment, data), num_groups)
    return train_conventional(experiment, tie_map=tie_map, chosen_by=found, data=data, **options)


def train_on(
    experiment: Experiment,
    *,
    num_groups: int | None,
    warm_up: int | None = None,
    minibatches: int = MINIBATCHES,
    norm: str = "l1",
    per_tensor: bool = False,
    **options: Any,
) -> RunRecord:
    """All layers tied for `warm_up` steps, WARM_UP if not given (up to a decision, at most half of the training), one
    look, and on with the map found: no step is lost. The others: see `look_at_gradients`."""
    warm_up = WARM_UP if warm_up is None else warm_up
    after = min(math.ceil(warm_up / experiment.steps_per_action), experiment.episodes * (experiment.n_layer - 1) // 2)
    how: dict[str, Any] = {"minibatches": minibatches, "norm": norm, "per_tensor": per_tensor}
    look = functools.partial(look_at_gradients, num_groups=num_groups, **how)
    agent = settings(num_groups, after * experiment.steps_per_action, **how)
    return train_with_looks(experiment, {after: look}, agent=agent, **options)


def train_shared_then_unshared(experiment: Experiment, **options: Any) -> RunRecord:
    """All layers tied at first, then all of them independent (Yang et al. 2021, arXiv 2110.03848). When to untie is
    left open there; here it is after UNSHARE_AT of the training."""
    after = max(1, round(UNSHARE_AT * experiment.episodes * (experiment.n_layer - 1)))

    def untie(learner: Learner) -> Seen:
        return Seen(TieMap.independent(len(learner.tie_map)))

    return train_with_looks(
        experiment, {after: untie}, agent={"class": "share_unshare", "unshare_at": UNSHARE_AT}, **options
    )


def fork(learner: Learner) -> Seen:
    """Of all maps one action away, the best after a race: each trained SCREEN steps from here on the same batches, the
    best LOOKED_AT of them AHEAD steps, and compared on the same minibatches; to stay as it is takes part."""
    before = learner.tie_map
    layers = range(1, len(before))
    maps = list(dict.fromkeys([before, *(before.with_action(i, a) for i in layers for a in range(i + 1))]))

    screened = race(learner, maps, SCREEN)
    ahead = race(learner, sorted(screened, key=screened.__getitem__)[:LOOKED_AT], AHEAD)
    why = {
        name: [{"tie_map": list(m), "loss": float(f"{loss:.7g}")} for m, loss in losses.items()]
        for name, losses in (("screened", screened), ("looked_ahead", ahead))
    }
    return Seen(min(ahead, key=ahead.__getitem__), steps=SCREEN * len(screened) + AHEAD * len(ahead), why=why)


def race(learner: Learner, maps: list[TieMap], steps: int) -> dict[TieMap, float]:
    """map -> mean loss on COMPARED minibatches, each map trained `steps` steps from here on the same batches."""
    losses = {}
    with put_back(learner) as back:
        for tie_map in maps:
            back()
            learner.tie(tie_map)
            learner.train(steps)
            losses[tie_map] = sum(learner.probe(i) for i in range(COMPARED)) / COMPARED
    return losses


def train_forking(experiment: Experiment, **options: Any) -> RunRecord:
    """Few decisions, each prepared by trials, see `fork`, then none any more."""
    agent = {
        "class": "fork_commit_freeze",
        "decisions": list(FORKS),
        "screen": SCREEN,
        "ahead": AHEAD,
        "looked_at": LOOKED_AT,
        "minibatches": COMPARED,
    }
    return train_with_looks(experiment, dict.fromkeys(FORKS, fork), agent=agent, **options)


CHOSEN_BY = {"gradient": choose_map, "weights": peers.by_weights, "cka": peers.by_activations}
