"""Curves over training: perplexity, weight sets, differences with their intervals, and what the agent saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from dlt_core.figures.style import (
    BLUE,
    BROWN,
    FREE,
    GREEN,
    INK,
    METHOD_STYLES,
    PINK,
    VERMILLION,
    Figure,
    experiment_name,
    legend_outside,
    method_style,
    name_lines,
    new_axes,
    new_figure,
    new_panels,
    tidy,
    weight_set_colours,
)
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import mean_interval
from dlt_core.tie_map import expected_independent

Lines = Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]]
"""name -> (x, a list of y for each seed)"""


def independent_layers(groups: Sequence[RunRecord] | dict[str, Sequence[RunRecord]]) -> Figure:
    """Number of independent layers (weight sets) in training over time, with the mean of a uniform policy.

    Of the released code both its counts, by the state and by storage, where they differ. A dict of records makes a
    panel for each of its entries.
    """
    return _panels(groups, _independent_layers)


def _independent_layers(ax: Axes, records: Sequence[RunRecord]) -> None:
    for record in records:
        count = record.history["num_independent"]
        colour, dash = method_style(record.method)
        steps = record.experiment["steps_per_action"] * np.arange(len(count) + 1)
        ax.step(steps, [*count, count[-1]], dash, where="post", color=colour, label=record.method, linewidth=1.5)
        if (sets := record.history.get("weight_sets")) not in (None, count):  # storages, where the state says otherwise
            label = f"{record.method}: weight sets by storage"
            ax.step(steps, [*sets, sets[-1]], ":", where="post", color=colour, label=label, linewidth=2.2)
    n_layer = records[0].experiment["n_layer"]
    expected = expected_independent(n_layer)
    label = f"mean of a uniform policy, {expected:.2f}"
    ax.axhline(expected, color=INK, linewidth=1.5, linestyle=(0, (1, 2)), label=label)
    counted = "independent layers"
    if any("weight_sets" in record.history for record in records):
        counted += " by the state,\nweight sets by storage,"
    ax.set(ylabel=f"{counted} of {n_layer}", ylim=(0.5, n_layer + 0.5))
    ax.locator_params("y", integer=True)


def learning_curves(groups: Sequence[RunRecord] | dict[str, Sequence[RunRecord]]) -> Figure:
    """Validation perplexity against optimiser steps; a dot where each run was best, the model that is tested.

    Several seeds of a method are drawn as their mean and range. A dict of records makes a panel for each of its
    entries.
    """
    several = groups.values() if isinstance(groups, dict) else [groups]
    seeds = [count for runs in several for count in Counter(run.method for run in runs).values()]
    title = "mean and range of the seeds; a dot: each seed's best" if max(seeds) > 1 else None
    return _panels(groups, _learning_curves, title)


def _learning_curves(ax: Axes, records: Sequence[RunRecord]) -> None:
    for method in dict.fromkeys(r.method for r in records):
        runs = [r for r in records if r.method == method]
        split = runs[0].test["selected_by"] if runs[0].test else "validation"
        steps = runs[0].curves[split]["step"]
        curves = np.array([r.curves[split]["perplexity"] for r in runs])  # (seeds, evaluations)
        colour, dash = method_style(method)
        method += "" if split == "validation" else f" (on the {split} split)"
        label = method if len(runs) == 1 else f"{method}, {len(runs)} seeds"
        ax.plot(steps, curves.mean(axis=0), dash, color=colour, label=label, linewidth=1.5)
        if len(runs) > 1:
            ax.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        for curve in curves:
            best = int(np.argmin(curve))
            ax.plot(steps[best], curve[best], "o", color=colour, markersize=5 if len(runs) == 1 else 3)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    ax.yaxis.set_major_formatter("{x:.0f}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set(ylabel=f"validation perplexity\n{records[0].unit}")


def _panels(
    groups: Sequence[RunRecord] | dict[str, Sequence[RunRecord]],
    draw: Callable[[Axes, Sequence[RunRecord]], None],
    legend_title: str | None = None,
) -> Figure:
    """One drawing over optimiser steps, or a panel with its name for each of several, in rows of three, under one
    legend. A panel whose y axis is that of the panel at its left does not say so again."""
    if not isinstance(groups, dict):
        groups = {experiment_name(groups[0]) if groups[0].sample_mark else "": groups}
    figure, axes = new_panels(groups, width=3.3)
    legend: dict[str, Artist] = {}
    for ax, records in zip(axes.flat, groups.values(), strict=False):
        draw(ax, records)
        if len(groups) > 1:
            ax.yaxis.label.set_size(8)
            ax.locator_params("x", nbins=5)
        legend |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    for row in axes:
        for left, ax in list(pairwise(row))[::-1]:
            if ax.get_ylabel() == left.get_ylabel():
                ax.set_ylabel("")
    for column in axes.T:
        [ax for ax in column if ax.axison][-1].set_xlabel("optimiser steps")
    legend_outside(figure, list(legend.values()), list(legend), title=legend_title)
    return figure


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
    dotted. Each name stands once, at the end of its line in the last panel that has it, unless it is the panel's title.
    One scale for all panels, unless each is to have its own. zero: a line at 0.
    """
    figure, axes = new_panels(panels, columns=columns, alone=(5.8, 3.4), width=3.4, sharey=not own_scale)
    methods = [name.split(" ")[0].split(",")[0] for lines in panels.values() for name in lines]
    others = [method for method in dict.fromkeys(methods) if method not in METHOD_STYLES]
    free = dict(zip(others, FREE, strict=False))  # beyond these, `method_style` has a colour that may not be its own
    last = {
        name: ax
        for ax, (title, lines) in zip(axes.flat, panels.items(), strict=False)
        for name in lines
        if name != title
    }
    named: dict[Axes, dict[str, Line2D]] = {ax: {} for ax in axes.flat}
    for ax, lines in zip(axes.flat, panels.values(), strict=False):
        for name, (x, values) in lines.items():
            method = name.split(" ")[0].split(",")[0]
            colour, dash = (free[method], "-") if method in free else method_style(method)
            middle, half = np.array([mean_interval(at) for at in zip(*values, strict=True)], dtype=float).T
            line = (0, (1, 1)) if name.endswith("(last)") else dash
            (drawn,) = ax.plot(x, middle, linestyle=line, color=colour, linewidth=1.8, label=name)
            if name in last and last[name] is ax:
                named[ax][name] = drawn
            ax.fill_between(x, middle - half, middle + half, facecolor=to_rgba(colour, 0.13),
                            edgecolor=to_rgba(colour, 0.5), linewidth=0.6)  # fmt: skip
        if zero:
            ax.axhline(0, color=INK, linewidth=1, linestyle="--")
    for ax, ends in named.items():  # after all panels, whose scale may be one
        name_lines(ax, ends)
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel(ylabel, fontsize=9)
    return figure


def agent_history(record: RunRecord) -> Figure:
    """What the agent saw and did: the reward of each decision, its TD loss, and the exploration ε."""
    history = record.history
    decisions = np.arange(1, len(history["reward"]) + 1)
    figure = new_figure(6.2, 4.6)
    reward, td, epsilon = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1.4, 1))
    explored = np.array(history["explored"], dtype=bool)
    rewards = np.array(history["reward"], dtype=float)
    reward.plot(decisions[explored], rewards[explored], "o", markersize=3, color=BROWN, label="random action")
    reward.plot(decisions[~explored], rewards[~explored], "o", markersize=3, color=BLUE, label="greedy action")
    reward.set_ylabel(f"reward r\n({record.experiment['reward']})", fontsize=8)
    reward.legend(fontsize=8, loc="lower right")
    td.semilogy(decisions, np.maximum(history["td_loss"], 1e-12), color=GREEN, linewidth=1)
    td.set_ylabel("TD loss", fontsize=8)
    epsilon.step(decisions, history["epsilon"], where="post", color=INK, linewidth=1.2)
    epsilon.set(ylim=(0, 1.05), xlabel="decision")
    epsilon.set_ylabel("ε", fontsize=9)
    for ax in (reward, td, epsilon):
        tidy(ax)
    return figure


def q_values(record: RunRecord, layer: int) -> Figure:
    """Q(s, a) of each action of one layer, as the agent saw them before each of its decisions about that layer."""
    history = record.history
    chosen = [i for i, decided in enumerate(history["layer"]) if decided == layer]
    unknown = [None] * (layer + 1)  # no opinion
    values = np.array([history["q_values"][i] or unknown for i in chosen], dtype=float)  # (turns, layer + 1)
    turns = np.arange(1, len(chosen) + 1)
    figure, ax = new_axes()
    colours = weight_set_colours(record.experiment["n_layer"])
    lines: dict[str, Line2D] = {}
    for action in range(layer + 1):
        name = f"a = {action}: " + ("independent" if action == layer else f"as layer {action}")
        (lines[name],) = ax.plot(turns, values[:, action], "o-", markersize=3, linewidth=1.2, color=colours(action))
    taken = [history["action"][i] for i in chosen]
    circles = ax.plot(turns, values[np.arange(len(chosen)), taken], "o", markersize=9, markerfacecolor="none",
                      markeredgecolor=INK, label="taken")  # fmt: skip
    ax.set(xlabel="turn", ylabel=f"Q(s, a) of layer {layer}")
    ax.locator_params("x", integer=True)
    legend_outside(figure, circles, ["the action that was taken"])
    name_lines(ax, lines)
    return figure


def constant_reward(
    mean_q: Mapping[str, Sequence[float]], ranks: Mapping[str, Sequence[float]], limit: float
) -> Figure:
    """What a constant reward teaches, see `studies.constant_reward`: the mean of Q after each decision, with the value
    it goes to; and the rank of each choice, a moving mean of up to 200."""
    colours = {"network": BLUE, "table": VERMILLION, "random agent": INK, "network that learns nothing": PINK}
    figure, ((left, right),) = new_panels(("what Q becomes", "what is chosen"), width=4.2, height=3.2, margin=0)
    for name, line in mean_q.items():
        left.plot(range(1, len(line) + 1), line, color=colours[name], label=name)
    left.axhline(limit, color=INK, linestyle="--", linewidth=1, label="r / (1 − γ)")
    left.set(xscale="log", xlabel="decision", ylabel="mean of Q over layers and actions")
    for name, found in ranks.items():
        window = max(1, min(200, len(found) // 5))
        smooth = np.convolve(found, np.ones(window) / window, mode="valid")
        right.plot(np.arange(len(smooth)) + window, smooth, color=colours[name], label=name)
    right.set(xscale="log", ylim=(-0.02, 1.02), xlabel="choice")
    right.set_ylabel("rank of the choice, mean of 200\n(0: tried least, 1: tried most)")
    for ax in (left, right):
        ax.xaxis.label.set_size(9)
        ax.yaxis.label.set_size(9)
    left.legend(fontsize=8)
    legend_outside(figure, *right.get_legend_handles_labels(), below=True)
    return figure
