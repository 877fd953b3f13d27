"""Make a model's blocks obey a TieMap by sharing Parameters.

Tying puts the very same `nn.Parameter` objects into several blocks. The block *modules* stay distinct, so that each
keeps its own layer index and KV cache. Which blocks are tied is read off the model itself: nothing is stored twice.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import nn

from dlt_core.blocks import find_blocks, locate_blocks
from dlt_core.optimizers import inherit, keep_in_step, refuse_strangers, several
from dlt_core.source_gradient import hold_constant
from dlt_core.tie_map import TieMap, as_tie_map

GRADIENTS = ("shared", "source")


class _Slot(NamedTuple):
    """A place that holds a Parameter: `module._parameters[name]`."""

    module: nn.Module
    name: str


class _Layout(NamedTuple):
    """A model's blocks, and for each block the places of its Parameters, in the same order in every block."""

    blocks: list[nn.Module]
    names: list[str]  # of a block's places, such as "attn.c_attn.weight"
    slots: list[list[_Slot]]
    numbers: list[list[int]]  # of the same places among all that the model has, see `_held`
    outside: list[int]  # the numbers of those outside the blocks
    walk: list[nn.Module]  # all modules below the model, in the order of model.modules()
    tree: list[object]  # what `_tree` found then


# Walking the module tree costs milliseconds at 48 layers, so each model's layout is found once. At each use it is
# compared with what is there, in half a millisecond. (The model itself is not in it: it must stay collectable.)
_layouts: weakref.WeakKeyDictionary[nn.Module, _Layout] = weakref.WeakKeyDictionary()


_FSDP = (
    "FSDP gives each process a piece of each weight, and undoes the sharing of weights between the modules that it "
    "wraps: layers cannot be tied under it. Training in several processes with the whole model in each works, see "
    "python -m dlt_core train"
)


def _layout(model: nn.Module, blocks: str | None) -> tuple[_Layout, list[nn.Parameter]]:
    """The model's layout, anew if a module was replaced, or a Parameter added or removed; and what is held now.

    Raises ValueError for wrapped models, blocks of unlike shape or without Parameters, and modules in two blocks.
    """
    layout = _layouts.get(model)
    held = _held([model, *layout.walk]) if layout is not None else []
    if (
        layout is None
        or locate_blocks(model, blocks) != layout.blocks
        or _tree([model, *layout.walk], held) != layout.tree
    ):
        layout = _layouts[model] = _find_layout(model, blocks)
        held = _held([model, *layout.walk])
    if any(kind.__name__ == "DTensor" for kind in {*map(type, held)}):
        raise ValueError(_FSDP)
    return layout, held


def _held(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """What each place for a Parameter holds, in the modules' order. (Where a block has a place, it is not None.)"""
    held = itertools.chain.from_iterable(m._parameters.values() for m in modules)
    return cast(list[nn.Parameter], [*held])


def _tree(modules: Sequence[nn.Module], held: Sequence[nn.Parameter | None]) -> list[object]:
    """The children of all modules, the names of their Parameters, and which of these are None."""
    children = itertools.chain.from_iterable(m._modules.values() for m in modules)
    return [*children, *itertools.chain.from_iterable(m._parameters for m in modules), *[p is None for p in held]]


def _find_layout(model: nn.Module, path: str | None) -> _Layout:
    wrappers = {cls.__name__ for module in model.modules() for cls in type(module).__mro__}
    if wrappers & {"FullyShardedDataParallel", "FSDPModule"}:
        raise ValueError(_FSDP)
    if "DistributedDataParallel" in wrappers:
        raise ValueError("DDP does not allow weights to change: tie the model inside (.module), and wrap it anew")
    blocks = find_blocks(model, path)
    outside = [model]
    for module in outside:  # it grows
        outside += [m for m in module._modules.values() if m is not None and m not in outside and m not in blocks]
    layers = [
        {
            f"{prefix}.{name}".lstrip("."): _Slot(module, name)
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
    return _Layout(
        blocks,
        names,
        slots,
        [[number[slot] for slot in layer] for layer in slots],
        [number[m, name] for m in outside for name in m._parameters],
        walk,
        _tree([model, *walk], _held([model, *walk])),
    )


def read_tie_map(model: nn.Module, *, blocks: str | None = None) -> TieMap:
    """The TieMap that the model's blocks obey now: two layers are tied if they share each of their Parameters.

    A layer that shares some of them only, as after `load_state_dict(..., assign=True)` of a few, is not tied.
    Raises ValueError where the blocks cannot be found or compared, see `find_blocks`.
    """
    layout, held = _layout(model, blocks)
    return TieMap.from_labels(tuple([id(held[n]) for n in numbers]) for numbers in layout.numbers)


def weight_sets(blocks: Sequence[nn.Module]) -> TieMap:
    """The ties by what is in memory: which blocks have all their weights in the same storages, whatever Parameters they
    have."""
    return TieMap.from_labels(tuple([p.data_ptr() or id(p) for p in block.parameters()]) for block in blocks)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters, those in one place in memory counted once."""
    trainable = {p.data_ptr() or id(p): p for p in model.parameters() if p.requires_grad}  # "meta" has no addresses
    return sum(p.numel() for p in trainable.values())


def tie_layers(
    model: nn.Module,
    tie_map: TieMap | Sequence[int],
    *,
    gradient: str = "shared",
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
    blocks: str | None = None,
) -> None:
    """Make `model` obey `tie_map` (the transition of Algorithm 1 carried out on the weights).

    A tied layer uses its root's Parameters. A layer that leaves its root gets clones of the values of that moment,
    and trains on its own from then on. Only what changes is touched, and ties that hold in part are completed or
    undone. Parameters that one block uses twice stay one. One that is used outside the blocks too, such as the
    embedding, is left alone if all blocks have it in the same place.

    tie_map: a TieMap or the list of its sources.
    gradient: "shared" sums the gradient over all uses of a weight set (weight tying proper); "source" takes it from
        the root's use alone, as if the weights had been copied (the paper's wording), and saves that work.
    optimizer: one or several, kept in step. The state of Parameters that no layer uses any more is freed; a clone joins
        the parameter group of its donor with a clone of the donor's state, and the group keeps the model's order. What
        none of them holds, such as frozen weights, is tied all the same.
    blocks: dotted path of the blocks, see `find_blocks`.

    Raises ValueError, before anything is changed, if the map is none or has another number of layers than the model,
    for layers of unlike shape, if the optimizer does not hold the model's Parameters, for a Parameter that some blocks
    share with the rest of the model and others do not, for an unknown gradient, and for a model that is wrapped in FSDP
    or DDP.
    """
    if gradient not in GRADIENTS:
        raise ValueError(f"unknown gradient {gradient!r}; known: {', '.join(GRADIENTS)}")
    tie_map, optimizers = as_tie_map(tie_map), several(optimizer)
    layout, held = _layout(model, blocks)
    if len(tie_map) != len(layout.slots):
        raise ValueError(f"the tie map has {len(tie_map)} layers, the model has {len(layout.slots)}")

    before = [[held[n] for n in numbers] for numbers in layout.numbers]
    outside = {id(held[n]) for n in layout.outside}
    _refuse_partly_outside(before, outside, layout.names)
    after, clones = _share(before, tie_map, outside, layout.names)
    moved = [
        (slot, new)
        for slots, *values in zip(layout.slots, before, after, strict=True)
        for slot, old, new in zip(slots, *values, strict=True)
        if old is not new
    ]
    in_use = outside.union(*(map(id, layer) for layer in after))
    dropped = {id(old): old for layer in before for old in layer if id(old) not in in_use}
    refuse_strangers(optimizers, {*map(id, held)}, [p for layer in before for p in layer])
    inherited = [inherit(each, clones) for each in optimizers]

    # up to here nothing has changed
    for slot, new in moved:
        slot.module._parameters[slot.name] = new
    if optimizers and moved:
        order = {id(p): place for place, p in enumerate(dict.fromkeys(_held([model, *layout.walk])))}
        for each, states in zip(optimizers, inherited, strict=True):
            keep_in_step(each, clones, states, dropped, model, order)
    for i, block in enumerate(layout.blocks):
        hold_constant(block, gradient == "source" and tie_map[i] != i)


def _refuse_partly_outside(layers: Sequence[Sequence[nn.Parameter]], outside: set[int], names: Sequence[str]) -> None:
    """Raises ValueError for a Parameter that is used outside the blocks, and in them not in the same place of each."""
    for name, *column in zip(names, *layers, strict=True):
        first, *others = column
        if any(id(p) in outside for p in column) and any(p is not first for p in others):
            raise ValueError(
                f"some blocks share {name} with the rest of the model, others do not: such layers cannot be tied"
            )


def _kind(p: nn.Parameter) -> tuple[tuple[int, ...], torch.dtype, torch.device]:
    return tuple(p.shape), p.dtype, p.device


def _share(
    before: list[list[nn.Parameter]], tie_map: TieMap, outside: set[int], names: Sequence[str]
) -> tuple[list[list[nn.Parameter]], list[tuple[nn.Parameter, nn.Parameter]]]:
    """What each slot of each layer is to hold, and the clones in it, each with its donor.

    The first root that uses a Parameter keeps it, with its optimiser state; later roots get one clone of it each.
    """
    after: list[list[nn.Parameter]] = []
    clones: list[tuple[nn.Parameter, nn.Parameter]] = []
    heir: dict[int, int] = {}  # a Parameter (by its id) -> the layer that keeps it
    for i, root in enumerate(tie_map):
        if i != root:  # tied: the root's Parameters, which were settled before, since root < i
            for name, mine, theirs in zip(names, before[i], after[root], strict=True):
                if mine is not theirs and _kind(mine) != _kind(theirs):
                    raise ValueError(
                        f"layers of unlike shape cannot be tied: {name} of layer {i} is {_kind(mine)}, "
                        f"of layer {root} {_kind(theirs)}"
                    )
            after.append(after[root])
            continue
        own: dict[int, nn.Parameter] = {}  # a Parameter (by its id) -> what this layer has in its place
        for p in before[i]:
            if id(p) in own:
                continue
            own[id(p)] = p
            if id(p) not in outside and heir.setdefault(id(p), i) != i:  # untied: its own copy, from now on
                own[id(p)] = nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad)
                clones.append((own[id(p)], p))
        after.append([own[id(p)] for p in before[i]])
    return after, clones
