"""The look that all figures share: colours, sizes, panels, and how a figure is shown and saved."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from dlt_core.records.record import RunRecord

# Okabe and Ito's palette: eight colours that colour-blind readers can tell apart.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
# One colour and dash for each method, the same in every figure.
METHOD_STYLES = {
    "dynamic": ("#0072B2", "-"),
    "conventional": ("#000000", "--"),
    "random": ("#D55E00", "-."),
    "all_tied": ("#009E73", ":"),
}
FREE = ("#CC79A7", "#56B4E9", "#E69F00", "#F0E442")  # colours of Okabe and Ito's that no method has


def weight_set_colours(n_layer: int) -> ListedColormap:
    """A colour for each possible root 0..L-1: Okabe and Ito's up to 8 layers, beyond that steps of viridis."""
    if n_layer <= len(OKABE_ITO):
        return ListedColormap(OKABE_ITO[:n_layer])
    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 1, n_layer)))


def method_style(method: str) -> tuple[str, str]:
    """Colour and dash of a method's lines."""
    others = [colour for colour in OKABE_ITO if colour not in {c for c, _ in METHOD_STYLES.values()}]
    return METHOD_STYLES.get(method, (others[sum(map(ord, method)) % len(others)], "-"))


def experiment_name(record: RunRecord) -> str:
    """Of the run's experiment, with a mark if its corpus was only a sample."""
    return record.experiment["name"] + record.sample_mark


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
    """An empty figure of this size in inches."""
    return _NotebookFigure(figsize=(width, height), layout="constrained")


def new_axes(width: float = 5.4, height: float = 3.2) -> tuple[Figure, Axes]:
    """A figure with one panel."""
    figure = new_figure(width, height)
    ax = figure.subplots()
    tidy(ax)
    return figure, ax


def new_panels(
    titles: Iterable[str],
    *,
    columns: int = 3,
    alone: tuple[float, float] = (5.4, 3.4),
    width: float = 3.5,
    height: float = 2.4,
    margin: float = 0.5,
    sharey: bool = False,
) -> tuple[Figure, np.ndarray]:
    """A figure with a panel for each title, row by row, and its axes, shape (rows, columns); those that are left over
    are hidden.

    alone: size in inches of a single panel's figure. width, height: of each of several; `margin` comes on top of their
    heights. sharey: one scale for all.
    """
    titles = list(titles)
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    figure = new_figure(*(alone if len(titles) == 1 else (width * columns, margin + height * rows)))
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    for ax, title in zip(axes.flat, titles, strict=False):
        tidy(ax)
        ax.set_title(title, fontsize=9)
    for ax in axes.flat[len(titles) :]:
        ax.set_axis_off()
    return figure, axes


def tidy(ax: Axes) -> None:
    """Take away what distracts: the frame above and at the right, large numbers."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)


def save(figure: Figure, path: str | os.PathLike) -> Path:
    """Write the figure at `path`, as PNG (150 dpi) or SVG by its ending, making its folder; returns the path.

    The same figure gives the same bytes: nothing is written about when and by whom.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "dlt"}):
        figure.savefig(path, dpi=150, metadata=metadata)
    return path
