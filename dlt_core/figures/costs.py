"""What training costs: the memory of runs, in closed form and measured, and a benchmark's times and bytes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dlt_core.figures.style import (
    AZURE,
    BLUE,
    BROWN,
    COLOURS,
    GREEN,
    INK,
    PINK,
    VERMILLION,
    Figure,
    experiment_name,
    legend_outside,
    name_lines,
    new_axes,
    new_panels,
)
from dlt_core.records.record import RunRecord

Memory = Mapping[str, float]  # bytes by part: weights, gradients, optimizer, total, activations, peak
PARTS = {
    "weights": ("weights", BLUE),
    "optimizer": ("Adam's averages", BROWN),
    "gradients": ("gradients", PINK),
    "activations": ("activations", INK),
}


def memory(records: Sequence[RunRecord]) -> Figure:
    """What training held: weights, gradients and optimiser state at the end of each run, and the rest of the peak of
    one step, which is mostly activations."""
    figure, ax = new_axes(width=6.2, height=0.9 + 0.3 * len(records))
    held = [record.required(record.bytes)["measured_at_end"] for record in records]
    left = np.zeros(len(records))
    for part in ("weights", "optimizer", "gradients"):
        (name, colour), width = PARTS[part], np.array([of[part] for of in held]) / 2**20
        ax.barh(range(len(records)), width, left=left, color=colour, label=name)
        left += width
    peaks = np.array([record.bytes.get("step_peak") or 0 for record in records]) / 2**20  # type: ignore[union-attr]
    if peaks.any():
        rest = np.maximum(peaks - left, 0)
        label = "rest of the peak: activations, logits, ..."
        ax.barh(range(len(records)), rest, left=left, color=INK, label=label)
    ax.set_yticks(range(len(records)), [f"{experiment_name(r)}, {r.method}" for r in records], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("MiB in training")
    legend_outside(figure, *ax.get_legend_handles_labels())
    return figure


def weight_set_memory(sizes: Mapping[int, Mapping[str, int]]) -> Figure:
    """Training memory for numbers of weight sets, in closed form: `sizes[g]` has the bytes of `weights`, `gradients`,
    `optimizer`, `activations` and the `peak` of one step. The line is at a tenth of the last one's four parts."""
    figure, ax = new_axes(width=6.2, height=3.2)
    places, floor = range(len(sizes)), [0.0] * len(sizes)
    for part, (name, colour) in PARTS.items():
        heights = [size[part] / 1e9 for size in sizes.values()]
        ax.bar(places, heights, bottom=floor, color=colour, label=name)
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    ax.plot(places, [size["peak"] / 1e9 for size in sizes.values()], "D", color=VERMILLION, label="peak of one step")
    ax.axhline(floor[-1] / 10, color=INK, linestyle="--", linewidth=1.2, label="a tenth of no ties")
    ax.set_xticks(places, [str(groups) for groups in sizes])
    ax.set_xlabel("weight sets", fontsize=9)
    ax.set_ylabel("GB in training, closed form", fontsize=9)
    legend_outside(figure, *ax.get_legend_handles_labels())
    return figure


def weight_set_parameters(
    closed: Mapping[int, int], counted: Mapping[int, int], quoted: tuple[str, float], reported: tuple[str, int, int]
) -> Figure:
    """Parameters against the number of weight sets: a line for the closed form, dots for models that were counted. A
    dashed line at a `quoted` number of parameters and a band over a `reported` range of weight sets, each with its name
    before it. The right axis is the training state under AdamW in fp32, 16 bytes for each parameter."""
    figure, ax = new_axes(5.4, 3.3)
    (name, number), (who, first, last) = quoted, reported
    ax.plot(list(closed), [n / 1e9 for n in closed.values()], color=BLUE, linewidth=1.5, label="closed form")
    ax.plot(list(counted), [n / 1e9 for n in counted.values()], "o", color=BLUE, markersize=4, label="counted")
    ax.axvspan(first, last, color=AZURE, alpha=0.3, linewidth=0, label=who)
    ax.axhline(number / 1e9, color=VERMILLION, linestyle="--", linewidth=1.2, label=name)
    most = max(closed)
    small: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8}
    ax.annotate("closed form; dots: counted", (most, closed[most] / 1e9), (-14, -3), color=BLUE, ha="right", **small)
    ax.annotate(name, (most, number / 1e9), (0, 3), color=VERMILLION, ha="right", **small)
    ax.annotate(who, (last, 1), (3, -2), xycoords=("data", "axes fraction"), color=INK, va="top", **small)
    ax.set(xlim=(0, most + 1), ylim=(0, 1.1 * closed[most] / 1e9))
    ax.set_xlabel("weight sets", fontsize=9)
    ax.set_ylabel("parameters (billions)", fontsize=9)
    bytes_each: Any = (lambda n: 16 * n, lambda gb: gb / 16)
    right = ax.secondary_yaxis("right", functions=bytes_each)
    right.set_ylabel("training state (GB, fp32 AdamW)", fontsize=9)
    right.tick_params(labelsize=8)
    return figure


def step_timeline(timelines: Mapping[str, Sequence[int]]) -> Figure:
    """One optimiser step, allocation by allocation: for each of two models the bytes that its tensors hold, as from
    `accounting.step_timeline`. A dotted line is where it starts."""
    figure, ax = new_axes(width=6.0, height=3.3)
    for (name, timeline), colour, dash in zip(timelines.items(), (INK, BLUE), ("--", "-"), strict=True):
        held = [size / 1e6 for size in timeline]
        ax.step(range(len(held)), held, where="post", color=colour, linestyle=dash, linewidth=1.3, label=name)
        ax.axhline(held[0], color=colour, linestyle=":", linewidth=1)
    ax.set(xlim=(0, max(map(len, timelines.values()))), ylim=(0, None))
    _axis_labels(ax, "allocations and releases of one step, in order", "held by tensors (MB)")
    ax.legend(fontsize=8, loc="upper right", title="dotted: held at the start", title_fontsize=8)
    return figure


def memory_by_weight_sets(panels: Mapping[str, tuple[Mapping[int, Memory], Mapping[int, Memory]]]) -> Figure:
    """A panel for each title: (weight sets -> memory in closed form, weight sets -> memory measured). Areas and lines
    are the first, dots the second; the peak stands beside the parts, which are stacked."""
    figure, axes = new_panels(panels, width=3.6, height=3.4, sharey=True)
    for ax, (closed, measured) in zip(axes[0], panels.values(), strict=True):
        areas = [[memory[part] / 1e6 for memory in closed.values()] for part in PARTS]
        names, colours = zip(*PARTS.values(), strict=True)
        stacked = ax.stackplot(list(closed), areas, colors=colours, labels=names)
        stacked[-1].set_alpha(0.6)
        ax.plot(list(closed), [memory["peak"] / 1e6 for memory in closed.values()], color=VERMILLION, label="peak")
        tops = np.cumsum([[memory[part] / 1e6 for part in PARTS] for memory in measured.values()], axis=1)
        ax.plot(list(measured), tops, "o", color="white", markeredgecolor="black", markersize=4, clip_on=False)
        peaks = [memory["peak"] / 1e6 for memory in measured.values()]
        ax.plot(list(measured), peaks, "o", color=VERMILLION, markersize=5, clip_on=False)
        ax.set(xlim=(min(closed), max(closed)), ylim=(0, None))
        ax.locator_params("x", integer=True)
        ax.set_xlabel(f"weight sets of {max(closed)} layers", fontsize=9)
    axes[0, 0].set_ylabel("MB (areas, lines: computed; dots: measured)", fontsize=9)
    legend_outside(figure, *axes[0, 0].get_legend_handles_labels(), below=True)
    return figure


def memory_by_depth(closed: Mapping[tuple[int, int], Memory], measured: Mapping[tuple[int, int], Memory]) -> Figure:
    """(layers, weight sets) -> memory, with two weight sets and with one for each layer; lines in closed form, dots
    measured."""
    figure, ax = new_axes(width=6.4, height=3.3)
    named: dict[str, Line2D] = {}
    for part, colour in (("peak", VERMILLION), ("activations", INK), ("total", BLUE)):
        for two in (False, True) if part != "activations" else (True,):
            lines = [{n: of[n, 2 if two else n][part] / 1e6 for n, _ in of} for of in (closed, measured)]
            (line,) = ax.plot(*_points(lines[0]), color=colour, linestyle="-" if two else "--", linewidth=1.5)
            ax.plot(*_points(lines[1]), "o", color=colour, markersize=4.5)
            words = "activations, either way" if part == "activations" else f"{'2' if two else 'L'} weight sets"
            label = words if part == "activations" else f"{'state' if part == 'total' else part}, {words}"
            named[label] = line
    ax.set_ylim(0, None)
    name_lines(ax, named)
    ax.locator_params("x", integer=True)
    _axis_labels(ax, "L, layers", "MB (lines: computed; dots: measured)")
    return figure


def _points(line: Mapping[int, float]) -> tuple[list[int], list[float]]:
    return list(line), list(line.values())


def savings(ratios: Mapping[str, Mapping[int, float]], by_chance: float) -> Figure:
    """name -> weight sets -> how many times less memory than without ties, in closed form. Marked are an order of
    magnitude, the paper's claim; 7 to 10 weight sets, of which its reviews speak; and the mean number by chance."""
    figure, ax = new_axes(width=6.0, height=3.4)
    ax.axvspan(7, 10, color=AZURE, alpha=0.3, linewidth=0, label="7 to 10 sets (reviews)")
    ax.axvline(by_chance, color=INK, linestyle=":", linewidth=1.3, label=f"{by_chance:.2f} sets (chance)")
    for (name, line), colour, dash in zip(ratios.items(), (BLUE, GREEN, VERMILLION), ("-", "-.", "--"), strict=True):
        ax.plot(*_points(line), color=colour, linestyle=dash, linewidth=1.7, label=name)
    most = max(max(line) for line in ratios.values())
    ax.axhline(10, color=INK, linewidth=0.8)
    ax.text(most - 2, 10.2, "one order of magnitude (the paper's claim)", fontsize=8, ha="right")
    ax.set(xlim=(1, most), ylim=(0, 14.5), xticks=[1, *range(10, most, 10), most])
    ax.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.68))
    _axis_labels(ax, f"weight sets of {most} layers", "times less than without ties")
    return figure


def optimizer_state(held: Mapping[str, Sequence[int]]) -> Figure:
    """Bytes of optimiser state after each decision, for three ways to keep it."""
    figure, ax = new_axes(width=6.2, height=2.9)
    named: dict[str, Line2D] = {}
    for (name, sizes), colour, dash in zip(held.items(), (INK, VERMILLION, BLUE), ("--", "-", "-"), strict=True):
        line = [size / 1e6 for size in sizes]
        x = range(1, len(line) + 1)
        (named[name],) = ax.step(x, line, where="mid", color=colour, linestyle=dash, linewidth=1.6)
    ax.set(ylim=(0, 1.1 * max(map(max, held.values())) / 1e6), xlim=(1, max(map(len, held.values()))))
    name_lines(ax, named)
    _axis_labels(ax, "random decision, one optimiser step each", "optimiser state (MB)")
    return figure


def step_times(times: Mapping[str, Sequence[float]], label: str) -> Figure:
    """A line of the plot for each name: median, quartiles, and a small dot for each measurement. label: of the axis,
    with the unit."""
    figure, ax = new_axes(width=6.2, height=3.4)
    for row, found in enumerate(times.values()):
        colour = (INK, BLUE, PINK, GREEN, INK, BLUE)[row % 6]
        low, median, high = np.quantile(found, [0.25, 0.5, 0.75])
        ax.plot(found, np.full(len(found), row + 0.22), ".", color=colour, markersize=4, alpha=0.6)
        ax.errorbar(median, row, xerr=[[median - low], [high - median]], fmt="o", color=colour, markersize=6, capsize=4,
                    linewidth=1.8)  # fmt: skip
    ax.set_yticks(range(len(times)), list(times), fontsize=8)
    ax.set_ylim(len(times) - 0.4, -0.5)
    ax.set_xlim(0, None)
    ax.grid(axis="y")
    ax.set_xlabel(label, fontsize=9)
    return figure


def _axis_labels(ax: Axes, x: str, y: str) -> None:
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)


def benchmark(results: Mapping[str, Any]) -> Figure:
    """A benchmark in up to three panels, as far as its parts are there: the time of a step against that of a
    conventional one, the parts of a decision beside its k steps, and memory against the number of weight sets."""
    rows = {name: part["rows"] for name, part in results["parts"].items()}
    titles = {"steps": "a training step", "control": "a decision, beside its steps", "memory": "training memory"}
    panels = {name: title for name, title in titles.items() if name in rows}
    figure, axes = new_panels(list(panels.values()) or [""], alone=(3.8, 3.4), width=4.1, height=3.4, margin=0.0)
    for ax, name in zip(axes[0], panels, strict=False):
        if name == "steps":
            _quartile_bars(ax, rows[name], "training", "ratio_to_conventional", 1)
            ax.axvline(1, color=INK, linewidth=1, linestyle="--")
            ax.set_xlabel("times as long as a conventional step", fontsize=9)
        elif name == "control":
            _quartile_bars(ax, rows[name][2:], "what", "ratio_to_k_steps", 100)
            ax.set_xlim(0, None)
            ax.set_xlabel(f"% of the time of its {results['steps_per_action']} steps", fontsize=9)
        else:
            _memory(ax, rows[name])
    hardware = results["hardware"]
    where = f"measured on: {hardware['device']}, {hardware['threads']} of {hardware['cores']} cores"
    figure.supxlabel(f"{where}; dots and bars: median and quartiles", fontsize=8, x=0.01, ha="left")
    return figure


def _memory(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """State and peak against the number of weight sets; the state depends on nothing else."""
    deepest = max(row["layers"] for row in rows)
    state = dict(sorted((row["weight_sets"], row["closed_form_mb"]) for row in rows))
    ax.plot(*_points(state), color=INK, linewidth=1.3, label="state")
    ax.annotate("state", (max(state), state[max(state)]), xytext=(6, 0), textcoords="offset points", fontsize=8,
                color=INK, va="center", annotation_clip=False)  # fmt: skip
    for depth, colour in zip(dict.fromkeys(row["layers"] for row in rows), COLOURS, strict=False):
        of = sorted((row for row in rows if row["layers"] == depth), key=lambda row: row["weight_sets"])
        sets = [row["weight_sets"] for row in of]
        ax.plot(sets, [row["state_mb"] for row in of], "o", color=colour, markersize=3 + 3 * depth / deepest,
                fillstyle="none")  # fmt: skip
        name = f"peak, {depth} layers"
        ax.plot(sets, [row["peak_mb"] for row in of], "--", color=colour, linewidth=1.3, label=name)
        ax.annotate(name, (sets[0], of[0]["peak_mb"]), xytext=(0, 6), textcoords="offset points",
                    fontsize=8, color=colour)  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:.0f}")
    ax.set_ylim(0, None)
    ax.set_xlabel("weight sets (circles: measured, line: computed)", fontsize=9)
    ax.set_ylabel("MB", fontsize=9)


def _quartile_bars(ax: Axes, rows: Sequence[Mapping[str, Any]], name: str, value: str, times: float) -> None:
    """A dot for the median, a bar from quartile to quartile, a line of the plot for each row."""
    for place, row in enumerate(rows):
        median, low, high = (times * row[value + end] for end in ("", "_q25", "_q75"))
        ax.errorbar(median, place, xerr=[[median - low], [high - median]], fmt="o", color=COLOURS[0], capsize=3,
                    markersize=5, linewidth=1.5)  # fmt: skip
    ax.set_yticks(range(len(rows)), [textwrap.fill(row[name], 20) for row in rows], fontsize=8)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="y")
