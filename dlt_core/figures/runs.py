"""Record(s) in, matplotlib Figure out. One colour for each weight set in every picture of a tie map.

    python -m dlt_core figures

makes all tables and figures in figures/ anew from the records in figures/records/, see `rebuild.rebuild`.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image

from dlt_core.records.record import RunRecord
from dlt_core.tie_map import TieMap, expected_independent

# Okabe and Ito's palette: eight colours that colour-blind readers can tell apart.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
# One colour and dash for each method, the same in every figure.
METHOD_STYLES = {
    "dynamic": ("#0072B2", "-"),
    "conventional": ("#000000", "--"),
    "random": ("#D55E00", "-."),
    "all_tied": ("#009E73", ":"),
}


def weight_set_colours(n_layer: int) -> ListedColormap:
    """A colour for each possible root 0..L-1: Okabe and Ito's up to 8 layers, beyond that steps of viridis."""
    if n_layer <= len(OKABE_ITO):
        return ListedColormap(OKABE_ITO[:n_layer])
    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 1, n_layer)))


def experiment_name(record: RunRecord) -> str:
    """Of the run's experiment, with a mark if its corpus was only a sample."""
    return record.experiment["name"] + record.sample_mark


def tie_map_evolution(records: RunRecord | Sequence[RunRecord]) -> Figure:
    """The tie map over training: layers downwards, decisions rightwards, one colour for each weight set.

    Several records, of models with equally many layers, make a panel each.
    """
    records = [records] if isinstance(records, RunRecord) else list(records)
    n_layer = records[0].experiment["n_layer"]
    columns = 1 if len(records) < 4 else 2
    rows = math.ceil(len(records) / columns)
    height = max(1.9 if columns == 1 else 1.5, 0.06 * n_layer)
    figure = new_figure(6.2 if columns == 1 else 9.6, 0.9 + (height + 0.35) * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax, record in zip(axes.flat, records, strict=False):
        tidy(ax)
        maps = np.array(record.history["tie_map"]).T  # (L, decisions)
        _draw_maps(ax, maps, extent=(0.5, maps.shape[1] + 0.5, n_layer - 0.5, -0.5))
        ax.set_title(_title(record), fontsize=9)
    for ax in axes.flat[len(records) :]:
        ax.set_axis_off()
    k = records[0].experiment["steps_per_action"]
    axes[-1, 0].set_xlabel(f"decision (each followed by k = {k} optimiser steps)")
    bar = figure.colorbar(axes.flat[0].images[0], ax=axes, ticks=_layer_ticks(n_layer), pad=0.02,
                          shrink=1 / rows**0.5, aspect=20 / rows**0.5)  # fmt: skip
    bar.set_label("uses the weights of layer", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.ax.invert_yaxis()
    return figure


def map_graphs(maps: dict[str, TieMap]) -> Figure:
    """Tie maps as graphs, side by side: a node for each layer, downwards from layer 0, and an arc from each tied layer
    to the one whose weights it uses. A ring is a layer with weights of its own, one colour for each weight set."""
    n_layer = len(next(iter(maps.values())))
    height = 0.6 + max(1.9, (0.34 if n_layer <= 16 else 0.13) * n_layer)
    figure = new_figure(0.4 + 1.5 * len(maps), height)
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    colours = weight_set_colours(n_layer)
    size = 150 if n_layer <= 16 else 26
    for ax, (name, tie_map) in zip(axes, maps.items(), strict=True):
        ax.plot([0, 0], [0, n_layer - 1], color="0.8", linewidth=1, zorder=0)
        for i, j in enumerate(tie_map):
            ax.scatter(
                0, i, s=size, color=colours(j), edgecolors="black" if i == j else "none", linewidths=1.6, zorder=2
            )
            ax.annotate(i, (-0.28, i), ha="right", va="center", fontsize=8 if n_layer <= 16 else 5)
            if i != j:
                bend = f"arc3,rad={min(0.9, 0.35 + 1.2 / (i - j + 1)):.3f}"
                arrow = {"arrowstyle": "-|>", "color": colours(j), "linewidth": 1.4, "connectionstyle": bend}
                ax.annotate("", (0.12, j), (0.12, i), arrowprops=arrow, zorder=1)
        ax.set(xlim=(-0.9, 2.1), ylim=(n_layer - 0.4, -0.6))
        sets = tie_map.num_independent
        ax.set_title(f"{name}\n{sets} weight set{'s' * (sets != 1)}", fontsize=8)
        ax.axis("off")
    return figure


def tie_maps(maps: dict[str, TieMap]) -> Figure:
    """Several tie maps side by side, each with its name, one colour for each weight set."""
    columns = np.array([list(tie_map) for tie_map in maps.values()]).T  # (L, maps)
    figure, ax = new_axes(width=1.0 + 0.9 * len(maps), height=0.9 + 0.32 * len(columns))
    _draw_maps(ax, columns, extent=(-0.5, len(maps) - 0.5, len(columns) - 0.5, -0.5))
    for (layer, column), source in np.ndenumerate(columns):
        ax.text(column, layer, source, ha="center", va="center", fontsize=9, bbox=_WHITE)
    ax.set_xticks(range(len(maps)), maps.keys(), fontsize=8)
    ax.set_xticks(np.arange(len(maps) + 1) - 0.5, minor=True)
    ax.grid(which="minor", axis="x", color="white", linewidth=4)
    ax.tick_params(which="both", length=0)
    return figure


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
    ax.axhline(expected, color="0.4", linewidth=1, linestyle=(0, (1, 2)), label=label)
    ax.set(ylabel=f"independent layers of {n_layer}", ylim=(0.5, n_layer + 0.5))
    ax.yaxis.get_major_locator().set_params(integer=True)


def learning_curves(groups: Sequence[RunRecord] | dict[str, Sequence[RunRecord]]) -> Figure:
    """Validation perplexity against optimiser steps; a dot where each run was best, the model that is tested.

    Several seeds of a method are drawn as their mean and range. A dict of records makes a panel for each of its
    entries.
    """
    return _panels(groups, _learning_curves)


def _learning_curves(ax: Axes, records: Sequence[RunRecord]) -> None:
    for method in dict.fromkeys(r.method for r in records):
        runs = [r for r in records if r.method == method]
        split = runs[0].test["selected_by"] if runs[0].test else "validation"
        steps = runs[0].curves[split]["step"]
        curves = np.array([r.curves[split]["perplexity"] for r in runs])  # (seeds, evaluations)
        colour, dash = method_style(method)
        method += "" if split == "validation" else f" (on the {split} split)"
        label = method if len(runs) == 1 else f"{method}, mean and range of {len(runs)} seeds"
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
) -> Figure:
    """One drawing over optimiser steps, or a panel with its name for each of several, in rows of three, under one
    legend."""
    if not isinstance(groups, dict):
        groups = {experiment_name(groups[0]) if groups[0].sample_mark else "": groups}
    columns = min(3, len(groups))
    rows = math.ceil(len(groups) / columns)
    size = (5.4, 3.4) if len(groups) == 1 else (3.5 * columns, 0.5 + 2.4 * rows)
    figure = new_figure(*size)
    axes = figure.subplots(rows, columns, squeeze=False)
    legend = {}
    for ax, (name, records) in zip(axes.flat, groups.items(), strict=False):
        tidy(ax)
        draw(ax, records)
        ax.set_title(name, fontsize=9)
        if len(groups) > 1:
            ax.yaxis.label.set_size(8)
        legend |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    for ax in axes.flat[len(groups) :]:
        ax.set_axis_off()
    for column in range(columns):  # the lowest panel of each column
        axes.flat[[i for i in range(len(groups)) if i % columns == column][-1]].set_xlabel("optimiser steps")
    figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return figure


def memory(records: Sequence[RunRecord]) -> Figure:
    """What training held: weights, gradients and optimiser state at the end of each run, and the rest of the peak of
    one step, which is mostly activations."""
    figure, ax = new_axes(width=6.2, height=0.9 + 0.3 * len(records))
    names = {"weights": "#0072B2", "gradients": "#56B4E9", "optimizer": "#E69F00"}
    for row, record in enumerate(records):
        held, left = record.bytes["measured_at_end"], 0.0
        for name, colour in names.items():
            ax.barh(row, held[name] / 2**20, left=left, color=colour, label=name if row == 0 else None)
            left += held[name] / 2**20
        if record.bytes.get("step_peak"):
            rest = record.bytes["step_peak"] / 2**20 - left
            label = "rest of the peak: activations, logits, ..." if row == 0 else None
            ax.barh(row, rest, left=left, color="0.85", label=label)
    ax.set_yticks(range(len(records)), [f"{experiment_name(r)}, {r.method}" for r in records], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("MiB in training")
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return figure


def differences(
    panels: dict[str, dict[str, Sequence[float]]], interval: Callable[..., tuple[float, float | None]], xlabel: str
) -> Figure:
    """Paired differences by name: a small dot for each seed, the mean with its interval, and a line at zero.

    panels: title -> name -> a value for each seed. interval: values -> mean and half the width.
    """
    names = list(dict.fromkeys(name for groups in panels.values() for name in groups))
    size = (6.2 + 2.6 * (len(panels) - 1), 0.9 + 0.24 * len(names) + 0.2 * (len(panels) > 1))
    figure = new_figure(*size)
    for ax, (title, groups) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        tidy(ax)
        ax.axvline(0, color="black", linewidth=1, linestyle="--")
        for row, name in enumerate(names):
            if name in groups:
                mean, half = interval(groups[name])
                ax.errorbar(mean, row, xerr=half, fmt="o", color="#0072B2", markersize=5, capsize=3, linewidth=1.4)
                ax.plot(groups[name], [row + 0.28] * len(groups[name]), ".", color="#D55E00", markersize=4)
        first = ax.get_subplotspec().is_first_col()
        ax.set_yticks(range(len(names)), names if first else [""] * len(names), fontsize=8)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.grid(axis="y", color="0.92")
        ax.set_axisbelow(True)
        ax.set_title(title, fontsize=9)
        ax.xaxis.set_major_locator(MaxNLocator(6 if len(panels) == 1 else 4))
    if len(panels) > 1:
        figure.supxlabel(xlabel, fontsize=9)
    else:
        ax.set_xlabel(xlabel, fontsize=9)
    return figure


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> Figure:
    """A table as a picture, for slides."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    figure = _NotebookFigure(figsize=(0.085 * sum(widths) + 0.25 * len(widths), 0.22 * (len(rows) + 2)))
    ax = figure.add_axes((0.01, 0.02, 0.98, 0.96))
    ax.axis("off")
    drawn = ax.table([list(row) for row in rows], colLabels=list(header), colWidths=[w / sum(widths) for w in widths],
                     bbox=(0, 0, 1, 1), cellLoc="left", colLoc="left")  # fmt: skip
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8)
    for (row, _), cell in drawn.get_celld().items():
        cell.visible_edges = "B" if row == 0 else "open"
        cell.set_text_props(weight="bold" if row == 0 else "normal")
    return figure


def agent_history(record: RunRecord) -> Figure:
    """What the agent saw and did: the reward of each decision, its TD loss, and the exploration ε."""
    history = record.history
    decisions = np.arange(1, len(history["reward"]) + 1)
    figure = new_figure(6.2, 4.6)
    reward, td, epsilon = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1.4, 1))
    explored = np.array(history["explored"], dtype=bool)
    rewards = np.array(history["reward"], dtype=float)
    reward.plot(decisions[explored], rewards[explored], "o", markersize=3, color="#E69F00", label="random action")
    reward.plot(decisions[~explored], rewards[~explored], "o", markersize=3, color="#0072B2", label="greedy action")
    reward.set_ylabel(f"reward r\n({record.experiment['reward']})", fontsize=8)
    reward.legend(fontsize=8, loc="lower right")
    td.semilogy(decisions, np.maximum(history["td_loss"], 1e-12), color="#009E73", linewidth=1)
    td.set_ylabel("TD loss", fontsize=8)
    epsilon.step(decisions, history["epsilon"], where="post", color="#000000", linewidth=1.2)
    epsilon.set(ylim=(0, 1.05), xlabel="decision")
    epsilon.set_ylabel("ε", fontsize=9)
    for ax in (reward, td, epsilon):
        tidy(ax)
    return figure


def q_values(record: RunRecord, layer: int) -> Figure:
    """Q(s, a) of each action of one layer, as the agent saw them before each of its decisions about that layer."""
    history = record.history
    chosen = [i for i, found in enumerate(history["layer"]) if found == layer]
    unknown = [None] * (layer + 1)  # no opinion
    values = np.array([history["q_values"][i] or unknown for i in chosen], dtype=float)  # (turns, layer + 1)
    turns = np.arange(1, len(chosen) + 1)
    figure, ax = new_axes()
    colours = weight_set_colours(record.experiment["n_layer"])
    for action in range(layer + 1):
        name = f"a = {action}: " + ("independent" if action == layer else f"as layer {action}")
        ax.plot(turns, values[:, action], "o-", markersize=3, linewidth=1.2, color=colours(action), label=name)
    taken = [history["action"][i] for i in chosen]
    ax.plot(turns, values[np.arange(len(chosen)), taken], "o", markersize=9, markerfacecolor="none",
            markeredgecolor="black", label="taken")  # fmt: skip
    ax.set(xlabel="turn", ylabel=f"Q(s, a) of layer {layer}")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def save(figure: Figure, path: str | os.PathLike) -> Path:
    """Write the figure at `path`, as PNG (150 dpi) or SVG by its ending, making its folder; returns the path.

    The same figure gives the same bytes: nothing is written about when and by whom.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    nothing = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "dlt"}):
        figure.savefig(path, dpi=150, metadata=nothing)
    return path


_WHITE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}


class _NotebookFigure(Figure):
    """A Figure that a notebook shows as its cell's value, without pyplot and whatever the backend."""

    def _repr_png_(self) -> bytes:
        drawn, small = io.BytesIO(), io.BytesIO()
        self.savefig(drawn, format="png", dpi=110)
        # 256 colours are enough for a chart, and a third of the bytes; also the rare ones are to be among them
        image = Image.open(drawn).convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
        image.save(small, format="png", optimize=True)
        return small.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty one, in inches."""
    return _NotebookFigure(figsize=(width, height), layout="constrained")


def new_axes(width: float = 5.4, height: float = 3.2) -> tuple[Figure, Axes]:
    """A figure with one drawing."""
    figure = new_figure(width, height)
    ax = figure.subplots()
    tidy(ax)
    return figure, ax


def tidy(ax: Axes) -> None:
    """The look of all drawings."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)


def _draw_maps(ax: Axes, maps: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    n_layer = len(maps)
    colours, norm = weight_set_colours(n_layer), BoundaryNorm(np.arange(n_layer + 1) - 0.5, n_layer)
    ax.imshow(maps, cmap=colours, norm=norm, aspect="auto", origin="upper", interpolation="nearest", extent=extent)
    ax.hlines(np.arange(n_layer - 1) + 0.5, extent[0], extent[1], color="white", linewidth=1)
    ax.set_yticks(_layer_ticks(n_layer))
    ax.set_ylabel("layer")


def _layer_ticks(n_layer: int) -> range:
    return range(0, n_layer, max(1, n_layer // 12))


def method_style(method: str) -> tuple[str, str]:
    """Colour and dash of a method's lines."""
    others = [colour for colour in OKABE_ITO if colour not in {c for c, _ in METHOD_STYLES.values()}]
    return METHOD_STYLES.get(method, (others[sum(map(ord, method)) % len(others)], "-"))


def _title(record: RunRecord) -> str:
    return f"{experiment_name(record)}, {record.experiment['preset']} preset, {record.method}, seed {record.seed}"
