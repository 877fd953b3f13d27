"""Record(s) in, matplotlib Figure out. One colour for each weight set in every picture of a tie map.

style: the look that all share. words: what a figure shows, for those who cannot see it. maps: pictures of tie maps.
curves: over training. contrasts: many seeds, methods against each other. costs: memory and time. gradients: where
layers agree, and what that says of a map. drawings: ideas, without a record.

>>> figure = figures.tie_maps({"found": TieMap([0, 0, 2, 2]), "all tied": TieMap.all_tied(4)})
>>> figure.savefig("maps.png")
"""

from dlt_core.figures.contrasts import differences, front, pareto, sign_map
from dlt_core.figures.costs import (
    benchmark,
    memory,
    memory_by_depth,
    memory_by_weight_sets,
    optimizer_state,
    savings,
    step_timeline,
    step_times,
    weight_set_memory,
    weight_set_parameters,
)
from dlt_core.figures.curves import (
    Lines,
    agent_history,
    bands,
    constant_reward,
    independent_layers,
    learning_curves,
    q_values,
)
from dlt_core.figures.drawings import (
    agent_and_model,
    gradients_add_up,
    one_storage,
    stack_and_sets,
    tie_of_two_layers,
    two_gradients,
)
from dlt_core.figures.gradients import agreement, gradient_arrows, seen_and_true
from dlt_core.figures.maps import draw_tie_maps, map_graphs, tie_map_evolution, tie_maps
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
    name_lines,
    new_axes,
    new_figure,
    new_panels,
    save,
    spread,
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
    "agent_and_model",
    "agent_history",
    "agreement",
    "bands",
    "benchmark",
    "constant_reward",
    "differences",
    "draw_tie_maps",
    "experiment_name",
    "front",
    "gradient_arrows",
    "gradients_add_up",
    "independent_layers",
    "ink_on",
    "learning_curves",
    "luminance",
    "map_graphs",
    "memory",
    "memory_by_depth",
    "memory_by_weight_sets",
    "method_style",
    "name_lines",
    "new_axes",
    "new_figure",
    "new_panels",
    "one_storage",
    "optimizer_state",
    "pareto",
    "q_values",
    "save",
    "savings",
    "seen_and_true",
    "sign_map",
    "spread",
    "stack_and_sets",
    "step_timeline",
    "step_times",
    "tidy",
    "tie_map_evolution",
    "tie_maps",
    "tie_of_two_layers",
    "two_gradients",
    "weight_set_colours",
    "weight_set_memory",
    "weight_set_parameters",
]
