"""Weights used as constants: switched on and off, checkpointed, interrupted, copied and pickled."""

import copy
import io

import pytest
import torch

from dlt_core.blocks import find_blocks
from dlt_core.tie_map import TieMap
from dlt_core.tying import GRADIENTS, read_tie_map, tie_layers
from tests.tying.test_layers import TIED, L, backward, ids, tiny_gpt2


def test_the_kind_of_gradient_can_be_switched_back():
    model = tiny_gpt2()
    tie_layers(model, TIED)
    backward(model)
    shared = [p.grad.clone() for p in model.parameters()]
    tie_layers(model, TIED, gradient="source")
    tie_layers(model, TIED, gradient="shared")
    backward(model)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), shared, strict=True))


def test_source_and_shared_take_turns_on_the_blocks_own_class():
    model = tiny_gpt2()
    plain = type(find_blocks(model)[1])
    tie_layers(model, TieMap.all_tied(L), gradient="source")
    assert all(isinstance(block, plain) for block in find_blocks(model))
    assert type(find_blocks(model)[1]) is not plain
    tie_layers(model, TieMap.all_tied(L), gradient="shared")
    assert {type(block) for block in find_blocks(model)} == {plain}


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradient_checkpointing_gives_the_same_gradients(gradient):
    model = tiny_gpt2().train()
    tie_layers(model, TIED, gradient=gradient)
    backward(model)
    expected = [p.grad.clone() for p in model.parameters()]
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    calls = []
    find_blocks(model)[0].attn.register_forward_hook(lambda *_: calls.append(1))
    backward(model)
    assert len(calls) == 2  # forward, and once more on the way back: it really was checkpointed
    assert read_tie_map(model) == TIED
    for p, g in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, g, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_forward_leaves_the_parameters_in_place(kind):
    """KeyboardInterrupt is what stopping a notebook's cell raises."""
    model = tiny_gpt2()
    tie_layers(model, TIED, gradient="source")
    parameters = ids(model.parameters())
    backward(model)
    expected = [p.grad.clone() for p in model.parameters()]

    def stop(*_):
        raise kind("stopped in the middle of block 3")

    hook = find_blocks(model)[3].mlp.register_forward_pre_hook(stop)
    with pytest.raises(kind, match="block 3"):
        backward(model)
    hook.remove()
    assert read_tie_map(model) == TIED
    assert ids(model.parameters()) == parameters
    backward(model)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), expected, strict=True))


def test_a_deep_copy_of_a_source_tied_model_is_a_model_of_its_own():
    model = tiny_gpt2()
    tie_layers(model, TIED, gradient="source")
    twin = copy.deepcopy(model)
    assert not set(ids(model.parameters())) & set(ids(twin.parameters()))
    assert read_tie_map(twin) == TIED
    backward(model)
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    backward(twin)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p.grad, g) for p, g in zip(twin.parameters(), expected, strict=True))
    tie_layers(twin, TieMap.independent(L), gradient="shared")
    assert read_tie_map(model) == TIED
    backward(model)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), expected, strict=True))


def test_a_source_tied_model_can_be_pickled():
    model = tiny_gpt2().eval()
    tie_layers(model, TieMap.all_tied(L), gradient="source")
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert read_tie_map(loaded) == TieMap.all_tied(L)
    tokens = torch.arange(8)[None]
    assert torch.equal(loaded(tokens).logits, model(tokens).logits)
    for each in (model, loaded):
        each(tokens, labels=tokens).loss.backward()
    for ours, theirs in zip(loaded.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
