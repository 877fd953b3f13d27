"""Where a model holds the Parameters of its blocks, and how they are tied: read off the model itself."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from typing import NamedTuple, cast

from torch import nn

from dlt_core.blocks import Blocks, find_blocks, locate_blocks
from dlt_core.tie_map import TieMap


class Slot(NamedTuple):
    """A place that holds a Parameter: `module._parameters[name]`."""

    module: nn.Module
    name: str


class Layout(NamedTuple):
    """A model's blocks, and for each block the places of its Parameters, in the same order in every block."""

    blocks: list[nn.Module]
    names: list[str]  # of a block's places, such as "attn.c_attn.weight"
    slots: list[list[Slot]]
    numbers: list[list[int]]  # of the same places among all that the model has, see `_held`
    outside: list[int]  # the numbers of those outside the blocks
    walk: list[nn.Module]  # all modules below the model, in the order of model.modules()
    tree: list[object]  # what `_tree` found then


# Walking the module tree costs milliseconds at 48 layers, so each model's layout is found once. At each use it is
# compared with what is there, in half a millisecond. (The model itself is not in it: it must stay collectable.)
_layouts: weakref.WeakKeyDictionary[nn.Module, Layout] = weakref.WeakKeyDictionary()


FSDP = (
    "FSDP gives each process a piece of each weight, and undoes the sharing of weights between the modules that it "
    "wraps: layers cannot be tied under it. Training in several processes with the whole model in each works, see "
    "python -m dlt_core train"
)


def layout_of(model: nn.Module, blocks: Blocks | None) -> tuple[Layout, list[nn.Parameter]]:
    """The model's layout, anew if a module was replaced, or a Parameter added or removed; and what is held now.

    Raises ValueError for wrapped models, blocks of unlike shape or without Parameters, and modules in two blocks.
    """
    layout = _layouts.get(model)
    held = held_by([model, *layout.walk]) if layout is not None else []
    if (
        layout is None
        or locate_blocks(model, blocks) != layout.blocks
        or _tree([model, *layout.walk], held) != layout.tree
    ):
        layout = _layouts[model] = _findlayout_of(model, blocks)
        held = held_by([model, *layout.walk])
    if any(kind.__name__ == "DTensor" for kind in {*map(type, held)}):
        raise ValueError(FSDP)
    return layout, held


def held_by(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """What each place for a Parameter holds, in the modules' order. (Where a block has a place, it is not None.)"""
    held = itertools.chain.from_iterable(m._parameters.values() for m in modules)
    return cast(list[nn.Parameter], [*held])


def _tree(modules: Sequence[nn.Module], held: Sequence[nn.Parameter | None]) -> list[object]:
    """The children of all modules, the names of their Parameters, and which of these are None."""
    children = itertools.chain.from_iterable(m._modules.values() for m in modules)
    return [*children, *itertools.chain.from_iterable(m._parameters for m in modules), *[p is None for p in held]]


def _findlayout_of(model: nn.Module, where: Blocks | None) -> Layout:
    wrappers = {cls.__name__ for module in model.modules() for cls in type(module).__mro__}
    if wrappers & {"FullyShardedDataParallel", "FSDPModule"}:
        raise ValueError(FSDP)
    if "DistributedDataParallel" in wrappers:
        raise ValueError("DDP does not allow weights to change: tie the model inside (.module), and wrap it anew")
    blocks = find_blocks(model, where)
    outside = [model]
    for module in outside:  # it grows
        outside += [m for m in module._modules.values() if m is not None and m not in outside and m not in blocks]
    layers = [
        {
            f"{prefix}.{name}".lstrip("."): Slot(module, name)
            for prefix, module in block.named_modules()
            if module not in outside
            for name, p in module._parameters.items()
            if p is not None
        }
        for block in blocks
    ]
    owner: dict[int, int] = {}
    for i, layer in enumerate(layers):
        if only := sorted(layer.keys() ^ layers[0].keys()):
            raise ValueError(f"blocks 0 and {i} cannot be tied: only one of them has {only[0]} for its own")
        for name, slot in layer.items():
            if (other := owner.setdefault(id(slot.module._parameters), i)) != i:
                raise ValueError(
                    f"blocks {other} and {i} have one module in common, which holds {name}: to be tied, each needs "
                    "modules of its own, with Parameters that may be shared"
                )
    if not (names := [*layers[0]]):
        raise ValueError("the blocks have no Parameters of their own: there is nothing to tie")
    walk = [*dict.fromkeys(m for top in (model, *blocks) for m in top.modules() if m is not model)]
    number = {(m, name): n for n, (m, name) in enumerate((m, name) for m in (model, *walk) for name in m._parameters)}
    slots = [[layer[name] for name in names] for layer in layers]
    return Layout(
        blocks,
        names,
        slots,
        [[number[slot] for slot in layer] for layer in slots],
        [number[m, name] for m in outside for name in m._parameters],
        walk,
        _tree([model, *walk], held_by([model, *walk])),
    )


def read_tie_map(model: nn.Module, *, blocks: Blocks | None = None) -> TieMap:
    """The TieMap that the model's blocks obey now: two layers are tied if they share each of their Parameters.

    A layer that shares some of them only, as after `load_state_dict(..., assign=True)` of a few, is not tied.
    Raises ValueError where the blocks cannot be found or compared, see `find_blocks`.

    >>> model = build_gpt2(vocab_size=31, n_positions=8, n_layer=4, n_head=2, n_embd=8, dropout=0.0)
    >>> read_tie_map(model)
    TieMap([0, 1, 2, 3])
    """
    layout, held = layout_of(model, blocks)
    return TieMap.from_labels(tuple([id(held[n]) for n in numbers]) for numbers in layout.numbers)


def weight_sets(blocks: Sequence[nn.Module]) -> TieMap:
    """The ties by what is in memory: which blocks have all their weights in the same storages, whatever Parameters they
    have."""
    return TieMap.from_labels(tuple([p.data_ptr() or id(p) for p in block.parameters()]) for block in blocks)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters, those in one place in memory counted once.

    >>> shape = {"vocab_size": 50257, "n_positions": 1024, "n_layer": 12, "n_head": 12, "n_embd": 768}
    >>> count_parameters(build_gpt2(**shape, dropout=0.1, device="meta"))
    124439808
    """
    trainable = {p.data_ptr() or id(p): p for p in model.parameters() if p.requires_grad}  # "meta" has no addresses
    return sum(p.numel() for p in trainable.values())


def block_keys(model: nn.Module, blocks: Blocks | None = None) -> list[list[str]]:
    """The state dict's keys of each block's Parameters, in the same order for every block."""
    layout, _ = layout_of(model, blocks)
    name_of = {module: f"{name}." if name else "" for name, module in model.named_modules()}
    return [[f"{name_of[slot.module]}{slot.name}" for slot in layer] for layer in layout.slots]
