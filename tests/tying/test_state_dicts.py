"""A state dict says how the layers are tied, and is refused where they are tied otherwise."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn

from dlt_core.blocks import find_blocks
from dlt_core.tie_map import TieMap
from dlt_core.tying import TIES_KEY, read_tie_map, tie_layers
from tests.tying.test_layers import TIED, L, some_batch, tiny_gpt2, values


def tiny_gpt2_tied(seed: int = 0):
    model = tiny_gpt2(seed=seed)
    tie_layers(model, TIED)
    return model


def test_a_state_dict_of_tied_layers_does_not_lose_its_ties_in_silence():
    model, fresh, free, same = (tiny_gpt2(seed=i) for i in range(4))
    tie_layers(model, TIED)
    state = model.state_dict()
    assert state[TIES_KEY].tolist() == [0, 0, 2, 0, 2]
    tie_layers(free, TieMap.independent(L))
    tie_layers(same, TIED)
    for other in (fresh, free):  # the first never heard of ties
        with pytest.warns(UserWarning, match=r"To keep the ties call dlt_core.tie_layers\(model, \[0, 0, 2, 0, 2\]\)"):
            other.load_state_dict(state)
        assert read_tie_map(other) == TieMap.independent(L)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same.load_state_dict(state)
        same.load_state_dict(tiny_gpt2_tied(seed=5).state_dict())
        same.load_state_dict(state)
    expected = model(some_batch()).logits
    assert all(torch.equal(other(some_batch()).logits, expected) for other in (fresh, free, same))
    tie_layers(model, TieMap.independent(L))
    assert TIES_KEY not in model.state_dict()


def test_where_the_package_is_not_imported_pytorch_refuses_the_entry_by_its_name(monkeypatch):
    model = tiny_gpt2_tied()
    monkeypatch.setattr(nn.Module, "load_state_dict", nn.Module.load_state_dict.__wrapped__)
    with pytest.raises(RuntimeError, match=r"layers are tied: call dlt_core.tie_layers\("):
        tiny_gpt2().load_state_dict(model.state_dict())


def test_through_a_file_and_a_wrapper(tmp_path):
    model = tiny_gpt2_tied()
    torch.save(model.state_dict(), tmp_path / "state.pt")
    twin = tiny_gpt2_tied(seed=1)
    twin.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    wrapped, other = nn.Sequential(model), nn.Sequential(tiny_gpt2(seed=2))
    with pytest.warns(UserWarning, match="layers of its own"):
        other.load_state_dict(wrapped.state_dict())
    assert torch.equal(other[0](some_batch()).logits, model(some_batch()).logits)


def test_layers_that_share_refuse_two_values_for_their_weights():
    model = tiny_gpt2()
    tie_layers(model, TIED)
    with pytest.raises(ValueError, match=r"layers 0 and 1 share their weights, .*\.h\.0\.\S+ and \S+\.h\.1\."):
        model.load_state_dict(tiny_gpt2(seed=1).state_dict())
    same_values = {key: value.clone() for key, value in values(model).items()}
    model.load_state_dict(same_values)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_a_tied_model_still_says_how_it_is_tied(copied):
    model = tiny_gpt2()
    tie_layers(model, TIED, blocks=list(find_blocks(model)))
    twin = copied(model)
    assert twin.state_dict()[TIES_KEY].tolist() == list(TIED)
    model.transformer.h = model.transformer.h[:2]  # blocks that are gone cannot be spoken of
    assert TIES_KEY not in model.state_dict()
