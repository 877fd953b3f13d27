"""The state s of Dynamic Layer Tying: which layer shares whose weights.

A `TieMap` is an immutable value. Pure Python, no torch: everything here can be followed with pencil and paper.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, SupportsIndex

ORPHANS = ("follow", "promote")
# Eight colours for weight sets with a contrast of at least 3 to 1 with a white page and with dark ones, which
# colour-blind readers can tell apart as well as Okabe and Ito's, of which two are these: blue, vermillion, green, pink,
# brown, sage, azure, grey. The grey, whose contrast with white and with near black is the same, is that of words, too.
COLOURS = ("#0072B2", "#D55E00", "#2D704D", "#C276AC", "#8D540F", "#839163", "#0087E6", "#797979")
RAMP = tuple(COLOURS[i] for i in (0, 2, 5, 1, 3))  # what colours of more than eight layers lie between
PATTERNS = ("sequence", "cycle", "cycle_rev", "sandwich", "pairs", "mirror")


def as_layer_index(value: SupportsIndex, what: str) -> int:
    """Return `value` as an int; ValueError naming `what` for anything that is not a whole number."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # accepts numpy integers, refuses floats and strings
    except (TypeError, RuntimeError):  # the latter by a tensor on the device "meta"
        raise ValueError(f"{what} must be an int, got {in_short(value)}") from None


def in_short(value: object) -> str:
    """The value for an error message: one line, not too long."""
    try:
        line = " ".join(repr(value).split())
    except ValueError:  # an int of thousands of digits has no repr
        return f"a very large {type(value).__name__}"
    return line if len(line) <= 80 else f"{line[:77]}..."


@dataclass(frozen=True, slots=True, repr=False)
class TieMap:
    """The state s: `sources[i] = j <= i` says that layer i uses the weights of layer j; j = i is "independent".

    Canonical: `sources[sources[i]] == sources[i]`, so that each group of layers goes by its lowest index and two
    maps share weights in the same way exactly when they are equal. Source: abstract of the paper and its example
    [0, 0, 2, 2, 2].

    Raises ValueError, naming the layer, if a source is negative, larger than its layer, not an int, or itself tied, and
    for anything that is no sequence of sources.

    >>> TieMap([0, 0, 2, 0]).with_action(3, 2)
    TieMap([0, 0, 2, 2])
    """

    sources: Sequence[int]

    def __post_init__(self) -> None:
        given: Any = self.sources
        try:
            listed = None if isinstance(given, (Set, Mapping)) else list(given)
        except TypeError:  # not iterable
            listed = None
        if listed is None:
            raise ValueError(f"a TieMap needs a sequence with a source for each layer, got {in_short(given)}")
        sources = tuple(as_layer_index(j, f"source of layer {i}") for i, j in enumerate(listed))
        if not sources:
            raise ValueError("a TieMap needs at least one layer (layer 0), got an empty sequence")
        for i, j in enumerate(sources):
            if j < 0:
                raise ValueError(f"layer {i} has the negative source {in_short(j)}")
            if j > i:
                raise ValueError(
                    f"layer {i} has source {in_short(j)}: a layer can only be tied to itself or an earlier one"
                )
            if sources[j] != j:
                raise ValueError(
                    f"layer {i} has source {j}, which is itself tied to layer {sources[j]}: not canonical, "
                    f"write {sources[j]}"
                )
        object.__setattr__(self, "sources", sources)

    @classmethod
    def all_tied(cls, n_layer: int) -> TieMap:
        """One weight set for all `n_layer` layers: the paper's starting state (s = 0)."""
        return cls((0,) * as_layer_index(n_layer, "n_layer"))

    @classmethod
    def independent(cls, n_layer: int) -> TieMap:
        """A weight set for each of the `n_layer` layers: the conventional transformer."""
        return cls(range(as_layer_index(n_layer, "n_layer")))

    @classmethod
    def from_labels(cls, labels: Iterable[Hashable]) -> TieMap:
        """The map in which layers with equal labels share weights: `from_labels("abac")` is `TieMap([0, 1, 0, 3])`.

        Raises ValueError, naming the layer, for a label that cannot be hashed, such as a list."""
        try:
            listed = list(labels)
        except TypeError:  # not iterable
            raise ValueError(f"a TieMap needs a label for each layer, got {in_short(labels)}") from None
        first: dict[Hashable, int] = {}
        for i, label in enumerate(listed):
            try:
                first.setdefault(label, i)
            except TypeError:
                raise ValueError(f"label of layer {i} must be hashable, got {in_short(label)}") from None
        return cls([first[label] for label in listed])

    @classmethod
    def pattern(cls, name: str, n_layer: int, num_groups: int | None = None) -> TieMap:
        """A fixed pattern from the literature with `num_groups` weight sets over `n_layer` layers.

        `sequence`, `cycle`, `cycle_rev`: Takase and Kiyono, "Lessons on Parameter Sharing across Layers".
        `sandwich`: Subformer; the middle is shared, the outer `num_groups - 1` layers are not (at the bottom first).
        `pairs`, `mirror`: the ablations in the authors' released code. These two have ceil(n_layer / 2) groups;
        `num_groups` may be left out for them. Raises ValueError for an unknown name or an impossible number.
        """
        if name not in PATTERNS:
            raise ValueError(f"unknown pattern {name!r}; known: {', '.join(PATTERNS)}")
        n_layer = as_layer_index(n_layer, "n_layer")
        halves = math.ceil(n_layer / 2)
        if name in ("pairs", "mirror"):
            num_groups = halves if num_groups is None else num_groups
            if num_groups != halves:
                raise ValueError(f"{name} over {n_layer} layers always has {halves} groups, got {num_groups}")
        if num_groups is None:
            raise ValueError(f"pattern {name!r} needs num_groups")
        num_groups = as_layer_index(num_groups, "num_groups")
        if not 1 <= num_groups <= n_layer:
            raise ValueError(f"num_groups must be between 1 and n_layer={n_layer}, got {num_groups}")

        bottom = math.ceil((num_groups - 1) / 2)  # sandwich: independent layers below the shared middle ...
        top = num_groups - 1 - bottom  # ... and above it
        last_turn = num_groups * (math.ceil(n_layer / num_groups) - 1)  # cycle_rev: where the mirrored turn starts

        def group(i: int) -> int:
            if name == "sequence":
                return i * num_groups // n_layer
            if name == "cycle":
                return i % num_groups
            if name == "cycle_rev":
                return i % num_groups if i < last_turn else num_groups - 1 - i % num_groups
            if name == "sandwich":
                return bottom if bottom <= i < n_layer - top else i
            if name == "pairs":
                return i // 2
            return min(i, n_layer - 1 - i)  # mirror

        return cls.from_labels(map(group, range(n_layer)))

    def with_action(self, layer: int, action: int, *, orphans: str = "follow") -> TieMap:
        """The paper's transition for action a on layer i: s'_i = i if a = i, otherwise s'_i = s_a.

        A tie to a tied layer lands on its root. When a root is tied away, the layers that used its weights either
        `follow` it to the new root (our reading of s'_i = s'_{a_i}) or are `promote`d: they stay together under
        their own lowest index. Raises ValueError for an action that layer i does not have (it has 0..i).
        """
        layer = as_layer_index(layer, "layer")
        action = as_layer_index(action, f"action of layer {in_short(layer)}")
        if orphans not in ORPHANS:
            raise ValueError(f"unknown orphans {orphans!r}; known: {', '.join(ORPHANS)}")
        if not 0 <= layer < len(self):
            raise ValueError(f"layer {in_short(layer)} does not exist: this map has layers 0..{len(self) - 1}")
        if not 0 <= action <= layer:
            raise ValueError(f"layer {layer} has the actions 0..{layer}, got {in_short(action)}")
        sources = list(self.sources)
        sources[layer] = layer if action == layer else self.sources[action]
        orphaned = [i for i, j in enumerate(self.sources) if j == layer and i != layer] if action != layer else []
        for i in orphaned:
            sources[i] = sources[layer] if orphans == "follow" else orphaned[0]
        return TieMap(sources)

    @property
    def num_independent(self) -> int:
        """Number of independent layers (s_i = i), which is the number of weight sets."""
        return sum(i == j for i, j in enumerate(self.sources))

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The layers of each weight set, in the order of their lowest index."""
        members: dict[int, list[int]] = {}
        for i, j in enumerate(self.sources):
            members.setdefault(j, []).append(i)
        return tuple(tuple(group) for group in members.values())

    def __len__(self) -> int:
        return len(self.sources)

    def __iter__(self) -> Iterator[int]:
        return iter(self.sources)

    def __getitem__(self, layer: int) -> int:
        return self.sources[layer]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.sources)})"

    def _repr_svg_(self) -> str:
        """The map as notebooks show it: a square for each layer, layer 0 at the left, a colour for each weight set, and
        below it the layer that the weights belong to. It has no background: it can be read on a light and a dark page.
        """
        step, side = 24, 20
        drawn = []
        for i, j in enumerate(self.sources):
            whose = "weights of its own" if i == j else f"the weights of layer {j}"
            colour = weight_set_colour(j, len(self))
            drawn.append(
                f'<rect x="{step * i + 2}" y="2" width="{side}" height="{side}" rx="3" fill="{colour}">'
                f"<title>layer {i}: {whose}</title></rect>"
                f'<text x="{step * i + 2 + side / 2:g}" y="36">{j}</text>'
            )
        width = step * len(self)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="42" viewBox="0 0 {width} 42" role="img" '
            f'font-family="sans-serif" font-size="11" text-anchor="middle" fill="{COLOURS[-1]}" '
            f'style="max-width: 100%"><title>{self!r}</title>{"".join(drawn)}</svg>'
        )


def weight_set_colour(layer: int, n_layer: int) -> str:
    """The colour of the weights that belong to a layer, one of 0..L-1: COLOURS up to 8 layers, beyond that steps along
    RAMP."""
    if n_layer <= len(COLOURS):
        return COLOURS[layer]
    place = layer / (n_layer - 1) * (len(RAMP) - 1)
    below = min(int(place), len(RAMP) - 2)
    ends = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in RAMP[below : below + 2]]
    return "#" + "".join(f"{round(a + (b - a) * (place - below)):02X}" for a, b in zip(*ends, strict=True))


def as_tie_map(value: TieMap | Sequence[int]) -> TieMap:
    """A TieMap as it is, or that of a list of sources, with all its checks. Raises ValueError for what is no map."""
    sources: Any = value
    return value if type(value) is TieMap else TieMap(sources)


def expected_independent(n_layer: int) -> float:
    """Mean number of independent layers under a policy that picks uniformly among the i + 1 actions of each layer.

    Layer i is independent with probability 1 / (i + 1), whatever the others do (transition with orphans="follow").

    >>> round(expected_independent(48), 2)
    4.46
    """
    return sum(1 / (i + 1) for i in range(n_layer))


def all_maps(n_layer: int, num_groups: int | None = None) -> Iterator[TieMap]:
    """Every tie map of `n_layer` layers, in lexicographic order, from all tied to all independent; with `num_groups`
    only those with so many weight sets.

    There are as many as partitions of a set, the Bell numbers: 1, 2, 5, 15, 52, 203, 877, 4140, ...
    """

    def grow(sources: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        i = len(sources)
        if i == n_layer:
            yield sources
            return
        roots = [j for j in range(i) if sources[j] == j]
        for j in [*roots, i]:  # a root, or itself
            sets, left = len(roots) + (j == i), n_layer - i - 1  # each layer that is left can open one set more
            if num_groups is None or sets <= num_groups <= sets + left:
                yield from grow((*sources, j))

    if as_layer_index(n_layer, "n_layer") < 1:
        raise ValueError(f"n_layer must be at least 1, got {n_layer}")
    yield from map(TieMap, grow(()))


@functools.cache
def number_of_maps(n_layer: int, num_groups: int) -> int:
    """How many maps of n >= 0 layers have m >= 0 weight sets: S(n, m), a Stirling number of the second kind. One given
    layer is alone in S(n - 1, m - 1) of them."""
    m = num_groups
    signs = (1, -1)
    surjections: int = sum(signs[j % 2] * math.comb(m, j) * (m - j) ** n_layer for j in range(m + 1))
    return surjections // math.factorial(m)


def random_map(n_layer: int, num_groups: int, random: Callable[[], float]) -> TieMap:
    """A map drawn uniformly among all those of `n_layer` layers with `num_groups` weight sets.

    random: gives numbers evenly distributed in [0, 1), such as `numpy.random.default_rng(0).random`.
    Layer by layer from the last one, by `number_of_maps`.
    Raises ValueError for an impossible number of weight sets.
    """
    n_layer, num_groups = as_layer_index(n_layer, "n_layer"), as_layer_index(num_groups, "num_groups")
    if not 1 <= num_groups <= n_layer:
        raise ValueError(f"num_groups must be between 1 and n_layer={n_layer}, got {num_groups}")
    labels = [0] * n_layer
    left = num_groups
    for n in range(n_layer, 0, -1):
        alone = random() < number_of_maps(n - 1, left - 1) / number_of_maps(n, left)
        labels[n - 1] = left - 1 if alone else int(random() * left)
        left -= alone
    return TieMap.from_labels(labels)


def from_actions(n_layer: int, actions: Iterable[tuple[int, int]], *, orphans: str = "follow") -> TieMap:
    """The map that the (layer, action) pairs lead to from the all-tied start."""
    tie_map = TieMap.all_tied(n_layer)
    for layer, action in actions:
        tie_map = tie_map.with_action(layer, action, orphans=orphans)
    return tie_map
