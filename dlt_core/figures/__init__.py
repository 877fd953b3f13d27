"""Record(s) in, matplotlib Figure out. One colour for each weight set in every picture of a tie map.

style: the look that all share. maps: pictures of tie maps. curves: over training. contrasts: many seeds, methods
against each other. costs: memory and time. gradients: where layers agree, and what that says of a map.

>>> figure = figures.tie_maps({"found": TieMap([0, 0, 2, 2]), "all tied": TieMap.all_tied(4)})
>>> figure.savefig("maps.png")
"""

from dlt_core.figures.contrasts import differences, front, pareto, sign_map
from dlt_core.figures.costs import benchmark, memory, weight_set_memory
from dlt_core.figures.curves import Lines, agent_history, bands, independent_layers, learning_curves, q_values
from dlt_core.figures.gradients import agreement, gradient_arrows, seen_and_true
from dlt_core.figures.maps import map_graphs, tie_map_evolution, tie_maps
from dlt_core.figures.style import (
    BACKGROUNDS,
    COLOURS,
    FREE,
    INK,
    METHOD_STYLES,
    Figure,
    experiment_name,
    ink_on,
    luminance,
    method_style,
    new_axes,
    new_figure,
    new_panels,
    save,
    tidy,
    weight_set_colours,
)

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "FREE",
    "INK",
    "METHOD_STYLES",
    "Figure",
    "Lines",
    "agent_history",
    "agreement",
    "bands",
    "benchmark",
    "differences",
    "experiment_name",
    "front",
    "gradient_arrows",
    "independent_layers",
    "ink_on",
    "learning_curves",
    "luminance",
    "map_graphs",
    "memory",
    "method_style",
    "new_axes",
    "new_figure",
    "new_panels",
    "pareto",
    "q_values",
    "save",
    "seen_and_true",
    "sign_map",
    "tidy",
    "tie_map_evolution",
    "tie_maps",
    "weight_set_colours",
    "weight_set_memory",
]
