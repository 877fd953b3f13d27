"""Untie where the gradients disagree: a rule that chooses a map from a look at the gradients. It is not in the paper.

Under Adam a weight set moves each weight by about the learning rate, so a step lowers the loss, to first order, by the
learning rate times the sum over weight sets of the l1 norm of their gradient, and the gradient of a weight set is the
sum of those of its uses. What cancels in that sum is what sharing costs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from dlt_core.algorithm1 import train_conventional
from dlt_core.blocks import find_blocks
from dlt_core.experiments import Experiment, build_learner, load_data
from dlt_core.tie_map import TieMap, all_maps

if TYPE_CHECKING:
    from dlt_core.corpora.tokenization import TokenizedCorpus
    from dlt_core.learner import Learner
    from dlt_core.records.record import RunRecord

WARM_UP, MINIBATCHES = 60, 16  # steps with all layers tied; minibatches that the gradients are averaged over
ALL_MAPS = 5_000  # as many maps are all looked at; of more layers or weight sets the best is found greedily
VALUES_AT_ONCE = {"cpu": 2**22, "cuda": 2**28}  # sums of gradients that are there at a time

Groups = Sequence[Sequence[int]]


def gain(gradients: torch.Tensor, groups: Groups) -> float:
    """Sum over the groups of || sum of their layers' gradients ||_1; gradients (L, P), a row for each layer's use."""
    return sum(norms(gradients, groups))


def norms(gradients: torch.Tensor, groups: Groups) -> list[float]:
    """|| sum_{i in group} g_i ||_1 for each group, in chunks of one product (groups, L) @ (L, P)."""
    chosen = torch.zeros(len(groups), len(gradients), device=gradients.device)
    for row, group in zip(chosen, groups, strict=True):
        row[list(group)] = 1
    chunk = max(1, VALUES_AT_ONCE.get(gradients.device.type, 2**22) // len(groups))
    parts = [(chosen @ part).abs_().sum(1) for part in gradients.split(chunk, dim=1)]
    return torch.stack(parts).double().sum(0).tolist()


def best_maps(gradients: torch.Tensor, num_groups: int, top: int = 5) -> list[tuple[TieMap, float]]:
    """The maps with `num_groups` weight sets and the largest gain, best first: of all maps where they are at most
    ALL_MAPS, otherwise the one that is found by merging, time and again, the two groups that lose least by it.

    Raises ValueError for an impossible number of weight sets.
    """
    n_layer = len(gradients)
    if not 1 <= num_groups <= n_layer:
        raise ValueError(f"num_groups must be between 1 and n_layer={n_layer}, got {num_groups}")
    maps = list(itertools.islice(all_maps(n_layer, num_groups), ALL_MAPS + 1))
    if len(maps) <= ALL_MAPS:
        groups = list(dict.fromkeys(group for tie_map in maps for group in tie_map.groups))
        norm = dict(zip(groups, norms(gradients, groups), strict=True))
        gains = [(tie_map, sum(norm[group] for group in tie_map.groups)) for tie_map in maps]
        return sorted(gains, key=lambda pair: -pair[1])[:top]
    merged: list[tuple[int, ...]] = [(i,) for i in range(n_layer)]
    norm = dict(zip(merged, norms(gradients, merged), strict=True))
    while len(merged) > num_groups:
        pairs = {pair: tuple(sorted(pair[0] + pair[1])) for pair in itertools.combinations(merged, 2)}
        if missing := [group for group in pairs.values() if group not in norm]:
            norm |= dict(zip(missing, norms(gradients, missing), strict=True))
        a, b = min(pairs, key=lambda pair: norm[pair[0]] + norm[pair[1]] - norm[pairs[pair]])
        merged = [group for group in merged if group not in (a, b)] + [pairs[a, b]]
    labels = {layer: number for number, group in enumerate(merged) for layer in group}
    merged_map = TieMap.from_labels(labels[i] for i in range(n_layer))
    return [(merged_map, gain(gradients, merged_map.groups))]


def use_gradients(learner: Learner, minibatches: int = MINIBATCHES) -> torch.Tensor:
    """The loss's mean gradient with respect to each *use* of the blocks' weights, shape (L, P), in fp32, over
    minibatches of the training text in the order of `learner.probe`, dropout off.

    Leaves the learner untied, with copies of the same values, and without gradients; no step is taken.
    """
    learner.tie(TieMap.independent(len(learner.tie_map)))
    learner.optimizer.zero_grad(set_to_none=True)
    for index in range(minibatches):
        learner.probe_gradient(index)
    blocks = find_blocks(learner.model)
    rows = [torch.cat([p.grad.float().flatten() for p in b.parameters() if p.grad is not None]) for b in blocks]
    learner.optimizer.zero_grad(set_to_none=True)
    return torch.stack(rows) / minibatches


def choose_map(
    learner: Learner, num_groups: int, *, warm_up: int = WARM_UP, minibatches: int = MINIBATCHES
) -> tuple[TieMap, dict[str, Any]]:
    """The map with `num_groups` weight sets that loses least by sharing, seen after `warm_up` steps with all layers
    tied; and what a record says of it: {"agent": ..., "budget": ...}. The learner has been used up afterwards."""
    n_layer = len(learner.tie_map)
    learner.tie(TieMap.all_tied(n_layer))
    learner.train(warm_up)
    gradients = use_gradients(learner, minibatches)
    independent = gain(gradients, TieMap.independent(n_layer).groups)
    best = best_maps(gradients, num_groups)
    agent = {
        "class": "gradient_rule",
        "num_groups": num_groups,
        "warm_up": warm_up,
        "minibatches": minibatches,
        "gain_all_tied": float(f"{gain(gradients, TieMap.all_tied(n_layer).groups) / independent:.4g}"),
        "gains": [{"tie_map": list(m), "gain": float(f"{g / independent:.4g}")} for m, g in best],
    }  # gains as shares of that of independent layers
    return best[0][0], {"agent": agent, "budget": {"search_steps": warm_up, "search_passes": minibatches}}


def train_restarted(
    experiment: Experiment, *, num_groups: int, data: TokenizedCorpus | None = None, **options: Any
) -> RunRecord:
    """`train_conventional` from the seed's weights with the map that `choose_map` finds for them, never moved. The
    steps of the search come on top; the record's budget says how many."""
    data = data or load_data(experiment)
    tie_map, chosen_by = choose_map(build_learner(experiment, data), num_groups)
    return train_conventional(experiment, tie_map=tie_map, chosen_by=chosen_by, data=data, **options)
