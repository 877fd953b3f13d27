"""Pictures of tie maps: what is drawn is what the record says, layer by layer."""

import numpy as np
from matplotlib.colors import to_hex

from dlt_core import figures
from dlt_core.tie_map import TieMap


def test_the_picture_of_a_tie_map_shows_the_record(runs):
    figure = figures.tie_map_evolution(runs[0])
    image = figure.axes[0].images[0]
    assert np.array_equal(image.get_array(), np.array(runs[0].history["tie_map"]).T)
    left, right, bottom, top = image.get_extent()
    assert (left, right) == (0.5, len(runs[0].history["tie_map"]) + 0.5)  # decisions rightwards
    assert figure.axes[0].get_ylim() == (bottom, top) == (3.5, -0.5)  # layers downwards


def test_several_records_make_a_panel_each(runs):
    panels = [ax for ax in figures.tie_map_evolution(runs[:2]).axes if ax.get_title()]
    for ax, record in zip(panels, runs, strict=False):
        assert np.array_equal(ax.images[0].get_array(), np.array(record.history["tie_map"]).T)
        assert record.method in ax.get_title()
    assert len(panels) == 2


def test_a_graph_has_a_node_for_each_layer_and_an_arc_for_each_tie():
    figure = figures.map_graphs({"a": TieMap([0, 0, 2, 0]), "b": TieMap.independent(4)})
    for ax, tied, sets in zip(figure.axes, ([1, 3], []), (2, 4), strict=True):
        assert len(ax.collections) == 4
        arcs = [text for text in ax.texts if text.arrow_patch is not None]
        assert [text.xyann[1] for text in arcs] == tied  # from the tied layer ...
        assert all(text.xy[1] == 0 for text in arcs)  # ... to the one whose weights it uses
        assert f"{sets} weight sets" in ax.get_title()
    nodes = [to_hex(c.get_facecolor()[0]) for c in figure.axes[0].collections]
    assert nodes[0] == nodes[1] == nodes[3] != nodes[2]
