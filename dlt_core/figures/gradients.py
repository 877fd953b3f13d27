"""Pictures of gradients that agree or fight, and of what a map's gain says of its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import TwoSlopeNorm

from dlt_core.figures.contrasts import SIGN
from dlt_core.figures.style import BLUE, FREE, INK, VERMILLION, Figure, colour_bar, new_axes, new_panels
from dlt_core.tie_map import TieMap


def gradient_arrows(pairs: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Gradients of two weights as arrows, a panel for each title: what each layer wants, and the sum, which is what a
    shared weight set gets. pairs: title -> the gradients of two layers, shape (2, 2). One scale for all panels."""
    figure, axes = new_panels(pairs, columns=len(pairs), width=3.1, height=2.9, alone=(3.4, 3.2))
    reach = 1.35 * max(np.abs([*given, np.sum(given, axis=0)]).max() for given in pairs.values())
    for ax, given in zip(axes[0], pairs.values(), strict=True):
        vectors = np.array(given, dtype=float)
        total = vectors.sum(0)
        arrows = {"layer 0": (vectors[0], BLUE), "layer 1": (vectors[1], VERMILLION), "their sum": (total, INK)}
        for name, ((x, y), colour) in arrows.items():
            ax.annotate(
                "", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 2, "shrinkA": 0}
            )
            outside = x if name == "their sum" else y * -total[0] + x * total[1]  # on which side of the sum it is
            ax.annotate(
                name, (x, y), (4 if outside >= 0 else -4, 6 if y >= 0 else -6), textcoords="offset points",
                color=colour, fontsize=8, ha="left" if outside >= 0 else "right", va="bottom" if y >= 0 else "top",
            )  # fmt: skip
        ax.set_xlim(-reach, reach)
        ax.set_ylim(-reach, reach)
        ax.set_aspect("equal")
        ax.axhline(0, color=INK, linewidth=0.5)
        ax.axvline(0, color=INK, linewidth=0.5)
        apart = np.abs(vectors).sum()
        ax.set_xlabel(f"apart {apart:g}, shared {np.abs(total).sum():g}", fontsize=9)
        ax.set_label("; ".join(f"arrow of {name} to ({x:g}, {y:g})" for name, ((x, y), _) in arrows.items()))
    return figure


def agreement(panels: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Cosines between the layers' gradients, shape (L, L), a panel for each title: full blue where two layers want
    the same (1), full vermillion where the opposite (-1), none where they have nothing to do with each other."""
    columns = -(-len(panels) // -(-len(panels) // 4))  # four at most, and rows as even as they can be
    figure, axes = new_panels(panels, columns=columns, width=2.2, height=2.2, alone=(3.4, 3.2))
    for ax, values in zip(axes.flat, panels.values(), strict=False):
        image = ax.imshow(np.array(values), cmap=SIGN.reversed(), norm=TwoSlopeNorm(0, -1, 1))
        layers = range(len(values))
        ax.set_xticks(layers)
        ax.set_yticks(layers)
    axes[0, 0].set_ylabel("layer", fontsize=9)
    axes[-1, 0].set_xlabel("layer", fontsize=9)
    colour_bar(figure, image, axes, "cosine of their gradients")
    return figure


def seen_and_true(seen: Mapping[TieMap, float], true: Mapping[TieMap, float], xlabel: str, ylabel: str) -> Figure:
    """What was seen of each map against its true loss: one colour and mark for each number of weight sets. seen, true:
    of the same maps."""
    figure, ax = new_axes(5.6, 3.4)
    by_sets: dict[int, list[TieMap]] = {}
    for tie_map in sorted(true, key=lambda m: m.num_independent):
        by_sets.setdefault(tie_map.num_independent, []).append(tie_map)
    colours = (INK, BLUE, VERMILLION, *FREE)
    for (sets, maps), colour, mark in zip(by_sets.items(), colours, "so^Dv<>", strict=False):
        of = [seen[m] for m in maps], [true[m] for m in maps]
        ax.plot(*of, mark, color=colour, markersize=6, label=f"{sets} weight set{'s' * (sets > 1)}")
    ax.set_xlabel(xlabel, fontsize=9)
    ax.set_ylabel(ylabel, fontsize=9)
    ax.legend(fontsize=8)
    return figure
