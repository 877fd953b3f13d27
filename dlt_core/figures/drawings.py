"""Drawings for the words of the course: no numbers of a run, only what is meant. Each is a figure with a text for those
who cannot see it.

A layer is a box, and a weight set is a book: the instructions by which a layer works. One colour for each weight set.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from dlt_core.figures.style import BLUE, INK, VERMILLION, Drawing, ink_on, weight_set_colours
from dlt_core.tie_map import TieMap

Point = tuple[float, float]
WIDTH = 700.0  # of each drawing, in its own units: pixels, if it is shown at this width
SMALL, TEXT, LARGE = 9.5, 10.5, 12.0  # sizes of letters, in points: 10 are 14 pixels at that width


def stack_and_sets() -> Drawing:
    """The idea: six layers with a weight set each, and the same six with three between them."""
    drawing, ax = _sheet(
        480,
        "Two stacks of six layers. Text goes in at the bottom, a guess at the next word comes out at the top. Left: "
        "each layer has a book of weights of its own, six weight sets. Right: layers 0 and 1 share one book, layers 2, "
        "3 and 4 another one, layer 5 has its own: three weight sets, and still six layers.",
    )
    stacks = (
        (
            45,
            TieMap.independent(6),
            "A conventional transformer",
            "Six workers at an assembly line,\neach with a book of instructions",
        ),
        (
            395,
            TieMap([0, 0, 2, 2, 2, 5]),
            "Tied layers",
            "Still six workers and six steps,\nbut they share three books",
        ),
    )
    heights = [96 + 52 * i for i in range(6)]
    colours = weight_set_colours(6)
    for left, tie_map, title, caption in stacks:
        middle = left + 65
        _title(ax, (left + 130, 454), title)
        _text(ax, (middle, 426), "next word: “mat”?")
        _text(ax, (middle, 68), "text: “the cat sat on the”")
        tops = [78, *(low + 34 for low in heights)]
        for low, high in zip(tops, [*heights, 416], strict=True):
            _arrow(ax, (middle, low), (middle, high))
        for i, j in enumerate(tie_map):
            _layer(ax, (left, heights[i]), f"layer {i}", colours(j))
        for group in tie_map.groups:
            low = sum(heights[i] for i in group) / len(group)
            for i in group:
                _line(ax, (left + 130, heights[i] + 17), (left + 190, low + 17), colours(group[0]))
            _book(ax, (left + 190, low), "weights", colours(group[0]))
        _text(ax, (left + 130, 44), caption, va="top")
    return drawing


def tie_of_two_layers() -> Drawing:
    """A tie: before, each layer has a weight set; after, both use the one of layer 0."""
    drawing, ax = _sheet(
        196,
        "Before: layer 0 uses weight set W0, layer 1 uses weight set W1. After the tie: both layers use W0, and W1 is "
        "freed. Layer 1 still works, after layer 0.",
    )
    for left, title in ((40, "before: two weight sets"), (390, "after: one weight set")):
        after = left > 200
        _title(ax, (left + 138, 174), title)
        for i, colour in enumerate((BLUE, BLUE if after else VERMILLION)):
            _layer(ax, (left, 30 + 72 * i), f"layer {i}", colour)
            _line(ax, (left + 130, 47 + 72 * i), (left + 200, 47 if after else 47 + 72 * i), colour)
        for low, high in ((8, 30), (64, 102), (136, 158)):
            _arrow(ax, (left + 65, low), (left + 65, high))
        _book(ax, (left + 200, 30), "W$_0$", BLUE)
        if after:
            _box(ax, (left + 200, 102), 76, 34, linestyle=(0, (3, 2)), linewidth=1.2)
            _text(ax, (left + 238, 119), "W$_1$: freed", SMALL)
        else:
            _book(ax, (left + 200, 102), "W$_1$", VERMILLION)
    _arrow(ax, (332, 83), (368, 83), width=3)
    _text(ax, (350, 100), "tie", SMALL)
    return drawing


def gradients_add_up() -> Drawing:
    """A shared weight set gets the sum of the gradients of its uses."""
    drawing, ax = _sheet(
        270,
        "A row of three layers that all use the weight set W; text goes in at the left, the loss comes out at the "
        "right. Each layer sends a gradient of its own back: g0, g1 and g2. They meet at a plus sign, and their sum "
        "alone reaches the optimiser, which changes W once, for all three layers.",
    )
    lefts = (110, 270, 430)
    _text(ax, (50, 227), "text")
    _text(ax, (640, 227), "loss")
    for low, high in zip((72, 220, 380, 540), (110, 270, 430, 615), strict=True):
        _arrow(ax, (low, 227), (high, 227))
    for i, left in enumerate(lefts):
        _layer(ax, (left, 202), f"layer {i}\nuses W", BLUE, width=110, height=50)
        start = (left + 55, 202)
        _arrow(ax, start, (325 + 15 * (i - 1), 122 if i == 1 else 113), VERMILLION, width=2)
        at = (left + 55 + (14, 14, -14)[i], 172)
        _text(ax, at, f"g$_{i}$", LARGE, VERMILLION, ha="left" if i < 2 else "right")
    ax.plot(325, 105, "o", markersize=25, markerfacecolor="none", markeredgecolor=VERMILLION, markeredgewidth=2)
    _text(ax, (325, 105), "+", 17, VERMILLION)
    _arrow(ax, (342, 105), (500, 105), VERMILLION, width=4)
    _text(ax, (415, 84), "g$_0$ + g$_1$ + g$_2$", LARGE, VERMILLION)
    _box(ax, (500, 83), 110, 44)
    _text(ax, (555, 105), "optimiser")
    _book(ax, (110, 83), "weight set W", BLUE, width=110, height=44)
    _arrow(ax, (555, 83), (165, 83), connectionstyle="bar,fraction=-0.12,angle=180")
    _text(ax, (360, 22), "one step changes W, for all three layers")
    return drawing


# --- what drawings are made of ---


def _sheet(height: float, alt: str) -> tuple[Drawing, Axes]:
    """An empty drawing, WIDTH wide, and its one panel, in the same units, without a frame."""
    drawing = Drawing(figsize=(WIDTH / 100, height / 100))
    drawing.alt = alt
    ax = drawing.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(0, height))
    ax.axis("off")
    return drawing, ax


def _text(ax: Axes, at: Point, words: str, size: float = TEXT, colour: str = INK, **options: Any) -> None:
    options = {"ha": "center", "va": "center", **options}
    ax.text(*at, words, fontsize=size, color=colour, linespacing=1.35, **options)


def _title(ax: Axes, at: Point, words: str) -> None:
    _text(ax, at, words, LARGE, weight="bold", va="baseline")


def _box(ax: Axes, at: Point, width: float, height: float, **options: Any) -> None:
    options = {"facecolor": "none", "edgecolor": INK, "linewidth": 1.6, **options}
    ax.add_patch(FancyBboxPatch(at, width, height, boxstyle="round,pad=0,rounding_size=6", **options))


def _layer(ax: Axes, at: Point, name: str, colour: Any, width: float = 130, height: float = 34) -> None:
    """A box in the colour of the weight set that the layer uses."""
    _box(ax, at, width, height, edgecolor=colour, linewidth=2)
    _text(ax, (at[0] + width / 2, at[1] + height / 2), name)


def _book(ax: Axes, at: Point, name: str, colour: Any, width: float = 76, height: float = 34) -> None:
    """A weight set: a filled box with the spine of a book."""
    ink = ink_on(colour)
    _box(ax, at, width, height, facecolor=colour, edgecolor="none")
    ax.plot([at[0] + 8] * 2, [at[1] + 1, at[1] + height - 1], color=ink, linewidth=1.2, alpha=0.8)
    _text(ax, (at[0] + width / 2 + 4, at[1] + height / 2), name, SMALL, ink)


def _line(ax: Axes, start: Point, end: Point, colour: Any = INK, **options: Any) -> None:
    ax.plot(*zip(start, end, strict=True), color=colour, **{"linewidth": 1.6, **options})


def _arrow(ax: Axes, start: Point, end: Point, colour: Any = INK, width: float = 1.6, **options: Any) -> None:
    head = f"-|>,head_length={4 + width:g},head_width={2 + width / 2:g}"
    options = {"arrowstyle": head, "mutation_scale": 1, "shrinkA": 0, "shrinkB": 0, **options}
    ax.add_patch(FancyArrowPatch(start, end, color=colour, linewidth=width, **options))
