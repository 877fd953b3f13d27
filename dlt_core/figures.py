"""Record(s) in, matplotlib Figure out. One colour for each weight set in every picture of a tie map."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from dlt_core.records import RunRecord
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


def tie_map_evolution(record: RunRecord) -> Figure:
    """The tie map over training, layer by layer: a column for each decision, one colour for each weight set."""
    maps = np.array(record.history["tie_map"]).T  # (L, decisions)
    k = record.experiment["steps_per_action"]
    figure, ax = _axes(width=6.2, height=0.9 + max(1.9, 0.06 * len(maps)))
    end = maps.shape[1] * k
    _draw_maps(ax, maps, extent=(0, end, -0.5, len(maps) - 0.5))
    ax.set_xlabel(f"optimiser steps (a decision every k = {k})")
    ax.set_title(_title(record), fontsize=9)
    colours = ax.images[0]
    bar = figure.colorbar(colours, ax=ax, ticks=_layer_ticks(len(maps)), pad=0.02)
    bar.set_label("weight set of layer", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def tie_maps(maps: dict[str, TieMap]) -> Figure:
    """Several tie maps side by side, each with its name, one colour for each weight set."""
    columns = np.array([list(tie_map) for tie_map in maps.values()]).T  # (L, maps)
    figure, ax = _axes(width=1.0 + 0.9 * len(maps), height=0.9 + 0.32 * len(columns))
    _draw_maps(ax, columns, extent=(-0.5, len(maps) - 0.5, -0.5, len(columns) - 0.5))
    for (layer, column), source in np.ndenumerate(columns):
        ax.text(column, layer, source, ha="center", va="center", fontsize=9, bbox=_WHITE)
    ax.set_xticks(range(len(maps)), maps.keys(), fontsize=8)
    ax.set_xticks(np.arange(len(maps) + 1) - 0.5, minor=True)
    ax.grid(which="minor", axis="x", color="white", linewidth=4)
    ax.tick_params(which="both", length=0)
    return figure


def independent_layers(records: Sequence[RunRecord]) -> Figure:
    """Number of independent layers (weight sets) in training over time, with the mean of a uniform policy."""
    figure, ax = _axes()
    for record in records:
        count = record.history["num_independent"]
        colour, dash = _style(record.method)
        steps = record.experiment["steps_per_action"] * np.arange(len(count) + 1)
        ax.step(steps, [*count, count[-1]], dash, where="post", color=colour, label=record.method, linewidth=1.5)
    n_layer = records[0].experiment["n_layer"]
    expected = expected_independent(n_layer)
    label = f"mean of a uniform policy, {expected:.2f}"
    ax.axhline(expected, color="0.4", linewidth=1, linestyle=(0, (1, 2)), label=label)
    ax.set(xlabel="optimiser steps", ylabel=f"independent layers of {n_layer}", ylim=(0.5, n_layer + 0.5))
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8, loc="upper left")
    return figure


def learning_curves(records: Sequence[RunRecord]) -> Figure:
    """Validation perplexity against optimiser steps; a dot where each run was best, the model that is tested."""
    figure, ax = _axes()
    for record in records:
        curve = record.curves["validation"]
        colour, dash = _style(record.method)
        ax.plot(curve["step"], curve["perplexity"], dash, color=colour, label=_label(record, records), linewidth=1.5)
        best = int(np.argmin(curve["perplexity"]))
        ax.plot(curve["step"][best], curve["perplexity"][best], "o", color=colour, markersize=5)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    ax.yaxis.set_major_formatter("{x:.0f}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="optimiser steps", ylabel=f"validation perplexity\n{unit(records[0])}")
    ax.legend(fontsize=8)
    return figure


def agent_history(record: RunRecord) -> Figure:
    """What the agent saw and did: the reward of each decision, its TD loss, and the exploration ε."""
    history = record.history
    decisions = np.arange(1, len(history["reward"]) + 1)
    figure = _NotebookFigure(figsize=(6.2, 4.6), layout="constrained")
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
        _tidy(ax)
    return figure


def q_values(record: RunRecord, layer: int) -> Figure:
    """Q(s, a) of each action of one layer, as the agent saw them before each of its decisions about that layer."""
    history = record.history
    chosen = [i for i, found in enumerate(history["layer"]) if found == layer]
    values = np.array([history["q_values"][i] for i in chosen], dtype=float)  # (turns, layer + 1)
    turns = np.arange(1, len(chosen) + 1)
    figure, ax = _axes()
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


def comparison(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """A row for each finished run: perplexity with its unit, bits per byte, parameters, independent layers, time."""
    return [
        {
            "method": r.method,
            "seed": r.seed,
            "test perplexity": r.test["perplexity"],
            "unit": r.test["unit"],
            "bits per byte": r.test["bits_per_byte"],
            "parameters": r.parameters["unique"],
            "of conventional": r.parameters["unique"] / r.parameters["conventional"],
            "independent layers": TieMap(r.tie_map).num_independent,
            "best at step": r.test["selected_step"],
            "steps": r.budget["optimizer_steps"],
            "seconds": r.seconds,
        }
        for r in records
        if r.status == "finished"
    ]


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table; nothing for no rows."""
    if not rows:
        return ""
    formats = {
        "test perplexity": ".1f", "bits per byte": ".3f", "parameters": ",", "of conventional": ".0%", "seconds": ".0f"
    }  # fmt: skip
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(format(row[n], formats.get(n, "")) for n in names) + " |" for row in rows]
    return "\n".join(lines)


def unit(record: RunRecord) -> str:
    """What the record's perplexity is per; the tokenizer's name for a run that was not finished."""
    return record.test["unit"] if record.test else f"per token ({record.experiment['tokenizer']})"


def save(figure: Figure, path: str | os.PathLike) -> Path:
    """Write the figure as PNG (150 dpi) at `path`, making its folder; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Software": None})
    return path


_WHITE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}


class _NotebookFigure(Figure):
    """A Figure that a notebook shows as its cell's value, without pyplot and whatever the backend."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def _axes(width: float = 5.4, height: float = 3.2) -> tuple[Figure, Axes]:
    figure = _NotebookFigure(figsize=(width, height), layout="constrained")
    ax = figure.subplots()
    _tidy(ax)
    return figure, ax


def _tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)


def _draw_maps(ax: Axes, maps: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    n_layer = len(maps)
    colours, norm = weight_set_colours(n_layer), BoundaryNorm(np.arange(n_layer + 1) - 0.5, n_layer)
    ax.imshow(maps, cmap=colours, norm=norm, aspect="auto", origin="lower", interpolation="nearest", extent=extent)
    ax.hlines(np.arange(n_layer - 1) + 0.5, extent[0], extent[1], color="white", linewidth=1)
    ax.set_yticks(_layer_ticks(n_layer))
    ax.set_ylabel("layer")


def _layer_ticks(n_layer: int) -> range:
    return range(0, n_layer, max(1, n_layer // 12))


def _style(method: str) -> tuple[str, str]:
    others = [colour for colour in OKABE_ITO if colour not in {c for c, _ in METHOD_STYLES.values()}]
    return METHOD_STYLES.get(method, (others[sum(map(ord, method)) % len(others)], "-"))


def _label(record: RunRecord, records: Sequence[RunRecord]) -> str:
    several = sum(r.method == record.method for r in records) > 1
    return f"{record.method}, seed {record.seed}" if several else record.method


def _title(record: RunRecord) -> str:
    e = record.experiment
    return f"{e['name']}, {e['preset']} preset, {record.method}, seed {record.seed}"
