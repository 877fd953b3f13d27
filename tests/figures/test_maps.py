"""Pictures of tie maps: what is drawn is what the record says, layer by layer."""

import numpy as np
from matplotlib.colors import to_hex

from dlt_core import figures
from dlt_core.tie_map import TieMap


def shown_maps(ax):
    """(maps, L): of the bars that stand below each other, one a layer."""
    return np.concatenate([image.get_array() for image in ax.images]).T


def test_the_picture_of_a_tie_map_shows_the_record(runs):
    figure = figures.tie_map_evolution(runs[0])
    assert np.array_equal(shown_maps(figure.axes[0]), runs[0].history["tie_map"])
    for layer, image in enumerate(figure.axes[0].images):
        left, right, bottom, top = image.get_extent()
        assert (left, right) == (0.5, len(runs[0].history["tie_map"]) + 0.5)  # decisions rightwards
        assert layer + 0.5 > bottom > top > layer - 0.5
    assert figure.axes[0].get_ylim() == (3.5, -0.5)  # layers downwards


def test_several_records_make_a_panel_each(runs):
    panels = [ax for ax in figures.tie_map_evolution(runs[:2]).axes if ax.get_title()]
    for ax, record in zip(panels, runs, strict=False):
        assert np.array_equal(shown_maps(ax), record.history["tie_map"])
        assert record.method in ax.get_title()
    assert len(panels) == 2


def test_a_graph_has_a_node_for_each_layer_and_an_arc_for_each_tie():
    figure = figures.map_graphs({"a": TieMap([0, 0, 2, 0]), "b": TieMap.independent(4)})
    for ax, tied, sets in zip(figure.axes, ([1, 3], []), (2, 4), strict=True):
        nodes = [c for c in ax.collections if len(c.get_facecolor())]
        assert len(nodes) == 4
        rings = [c.get_offsets()[0][1] for c in ax.collections if not len(c.get_facecolor())]
        assert rings == [layer for layer in range(4) if layer not in tied]  # weights of their own
        arcs = [text for text in ax.texts if text.arrow_patch is not None]
        assert [text.xyann[1] for text in arcs] == tied  # from the tied layer ...
        assert all(text.xy[1] == 0 for text in arcs)  # ... to the one whose weights it uses
        assert f"{sets} weight sets" in ax.get_title()
    nodes = [to_hex(c.get_facecolor()[0]) for c in figure.axes[0].collections if len(c.get_facecolor())]
    assert nodes[0] == nodes[1] == nodes[3] != nodes[2]


def test_more_than_five_graphs_go_on_in_a_second_row():
    maps = {f"{sets} of 6": TieMap.pattern("sequence", 6, sets) for sets in range(1, 7)}
    shown = [ax for ax in figures.map_graphs(maps).axes if ax.get_title()]
    assert [ax.get_title().split("\n")[0] for ax in shown] == list(maps)
    assert [ax.get_subplotspec().rowspan.start for ax in shown] == [0, 0, 0, 0, 0, 1]


def test_maps_side_by_side_have_their_numbers_in_readable_ink():
    ax = figures.tie_maps({"a": TieMap([0, 0, 2, 0]), "b": TieMap.independent(4)}).axes[0]
    columns = {}
    for image in ax.images:
        columns.setdefault(image.get_extent()[0], []).append(int(image.get_array().item()))
    assert list(columns.values()) == [[0, 0, 2, 0], [0, 1, 2, 3]]
    colours = figures.weight_set_colours(4)
    assert {text.get_text(): text.get_color() for text in ax.texts} == {
        str(source): figures.ink_on(colours(source)) for source in range(4)
    }
