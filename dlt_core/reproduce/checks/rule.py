"""Checks of the exercises to notebook 15: the gain of a map, the best map, how many rewards a test needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from dlt_core.reproduce.checks.common import NotYet, ask, ask_number, near, passed, require
from dlt_core.studies.rule.gain import best_maps
from dlt_core.studies.rule.gain import gain as right_gain
from dlt_core.tie_map import TieMap, all_maps

Groups = Sequence[Sequence[int]]


def some_gradients(n_layer: int, seed: int = 0) -> torch.Tensor:
    """Made-up gradients of n_layer uses of 40 weights, shape (n_layer, 40)."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n_layer, 40)).astype(np.float32))


def check_gain(gain: Callable[[torch.Tensor, Groups], float]) -> None:
    """gain(gradients, groups): how far a step of Adam lowers the loss, over the learning rate."""
    fight = torch.tensor([[1.0, -2.0], [-3.0, 1.0]])
    found = ask_number(gain, fight, [(0, 1)])
    require(not near(found, 7), "Two layers that share get the *sum* of their gradients. Add the rows first.")
    require(not near(found, -3), "A gradient below 0 moves its weight, too. Take the absolute values.")
    require(not near(found, math.sqrt(5)), "That is the length. Adam moves every weight as far: add absolute values.")
    require(not near(found, 5), "Those are squares, as plain gradient descent has them. Adam: the absolute values.")
    require(near(found, 3), f"For {fight.tolist()} and one weight set you gave {found:g}. By hand: |1 - 3| + |-2 + 1|.")
    for n_layer, groups in ((3, [(0, 2), (1,)]), (4, [(0,), (1,), (2,), (3,)]), (5, [(0, 1, 2, 3, 4)])):
        gradients = some_gradients(n_layer)
        found, right = ask_number(gain, gradients, groups), right_gain(gradients, groups)
        require(near(found, right, 1e-4), f"For the groups {groups} you gave {found:g}; it is {right:g}.")
    passed("It is never larger than that of independent layers: a sum can cancel, but not grow beyond its parts.")


def check_choose(choose: Callable[[torch.Tensor], Sequence[int]]) -> None:
    """choose(gradients): the entries of the map with two weight sets and the largest gain."""
    for n_layer, seed in ((2, 0), (4, 1), (5, 2), (6, 3)):
        gradients = some_gradients(n_layer, seed)
        given = ask(choose, gradients)
        try:
            tie_map = TieMap([int(source) for source in given])
        except (TypeError, ValueError) as error:
            raise NotYet(f"You gave {given!r}, which is no tie map: {error}") from None
        right = best_maps(gradients, 2, 1)[0]
        require(len(tie_map) == n_layer, f"You gave a map of {len(tie_map)} layers; there are {n_layer}.")
        sets = tie_map.num_independent
        require(sets == 2, f"Your map has {sets} weight sets. With as many sets as layers nothing is lost, or saved.")
        least = min((m for m in all_maps(n_layer, 2)), key=lambda m: right_gain(gradients, m.groups))
        require(n_layer == 2 or tie_map != least, "That map has the *smallest* gain.")
        require(tie_map == right[0], f"{list(tie_map)} is not the best of {n_layer} layers: {list(right[0])} has more.")
    passed("For 48 layers there are 140,737,488,355,327 maps of two sets: there the package merges step by step.")


def check_rewards_needed(rewards_needed: Callable[[float, float], float]) -> None:
    """rewards_needed(signal, noise): rewards of each of two actions that a test needs."""
    for signal, noise in ((1.0, 1.0), (0.002, 0.19), (0.0044, 0.0038)):
        found, right = ask_number(rewards_needed, signal, noise), 7.84 * (noise / signal) ** 2
        require(
            not near(found, 7.84 * noise / signal) or near(noise, signal),
            "Twice the noise needs four times as many: the standard error falls with the *root* of the number.",
        )
        require(not near(found, 7.84 * (signal / noise) ** 2) or near(noise, signal), "More noise, more rewards.")
        require(
            near(found, right, 0.01), f"For signal {signal} and noise {noise} you gave {found:g}; it is {right:.3g}."
        )
    passed("Halve the noise and you need a quarter. That is why asking on the same minibatch is worth so much.")
