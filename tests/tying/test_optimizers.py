"""Optimisers beside ties: several or in part, in the model's own order, saved and loaded by position and by name."""

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from torch import nn

from dlt_core import load_optimizer_state, optimizer_state
from dlt_core.blocks import find_blocks
from dlt_core.tie_map import TieMap
from dlt_core.tying import read_tie_map, tie_layers
from tests.conftest import tie_maps
from tests.tying.test_layers import TIED, L, adamw, held, ids, tiny_gpt2, train_step


def trained(*maps: TieMap) -> tuple[nn.Module, torch.optim.AdamW]:
    """A GPT-2 and its optimiser after a step under each of the maps."""
    model = tiny_gpt2()
    optimizer = adamw(model)
    for seed, tie_map in enumerate(maps):
        tie_layers(model, tie_map, optimizer=optimizer)
        train_step(model, optimizer, seed)
    return model, optimizer


def twin_of(model: nn.Module, tie_map: TieMap) -> nn.Module:
    """Another model with the same values and ties."""
    twin = tiny_gpt2(seed=5)
    tie_layers(twin, tie_map)
    twin.load_state_dict(model.state_dict())
    return twin


def same_after_a_step(model: nn.Module, optimizer, twin: nn.Module, other) -> bool:
    train_step(model, optimizer, seed=9)
    train_step(twin, other, seed=9)
    return all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))


# --- order ---


@given(tie_maps(L), tie_maps(L))
@settings(max_examples=8)
def test_a_group_keeps_the_models_order_so_that_positions_mean_the_same_to_a_fresh_optimizer(first, second):
    model, optimizer = trained(first, second)
    assert list(map(id, held(optimizer))) == list(map(id, model.parameters()))
    twin = twin_of(model, second)
    other = adamw(twin)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # which hands on the tensors themselves
    assert same_after_a_step(model, optimizer, twin, other)


def test_each_group_has_its_part_in_the_models_order_and_others_stay_where_they_are():
    model, other = tiny_gpt2(), nn.Linear(2, 2)
    matrices, vectors = ([p for p in model.parameters() if (p.ndim > 1) is kind] for kind in (True, False))
    optimizer = torch.optim.AdamW([{"params": [other.weight, *matrices, other.bias]}, {"params": vectors}])
    lists = [group["params"] for group in optimizer.param_groups]
    for tie_map in (TieMap.all_tied(L), TIED, TieMap.independent(L)):
        tie_layers(model, tie_map, optimizer=optimizer)
        order = list(map(id, model.parameters()))
        kept = {id(p) for p in matrices}
        assert [id(p) for p in lists[0]] == [
            id(other.weight), *(i for i, p in zip(order, model.parameters(), strict=True) if p.ndim > 1), id(other.bias)
        ]  # fmt: skip
        assert [id(p) for p in lists[1]] == [id(p) for p in model.parameters() if p.ndim <= 1]
        assert kept & set(order)
    assert all(group["params"] is there for group, there in zip(optimizer.param_groups, lists, strict=True))


def test_names_that_an_optimizer_was_given_stay_those_of_its_parameters():
    model = tiny_gpt2()
    optimizer = torch.optim.AdamW(model.named_parameters())
    # the second hands layer 1's weights on to layer 3: no clone, nothing dropped, and yet another order
    for tie_map in (TieMap((0, 1, 2, 1, 4)), TieMap((0, 0, 2, 3, 4)), TieMap.independent(L)):
        tie_layers(model, tie_map, optimizer=optimizer)
        (group,) = optimizer.param_groups
        assert group["param_names"] == [name for name, _ in model.named_parameters()]
        assert list(map(id, group["params"])) == list(map(id, model.parameters()))


# --- several, and in part ---


def test_one_that_holds_a_part_of_a_block_is_kept_in_step_with_that_part():
    """Here attention alone: the MLP, left out, is tied and untied all the same, and stays as it is."""
    model = tiny_gpt2()
    attention = [p for name, p in model.named_parameters() if ".attn." in name]
    optimizer = torch.optim.AdamW(attention, lr=1e-2)
    train_step(model, optimizer)
    for tie_map in (TieMap.all_tied(L), TIED):
        tie_layers(model, tie_map, optimizer=optimizer)
        mine = {id(p): p for name, p in model.named_parameters() if ".attn." in name}
        assert ids(held(optimizer)) == sorted(mine) == ids(optimizer.state)
    mlp = [find_blocks(model)[2].mlp.c_fc.weight.clone(), find_blocks(model)[2].attn.c_attn.weight.clone()]
    train_step(model, optimizer)
    assert torch.equal(find_blocks(model)[2].mlp.c_fc.weight, mlp[0])
    assert not torch.equal(find_blocks(model)[2].attn.c_attn.weight, mlp[1])


def test_frozen_weights_stay_frozen_and_need_no_optimizer():
    model = tiny_gpt2()
    for block in find_blocks(model):
        block.mlp.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    for tie_map in (TieMap.all_tied(L), TieMap.independent(L)):
        tie_layers(model, tie_map, optimizer=optimizer)
        assert ids(held(optimizer)) == ids(p for p in model.parameters() if p.requires_grad)
    assert not any(p.requires_grad for block in find_blocks(model) for p in block.mlp.parameters())
    assert all(p.requires_grad for block in find_blocks(model) for p in block.attn.parameters())


def test_muon_for_the_matrices_of_the_blocks_beside_adamw_for_the_rest():
    model = tiny_gpt2()
    matrices = {id(p) for block in find_blocks(model) for p in block.parameters() if p.ndim == 2}
    muon = torch.optim.Muon([p for p in model.parameters() if id(p) in matrices], lr=1e-2)
    rest = torch.optim.AdamW([p for p in model.parameters() if id(p) not in matrices], lr=1e-2)
    for n, tie_map in enumerate((TieMap.independent(L), TIED, TieMap.all_tied(L), TieMap((0, 0, 2, 3, 3)))):
        tie_layers(model, tie_map, optimizer=[muon, rest] if n % 2 else (rest, muon))
        in_muon = [p for block in find_blocks(model) for p in block.parameters() if p.ndim == 2]
        assert list(map(id, held(muon))) == list(dict.fromkeys(map(id, in_muon)))
        assert ids([*held(muon), *held(rest)]) == ids(model.parameters())
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        muon.step()
        rest.step()
        assert ids([*muon.state, *rest.state]) == ids(model.parameters())
    tie_layers(model, TieMap.independent(L), optimizer=muon)  # the other one is not told
    assert len(held(muon)) == 4 * L
    root, clone = (find_blocks(model)[i].mlp.c_fc.weight for i in (0, 1))
    assert torch.equal(muon.state[root]["momentum_buffer"], muon.state[clone]["momentum_buffer"])


def test_an_optimizer_of_another_model_or_of_replaced_weights_is_refused_before_anything_changes():
    model, other = tiny_gpt2(), tiny_gpt2(seed=1)
    mine, stale = adamw(model), adamw(model)
    model.transformer.load_state_dict({k: v.clone() for k, v in model.transformer.state_dict().items()}, assign=True)
    mine = adamw(model)
    before = ids(model.parameters())
    outside = torch.optim.AdamW(model.transformer.ln_f.parameters())
    for optimizer, message in (
        (adamw(other), r"the optimizer \(AdamW\) does not hold any Parameter of this model"),
        ([mine, adamw(other)], r"the optimizer \(AdamW\) does not hold any Parameter of this model"),
        (outside, "the optimizer does not hold any of the trainable Parameters of this model's blocks"),
        (stale, "the optimizer does not hold any"),
        ("adamw", "optimizer must be one torch.optim.Optimizer or several, got str"),
        (3, "optimizer must be one torch.optim.Optimizer or several, got int"),
    ):
        with pytest.raises(ValueError, match=message):
            tie_layers(model, TIED, optimizer=optimizer)
        assert ids(model.parameters()) == before == ids(held(mine))
    tie_layers(model, TIED, optimizer=[mine, outside])
    assert read_tie_map(model) == TIED


# --- by name ---


def test_a_state_saved_by_name_goes_into_an_optimizer_of_any_order():
    model, optimizer = trained(TieMap.all_tied(L), TieMap.independent(L), TIED)
    optimizer.param_groups[0]["lr"] = 3e-3
    file = io.BytesIO()
    state = optimizer_state(model, optimizer)
    torch.save(state, file)
    file.seek(0)
    assert set(state["state"]) == {name for name, _ in model.named_parameters()}
    twin = twin_of(model, TIED)
    other = torch.optim.AdamW([*twin.parameters()][::-1], lr=1.0, fused=True)
    load_optimizer_state(twin, other, torch.load(file, weights_only=True))
    assert other.param_groups[0]["lr"] == 3e-3
    assert same_after_a_step(model, optimizer, twin, other)
    # a snapshot, and a copy of it: neither what was trained since nor what is trained now is in it
    load_optimizer_state(twin, other, state)
    train_step(twin, other)
    again = adamw(twin)
    load_optimizer_state(twin, again, state)
    assert {float(values["step"]) for values in again.state.values()} <= {1.0, 2.0, 3.0}
    name = "transformer.h.0.mlp.c_fc.weight"
    assert torch.equal(again.state[find_blocks(twin)[0].mlp.c_fc.weight]["exp_avg"], state["state"][name]["exp_avg"])


def test_a_state_that_does_not_fit_is_refused_and_nothing_changes():
    model, optimizer = trained(TIED)
    state = optimizer_state(model, optimizer)
    before = [value.clone() for values in optimizer.state.values() for value in values.values()]
    twice = {**state, "param_groups": [*state["param_groups"]] * 2}
    wide = {**state, "shapes": {**state["shapes"], "transformer.h.2.ln_1.bias": (32,)}}
    for wrong, message in (
        (optimizer.state_dict(), "not made by optimizer_state"),
        ({}, "not made by optimizer_state"),
        (None, "not made by optimizer_state"),
        (twice, "the state has 2 parameter groups, the optimizer 1"),
        (wide, r"transformer.h.2.ln_1.bias has shape \(16,\), in the state \(32,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            load_optimizer_state(model, optimizer, wrong)
    tie_layers(model, TieMap.all_tied(L), optimizer=optimizer)
    with pytest.raises(
        ValueError, match=r"group 0 of the state is of other .*transformer\.h\.2.*: tie the model as it was"
    ):
        load_optimizer_state(model, optimizer, state)
    tie_layers(model, TIED, optimizer=optimizer)
    assert len(before) == 3 * len(list(model.parameters()))
    stranger = torch.optim.AdamW([*model.parameters(), nn.Parameter(torch.zeros(1))])
    for refused in (lambda: optimizer_state(model, stranger), lambda: load_optimizer_state(model, stranger, state)):
        with pytest.raises(ValueError, match="Parameter 28 of the optimizer's group 0 is not the model's"):
            refused()
