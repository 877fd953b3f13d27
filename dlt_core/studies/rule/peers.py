"""What others would tie by: layers that are alike after a short training of their own.

All layers are trained independently for WARM_UP steps; the two groups of layers that are most alike are merged, time
and again (average linkage), until so many are left. Alike in their weights, by the cosine; or in what they compute, by
the linear centred kernel alignment of their outputs (CKA, Kornblith et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from dlt_core.blocks import find_blocks
from dlt_core.tie_map import TieMap

if TYPE_CHECKING:
    from dlt_core.learner.training import Learner

WARM_UP, MINIBATCHES = 60, 4  # optimiser steps with all layers independent; minibatches whose outputs are compared


def merged(similarity: np.ndarray, num_groups: int) -> TieMap:
    """The map whose groups are most alike; similarity (L, L), symmetric, at most 1.

    Raises ValueError for an impossible number of weight sets.
    """
    n_layer = len(similarity)
    if not 1 <= num_groups <= n_layer:
        raise ValueError(f"num_groups must be between 1 and n_layer={n_layer}, got {num_groups}")
    distances = squareform(1 - similarity, checks=False)
    return TieMap.from_labels(fcluster(linkage(distances, "average"), num_groups, criterion="maxclust").tolist())


def weight_similarity(learner: Learner) -> np.ndarray:
    """Cosine between the layers' weights, shape (L, L); without vectors such as biases and gains, which begin equal."""
    with torch.no_grad():
        rows = [torch.cat([p.flatten() for p in b.parameters() if p.ndim > 1]) for b in find_blocks(learner.model)]
        unit = torch.nn.functional.normalize(torch.stack(rows).double(), dim=1)
        return (unit @ unit.T).cpu().numpy()


def activation_similarity(learner: Learner, minibatches: int = MINIBATCHES) -> np.ndarray:
    """Linear CKA between what the layers add to the residual stream, shape (L, L), on minibatches of the training text.

    What they add, not what they pass on: outputs of neighbouring layers are alike since most of them is one stream.
    """
    added: list[list[torch.Tensor]] = [[] for _ in find_blocks(learner.model)]

    def keep(layer: int) -> Callable[..., None]:
        def hook(_: torch.nn.Module, given: tuple[Any, ...], output: Any) -> None:
            out = output[0] if isinstance(output, tuple) else output
            added[layer].append((out - given[0]).detach().flatten(0, 1).double().cpu())

        return hook

    hooks = [block.register_forward_hook(keep(i)) for i, block in enumerate(find_blocks(learner.model))]
    try:
        for index in range(minibatches):
            learner.probe(index)
    finally:
        for handle in hooks:
            handle.remove()
    centred = [torch.cat(parts) - torch.cat(parts).mean(0) for parts in added]
    own = [torch.linalg.matrix_norm(x.T @ x) for x in centred]
    pairs = [
        [float(torch.linalg.matrix_norm(x.T @ y) ** 2 / (a * b)) for y, b in zip(centred, own, strict=True)]
        for x, a in zip(centred, own, strict=True)
    ]
    return np.array(pairs)


def _by(name: str, similarity: Callable[[Learner], np.ndarray]) -> Callable[..., tuple[TieMap, dict[str, Any]]]:
    def choose(learner: Learner, num_groups: int) -> tuple[TieMap, dict[str, Any]]:
        learner.tie(TieMap.independent(len(learner.tie_map)))
        learner.train(WARM_UP)
        found = similarity(learner)
        agent = {
            "class": name,
            "num_groups": num_groups,
            "warm_up": WARM_UP,
            "similarity": [[float(f"{value:.4g}") for value in row] for row in found.tolist()],
        }
        return merged(found, num_groups), {"agent": agent, "budget": {"search_steps": WARM_UP}}

    return choose


by_weights = _by("weight_similarity", weight_similarity)
by_activations = _by("activation_similarity", activation_similarity)
