"""Figures of numbers from many seeds: numbers in, matplotlib Figure out. What is drawn from records is in `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from dlt_core.figures.runs import METHOD_STYLES, OKABE_ITO, method_style, new_axes, new_figure, tidy
from dlt_core.records.statistics import mean_interval

Lines = Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]]
"""name -> (x, a list of y for each seed)"""
FREE = ("#CC79A7", "#56B4E9", "#E69F00", "#F0E442")  # colours of Okabe and Ito's that no method has


def bands(
    panels: Mapping[str, Lines],
    xlabel: str,
    ylabel: str,
    *,
    zero: bool = False,
    own_scale: bool = False,
    columns: int = 3,
) -> Figure:
    """Lines over x with their 95 % intervals (Student's t over the seeds, point by point), a panel for each title.

    A name that begins like a method has its colour, or if it has none the next free one; one that ends in "(last)" is
    dotted. zero: a line at 0, and one scale for all panels unless each is to have its own.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    size = (5.8, 3.4) if len(panels) == 1 else (3.4 * columns, 0.5 + 2.4 * rows)
    figure = new_figure(*size)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=zero and not own_scale)
    legend = {}
    methods = [name.split(" ")[0].split(",")[0] for lines in panels.values() for name in lines]
    others = [method for method in dict.fromkeys(methods) if method not in METHOD_STYLES]
    free = dict(zip(others, FREE, strict=False))  # beyond these, `method_style` has a colour that may not be its own
    for ax, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        tidy(ax)
        for name, (x, values) in lines.items():
            method = name.split(" ")[0].split(",")[0]
            colour, dash = (free[method], "-") if method in free else method_style(method)
            middle, half = np.array([mean_interval(at) for at in zip(*values, strict=True)], dtype=float).T
            dash = (0, (1, 1)) if name.endswith("(last)") else dash
            (legend[name],) = ax.plot(x, middle, linestyle=dash, color=colour, linewidth=1.5)
            ax.fill_between(x, middle - half, middle + half, color=colour, alpha=0.18, linewidth=0)
        if zero:
            ax.axhline(0, color="black", linewidth=1, linestyle="--")
        ax.set_title(title, fontsize=9)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel(ylabel, fontsize=9)
    figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return figure


def front(points: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str) -> Figure:
    """What is paid against what is got: for each name the mean of both over the seeds, with the 95 % interval of y.

    points: name -> (x for each seed, y for each seed); of both, less is better. Those that no other one beats in
    both means, the Pareto front, are joined by a line. Names with nearly the same x stand side by side around it.
    """
    figure, ax = new_axes(7.4, 4.6)
    means = {name: (float(np.mean(x)), float(np.mean(y))) for name, (x, y) in points.items()}
    order = sorted(points, key=lambda name: means[name])
    width = means[order[-1]][0] - means[order[0]][0] or 1.0
    places: dict[str, float] = {}
    while rest := [name for name in order if name not in places]:
        beside = [name for name in rest if means[name][0] - means[rest[0]][0] < 0.01 * width]
        for i, name in enumerate(beside):
            places[name] = means[name][0] + (i - (len(beside) - 1) / 2) * 0.014 * width
    best = pareto(means)
    line = [(places[name], means[name][1]) for name in best]
    ax.plot(*zip(*line, strict=True), "-", color="0.75", linewidth=3, zorder=0)
    marks = "osD^vP*Xhd"
    for i, name in enumerate(order):
        colour = OKABE_ITO[i % len(OKABE_ITO)] if name not in ("dynamic", "random") else method_style(name)[0]
        mark = marks[i % len(marks)]
        style = {"color": colour, "markersize": 6, "capsize": 2, "linewidth": 1.1, "label": name}
        ax.errorbar(places[name], means[name][1], yerr=mean_interval(points[name][1])[1], fmt=mark, **style)
    ax.set_xlabel(xlabel, fontsize=9)
    ax.set_ylabel(ylabel, fontsize=9)
    ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def pareto(means: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names that no other one beats: none has less of one number without having more of the other; by the first."""
    found: list[str] = []
    for name in sorted(means, key=lambda n: means[n]):
        if not found or means[name][1] < means[found[-1]][1] or means[name] == means[found[-1]]:
            found.append(name)
    return found


def sign_map(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]]], xlabel: str, label: str
) -> Figure:
    """Where a difference is above zero and where below: a panel for each title, a row for each name, x rightwards.

    Colour: the mean over the seeds. A dot where the 95 % interval does not contain 0. A black line where the mean
    changes sign. Rows end where there are no values.
    """
    figure = new_figure(8.2, 0.9 + sum(0.5 + 0.38 * len(rows) for rows in panels.values()))
    every = [[mean_interval(at) for at in zip(*y, strict=True)] for rows in panels.values() for _, y in rows.values()]
    largest = max((abs(mean) for row in every for mean, _ in row), default=1.0) or 1.0
    norm = TwoSlopeNorm(0, -largest, largest)
    ratios = [len(rows) for rows in panels.values()]
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=ratios)[:, 0]
    means = iter(every)
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        x = max((x for x, _ in rows.values()), key=len)
        field, sure = np.full((len(rows), len(x)), np.nan), np.zeros((len(rows), len(x)), bool)
        for i in range(len(rows)):
            for j, (mean, half) in enumerate(next(means)):
                field[i, j], sure[i, j] = mean, half is not None and abs(mean) > half
        width = x[1] - x[0] if len(x) > 1 else 1
        edges = [x[0] - width / 2, x[-1] + width / 2]
        extent = (*edges, len(rows) - 0.5, -0.5)
        image = ax.imshow(field, cmap="PuOr_r", norm=norm, aspect="auto", extent=extent, interpolation="nearest")
        at_row, at_column = np.nonzero(sure)
        ax.plot(at_column * width + x[0], at_row, ".", color="black", markersize=2)
        for i, j in np.argwhere(~np.isnan(field)):
            left, here = x[0] + (j - 0.5) * width, field[i, j] > 0
            if j + 1 < len(x) and not np.isnan(field[i, j + 1]) and (field[i, j + 1] > 0) != here:
                ax.plot([left + width] * 2, [i - 0.5, i + 0.5], color="black", linewidth=1.8)
            if i + 1 < len(rows) and not np.isnan(field[i + 1, j]) and (field[i + 1, j] > 0) != here:
                ax.plot([left, left + width], [i + 0.5] * 2, color="black", linewidth=1.8)
        ax.set_yticks(range(len(rows)), rows, fontsize=8)
        ax.set_title(title, fontsize=9)
        ax.tick_params(labelsize=8)
    axes[-1].set_xlabel(xlabel, fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.8).set_label(label, fontsize=8)
    return figure


def benchmark(found: Mapping[str, Any]) -> Figure:
    """A benchmark in up to three panels, as far as its parts are there: steps against conventional ones, control
    against its k steps, and memory against the number of weight sets."""
    rows = {name: part["rows"] for name, part in found["parts"].items()}
    panels = [name for name in ("steps", "control", "memory") if name in rows]
    figure = new_figure(3.8 * max(1, len(panels)), 3.3)
    axes = figure.subplots(1, max(1, len(panels)), squeeze=False)[0]
    for ax, name in zip(axes, panels, strict=False):
        tidy(ax)
        if name == "steps":
            _quartile_bars(ax, rows[name], "training", "÷ conventional", "a step's time, of a conventional one")
            ax.axvline(1, color="black", linewidth=1, linestyle="--")
        elif name == "control":
            _quartile_bars(ax, rows[name][2:], "what", "÷ k steps", "time, of k steps")
            ax.set_xlim(0, None)
        else:
            _memory(ax, rows[name])
    hardware = found["hardware"]
    figure.suptitle(f"{hardware['device']}, {hardware['threads']} of {hardware['cores']} cores", fontsize=9)
    return figure


def _memory(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """State and peak against the number of weight sets; the state depends on nothing else."""
    deepest = max(row["layers"] for row in rows)
    state = sorted({(row["weight sets"], row["closed form"]) for row in rows})
    ax.plot(*zip(*state, strict=True), color="black", linewidth=1.3, label="state, closed form")
    for depth, colour in zip(dict.fromkeys(row["layers"] for row in rows), OKABE_ITO, strict=False):
        of = [row for row in rows if row["layers"] == depth]
        sets = [row["weight sets"] for row in of]
        name = f"{depth} layers"
        ax.plot(sets, [row["state"] for row in of], "o", color=colour, markersize=3 + 3 * depth / deepest,
                fillstyle="none", label=f"state, {name}")  # fmt: skip
        ax.plot(sets, [row["peak"] for row in of], "--", color=colour, linewidth=1.3, label=f"peak, {name}")
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:.0f}")
    ax.set_ylim(0, None)
    ax.set_xlabel("weight sets", fontsize=9)
    ax.set_ylabel("MB", fontsize=9)
    ax.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _quartile_bars(ax: Axes, rows: Sequence[Mapping[str, Any]], name: str, value: str, label: str) -> None:
    """A dot for the median, a bar from quartile to quartile, a line of the plot for each row."""
    for place, row in enumerate(rows):
        median, low, high = row[value], row[f"{value}, 25 %"], row[f"{value}, 75 %"]
        ax.errorbar(median, place, xerr=[[median - low], [high - median]], fmt="o", color=OKABE_ITO[0], capsize=3,
                    markersize=5, linewidth=1.5)  # fmt: skip
    ax.set_yticks(range(len(rows)), [row[name] for row in rows], fontsize=8)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(label, fontsize=9)
    ax.grid(axis="y", color="0.92")
