"""Drawings for the words of the course: no numbers of a run, only what is meant. Each is a figure with a text for those
who cannot see it.

A layer is a box, and a weight set is a book: the instructions by which a layer works. One colour for each weight set.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from dlt_core.figures.style import BLUE, INK, VERMILLION, Figure, ink_on, weight_set_colours
from dlt_core.tie_map import TieMap

Point = tuple[float, float]
WIDTH = 700.0  # of each drawing, in its own units: pixels, if it is shown at this width
SMALL, TEXT, LARGE = 9.5, 10.5, 12.0  # sizes of letters, in points: 10 are 14 pixels at that width


def stack_and_sets() -> Figure:
    """The idea: six layers with a weight set each, and the same six with three between them."""
    drawing, ax = _sheet(
        480,
        "Two stacks of six layers. Text goes in at the bottom, a guess at the next word comes out at the top. Left: "
        "each layer has a book of weights of its own, six weight sets. Right: layers 0 and 1 share one book, layers 2, "
        "3 and 4 another one, layer 5 has its own: three weight sets, and still six layers.",
    )
    stacks = {
        "A conventional transformer": (45, TieMap.independent(6)),
        "Tied layers": (395, TieMap([0, 0, 2, 2, 2, 5])),
    }
    captions = (
        "Six workers at an assembly line,\neach with a book of instructions",
        "Still six workers and six steps,\nbut they share three books",
    )
    heights = [96 + 52 * i for i in range(6)]
    colours = weight_set_colours(6)
    for (title, (left, tie_map)), caption in zip(stacks.items(), captions, strict=True):
        middle = left + 65
        _title(ax, (left + 130, 454), title)
        _text(ax, (middle, 426), "next word: “mat”?")
        _text(ax, (middle, 68), "text: “the cat sat on the”")
        for start, end in zip([78, *(y + 34 for y in heights)], [*heights, 416], strict=True):
            _arrow(ax, (middle, start), (middle, end))
        for i, j in enumerate(tie_map):
            _layer(ax, (left, heights[i]), f"layer {i}", colours(j))
        for group in tie_map.groups:
            low = sum(heights[i] for i in group) / len(group)
            for i in group:
                _line(ax, (left + 130, heights[i] + 17), (left + 190, low + 17), colours(group[0]))
            _book(ax, (left + 190, low), "weights", colours(group[0]))
        _text(ax, (left + 130, 44), caption, va="top")
    return drawing


def tie_of_two_layers() -> Figure:
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


def gradients_add_up() -> Figure:
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


def agent_and_model() -> Figure:
    """The loop of Algorithm 1, with the numbers of its lines."""
    drawing, ax = _sheet(
        350,
        "A loop of agent and model, with the lines of Algorithm 1. Line 1: all layers start tied. Line 2: once around "
        "the loop for each layer i, in each of K turns. The agent sees the state s, which is the tie map. Line 3: it "
        "chooses an action a for layer i. Line 4: layer i is tied to the weights of layer a. Line 5: the model trains "
        "for k steps. Line 6: the reward, minus its perplexity, comes back. Line 7: the agent learns from it. After "
        "each turn, line 8: the agent explores less; line 9: the best model so far is kept.",
    )
    tie_map, colours = TieMap([0, 0, 2, 2, 2, 5]), weight_set_colours(6)
    for left, name in ((20, "agent"), (535, "model")):
        _box(ax, (left, 124), 145, 200)
        _title(ax, (left + 72, 298), name)
    _text(ax, (92, 258), "sees the state,\nhas a value Q for\neach action")
    _numbered(ax, (44, 152), 7, "learns from r")
    for i, j in enumerate(tie_map):
        _box(ax, (567, 180 + 18 * i), 80, 13, facecolor=colours(j), edgecolor="none")
    _numbered(ax, (553, 152), 5, "trains k steps")
    _arrow(ax, (173, 284), (527, 284), width=3)
    _numbered(ax, (237, 308), 3, "chooses action a for layer i")
    _numbered(ax, (199, 260), 4, "ties it to layer a (a = i: independent)")
    _arrow(ax, (527, 194), (173, 194))
    _text(ax, (268, 216), "state s: the tie map", ha="center")
    for i, j in enumerate(tie_map):
        at = (360 + 23 * i, 206)
        _box(ax, at, 20, 20, facecolor=colours(j), edgecolor="none")
        _text(ax, (at[0] + 10, at[1] + 10), str(j), SMALL, ink_on(colours(j)))
    _arrow(ax, (527, 140), (173, 140), width=3)
    _numbered(ax, (253, 162), 6, "reward r = −perplexity")
    _numbered(ax, (32, 90), 1, "start with all layers tied")
    _numbered(ax, (32, 56), 2, "K turns: in each, once around the loop for each layer i = 1, …, L−1")
    _numbered(ax, (32, 22), 8, "after each turn: explore less")
    _numbered(ax, (325, 22), 9, "after each turn: keep the best model")
    return drawing


def one_storage() -> Figure:
    """Why the weight sets of the released code can only become fewer: a storage once left is lost."""
    drawing, ax = _sheet(
        262,
        "Two layers in the released code, in three steps. First each layer has its weights in a storage of its own: "
        "state (0, 1), two weight sets in memory. Then layer 1 is tied to layer 0: it points to the storage of layer "
        "0, and its own is lost. Then layer 1 becomes independent: the state is (0, 1) again, but its weights still "
        "lie in the storage of layer 0, one weight set in memory.",
    )
    steps = (
        ("1. independent", (0, 1), (0, 1), "two layers, two storages"),
        ("2. tied", (0, 0), (0, 0), "layer 1 points to the storage\nof layer 0; its own is lost"),
        ("3. “independent”", (0, 1), (0, 0), "layer 1 trains again, but in\nthe storage of layer 0"),
    )
    names = ("storage 0", "storage 1")
    for step, (title, state, memory, caption) in enumerate(steps):
        left = 10 + 235 * step
        _title(ax, (left + 105, 240), title)
        for i, (said, where) in enumerate(zip(state, memory, strict=True)):
            colour = (BLUE, VERMILLION)[said]
            _layer(ax, (left, 112 + 60 * i), f"layer {i}", colour, width=84)
            above = 7 if i != where else 0
            _arrow(ax, (left + 84, 129 + 60 * i), (left + 122, 129 + 60 * where + above), colour)
        _book(ax, (left + 122, 112), names[0], BLUE, width=88)
        if 1 in memory:
            _book(ax, (left + 122, 172), names[1], VERMILLION, width=88)
        else:
            _box(ax, (left + 122, 172), 88, 34, linestyle=(0, (3, 2)), linewidth=1.2)
            _text(ax, (left + 166, 189), "lost", SMALL)
        sets = len(set(memory))
        _text(ax, (left + 105, 86), f"state {state}", weight="bold")
        _text(ax, (left + 105, 64), f"{sets} weight set{'s' * (sets > 1)} in memory", weight="bold")
        _text(ax, (left + 105, 46), caption, SMALL, va="top")
    return drawing


def two_gradients() -> Figure:
    """Two layers pull at one weight set: together, or against each other."""
    drawing, ax = _sheet(
        270,
        "Two layers share the weight set W, and each pulls it with an arrow, its gradient. Left: the arrows point "
        "nearly the same way, and their sum is long. Right: the arrows are as long, but point nearly opposite ways, "
        "and their sum is short.",
    )
    pulls = (
        ("they agree", (90, 92), ((76, 102), (108, 30)), "The sum is long: what helps\none layer helps the other."),
        ("they fight", (522, 112), ((109, 26), (-109, 20)), "The sum is short: what helps\none layer harms the other."),
    )
    beside = (((-14, 8), (20, -14), (20, 6)), ((24, 16), (-24, 16), (0, 14)))
    for panel, (title, (x, y), arrows, caption) in enumerate(pulls):
        middle = 175 + 350 * panel
        _title(ax, (middle, 246), title)
        (a, b), (c, d) = arrows
        total = (x + a + c, y + b + d)
        for i, ((dx, dy), colour) in enumerate(zip(arrows, (BLUE, VERMILLION), strict=True)):
            tip = (x + dx, y + dy)
            _line(ax, tip, total, linewidth=1, linestyle=(0, (3, 3)))
            _arrow(ax, (x, y), tip, colour, width=2.5)
            _text(ax, (tip[0] + beside[panel][i][0], tip[1] + beside[panel][i][1]), f"layer {i}", colour=colour)
        _arrow(ax, (x, y), total, width=4)
        _text(ax, (total[0] + beside[panel][2][0], total[1] + beside[panel][2][1]), "sum", weight="bold")
        _book(ax, (x - 24, y - 30), "W", BLUE, width=48, height=28)
        _text(ax, (middle, 44), caption, va="top")
    return drawing


# --- what drawings are made of ---


def _sheet(height: float, alt: str) -> tuple[Figure, Axes]:
    """An empty drawing, WIDTH wide, and its one panel, in the same units, without a frame."""
    drawing = Figure(figsize=(WIDTH / 100, height / 100))
    drawing.alt, drawing.crisp = alt, True
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


def _numbered(ax: Axes, at: Point, line: int, words: str) -> None:
    """Words behind the number of a line of Algorithm 1, in a disc."""
    ax.plot(*at, "o", markersize=15, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.2)
    _text(ax, at, str(line), SMALL, weight="bold")
    _text(ax, (at[0] + 18, at[1]), words, ha="left")


def _line(ax: Axes, start: Point, end: Point, colour: Any = INK, **options: Any) -> None:
    ax.plot(*zip(start, end, strict=True), color=colour, **{"linewidth": 1.6, **options})


def _arrow(ax: Axes, start: Point, end: Point, colour: Any = INK, width: float = 1.6, **options: Any) -> None:
    head = f"-|>,head_length={4 + width:g},head_width={2 + width / 2:g}"
    options = {"arrowstyle": head, "mutation_scale": 1, "shrinkA": 0, "shrinkB": 0, **options}
    ax.add_patch(FancyArrowPatch(start, end, color=colour, linewidth=width, **options))
