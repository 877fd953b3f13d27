"""Tying: layers share their weights as a TieMap says, and the optimiser and the state dict keep up."""

from dlt_core.tying.layers import GRADIENTS, follow_state_dicts, tie_layers
from dlt_core.tying.layout import block_keys, count_parameters, read_tie_map, weight_sets
from dlt_core.tying.optimizers import load_optimizer_state, optimizer_state
from dlt_core.tying.state_dicts import TIES_KEY, ties_of_values

__all__ = [
    "GRADIENTS", "TIES_KEY", "block_keys", "count_parameters", "follow_state_dicts", "load_optimizer_state",
    "optimizer_state", "read_tie_map", "tie_layers", "ties_of_values", "weight_sets"
]  # fmt: skip
