"""Make a model's blocks obey a TieMap by sharing Parameters.

Tying puts the very same `nn.Parameter` objects into several blocks. The block *modules* stay distinct, so that each
keeps its own layer index and KV cache. Which blocks are tied is read off the model itself: nothing is stored twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dlt_core.blocks import Blocks
from dlt_core.tie_map import TieMap, as_tie_map
from dlt_core.tying.layout import held_by, layout_of
from dlt_core.tying.optimizers import inherit, keep_in_step, refuse_strangers, several
from dlt_core.tying.source_gradient import hold_constant
from dlt_core.tying.state_dicts import note_ties_in_state_dicts

GRADIENTS = ("shared", "source")


def tie_layers(
    model: nn.Module,
    tie_map: TieMap | Sequence[int],
    *,
    gradient: str = "shared",
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
    blocks: Blocks | None = None,
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
        the parameter group of its original with a clone of its state, and the group keeps the model's order. What
        none of them holds, such as frozen weights, is tied all the same.
    blocks: where they are, or they themselves, see `find_blocks`.

    Raises ValueError, before anything is changed, if the map is none or has another number of layers than the model,
    for layers of unlike shape, if the optimizer does not hold the model's Parameters, for a Parameter that some blocks
    share with the rest of the model and others do not, for an unknown gradient, and for a model that is wrapped in FSDP
    or DDP.

    >>> model = build_gpt2(vocab_size=31, n_positions=8, n_layer=4, n_head=2, n_embd=8, dropout=0.0)
    >>> tie_layers(model, [0, 0, 2, 2])  # two weight sets for four layers
    >>> count_parameters(model)
    2072
    """
    if gradient not in GRADIENTS:
        raise ValueError(f"unknown gradient {gradient!r}; known: {', '.join(GRADIENTS)}")
    tie_map, optimizers = as_tie_map(tie_map), several(optimizer)
    layout, held = layout_of(model, blocks)
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
    note_ties_in_state_dicts(model, layout.blocks)
    for slot, new in moved:
        slot.module._parameters[slot.name] = new
    if optimizers and moved:
        order = {id(p): place for place, p in enumerate(dict.fromkeys(held_by([model, *layout.walk])))}
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
    """What each slot of each layer is to hold, and the clones in it, each with its original.

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


def follow_state_dicts(model: nn.Module) -> None:
    """From now on a state dict that is loaded brings its ties with it, instead of being refused. Only for a model that
    was tied before, and that has no optimiser yet or no use for it any more."""
    model.__dict__["_follows"] = tie_layers
