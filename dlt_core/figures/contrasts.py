"""Many seeds in one picture: differences with their intervals, Pareto fronts, and where a difference changes sign."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm, to_rgba
from matplotlib.ticker import MaxNLocator

from dlt_core.figures.curves import Lines
from dlt_core.figures.style import (
    BLUE,
    BROWN,
    INK,
    METHOD_STYLES,
    VERMILLION,
    Figure,
    colour_bar,
    new_axes,
    new_figure,
    new_panels,
    spread,
)
from dlt_core.records.statistics import mean_interval, plus_minus

# The fainter the nearer to zero, on whatever page.
SIGN = LinearSegmentedColormap.from_list(
    "", [(0.0, to_rgba(BLUE)), (0.5, to_rgba(BLUE, 0)), (0.5, to_rgba(VERMILLION, 0)), (1.0, to_rgba(VERMILLION))]
)


def differences(panels: Mapping[str, Mapping[str, Sequence[float]]], xlabel: str, *, own_scale: bool = False) -> Figure:
    """Paired differences by name: a small dot for each seed, the mean with its 95 % interval (Student's t over the
    seeds), and a line at zero. panels: title -> name -> a value for each seed; on one scale unless each is to have its
    own."""
    names = list(dict.fromkeys(name for groups in panels.values() for name in groups))
    width, height = (3.6 + 2.6 * len(panels)) / len(panels), 0.9 + 0.24 * len(names) + 0.2 * (len(panels) > 1)
    figure, axes = new_panels(
        panels, columns=len(panels), alone=(width, height), width=width, height=height, margin=0.0
    )
    for ax, groups in zip(axes[0], panels.values(), strict=True):
        if ax is not axes[0, 0] and not own_scale:
            ax.sharex(axes[0, 0])
        ax.axvline(0, color=INK, linewidth=1, linestyle="--")
        for row, name in enumerate(names):
            if name in groups:
                mean, half = mean_interval(groups[name])
                ax.errorbar(mean, row, xerr=half, fmt="o", color=BLUE, markersize=5, capsize=3, linewidth=1.4)
                ax.plot(groups[name], [row + 0.28] * len(groups[name]), ".", color=VERMILLION, markersize=4)
        first = ax.get_subplotspec().is_first_col()
        ax.set_yticks(range(len(names)), names if first else [""] * len(names), fontsize=8)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.grid(axis="y")
        ax.set_axisbelow(True)
        ax.xaxis.set_major_locator(MaxNLocator(6 if len(panels) == 1 else 4))
    if len(panels) > 1:
        figure.supxlabel(xlabel, fontsize=9)
    else:
        ax.set_xlabel(xlabel, fontsize=9)
    return figure


def front(points: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str) -> Figure:
    """What is paid against what is got: for each name the mean of both over the seeds, with the 95 % interval of y.

    points: name -> (x for each seed, y for each seed); of both, less is better. Those that no other one beats in
    both means, the Pareto front, are joined by a line. Points with nearly the same x are moved to stand side by side,
    and the label says so. Each point has a number, from left to right, and a list at the right says whose it is.
    """
    figure, ax = new_axes(7.4, 4.6)
    means = {name: (float(np.mean(x)), float(np.mean(y))) for name, (x, y) in points.items()}
    order = sorted(points, key=lambda name: means[name])
    width = means[order[-1]][0] - means[order[0]][0] or 1.0
    apart = spread([means[name][0] for name in order], 0.018 * width)
    places = dict(zip(order, apart, strict=True))
    best = pareto(means)
    line = [(places[name], means[name][1]) for name in best]
    ax.plot(*zip(*line, strict=True), "-", color=INK, alpha=0.45, linewidth=3, zorder=0)
    for name in order:
        colour = METHOD_STYLES.get(name, (BROWN,))[0]
        ax.errorbar(places[name], means[name][1], yerr=mean_interval(points[name][1])[1], fmt="o", color=colour,
                    markersize=6, capsize=2, linewidth=1.1, label=name)  # fmt: skip
    for number, name in enumerate(order, 1):
        (x, y), half = (places[name], means[name][1]), mean_interval(points[name][1])[1] or 0.0
        small: dict[str, Any] = {"color": ax.containers[number - 1][0].get_color(), "textcoords": "offset points"}
        ax.annotate(str(number), (x, y + half), (0, 4), fontsize=7, ha="center", **small)
        at = (1, 1 - (number - 1) * min(0.045, 1 / len(order)))
        ax.annotate(f"{number}  {name}", at, (8, 0), xycoords="axes fraction", fontsize=8, va="top",
                    annotation_clip=False, **small)  # fmt: skip
    moved = any(abs(places[name] - means[name][0]) > 1e-9 * width for name in places)
    ax.set_xlabel(xlabel + moved * "\n(points with nearly the same stand side by side)", fontsize=9)
    ax.set_ylabel(ylabel, fontsize=9)
    return figure


def pareto(means: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names that no other one beats: none has less of one number without having more of the other; by the first."""
    front: list[str] = []
    for name in sorted(means, key=lambda n: means[n]):
        if not front or means[name][1] < means[front[-1]][1] or means[name] == means[front[-1]]:
            front.append(name)
    return front


def sign_map(panels: Mapping[str, Lines], xlabel: str, label: str, *, own_scale: bool = False) -> Figure:
    """Where a difference is above zero and where below: a panel for each title, a row for each name, x rightwards.

    Colour: the mean over the seeds, the fainter the nearer to 0. A dot where the 95 % interval does not contain 0. A
    line where the mean changes sign. Hatched where there are no values. Behind each row: its last mean and interval.
    All panels have one scale of colours, unless each is to have its own.
    """
    figure = new_figure(8.2, 0.9 + sum(0.5 + 0.38 * len(rows) for rows in panels.values()))
    of = {title: [[mean_interval(at) for at in zip(*y, strict=True)] for _, y in rows.values()]
          for title, rows in panels.items()}  # fmt: skip
    largest = {title: max((abs(mean) for row in every for mean, _ in row), default=0.0) for title, every in of.items()}
    if not own_scale:
        largest = dict.fromkeys(panels, max(largest.values(), default=0.0))
    ratios = [len(rows) for rows in panels.values()]
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=ratios)[:, 0]
    longest = max((x for rows in panels.values() for x, _ in rows.values()), key=len)
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        x = max((x for x, _ in rows.values()), key=len)
        field, sure = np.full((len(rows), len(x)), np.nan), np.zeros((len(rows), len(x)), bool)
        for i in range(len(rows)):
            for j, (mean, half) in enumerate(of[title][i]):
                field[i, j], sure[i, j] = mean, half is not None and abs(mean) > half
        width = x[1] - x[0] if len(x) > 1 else 1
        edges = [x[0] - width / 2, x[-1] + width / 2]
        extent = (*edges, len(rows) - 0.5, -0.5)
        end = largest[title] or 1.0
        image = ax.imshow(field, cmap=SIGN, norm=TwoSlopeNorm(0, -end, end), aspect="auto", extent=extent,
                          interpolation="nearest")  # fmt: skip
        if own_scale:
            colour_bar(figure, image, [ax], textwrap.fill(label, 24))
        at_row, at_column = np.nonzero(sure)
        ax.plot(at_column * width + x[0], at_row, ".", color="white", markeredgecolor="black", markersize=5)
        for i, j in np.argwhere(~np.isnan(field)):
            left, here = x[0] + (j - 0.5) * width, field[i, j] > 0
            if j + 1 < len(x) and not np.isnan(field[i, j + 1]) and (field[i, j + 1] > 0) != here:
                ax.plot([left + width] * 2, [i - 0.5, i + 0.5], color=INK, linewidth=1.8)
            if i + 1 < len(rows) and not np.isnan(field[i + 1, j]) and (field[i + 1, j] > 0) != here:
                ax.plot([left, left + width], [i + 0.5] * 2, color=INK, linewidth=1.8)
        right = max(edges[1], longest[-1] + width / 2)  # of all panels
        for i, cells in enumerate(field):
            start = edges[0] + width * np.count_nonzero(~np.isnan(cells))
            faint = to_rgba(INK, 0.5)
            ax.fill_between([start, right], i - 0.5, i + 0.5, facecolor="none", edgecolor=faint, hatch="////", lw=0)
        for i, (_, values) in enumerate(rows.values()):
            if values:
                last = plus_minus(*mean_interval([seed[-1] for seed in values]), 3, "+")
                ax.annotate(last, (1, i), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                            fontsize=8, va="center", annotation_clip=False)  # fmt: skip
        ax.set_yticks(range(len(rows)), rows, fontsize=8)
        ax.set_title(title, fontsize=9)
        ax.tick_params(labelsize=8)
    axes[-1].set_xlabel(xlabel, fontsize=9)
    if not own_scale:
        colour_bar(figure, image, axes, label)
    return figure
