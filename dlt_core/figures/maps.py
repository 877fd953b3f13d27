"""Pictures of tie maps: how they change in training, and what they are at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm

from dlt_core.figures.style import (
    INK,
    Figure,
    experiment_name,
    ink_on,
    new_axes,
    new_figure,
    new_panels,
    tidy,
    weight_set_colours,
)
from dlt_core.records.record import RunRecord
from dlt_core.tie_map import TieMap


def tie_map_evolution(records: RunRecord | Sequence[RunRecord]) -> Figure:
    """The tie map over training: layers downwards, decisions rightwards, one colour for each weight set.

    Several records, of models with equally many layers, make a panel each.
    """
    records = [records] if isinstance(records, RunRecord) else list(records)
    n_layer = records[0].experiment["n_layer"]
    columns = 1 if len(records) < 4 else 2
    width, height = 6.2 if columns == 1 else 4.8, 0.35 + max(1.9 if columns == 1 else 1.5, 0.06 * n_layer)
    alone = (width, 0.9 + height)
    figure, axes = new_panels(
        map(_title, records), columns=columns, alone=alone, width=width, height=height, margin=0.9
    )
    for ax, record in zip(axes.flat, records, strict=False):
        maps = np.array(record.history["tie_map"]).T  # (L, decisions)
        _draw_maps(ax, maps, 0.5, maps.shape[1] + 0.5)
        ax.set_label(
            f"the map after the first decision is {maps[:, 0].tolist()}, after the last {maps[:, -1].tolist()}"
        )
    k = records[0].experiment["steps_per_action"]
    axes[-1, 0].set_xlabel(f"decision (each followed by k = {k} optimiser steps)")
    bar = figure.colorbar(axes.flat[0].images[0], ax=axes, ticks=_layer_ticks(n_layer), pad=0.02,
                          shrink=1 / len(axes) ** 0.5, aspect=20 / len(axes) ** 0.5)  # fmt: skip
    bar.set_label("uses the weights of layer", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.ax.invert_yaxis()
    return figure


def map_graphs(maps: dict[str, TieMap]) -> Figure:
    """Tie maps as graphs, in rows of five: a node for each layer, downwards from layer 0, and an arc from each tied
    layer to the one whose weights it uses. A layer in a ring has weights of its own; one colour for each weight set."""
    n_layer = len(next(iter(maps.values())))
    height = 0.6 + max(1.9, (0.34 if n_layer <= 16 else 0.13) * n_layer)
    columns = min(5, len(maps))
    rows = -(-len(maps) // columns)
    figure = new_figure(0.4 + 1.5 * columns, height * rows)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for ax in axes[len(maps) :]:
        ax.set_axis_off()
    colours = weight_set_colours(n_layer)
    size = 95 if n_layer <= 16 else 16
    for ax, (name, tie_map) in zip(axes, maps.items(), strict=False):
        ax.plot([0, 0], [0, n_layer - 1], color=INK, linewidth=1, zorder=0)
        for i, j in enumerate(tie_map):
            ax.scatter(0, i, s=size, color=colours(j), linewidths=0, zorder=2)
            if i == j:
                ax.scatter(0, i, s=2.4 * size, facecolors="none", edgecolors=colours(j), linewidths=1.4, zorder=2)
            ax.annotate(i, (-0.32, i), ha="right", va="center", fontsize=8 if n_layer <= 16 else 5)
            if i != j:
                bend = f"arc3,rad={min(0.9, 0.35 + 1.2 / (i - j + 1)):.3f}"
                arrow = {"arrowstyle": "-|>", "color": colours(j), "linewidth": 1.4, "connectionstyle": bend}
                ax.annotate("", (0.12, j), (0.12, i), arrowprops=arrow, zorder=1)
        ax.set(xlim=(-0.9, 2.1), ylim=(n_layer - 0.4, -0.6))
        sets = tie_map.num_independent
        ax.set_title(f"{name}\n{sets} weight set{'s' * (sets != 1)}", fontsize=8)
        ax.set_label(f"map {list(tie_map)}")
        ax.axis("off")
    return figure


def tie_maps(maps: Mapping[str, TieMap]) -> Figure:
    """Several tie maps side by side, each with its name, one colour for each weight set."""
    n_layer = len(next(iter(maps.values())))
    figure, ax = new_axes(width=1.0 + 0.9 * len(maps), height=0.9 + 0.32 * n_layer)
    draw_tie_maps(ax, maps)
    return figure


def draw_tie_maps(ax: Axes, maps: Mapping[str, TieMap]) -> None:
    """`tie_maps` in a panel that is there already."""
    tidy(ax)
    columns = np.array([list(tie_map) for tie_map in maps.values()]).T  # (L, maps)
    for column in range(len(maps)):
        _draw_maps(ax, columns[:, [column]], column - 0.47, column + 0.47)
    colours = weight_set_colours(len(columns))
    for (layer, column), source in np.ndenumerate(columns):
        ax.text(column, layer, source, ha="center", va="center", fontsize=9, color=ink_on(colours(source)))
    ax.set_xlim(-0.5, len(maps) - 0.5)
    ax.set_xticks(range(len(maps)), maps.keys(), fontsize=8)
    ax.tick_params(length=0)
    ax.set_label("; ".join(f"{name}: {list(tie_map)}" for name, tie_map in maps.items()))


def _draw_maps(ax: Axes, maps: np.ndarray, left: float, right: float) -> None:
    """Maps, shape (L, number of maps), side by side: a bar for each layer, with a gap between two."""
    n_layer = len(maps)
    colours, norm = weight_set_colours(n_layer), BoundaryNorm(np.arange(n_layer + 1) - 0.5, n_layer)
    for layer, sources in enumerate(maps):
        extent = (left, right, layer + 0.48, layer - 0.48)
        ax.imshow(sources[None], cmap=colours, norm=norm, aspect="auto", interpolation="nearest", extent=extent)
    ax.set(xlim=(left, right), ylim=(n_layer - 0.5, -0.5))
    ax.set_yticks(_layer_ticks(n_layer))
    ax.set_ylabel("layer")


def _layer_ticks(n_layer: int) -> range:
    return range(0, n_layer, max(1, n_layer // 12))


def _title(record: RunRecord) -> str:
    return f"{experiment_name(record)}, {record.experiment['preset']} preset, {record.method}, seed {record.seed}"
