"""Make a model's blocks obey a TieMap by sharing Parameters.

Tying puts the very same `nn.Parameter` objects into several blocks. The block *modules* stay distinct, so that each
keeps its own layer index and KV cache. Which blocks are tied is read off the model itself: nothing is stored twice.
"""

from __future__ import annotations

import copy
import operator
import weakref
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import nn

from dlt_core.blocks import find_blocks, locate_blocks
from dlt_core.source_gradient import hold_constant
from dlt_core.tie_map import TieMap

GRADIENTS = ("shared", "source")


class _Slot(NamedTuple):
    """A place that holds a Parameter: `module._parameters[name]`."""

    module: nn.Module
    name: str

    @property
    def parameter(self) -> nn.Parameter:
        return cast(nn.Parameter, self.module._parameters[self.name])

    @parameter.setter
    def parameter(self, parameter: nn.Parameter) -> None:
        self.module._parameters[self.name] = parameter


def _slots_of(block: nn.Module) -> list[_Slot]:
    return [_Slot(m, name) for m in block.modules() for name, p in m._parameters.items() if p is not None]


class _Layout(NamedTuple):
    """A model's blocks, and for each block the places of its Parameters, in the same order in every block."""

    blocks: list[nn.Module]
    slots: list[list[_Slot]]


# Walking the module tree costs milliseconds at 48 layers, so each model's layout is found once.
_layouts: weakref.WeakKeyDictionary[nn.Module, _Layout] = weakref.WeakKeyDictionary()


_FSDP = (
    "FSDP gives each process a piece of each weight, and undoes the sharing of weights between the modules that it "
    "wraps: layers cannot be tied under it. Training in several processes with the whole model in each works, see "
    "python -m dlt_core train"
)


def _layout(model: nn.Module, blocks: str | None) -> _Layout:
    layout = _layouts.get(model)
    if layout is None:
        wrappers = {cls.__name__ for module in model.modules() for cls in type(module).__mro__}
        if wrappers & {"FullyShardedDataParallel", "FSDPModule"}:
            raise ValueError(_FSDP)
        if "DistributedDataParallel" in wrappers:
            raise ValueError("DDP does not allow weights to change: tie the model inside (.module), and wrap it anew")
    present = locate_blocks(model, blocks)
    if type(next(present[0].parameters(), None)).__name__ == "DTensor":
        raise ValueError(_FSDP)
    if layout is None or len(present) != len(layout.blocks) or any(map(operator.is_not, present, layout.blocks)):
        present = find_blocks(model, blocks)
        layout = _Layout(present, [_slots_of(block) for block in present])
        _layouts[model] = layout
    return layout


def read_tie_map(model: nn.Module, *, blocks: str | None = None) -> TieMap:
    """The TieMap that the model's blocks obey now, read from the identity of each block's first Parameter."""
    return _read(_layout(model, blocks).slots)


def _read(slots: list[list[_Slot]]) -> TieMap:
    return TieMap.from_labels(id(layer[0].parameter) for layer in slots)


def weight_sets(blocks: Sequence[nn.Module]) -> TieMap:
    """The ties by what is in memory: which blocks have their weights in one storage, whatever Parameters they have."""
    return TieMap.from_labels(next(block.parameters()).data_ptr() for block in blocks)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters, those in one place in memory counted once."""
    trainable = {p.data_ptr() or id(p): p for p in model.parameters() if p.requires_grad}  # "meta" has no addresses
    return sum(p.numel() for p in trainable.values())


def tie_layers(
    model: nn.Module,
    tie_map: TieMap,
    *,
    gradient: str = "shared",
    optimizer: torch.optim.Optimizer | None = None,
    blocks: str | None = None,
) -> None:
    """Make `model` obey `tie_map` (the transition of Algorithm 1 carried out on the weights).

    A tied layer uses its root's Parameters. A layer that leaves its root gets clones of the values of that moment,
    and trains on its own from then on. Only what changes is touched.

    gradient: "shared" sums the gradient over all uses of a weight set (weight tying proper); "source" takes it from
        the root's use alone, as if the weights had been copied (the paper's wording), and saves that work.
    optimizer: kept in step. The state of Parameters that no layer uses any more is freed; a clone joins the
        parameter group of its donor with a clone of the donor's state.
    blocks: dotted path of the blocks, see `find_blocks`.

    Raises ValueError if the map has another number of layers than the model, if the optimizer does not hold the model's
    Parameters, for an unknown gradient, and for a model that is wrapped in FSDP or DDP.
    """
    if gradient not in GRADIENTS:
        raise ValueError(f"unknown gradient {gradient!r}; known: {', '.join(GRADIENTS)}")
    layout = _layout(model, blocks)
    slots = layout.slots
    if len(tie_map) != len(slots):
        raise ValueError(f"the tie map has {len(tie_map)} layers, the model has {len(slots)}")

    before = _read(slots)
    if optimizer is not None:  # another model's optimiser is refused before anything changes
        _refuse_strangers(optimizer, [slots[i][0].parameter for i in set(before)])

    dropped = {id(s.parameter): s.parameter for i, j in enumerate(before) if i == j != tie_map[i] for s in slots[i]}
    clones: list[tuple[nn.Parameter, nn.Parameter]] = []  # each with its donor
    owner: dict[int, int] = {}  # a weight set (by its old root) -> the layer that takes it over as it is
    for i, root in enumerate(tie_map):
        if i != root:  # tied: point at the root's Parameters, which were settled before, since root < i
            if slots[i][0].parameter is not slots[root][0].parameter:
                for slot, source in zip(slots[i], slots[root], strict=True):
                    slot.parameter = source.parameter
        elif owner.setdefault(before[i], i) == i:  # the first heir keeps the Parameters, and their optimiser state
            for slot in slots[i] if before[i] != i else ():
                dropped.pop(id(slot.parameter), None)
        else:  # untied: its own copy, from now on
            for slot in slots[i]:
                donor = slot.parameter
                slot.parameter = nn.Parameter(donor.detach().clone(), requires_grad=donor.requires_grad)
                clones.append((slot.parameter, donor))
    if optimizer is not None and (clones or dropped):
        _keep_in_step(optimizer, clones, dropped)
    for i, block in enumerate(layout.blocks):
        hold_constant(block, gradient == "source" and tie_map[i] != i)


def _refuse_strangers(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> None:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not all(id(p) in held for p in parameters):
        raise ValueError("the optimizer does not hold the Parameters of this model's blocks")


def _keep_in_step(
    optimizer: torch.optim.Optimizer,
    clones: Sequence[tuple[nn.Parameter, nn.Parameter]],
    dropped: dict[int, nn.Parameter],
) -> None:
    """Put each clone into its donor's parameter group, with a clone of the donor's state; take out what is dropped, and
    its state. In place: schedulers hold on to the group lists."""
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]} if clones else {}
    for clone, donor in clones:
        group_of[id(donor)]["params"].append(clone)
        if donor in optimizer.state:
            optimizer.state[clone] = {
                key: value.clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)
                for key, value in optimizer.state[donor].items()
            }
    if dropped:
        for group in optimizer.param_groups:
            group["params"][:] = [p for p in group["params"] if id(p) not in dropped]
        for parameter in dropped.values():
            optimizer.state.pop(parameter, None)
