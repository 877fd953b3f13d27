"""What training costs: the memory of runs, and a benchmark's times and bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlt_core.figures.style import BLUE, BROWN, COLOURS, INK, PINK, VERMILLION, experiment_name, new_axes, new_panels
from dlt_core.records.record import RunRecord


def memory(records: Sequence[RunRecord]) -> Figure:
    """What training held: weights, gradients and optimiser state at the end of each run, and the rest of the peak of
    one step, which is mostly activations."""
    figure, ax = new_axes(width=6.2, height=0.9 + 0.3 * len(records))
    names = {"weights": BLUE, "gradients": PINK, "optimizer": BROWN}
    for row, record in enumerate(records):
        measured, left = record.required(record.bytes), 0.0
        held = measured["measured_at_end"]
        for name, colour in names.items():
            said = "optimiser state" if name == "optimizer" else name
            ax.barh(row, held[name] / 2**20, left=left, color=colour, label=said if row == 0 else None)
            left += held[name] / 2**20
        if measured.get("step_peak"):
            rest = measured["step_peak"] / 2**20 - left
            label = "rest of the peak: activations, logits, ..." if row == 0 else None
            ax.barh(row, rest, left=left, color=INK, label=label)
    ax.set_yticks(range(len(records)), [f"{experiment_name(r)}, {r.method}" for r in records], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("MiB in training")
    figure.legend(loc="outside upper center", ncols=2, fontsize=8)
    return figure


def weight_set_memory(sizes: Mapping[int, Mapping[str, int]]) -> Figure:
    """Training memory for numbers of weight sets, in closed form: `sizes[g]` has the bytes of `weights`, `gradients`,
    `optimizer`, `activations` and the `peak` of one step. The line is at a tenth of the last one's four parts."""
    figure, ax = new_axes(width=6.2, height=3.2)
    parts = {"weights": BLUE, "gradients": PINK, "optimizer": BROWN, "activations": INK}
    places, floor = range(len(sizes)), [0.0] * len(sizes)
    for name, colour in parts.items():
        heights = [size[name] / 1e9 for size in sizes.values()]
        ax.bar(places, heights, bottom=floor, color=colour, label="moments" if name == "optimizer" else name)
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    ax.plot(places, [size["peak"] / 1e9 for size in sizes.values()], "D", color=VERMILLION, label="peak of one step")
    ax.axhline(floor[-1] / 10, color=INK, linestyle="--", linewidth=1.2, label="a tenth of no ties")
    ax.set_xticks(places, [str(groups) for groups in sizes])
    ax.set_xlabel("weight sets", fontsize=9)
    ax.set_ylabel("GB in training, closed form", fontsize=9)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8)
    return figure


def benchmark(results: Mapping[str, Any]) -> Figure:
    """A benchmark in up to three panels, as far as its parts are there: steps against conventional ones, control
    against its k steps, and memory against the number of weight sets."""
    rows = {name: part["rows"] for name, part in results["parts"].items()}
    panels = [name for name in ("steps", "control", "memory") if name in rows]
    titles = [""] * max(1, len(panels))
    figure, axes = new_panels(titles, alone=(3.8, 3.3), width=3.8, height=3.3, margin=0.0)
    for ax, name in zip(axes[0], panels, strict=False):
        if name == "steps":
            _quartile_bars(ax, rows[name], "training", "ratio_to_conventional", "a step's time, of a conventional one")
            ax.axvline(1, color=INK, linewidth=1, linestyle="--")
        elif name == "control":
            _quartile_bars(ax, rows[name][2:], "what", "ratio_to_k_steps", "time, of k steps")
            ax.set_xlim(0, None)
        else:
            _memory(ax, rows[name])
    hardware = results["hardware"]
    figure.suptitle(f"{hardware['device']}, {hardware['threads']} of {hardware['cores']} cores", fontsize=9)
    return figure


def _memory(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """State and peak against the number of weight sets; the state depends on nothing else."""
    deepest = max(row["layers"] for row in rows)
    state = sorted({(row["weight_sets"], row["closed_form_mb"]) for row in rows})
    ax.plot(*zip(*state, strict=True), color=INK, linewidth=1.3, label="state, closed form")
    for depth, colour in zip(dict.fromkeys(row["layers"] for row in rows), COLOURS, strict=False):
        of = [row for row in rows if row["layers"] == depth]
        sets = [row["weight_sets"] for row in of]
        name = f"{depth} layers"
        ax.plot(sets, [row["state_mb"] for row in of], "o", color=colour, markersize=3 + 3 * depth / deepest,
                fillstyle="none", label=f"state, {name}")  # fmt: skip
        ax.plot(sets, [row["peak_mb"] for row in of], "--", color=colour, linewidth=1.3, label=f"peak, {name}")
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:.0f}")
    ax.set_ylim(0, None)
    ax.set_xlabel("weight sets", fontsize=9)
    ax.set_ylabel("MB", fontsize=9)
    ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _quartile_bars(ax: Axes, rows: Sequence[Mapping[str, Any]], name: str, value: str, label: str) -> None:
    """A dot for the median, a bar from quartile to quartile, a line of the plot for each row."""
    for place, row in enumerate(rows):
        median, low, high = row[value], row[f"{value}_q25"], row[f"{value}_q75"]
        ax.errorbar(median, place, xerr=[[median - low], [high - median]], fmt="o", color=COLOURS[0], capsize=3,
                    markersize=5, linewidth=1.5)  # fmt: skip
    ax.set_yticks(range(len(rows)), [row[name] for row in rows], fontsize=8)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(label, fontsize=9)
    ax.grid(axis="y")
