"""A state dict says how the layers are tied, and is refused where they are tied otherwise."""

import copy
import pickle

import pytest
import torch

from dlt_core.blocks import find_blocks
from dlt_core.tie_map import TieMap
from dlt_core.tying import TIES_KEY, tie_layers
from tests.tying.test_layers import TIED, L, some_batch, tiny_gpt2, values


def test_a_state_dict_of_tied_layers_is_refused_by_a_model_with_other_ties_and_names_the_remedy():
    model, fresh, other, same = (tiny_gpt2(seed=i) for i in range(4))
    tie_layers(model, TIED)
    state = model.state_dict()
    assert state[TIES_KEY].tolist() == [0, 0, 2, 0, 2]
    with pytest.raises(RuntimeError, match=r"layers are tied: call dlt_core.tie_layers\("):
        fresh.load_state_dict(state)  # a model that never heard of ties
    tie_layers(other, TieMap.all_tied(L))
    before = other.state_dict()["lm_head.weight"].clone()
    with pytest.raises(ValueError, match=r"tie_layers\(model, \[0, 0, 2, 0, 2\]\) before you load"):
        other.load_state_dict(state)
    assert torch.equal(other.state_dict()["lm_head.weight"], before)
    tie_layers(same, TIED)
    same.load_state_dict(state)
    assert torch.equal(same(some_batch()).logits, model(some_batch()).logits)
    tie_layers(model, TieMap.independent(L))
    assert TIES_KEY not in model.state_dict()


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
