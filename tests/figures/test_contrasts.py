"""Charts of many seeds: what is drawn is what was given, whatever is missing."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex

from dlt_core import figures
from dlt_core.figures import METHOD_STYLES
from dlt_core.records.statistics import mean_interval
from tests.figures.conftest import assert_drawn

NAN = float("nan")


# --- differences ---


def test_panels_of_differences_share_their_names():
    panels = {"one": {"a": [1.0]}, "two": {"b": [3.0]}}
    figure = figures.differences(panels, "difference")
    one, two = figure.axes
    assert [label.get_text() for label in one.get_yticklabels()] == ["a", "b"]  # of any panel
    assert one.get_ylim() == two.get_ylim()
    (dot,) = [line for line in two.lines if line.get_marker() == "."]
    assert dot.get_xydata().tolist() == [[3.0, 1.28]]
    assert figure.get_supxlabel() == "difference"


def test_panels_of_differences_have_one_scale_unless_each_is_to_have_its_own():
    panels = {"near": {"a": [1.0]}, "far": {"a": [90.0]}}
    for own_scale in (False, True):
        near, far = figures.differences(panels, "", own_scale=own_scale).axes
        assert (near.get_xlim() == far.get_xlim()) != own_scale
        assert far.get_xlim()[1] > 90


def test_differences_show_each_seed_the_mean_and_the_interval():
    figure = figures.differences({"": {"a": [1.0, 3.0], "b": [0.5]}}, "difference")
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    dots = [line for line in ax.lines if line.get_marker() == "."]
    assert [list(line.get_xdata()) for line in dots] == [[1.0, 3.0], [0.5]]
    _, half = mean_interval([1.0, 3.0])
    ends = [tuple(segment[:, 0]) for c in ax.collections for segment in c.get_segments()]
    assert ends == [pytest.approx((2 - half, 2 + half))]


# --- the front ---


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ({"a": (1.0, 1.0)}, ["a"]),
        ({"dear": (3.0, 1.0), "cheap": (1.0, 3.0), "between": (2.0, 2.0)}, ["cheap", "between", "dear"]),
        ({"cheap": (1.0, 3.0), "beaten": (2.0, 3.5), "dear": (3.0, 1.0)}, ["cheap", "dear"]),
        ({"no better": (2.0, 3.0), "cheap": (1.0, 3.0)}, ["cheap"]),
        ({"worse": (1.0, 3.0), "better": (1.0, 2.0)}, ["better"]),
        ({"best": (0.0, 0.0), "b": (1.0, 5.0), "c": (5.0, 1.0)}, ["best"]),
        ({}, []),
    ],
)
def test_the_pareto_front_by_hand(means, expected):
    assert figures.pareto(means) == expected


def test_the_front_is_of_the_means_over_the_seeds():
    points = {
        "dynamic": ([0.4, 0.6], [2.0, 2.2]),
        "conventional": ([1.0, 1.0], [1.9, 1.7]),
        "all_tied": ([0.2], [2.5]),
        "wasteful": ([0.9, 0.7], [2.4, 2.6]),
    }
    figure = figures.front(points, "parameters", "bits per byte")
    (ax,) = figure.axes
    joined = next(line for line in ax.lines if line.get_zorder() == 0)
    expected = [[0.2, 2.5], [0.5, 2.1], [1.0, 1.8]]
    assert joined.get_xydata() == pytest.approx(np.array(expected))
    drawn = {bar.get_label(): bar for bar in ax.containers}
    assert list(drawn) == ["all_tied", "dynamic", "wasteful", "conventional"], "from the cheapest"
    for name, (x, y) in points.items():
        assert drawn[name][0].get_xydata()[0] == pytest.approx((np.mean(x), np.mean(y)))
    _, half = mean_interval([2.0, 2.2])
    ((low, high),) = drawn["dynamic"][2][0].get_segments()
    assert (low[1], high[1]) == pytest.approx((2.1 - half, 2.1 + half))
    assert to_hex(drawn["dynamic"][0].get_color()) == to_hex(METHOD_STYLES["dynamic"][0])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("parameters", "bits per byte")
    assert_drawn(figure)


def test_points_of_nearly_the_same_cost_stand_side_by_side_around_it():
    points = {"a": ([0.5], [3.0]), "b": ([0.5], [2.0]), "c": ([0.5], [1.0]), "d": ([1.5], [0.5])}
    (ax,) = figures.front(points, "x", "y").axes
    assert ax.get_xlabel() == "x\n(points with nearly the same stand side by side)"
    x = {bar.get_label(): bar[0].get_xdata()[0] for bar in ax.containers}
    around = sorted(x[name] for name in "abc")
    assert around[1] == pytest.approx(0.5)
    assert around[0] < around[1] < around[2]
    assert around[2] - 0.5 == pytest.approx(0.5 - around[0])
    assert around[2] - around[0] < 0.1
    assert x["d"] == pytest.approx(1.5)
    joined = next(line for line in ax.lines if line.get_zorder() == 0)
    assert joined.get_xydata().tolist() == [[x["c"], 1.0], [x["d"], 0.5]], "through the points as drawn"


def test_every_point_of_the_front_has_a_number_and_its_name_in_a_list():
    points = {f"method {i}": ([float(i)], [float(-i), float(-i) - 1]) for i in range(30)}
    figure = figures.front(points | {"near": ([0.0], [-9.0])}, "x", "y")
    (ax,) = figure.axes
    figure.canvas.draw()
    numbers = {text.get_text(): text for text in ax.texts if text.get_text().isdigit()}
    names = [text for text in ax.texts if text not in numbers.values()]
    order = ["near", *points]
    assert [text.get_text() for text in names] == [f"{i}  {name}" for i, name in enumerate(order, 1)]
    for number, (bar, name) in enumerate(zip(ax.containers, order, strict=True), 1):
        assert bar.get_label() == name
        x, y = bar[0].get_xydata()[0]
        half = mean_interval(points[name][1])[1] if name in points else 0.0
        assert numbers[str(number)].xy == pytest.approx((x, y + half)), "above the point and its interval"
    panel, heights = ax.get_window_extent(), [text.get_window_extent() for text in names]
    assert all(box.x0 > panel.x1 for box in heights), "at the right"
    assert all(low.y0 < high.y0 for high, low in itertools.pairwise(heights))
    assert heights[-1].y0 > 0, "within the figure"


# --- signs ---


def drawn_lines(ax) -> set[tuple[tuple[float, float], ...]]:
    """The ends of the black lines between cells."""
    return {tuple(map(tuple, line.get_xydata().tolist())) for line in ax.lines if line.get_marker() == "None"}


def dots(ax) -> list[list[float]]:
    return next(line for line in ax.lines if line.get_marker() == ".").get_xydata().tolist()


def test_the_map_of_signs_by_hand():
    """Steps 10, 20, 30. Row one: +1, +3, -2. Row two: -1, -1 and nothing more."""
    rows = {
        "one": ([10, 20, 30], [[0.0, 2.9, -2.1], [2.0, 3.1, -1.9]]),
        "two": ([10, 20], [[-1.0, -1.5], [-1.0, -0.5]]),
    }
    figure = figures.sign_map({"text": rows}, "steps", "bits per byte")
    ax, bar = figure.axes
    (image,) = ax.images
    assert image.get_array().filled(NAN) == pytest.approx(np.array([[1, 3, -2], [-1, -1, NAN]]), nan_ok=True)
    assert image.norm.vmax == -image.norm.vmin == pytest.approx(3)
    assert image.norm.vcenter == 0
    assert image.get_extent() == [5, 35, 1.5, -0.5]
    # between +3 and -2 upright; between the rows where +1 and +3 are above -1
    assert drawn_lines(ax) == {((25, -0.5), (25, 0.5)), ((5, 0.5), (15, 0.5)), ((15, 0.5), (25, 0.5))}
    # ± 12.7 · 0.1 is less than 2 and 3; equal values have an interval without width; ± 12.7 is more than 1
    assert dots(ax) == [[20, 0], [30, 0], [10, 1]]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["one", "two"]
    assert (ax.get_title(), ax.get_xlabel(), bar.get_ylabel()) == ("text", "steps", "bits per byte")
    assert [text.get_text() for text in ax.texts] == ["-2.000 ± 1.271", "-1.000 ± 6.353"], "the last of each row"
    # hatched from the last value of a row to the end of all
    ends = [(p.vertices[:, 0].min(), p.vertices[:, 0].max()) for c in ax.collections for p in c.get_paths()]
    assert ends == [(35, 35), (25, 35)]
    assert {c.get_hatch() for c in ax.collections} == {"////"}
    assert_drawn(figure)


def test_without_another_sign_there_is_no_line():
    rows = {"one": ([1, 2], [[1.0, 2.0]]), "two": ([1, 2], [[0.5, 0.1]])}
    (ax, _) = figures.sign_map({"": rows}, "x", "y").axes
    assert drawn_lines(ax) == set()


def test_one_seed_has_no_dots_and_all_zero_no_scale():
    for values in ([[1.0, -2.0]], [[0.0, 0.0]]):
        figure = figures.sign_map({"": {"one": ([1, 2], values)}}, "x", "y")
        assert dots(figure.axes[0]) == []
        assert_drawn(figure)


@pytest.mark.parametrize(
    "rows",
    [
        {"one": ([5], [[1.0], [2.0]])},
        {"short": ([5], [[1.0]]), "long": ([5, 6, 7], [[1.0, -1.0, 1.0]])},
        {"long": ([5, 6, 7], [[1.0, -1.0, 1.0], [1.0, -1.0, 2.0]]), "none": ([], []), "no seeds": ([5], [])},
    ],
    ids=["one cell", "a short row first", "rows without values"],
)
def test_maps_of_signs_with_cells_missing_are_drawn(rows):
    figure = figures.sign_map({"text": rows}, "x", "y")
    array = figure.axes[0].images[0].get_array()
    assert array.shape == (len(rows), max(len(x) for x, _ in rows.values()))
    expected = [len(values[0]) if values else 0 for _, values in rows.values()]
    assert (~np.isnan(array.filled(NAN))).sum(axis=1).tolist() == expected
    assert_drawn(figure)


def test_maps_of_signs_share_one_scale_over_panels():
    one, two = {"a": ([1, 2], [[1.0, -1.0]])}, {"b": ([1, 2], [[4.0, 2.0]]), "c": ([1, 2], [[-5.0, 0.0]])}
    figure = figures.sign_map({"one": one, "two": two}, "x", "y")
    panels = [ax for ax in figure.axes if ax.images and ax.get_title()]
    assert [ax.get_title() for ax in panels] == ["one", "two"]
    assert [ax.images[0].norm.vmax for ax in panels] == [5, 5]
    assert panels[1].images[0].get_array().tolist() == [[4, 2], [-5, 0]]
    assert [len(drawn_lines(ax)) for ax in panels] == [1, 2]


def test_maps_of_signs_have_a_scale_each_on_request():
    panels = {
        "far": {"a": ([1, 2], [[1.0, -8.0]])},
        "near": {"b": ([1, 2], [[0.25, 0.5]])},
        "equal": {"c": ([1, 2], [[0.0, 0.0]])},
    }
    figure = figures.sign_map(panels, "x", "bits per byte, of the best models until then", own_scale=True)
    drawn = [ax for ax in figure.axes if ax.images and ax.get_title()]
    assert [ax.images[0].norm.vmax for ax in drawn] == [8, 0.5, 1]
    bars = [ax.get_ylabel() for ax in figure.axes if ax not in drawn]
    assert bars == ["bits per byte, of the\nbest models until then"] * 3
    assert_drawn(figure)
