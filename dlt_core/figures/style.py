"""The look that all figures share: colours, sizes, panels, and how a figure is shown and saved.

Figures have no background of their own, so that they stand on a light page as on a dark one. Importing this sets
matplotlib's defaults accordingly, for the figures that a notebook draws itself, too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
import matplotlib.figure
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.lines import Line2D
from matplotlib.rcsetup import cycler
from matplotlib.typing import ColorType
from PIL import Image

from dlt_core.figures.words import describe
from dlt_core.records.record import RunRecord
from dlt_core.tie_map import COLOURS, weight_set_colour

BACKGROUNDS = ("#ffffff", "#111111", "#0d1117")  # a light page, JupyterLab's dark one, GitHub's
BLUE, VERMILLION, GREEN, PINK, BROWN, SAGE, AZURE, INK = COLOURS
# One colour and dash for each method, the same in every figure.
METHOD_STYLES = {
    "dynamic": (BLUE, "-"),
    "conventional": (INK, "--"),
    "random": (VERMILLION, "-."),
    "all_tied": (GREEN, ":"),
}
FREE = (PINK, BROWN, SAGE, AZURE)  # colours that no method has

matplotlib.rcParams.update(
    {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"), "none"),
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
        **dict.fromkeys(("hatch.color", "patch.edgecolor", "grid.color"), INK),
        "axes.prop_cycle": cycler(color=COLOURS),
        "grid.alpha": 0.25,
        "legend.frameon": False,
    }
)


def weight_set_colours(n_layer: int) -> ListedColormap:
    """`weight_set_colour` of each possible root 0..L-1."""
    return ListedColormap([weight_set_colour(layer, n_layer) for layer in range(n_layer)])


def luminance(colour: ColorType) -> float:
    """Relative luminance as the W3C's contrast guidelines define it, 0 for black, 1 for white."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def ink_on(colour: ColorType) -> str:
    """Black or white, whichever can be read better on a colour: the contrast is at least 4.5 to 1."""
    return "black" if luminance(colour) > 0.179 else "white"


def method_style(method: str) -> tuple[str, str]:
    """Colour and dash of a method's lines."""
    return METHOD_STYLES.get(method, (FREE[sum(map(ord, method)) % len(FREE)], "-"))


def experiment_name(record: RunRecord) -> str:
    """Of the run's experiment, with a mark if its corpus was only a sample."""
    return record.experiment["name"] + record.sample_mark


class Figure(matplotlib.figure.Figure):
    """A matplotlib Figure that a notebook shows as its cell's value, without pyplot and whatever the backend, and that
    has words for those who cannot see it.

    crisp: shown 100 pixels wide for each inch, with twice as many dots, so that it is crisp on every screen.
    """

    crisp = False
    _own_words = ""

    @property
    def alt(self) -> str:
        """What it shows, in words. They are read from the figure, unless it was given its own: `figure.alt = "..."`."""
        return self._own_words or describe(self)

    @alt.setter
    def alt(self, words: str) -> None:
        self._own_words = words

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        metadata = {"width": round(self.get_figwidth() * 100)} if self.crisp else {}
        return _small_png(self, 200 if self.crisp else 110), metadata | {"alt": self.alt}

    def __repr__(self) -> str:
        return self.alt


def _small_png(figure: Figure, dpi: int) -> bytes:
    """256 colours, with sixteen steps of transparency, are enough for a chart, and a third of the bytes."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    image = Image.open(drawn).convert("RGBA")
    image.putalpha(image.getchannel("A").point(lambda alpha: round(alpha / 17) * 17))
    image.quantize(256, method=Image.Quantize.FASTOCTREE).save(small, format="png", optimize=True)
    return small.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


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


def spread(values: Sequence[float], gap: float) -> list[float]:
    """The values moved as little as possible, so that no two are nearer than `gap`; their order stays."""
    order = np.argsort(values, kind="stable")
    blocks: list[list[float]] = []  # neighbours that have to move together
    for place, at in enumerate(order):
        blocks.append([values[at] - place * gap])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    moved = np.empty(len(values))
    moved[order] = [fmean(block) for block in blocks for _ in block] + gap * np.arange(len(values))
    return moved.tolist()


def colour_bar(figure: Figure, image: ScalarMappable, axes: np.ndarray | Sequence[Axes], label: str) -> None:
    """What the colours of all panels mean, at their right."""
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)


def name_lines(ax: Axes, lines: Mapping[str, Line2D]) -> None:
    """Each name right of the panel, where its line ends and in its colour, instead of a legend."""
    low, high = ax.get_ylim()
    place = ax.get_subplotspec()
    inches = 0.7 * ax.figure.bbox.height / ax.figure.dpi / (place.get_gridspec().nrows if place else 1)
    ends = [float(np.asarray(line.get_ydata())[-1]) for line in lines.values()]
    gap = 0.14 * (high - low) / inches * max((1 + name.count("\n") for name in lines), default=1)
    for (name, line), y in zip(lines.items(), spread(ends, gap), strict=True):
        line.set_label(name)
        ax.annotate(name, (1, y), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8,
                    color=line.get_color(), va="center", annotation_clip=False)  # fmt: skip


def legend_outside(
    figure: Figure, handles: Sequence[Artist], names: Sequence[str], *, below: bool = False, title: str | None = None
) -> None:
    """One legend above or below all panels, in as few rows as its figure has room for."""
    for rows in range(1, len(names) + 1):
        legend = figure.legend(
            handles, names, loc="outside lower center" if below else "outside upper center",
            ncols=-(-len(names) // rows), fontsize=8, title=title, title_fontsize=8,
        )  # fmt: skip
        if rows == len(names) or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()


def save(figure: matplotlib.figure.Figure, path: str | os.PathLike) -> Path:
    """Write the figure at `path`, as PNG (150 dpi) or SVG by its ending, making its folder; returns the path.

    Its words are the title of an SVG and the description of a PNG. The same figure gives the same bytes: nothing is
    written about when and by whom.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    words = figure.alt if isinstance(figure, Figure) else describe(figure)
    metadata: dict[str, str | None] = {"Software": None, "Description": words}
    if path.suffix == ".svg":
        metadata = {"Date": None, "Creator": None, "Title": words}
    with matplotlib.rc_context({"svg.hashsalt": "dlt"}):
        figure.savefig(path, dpi=150, metadata=metadata)
    return path
