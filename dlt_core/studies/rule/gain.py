"""What sharing costs, seen in the gradients: the gain of a tie map, and the map that has most of it.

Under Adam a weight set moves each weight by about the learning rate, so a step lowers the loss, to first order, by the
learning rate times the sum over weight sets of the l1 norm of their gradient; under plain gradient descent by the
learning rate times that of the squared l2 norm. The gradient of a weight set is the sum of those of its uses. What
cancels in that sum is what sharing costs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from scipy.special import stirling2

from dlt_core.blocks import find_blocks
from dlt_core.learner import parallel
from dlt_core.tie_map import TieMap, all_maps

if TYPE_CHECKING:
    from dlt_core.learner.training import Learner

MINIBATCHES = 16  # that the gradients are averaged over
ALL_MAPS = 5_000  # as many maps are all looked at; of more layers or weight sets the best is found greedily
VALUES_AT_ONCE = {"cpu": 2**22, "cuda": 2**28}  # sums of gradients that are there at a time
NORMS = ("l1", "l2_squared")  # of Adam; of plain gradient descent
WORTH = 0.25  # a weight set more must bring so much of what untying all of them would, see `worth_having`

Groups = Sequence[Sequence[int]]


def gain(gradients: torch.Tensor, groups: Groups, *, norm: str = "l1") -> float:
    """Sum over the groups of the norm of the sum of their layers' gradients; gradients (L, P), a row for each layer's
    use. norm: one of NORMS. Raises ValueError for another."""
    return sum(norms(gradients, groups, norm=norm))


def norms(gradients: torch.Tensor, groups: Groups, *, norm: str = "l1") -> list[float]:
    """|| sum_{i in group} g_i || for each group, in chunks of one product (groups, L) @ (L, P)."""
    if norm not in NORMS:
        raise ValueError(f"unknown norm {norm!r}; known: {', '.join(NORMS)}")
    chosen = torch.zeros(len(groups), len(gradients), device=gradients.device)
    for row, group in zip(chosen, groups, strict=True):
        row[list(group)] = 1
    chunk = max(1, VALUES_AT_ONCE.get(gradients.device.type, 2**22) // len(groups))
    sums = (chosen @ part for part in gradients.split(chunk, dim=1))
    parts = [(of.abs_() if norm == "l1" else of.square_()).sum(1) for of in sums]
    return torch.stack(parts).double().sum(0).tolist()


def best_maps(
    gradients: torch.Tensor, num_groups: int, top: int = 5, *, norm: str = "l1"
) -> list[tuple[TieMap, float]]:
    """The maps with `num_groups` weight sets and the largest gain, best first: of all maps where they are at most
    ALL_MAPS, otherwise the one that is found by merging, time and again, the two groups that lose least by it.

    Raises ValueError for an impossible number of weight sets.
    """
    n_layer = len(gradients)
    if not 1 <= num_groups <= n_layer:
        raise ValueError(f"num_groups must be between 1 and n_layer={n_layer}, got {num_groups}")
    if _few_enough(n_layer, num_groups):
        maps = list(all_maps(n_layer, num_groups))
        groups = list(dict.fromkeys(group for tie_map in maps for group in tie_map.groups))
        of = dict(zip(groups, norms(gradients, groups, norm=norm), strict=True))
        gains = [(tie_map, sum(of[group] for group in tie_map.groups)) for tie_map in maps]
        return sorted(gains, key=lambda pair: -pair[1])[:top]
    return [_merged(gradients, norm)[n_layer - num_groups]]


def _few_enough(n_layer: int, num_groups: int) -> bool:
    """Whether the maps with so many weight sets can all be looked at."""
    return int(stirling2(n_layer, num_groups, exact=True)) <= ALL_MAPS


def _merged(gradients: torch.Tensor, norm: str) -> list[tuple[TieMap, float]]:
    """Maps with L, L - 1, ..., 1 weight sets and their gains, each made from the one before by merging the two groups
    that lose least by it."""
    n_layer = len(gradients)
    merged: list[tuple[int, ...]] = [(i,) for i in range(n_layer)]
    of = dict(zip(merged, norms(gradients, merged, norm=norm), strict=True))
    found = [(TieMap.independent(n_layer), sum(of.values()))]
    while len(merged) > 1:
        pairs = {pair: tuple(sorted(pair[0] + pair[1])) for pair in itertools.combinations(merged, 2)}
        if missing := [group for group in pairs.values() if group not in of]:
            of |= dict(zip(missing, norms(gradients, missing, norm=norm), strict=True))
        a, b = min(pairs, key=lambda pair: of[pair[0]] + of[pair[1]] - of[pairs[pair]])
        merged = [group for group in merged if group not in (a, b)] + [pairs[a, b]]
        labels = {layer: number for number, group in enumerate(merged) for layer in group}
        found.append((TieMap.from_labels(labels[i] for i in range(n_layer)), sum(of[group] for group in merged)))
    return found


def gain_by_sets(gradients: torch.Tensor, *, norm: str = "l1") -> list[float]:
    """The largest gain of the maps with 1, 2, ..., L weight sets, as shares of that of independent layers."""
    path: list[tuple[TieMap, float]] = []
    best = []
    for sets in range(1, len(gradients) + 1):
        if _few_enough(len(gradients), sets):
            best.append(best_maps(gradients, sets, 1, norm=norm)[0][1])
        else:
            path = path or _merged(gradients, norm)
            best.append(path[len(gradients) - sets][1])
    return [value / best[-1] for value in best]


def worth_having(by_sets: Sequence[float]) -> int:
    """How many weight sets are worth having, by the fall of the gain: another set is, as long as it brings at least
    WORTH of what untying all layers would bring. by_sets: see `gain_by_sets`.

    The rule was stated before it was tried on anything but the six layers it was seen on.
    """
    whole = by_sets[-1] - by_sets[0]
    sets = 1
    while sets < len(by_sets) and whole > 0 and by_sets[sets] - by_sets[sets - 1] >= WORTH * whole:
        sets += 1
    return sets


def use_gradients(learner: Learner, minibatches: int = MINIBATCHES, *, first: int = 0) -> torch.Tensor:
    """The loss's mean gradient with respect to each *use* of the blocks' weights, shape (L, P), in fp32, over
    minibatches of the training text in the order of `learner.probe`, from number `first` on, dropout off.

    Leaves the learner untied, with copies of the same values, and without gradients; no step is taken.
    """
    learner.tie(TieMap.independent(len(learner.tie_map)))
    learner.optimizer.zero_grad(set_to_none=True)
    for index in range(first, first + minibatches):
        learner.probe_gradient(index)
    parallel.average_gradients(learner.model.parameters())
    blocks = find_blocks(learner.model)
    size = sum(p.numel() for p in blocks[0].parameters() if p.grad is not None)
    rows = torch.empty(len(blocks), size, device=next(blocks[0].parameters()).device)
    for row, block in zip(rows, blocks, strict=True):  # a block's gradient goes as soon as it is copied
        row.copy_(torch.cat([p.grad.float().flatten() for p in block.parameters() if p.grad is not None]))
        for parameter in block.parameters():
            parameter.grad = None
    learner.optimizer.zero_grad(set_to_none=True)
    return rows.div_(minibatches)


def tensor_sizes(learner: Learner) -> list[int]:
    """How many of a block's P values each of its tensors has, in the order of `use_gradients`."""
    return [p.numel() for p in find_blocks(learner.model)[0].parameters()]


def balanced(gradients: torch.Tensor, sizes: Sequence[int], *, norm: str = "l1") -> torch.Tensor:
    """Gradients (L, P) scaled tensor by tensor, so that each tensor of a block has the same say in `gain`: untied, each
    comes to 1. Without it a tensor counts by its size and its gradient. sizes: of the tensors, P together."""
    parts = []
    for part in gradients.split(list(sizes), dim=1):
        alone = gain(part, [(i,) for i in range(len(part))], norm=norm)
        parts.append(part / (alone if norm == "l1" else alone**0.5) if alone else part)
    return torch.cat(parts, dim=1)


def cosines(gradients: torch.Tensor) -> torch.Tensor:
    """Cosine between the layers' gradients, shape (L, L): 1 where two agree, below 0 where they fight."""
    rows = torch.nn.functional.normalize(gradients.double(), dim=1)
    return rows @ rows.T
