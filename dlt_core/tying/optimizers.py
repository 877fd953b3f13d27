"""The optimiser's side of tying: kept in step with the ties, and its state saved and loaded by name.

PyTorch saves an optimiser's state by position in its groups. So the groups keep the model's own order of Parameters,
whatever ties come and go, and a state that goes by name does not depend on any order.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

Clones = Sequence[tuple[nn.Parameter, nn.Parameter]]  # each with its original
Inherited = dict[torch.Tensor, dict[str, Any]]  # the state that each clone gets


def several(optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer] | None) -> list[torch.optim.Optimizer]:
    """None, one or several optimisers as a list. Raises ValueError for anything else."""
    if optimizer is None or isinstance(optimizer, torch.optim.Optimizer):
        return [] if optimizer is None else [optimizer]
    found = list(optimizer) if isinstance(optimizer, Iterable) else [optimizer]
    for each in found:
        if not isinstance(each, torch.optim.Optimizer):
            raise ValueError(f"optimizer must be one torch.optim.Optimizer or several, got {type(each).__name__}")
    return found


def refuse_strangers(
    optimizers: Sequence[torch.optim.Optimizer], model: Collection[int], blocks: Iterable[nn.Parameter]
) -> None:
    """Raises ValueError for an optimiser that holds none of the model's Parameters (by id), and if none of all holds
    any of the trainable ones of its blocks: it belongs to another model, or to Parameters that were replaced."""
    held: set[int] = set()
    if not optimizers:
        return
    for optimizer in optimizers:
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if own.isdisjoint(model):
            raise ValueError(f"the optimizer ({type(optimizer).__name__}) does not hold any Parameter of this model")
        held |= own
    trainable = {id(p) for p in blocks if p.requires_grad}
    if trainable and held.isdisjoint(trainable):
        raise ValueError("the optimizer does not hold any of the trainable Parameters of this model's blocks")


def inherit(optimizer: torch.optim.Optimizer, clones: Clones) -> Inherited:
    """A copy of each original's state, for its clone, as far as the optimiser has it."""
    return {
        clone: {
            key: value.clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)
            for key, value in optimizer.state[original].items()
        }
        for clone, original in clones
        if original in optimizer.state
    }


def keep_in_step(
    optimizer: torch.optim.Optimizer,
    clones: Clones,
    inherited: Inherited,
    dropped: Mapping[int, nn.Parameter],
    model: nn.Module,
    order: Mapping[int, int],
) -> None:
    """Put each clone into its original's parameter group, with the state it inherits; take out what is dropped (by id),
    and its state. The model's Parameters then stand in the model's own order (`order`: id -> place) within each group,
    where the first of them stood. In place: schedulers hold on to the group lists. What is not held stays so."""
    for group in optimizer.param_groups:
        before = group["params"]
        held = {id(p) for p in before}
        after = [p for p in before if id(p) not in dropped] + [
            clone for clone, original in clones if id(original) in held
        ]
        ours = sorted((p for p in after if id(p) in order), key=lambda p: order[id(p)])
        theirs = [p for p in after if id(p) not in order]  # such as those of another model
        first = sum(1 for _ in itertools.takewhile(lambda p: id(p) not in order and id(p) not in dropped, before))
        if "param_names" in group:  # of an optimiser that was made of named_parameters()
            names = {id(p): name for p, name in zip(before, group["param_names"], strict=True)}
            names |= {id(p): name for name, p in model.named_parameters()}
            group["param_names"][:] = [names[id(p)] for p in theirs[:first] + ours + theirs[first:]]
        before[:] = theirs[:first] + ours + theirs[first:]
    optimizer.state.update(inherited)
    for parameter in dropped.values():
        optimizer.state.pop(parameter, None)


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state by the names of the model's Parameters: a snapshot for `torch.save`.

    {"state": name -> what the optimiser keeps for it, "param_groups": each group's settings, with names as "params",
    "shapes": name -> shape}. A Parameter that several layers share goes by its first name, as in named_parameters().
    Raises ValueError if the optimiser holds a Parameter that is not the model's.

    >>> model = build_gpt2(vocab_size=31, n_positions=8, n_layer=4, n_head=2, n_embd=8, dropout=0.0)
    >>> optimizer = torch.optim.AdamW(model.parameters())
    >>> sorted(optimizer_state(model, optimizer))
    ['param_groups', 'shapes', 'state']
    """
    names = _names(model, optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    flat = [name for group in names for name in group]
    return {
        "state": {flat[place]: values for place, values in saved["state"].items()},
        "param_groups": [
            {**_settings(group), "params": mine} for group, mine in zip(saved["param_groups"], names, strict=True)
        ],
        "shapes": {
            name: tuple(p.shape)
            for group, mine in zip(optimizer.param_groups, names, strict=True)
            for name, p in zip(mine, group["params"], strict=True)
        },
    }


def load_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Restore what `optimizer_state` saved, whatever the order in which this optimiser holds the Parameters.

    The model must be tied as it was then. Raises ValueError, and changes nothing, if the groups are of other
    Parameters, if a Parameter has another shape, or if `state` was not made by `optimizer_state`.

    >>> model = build_gpt2(vocab_size=31, n_positions=8, n_layer=4, n_head=2, n_embd=8, dropout=0.0)
    >>> optimizer = torch.optim.AdamW(model.parameters())
    >>> load_optimizer_state(model, optimizer, optimizer_state(model, optimizer))
    """
    names = _names(model, optimizer)
    try:
        saved, groups, shapes = state["state"], state["param_groups"], state["shapes"]
        there = [list(map(str, group["params"])) for group in groups]
    except (KeyError, TypeError):
        raise ValueError("this is not made by optimizer_state: it needs state, param_groups and shapes") from None
    if len(there) != len(names):
        raise ValueError(f"the state has {len(there)} parameter groups, the optimizer {len(names)}")
    places = itertools.count()
    state_dict: dict[str, Any] = {"state": {}, "param_groups": []}
    for n, (mine, theirs) in enumerate(zip(names, there, strict=True)):
        if other := sorted({*mine} ^ {*theirs}):
            raise ValueError(
                f"group {n} of the state is of other Parameters than the optimizer's: {', '.join(other[:3])}"
                f"{', ...' if len(other) > 3 else ''}: tie the model as it was when the state was saved"
            )
        indices = []
        for name, p in zip(mine, optimizer.param_groups[n]["params"], strict=True):
            if tuple(shapes.get(name, ())) != tuple(p.shape):
                raise ValueError(f"{name} has shape {tuple(p.shape)}, in the state {shapes.get(name)}")
            indices.append(next(places))
            if name in saved:
                state_dict["state"][indices[-1]] = saved[name]
        state_dict["param_groups"].append({**_settings(groups[n]), "params": indices})
    optimizer.load_state_dict(copy.deepcopy(state_dict))


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group without its Parameters and their names."""
    return {key: value for key, value in group.items() if key not in ("params", "param_names")}


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """The names of the Parameters of each group, in its order."""
    name_of = {id(p): name for name, p in model.named_parameters()}
    for n, group in enumerate(optimizer.param_groups):
        for place, p in enumerate(group["params"]):
            if id(p) not in name_of:
                raise ValueError(f"Parameter {place} of the optimizer's group {n} is not the model's: it has no name")
    return [[name_of[id(p)] for p in group["params"]] for group in optimizer.param_groups]
