"""A model's state dict says how its layers are tied, so that the ties are not lost in silence when it is loaded.

Importing this module changes PyTorch for the whole process, by an addition: `load_state_dict` of any model understands
the entry that a tied model's state dict has beside its weights. Where this package is not imported, PyTorch refuses the
entry by its name, which says what to do.
"""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dlt_core.tie_map import TieMap
from dlt_core.tying.layout import block_keys, read_tie_map

TIES_KEY = "layers are tied: call dlt_core.tie_layers(model, <these sources>) before you load"
"""Key of the TieMap in the state dict of a model whose layers are tied."""


def ties_of_values(keys: Sequence[Sequence[str]], state: Mapping[str, torch.Tensor]) -> TieMap:
    """The ties by what a state dict holds: which blocks have all their values alike. keys: see `block_keys`."""
    roots: list[int] = []
    for i, mine in enumerate(keys):
        alike = (
            j
            for j in dict.fromkeys(roots)
            if all(_same(state[a], state[b]) for a, b in zip(mine, keys[j], strict=True))
        )
        roots.append(next(alike, i))
    return TieMap(roots)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one, other))


def note_ties_in_state_dicts(model: nn.Module, blocks: Sequence[nn.Module]) -> None:
    """From now on write the model's ties into its state dicts, and look at those that are loaded; copies of it, too."""
    name_of = {module: name for name, module in model.named_modules()}
    model.__dict__["_tied_blocks"] = [name_of[block] for block in blocks]
    if _write_ties not in model._state_dict_hooks.values():
        hooked: Any = model  # the methods have no types of their own
        hooked.register_state_dict_post_hook(_write_ties)
        hooked.register_load_state_dict_pre_hook(_compare_ties)


def _tied_blocks(model: nn.Module) -> list[nn.Module]:
    return [model.get_submodule(name) for name in model.__dict__["_tied_blocks"]]


def _ties_now(model: nn.Module) -> tuple[TieMap, list[list[str]]] | None:
    """The ties and the keys of the blocks' Parameters; None if the blocks that were tied are no longer there, or can no
    longer be compared."""
    try:
        blocks = _tied_blocks(model)
        return read_tie_map(model, blocks=blocks), block_keys(model, blocks)
    except (AttributeError, KeyError, ValueError):
        return None


def _write_ties(model: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    ties = _ties_now(model)
    if ties is not None and ties[0].num_independent < len(ties[0]):
        state[prefix + TIES_KEY] = torch.tensor(ties[0].sources)


def _compare_ties(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Raises ValueError where layers that share their weights would get two values: one of them would be lost."""
    ties = _ties_now(model)
    if ties is None:
        return
    tie_map, keys = ties
    inside = {key.removeprefix(prefix): value for key, value in state.items()}
    follow: Any = model.__dict__.get("_follows")  # see `follow_state_dicts`
    if follow is not None and all(key in inside for layer in keys for key in layer):
        follow(model, ties_of_values(keys, inside), blocks=_tied_blocks(model))
        return
    for i, root in enumerate(tie_map):
        for mine, theirs in zip(keys[i], keys[root], strict=True):
            if mine in inside and theirs in inside and not _same(inside[mine], inside[theirs]):
                raise ValueError(
                    f"layers {root} and {i} share their weights, and the state dict has different values for {theirs} "
                    f"and {mine}: tie the model as it was when the state dict was saved, before you load it"
                )


_load_state_dict = nn.Module.load_state_dict


@functools.wraps(_load_state_dict)
def _load_and_say(model: nn.Module, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
    """PyTorch's own, with a warning where the ties of the state dict are not the model's."""
    key = next((key for key in state_dict if key.endswith(TIES_KEY)), None) if isinstance(state_dict, Mapping) else None
    if key is None:
        return _load_state_dict(model, state_dict, *args, **options)
    saved = state_dict[key].tolist()
    rest: Any = OrderedDict((name, value) for name, value in state_dict.items() if name != key)
    rest._metadata = getattr(state_dict, "_metadata", OrderedDict())
    result = _load_state_dict(model, rest, *args, **options)
    ties = _ties_now(model)
    if ties is None or list(ties[0]) != saved:
        warnings.warn(
            f"the state dict is of layers tied as {saved}, which the model's are not: it has got their values in "
            f"layers of its own. To keep the ties call dlt_core.tie_layers(model, {saved})",
            stacklevel=2,
        )
    return result


nn.Module.load_state_dict = _load_and_say  # type: ignore[method-assign, assignment]
