"""A chart in words, for those who cannot see it: what is drawn, over which axes, and where each named thing begins and
ends or what its value is.

All of it is read from the figure: titles, labels of axes, names of legends and line ends, and the drawn numbers. A
panel may say itself what it holds, by `ax.set_label`, where numbers would say nothing, as in pictures of tie maps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

LONGEST = 600  # letters


def describe(figure: Figure) -> str:
    """The figure in a few sentences of at most `LONGEST` letters: of many things in a panel the first are said and how
    many more there are; of many panels their titles, and what is in all of them."""
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>" and (ax.axison or ax.get_title())]
    axes = {which: [getattr(ax, f"{which}axis") for ax in panels if ax.axison] for which in "yx"}
    labels = {which: _labels(figure, which, of) for which, of in axes.items()}
    y, x = (said[0] if len(said) == 1 else "" for said in labels.values())
    lead = _kinds(panels) + (f" in {len(panels)} panels" if len(panels) > 1 else "")
    bars = dict.fromkeys(ax.get_ylabel() for ax in figure.axes if ax.get_label() == "<colorbar>")
    around = (figure.get_suptitle(), figure.get_supxlabel(), figure.get_supylabel())
    notes = [f"Colour: {_plain(said)}" for said in bars if said]
    notes += [note for note in map(_plain, around) if note and note not in f"{y} {x}"]
    said, rows = [], dict[int, str]()
    for ax in panels:
        rows = _categories(ax.yaxis) or rows
        own = _over("" if y else _said(ax.yaxis), "" if x else _said(ax.xaxis))
        things = [("", str(ax.get_label()))] if ax.get_label() else list(_things(ax, rows))
        title = _plain(ax.get_title().replace("\n", ", "))
        said.append((title, own, [(name if name != title else "", value) for name, value in things]))
    for most in (1000, 20, 12, 8, 6, 5, 4, 3, 2, 1):
        each = (": ".join(filter(None, (", ".join(filter(None, (title, own))), _list(things, most))))
                for title, own, things in said)  # fmt: skip
        if len(whole := _sentences(lead + _after(panels, y, x), *each, *notes)) <= LONGEST:
            return whole
    in_all = [name for name in dict.fromkeys(name for *_, things in said for name, _ in things)
              if name and all(name in dict(things) for *_, things in said)]  # fmt: skip
    each = (title for title, *_ in said)
    over = _after(panels, *(", ".join(filter(None, some)) for some in labels.values()))
    whole = _sentences(lead + over, *each, f"In each: {'; '.join(in_all)}" if in_all else "", *notes)
    return whole if len(whole) <= LONGEST else whole[: LONGEST - 2].rsplit(" ", 1)[0] + " …"


def _sentences(*parts: str) -> str:
    return " ".join(f"{part}." for part in parts if part)


def _after(panels: Sequence[Axes], y: str, x: str) -> str:
    """The axes that all panels have. x alone is what is shown, if values lie along it, or else what it is over."""
    if y or (x and any(ax.containers for ax in panels)):
        return f": {_over(y, x)}"
    return f", over {x}" if x else ""


def _list(things: Sequence[tuple[str, str]], most: int) -> str:
    more = [f"and {len(things) - most} more"] if most < len(things) else []
    return "; ".join([" ".join(filter(None, thing)) for thing in things[:most]] + more)


def _kinds(panels: Iterable[Axes]) -> str:
    """What the panels are made of."""
    found: dict[str, None] = {}
    for ax in panels:
        errors = any(isinstance(one, ErrorbarContainer) for one in ax.containers)
        if ax.images or ax.get_label():
            found["picture"] = None
        elif any(isinstance(one, BarContainer) for one in ax.containers):
            found["bars"] = None
        elif any(isinstance(one, FillBetweenPolyCollection) for one in ax.collections):
            found["lines with bands"] = None
        elif any(line.get_linestyle() != "None" and (_name(line) or not errors) for line in _whole(ax)):
            found["lines with error bars" if errors else "lines"] = None
        else:
            found["points with error bars" if errors else "points"] = None
    return " and ".join(found).capitalize() or "Empty"


def _labels(figure: Figure, which: str, axes: Sequence[Axis]) -> list[str]:
    """The different labels of all panels' axes, x or y; one if all have it, as panels without a label have that of
    their neighbour."""
    labels = list(dict.fromkeys(said for axis in axes if (said := _said(axis))))
    if not labels and (of_all := getattr(figure, f"get_sup{which}label")()):
        return [_plain(of_all) + _scale(axes)]
    if len(labels) == 1 and len({bool(_categories(axis)) for axis in axes}) > 1:
        return ["", *labels]  # one panel has names in place of numbers
    return labels


def _said(axis: Axis) -> str:
    return _plain(axis.get_label_text()) + _scale([axis]) if axis.get_label_text() else ""


def _scale(axes: Iterable[Axis]) -> str:
    return " (logarithmic)" if any(axis.get_scale() == "log" for axis in axes) else ""


def _over(y: str, x: str) -> str:
    return " over ".join(filter(None, (y, x)))


def _categories(axis: Axis) -> dict[int, str]:
    """Names of the places 0, 1, ... along an axis that has no numbers."""
    if not isinstance(axis.get_major_formatter(), (FixedFormatter, FuncFormatter)):
        return {}
    names = {round(at): _plain(text.get_text()) for at, text in zip(axis.get_majorticklocs(), axis.get_ticklabels(),
             strict=False)}  # fmt: skip
    return names if any(names.values()) else {}


def _things(ax: Axes, rows: dict[int, str]) -> Iterator[tuple[str, str]]:
    """Each named thing of a panel, with its values; rows: the names of the places on the y axis."""
    columns = _categories(ax.xaxis)
    placed: dict[str, list[str]] = {}
    lines = [line for line in ax.lines if len(_points(line))]
    for one in ax.containers:
        if isinstance(one, BarContainer):
            upright = one.orientation == "vertical"
            if upright and not columns:
                yield _name(one), _way(np.array([bar.get_height() for bar in one.patches]))
                continue
            for bar in one.patches:
                at = (bar.get_x() + bar.get_width() / 2) if upright else (bar.get_y() + bar.get_height() / 2)
                value = _number(bar.get_height() if upright else bar.get_width())
                where = (columns if upright else rows).get(round(at), _number(at))
                placed.setdefault(f"{where}:", []).append(" ".join(filter(None, (_name(one), value))))
        elif isinstance(one, ErrorbarContainer) and one.lines[0] in lines:
            lines.remove(one.lines[0])
            points, name = _points(one.lines[0]), _name(one) or _name(one.lines[0])
            if len(points) > 1:
                yield name, _way(points[:, 1])
                continue
            (x, y), across = points[0], bool(one.has_xerr or (rows and not one.has_yerr))
            names, at = (rows, y) if across else (columns, x)
            value = _within(x if across else y, *_ends(one, 0 if across else 1))
            if name:
                yield name, f"at {_number(at)}: {value}"
            else:
                placed.setdefault(names.get(round(at), _number(at)), []).append(f"at {value}")
    yield from ((name, ", ".join(values)) for name, values in placed.items())
    named = [line for line in lines if _name(line)]
    if not named and not ax.containers and not ax.images and (whole := _whole(ax)):
        if all(line.get_linestyle() == "None" for line in whole):
            yield "", _range(np.concatenate([_points(line)[:, 1] for line in whole]))
        elif len(whole) == 1:
            yield "", _way(_points(whole[0])[:, 1])
    for line in named:
        name, points = _name(line), _points(line)
        if line.get_transform() != ax.transData:  # across the whole panel
            level = _number(points[0, 1] if points[0, 1] == points[-1, 1] else points[0, 0])
            yield name, "" if level in name else f"at {level}"
        else:
            yield name, _range(points[:, 1]) if line.get_linestyle() == "None" else _way(points[:, 1])
    yield from ((name, "") for one in (*ax.collections, *ax.patches) if (name := _name(one)))
    for image in ax.images:
        cells: np.ndarray = np.ma.filled(np.ma.asarray(image.get_array(), float), math.nan)
        there = [row[np.isfinite(row)] for row in cells]
        if rows and len(there) == len(rows):
            yield from ((name, _way(row)) for row, name in zip(there, rows.values(), strict=True) if len(row))
        elif np.isfinite(cells).any():
            yield "", f"from {_number(np.nanmin(cells))} to {_number(np.nanmax(cells))}"


def _whole(ax: Axes) -> list[Line2D]:
    """The lines and rows of points over the panel's own axes."""
    return [line for line in ax.lines if line.get_transform() == ax.transData and len(_points(line)) > 1]


def _name(one: Any) -> str:
    label = str(one.get_label() or "")
    return "" if label.startswith("_") else _plain(label)


def _points(line: Line2D) -> np.ndarray:
    """x and y of each point that is there, shape (points, 2)."""
    points = np.column_stack([np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)])
    return points[np.isfinite(points).all(axis=1)]


def _ends(bar: ErrorbarContainer, direction: int) -> tuple[float, float]:
    """Of the error bar of one point; the point itself where it has none."""
    segments = [segment for lines in bar.lines[2] for segment in lines.get_segments() if len(segment)]
    values = [float(at[direction]) for segment in segments for at in segment if np.isfinite(at).all()]
    return (min(values), max(values)) if values else (math.nan, math.nan)


def _way(values: np.ndarray) -> str:
    """Where a line begins and ends, and how far it goes beyond both."""
    first, last, low, high = (float(f) for f in (values[0], values[-1], values.min(), values.max()))
    if low == high:
        return f"at {_number(first)}"
    far = 0.1 * (high - low)
    beyond = [f"lowest {_number(low)}"] * (low < min(first, last) - far)
    beyond += [f"highest {_number(high)}"] * (high > max(first, last) + far)
    return f"from {_number(first)} to {_number(last)}" + (f" ({', '.join(beyond)})" if beyond else "")


def _range(values: np.ndarray) -> str:
    low, high = _number(values.min()), _number(values.max())
    return f"at {low}" if low == high else f"between {low} and {high}"


def _within(value: float, low: float, high: float) -> str:
    half = (high - low) / 2
    if not half > 0:
        return _number(value)
    decimals = max(0, 1 - math.floor(math.log10(half)))
    said, *ends, wide = (_decimals(number, decimals) for number in (value, low, high, half))
    return f"{said} ± {wide}" if abs(value - low - half) < 0.01 * half else f"{said} ({' to '.join(ends)})"


def _number(value: float) -> str:
    """With three digits."""
    value = float(f"{value:.3g}")
    text = _decimals(value, max(0, 2 - math.floor(math.log10(abs(value))))) if value else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _decimals(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−")


def _plain(text: str | Text) -> str:
    """In one line, without the signs of formulas."""
    return " ".join(str(text).replace("$", "").split())
