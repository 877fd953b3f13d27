"""Models that do not look as `tie_layers` left them: every place is looked at, and repaired or refused."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from dlt_core.agents import FixedAgent
from dlt_core.blocks import find_blocks
from dlt_core.tie_map import TieMap
from dlt_core.tying import count_parameters, read_tie_map, tie_layers, weight_sets
from dlt_core.tying.layout import _layouts
from tests.tying.test_layers import TIED, L, adamw, held, ids, of_block, tiny_gpt2, train_step

ALL = TieMap.all_tied(L)
PLACES = [name for name, _ in find_blocks(tiny_gpt2())[0].named_parameters()]


def assigned(model: nn.Module, block: int, place: str) -> nn.Parameter:
    """Give one place of one block a Parameter of its own, as loading a single tensor does."""
    name = f"transformer.h.{block}.{place}"
    model.load_state_dict({name: torch.full_like(model.state_dict()[name], 0.5)}, strict=False, assign=True)
    return find_blocks(model)[block].get_parameter(place)


def obeys(model: nn.Module, tie_map: TieMap) -> bool:
    """Each place of each block holds its root's Parameter, and no two roots have one in common."""
    blocks = [of_block(model, i) for i in range(L)]
    same = all(p is q for i, j in enumerate(tie_map) for p, q in zip(blocks[i], blocks[j], strict=True))
    return same and len({id(p) for block in blocks for p in block}) == len(PLACES) * tie_map.num_independent


@pytest.mark.parametrize("place", PLACES)
def test_one_tensor_loaded_by_assignment_is_seen_and_repaired(place):
    model = tiny_gpt2()
    optimizer = adamw(model)
    tie_layers(model, ALL, optimizer=optimizer)
    train_step(model, optimizer)
    assigned(model, 2, place)
    assert read_tie_map(model) == TieMap((0, 0, 2, 0, 0))
    assert weight_sets(find_blocks(model)) == TieMap((0, 0, 2, 0, 0))
    tie_layers(model, ALL, optimizer=optimizer)
    assert obeys(model, ALL)
    assert ids(held(optimizer)) == ids(model.parameters()) == ids(optimizer.state)


def test_ties_in_part_are_completed_or_undone():
    for tie_map in (ALL, TIED, TieMap.independent(L)):
        model = tiny_gpt2()
        for i in range(1, L):  # the first place of each, by which a tie was once told
            find_blocks(model)[i].ln_1.weight = find_blocks(model)[0].ln_1.weight
        values = [[p.detach().clone() for p in of_block(model, i)] for i in range(L)]
        assert read_tie_map(model) == TieMap.independent(L)
        tie_layers(model, tie_map)
        assert obeys(model, tie_map)
        for i, root in enumerate(tie_map):
            assert all(torch.equal(p, v) for p, v in zip(of_block(model, i), values[root], strict=True))


def test_a_loaded_tensor_stays_with_the_layer_that_becomes_independent():
    model = tiny_gpt2()
    optimizer = adamw(model)
    tie_layers(model, ALL, optimizer=optimizer)
    loaded = assigned(model, 2, "mlp.c_fc.weight")
    tie_layers(model, TieMap((0, 0, 2, 0, 2)), optimizer=optimizer)
    assert obeys(model, TieMap((0, 0, 2, 0, 2)))
    assert find_blocks(model)[4].mlp.c_fc.weight is loaded


class Adapted(nn.Module):
    """A layer with a low-rank adapter around it."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Parameter(torch.zeros(base.weight.shape[0], 2))
        self.b = nn.Parameter(torch.ones(2, base.weight.shape[1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + x @ self.a @ self.b


def test_replaced_modules_are_noticed():
    model = tiny_gpt2()
    tie_layers(model, ALL)
    blocks = find_blocks(model)
    for i in range(L - 1):
        blocks[i].mlp.c_fc = Adapted(blocks[i].mlp.c_fc)
        before = ids(model.parameters())
        with pytest.raises(ValueError, match=rf"unlike.* block {i + 1} "):
            tie_layers(model, TIED)
        assert ids(model.parameters()) == before
    blocks[L - 1].mlp.c_fc = Adapted(blocks[L - 1].mlp.c_fc)
    assert read_tie_map(model) == TieMap.independent(L)  # the adapters are their own
    tie_layers(model, TIED)
    assert read_tie_map(model) == TIED
    assert blocks[3].mlp.c_fc.a is blocks[0].mlp.c_fc.a is not blocks[2].mlp.c_fc.a
    blocks[1].mlp.c_fc.base = type(blocks[0].mlp.c_fc.base)(64, 16)  # of the same shape, and fresh
    assert read_tie_map(model) == TieMap((0, 1, 2, 0, 2))
    tie_layers(model, TIED)
    assert read_tie_map(model) == TIED
    blocks[4].ln_1.bias = None
    with pytest.raises(ValueError, match=r"unlike.* block 4 "):
        read_tie_map(model)


def test_a_layer_of_another_dtype_is_refused_when_it_would_be_tied():
    model = tiny_gpt2()
    tie_layers(model, TIED)
    find_blocks(model)[1].ln_2.weight = nn.Parameter(torch.ones(16, dtype=torch.bfloat16))
    before = ids(model.parameters())
    with pytest.raises(ValueError, match=r"unlike shape cannot be tied: ln_2.weight of layer 1 is .*bfloat16.*layer 0"):
        tie_layers(model, ALL)
    assert ids(model.parameters()) == before


class Block(nn.Module):
    """Queries and keys with one matrix of 4 x 4."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.k.weight = self.q.weight


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 4)
        self.layers = nn.ModuleList(Block() for _ in range(3))


def test_a_parameter_that_a_block_uses_twice_stays_one():
    model = Model()
    optimizer = torch.optim.AdamW(model.layers.parameters())
    counts = []
    for tie_map in (TieMap.independent(3), TieMap.all_tied(3), TieMap.independent(3)):
        tie_layers(model, tie_map, optimizer=optimizer)
        counts.append(count_parameters(model.layers))
        assert all(block.k.weight is block.q.weight for block in model.layers)
        assert ids(held(optimizer)) == ids(model.layers.parameters())
    assert counts == [48, 16, 48]


def test_a_parameter_of_the_embedding_in_all_blocks_is_left_alone():
    model = Model()
    for block in model.layers:
        block.k.weight = model.embedding.weight
    for tie_map in (TieMap.all_tied(3), TieMap((0, 1, 0)), TieMap.independent(3)):
        tie_layers(model, tie_map)
        assert read_tie_map(model) == tie_map
        assert all(block.k.weight is model.embedding.weight for block in model.layers)
        assert count_parameters(model) == 16 * (1 + tie_map.num_independent)


def test_a_parameter_of_the_embedding_in_some_blocks_is_refused():
    model = Model()
    model.layers[1].k.weight = model.embedding.weight
    before = ids(model.parameters())
    for tie_map in (TieMap.all_tied(3), TieMap.independent(3)):
        with pytest.raises(ValueError, match=r"some blocks share k\.weight with the rest of the model"):
            tie_layers(model, tie_map)
    assert ids(model.parameters()) == before
    model.layers[1].k = model.embedding  # the module itself
    with pytest.raises(ValueError, match=r"blocks 0 and 1 cannot be tied: only one of them has k\.weight for its own"):
        tie_layers(model, TieMap.all_tied(3))


def test_one_module_in_two_blocks_is_refused():
    model = Model()
    model.layers[2].q = model.layers[0].q
    with pytest.raises(ValueError, match=r"blocks 0 and 2 have one module in common, which holds q\.weight"):
        tie_layers(model, TieMap.independent(3))
    model.layers[2] = model.layers[0]
    with pytest.raises(ValueError, match="blocks 0 and 2 have one module in common"):
        read_tie_map(model)


def test_blocks_whose_parameters_come_in_another_order_are_paired_by_name():
    model = Model()
    late = Block()
    late._modules = {"k": late.k, "q": late.q}
    late.k.weight = nn.Parameter(torch.zeros(4, 4))
    model.layers[1] = late
    model.layers[0].k.weight = nn.Parameter(torch.ones(4, 4))
    tie_layers(model, TieMap((0, 0, 2)))
    assert late.k.weight is model.layers[0].k.weight
    assert late.q.weight is model.layers[0].q.weight


def test_lists_that_are_no_blocks():
    model = Model()
    model.layers = nn.ModuleList([nn.ReLU(), nn.ReLU()])
    with pytest.raises(ValueError, match="no Parameters of their own: there is nothing to tie"):
        tie_layers(model, TieMap.all_tied(2))
    model.names = ["a", "b"]
    with pytest.raises(ValueError, match="has no list of blocks at 'names'"):
        tie_layers(model, TieMap.all_tied(2), blocks="names")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([0, -1, 2, 3, 4], "layer 1 has the negative source -1"),
        ([0, 0, 1, 3, 4], "layer 2 has source 1, which is itself tied"),
        ([0, 2, 2, 3, 4], "layer 1 has source 2"),
        ([0, 1.0, 2, 3, 4], r"source of layer 1 must be an int, got 1\.0"),
        ([0, True, 2, 3, 4], "source of layer 1 must be an int, got True"),
        (5, "a TieMap needs a sequence with a source for each layer, got 5"),
        (None, "a TieMap needs a sequence"),
        ({0, 1, 2, 3, 4}, "a TieMap needs a sequence"),
        (np.zeros((5, 2), int), r"source of layer 0 must be an int, got array"),
    ],
)
def test_a_list_is_a_map_or_refused(sources, message):
    model = tiny_gpt2()
    before = ids(model.parameters())
    for refuse in (lambda: tie_layers(model, sources), lambda: FixedAgent(sources)):
        with pytest.raises(ValueError, match=message) as error:
            refuse()
        assert "\n" not in str(error.value)
    assert ids(model.parameters()) == before


@pytest.mark.parametrize("sources", [list(TIED), tuple(TIED), np.array(list(TIED)), torch.tensor(list(TIED))])
def test_a_list_of_sources_is_as_good_as_the_map(sources):
    model = tiny_gpt2()
    tie_layers(model, sources)
    assert read_tie_map(model) == TIED
    assert FixedAgent(sources).settings == {"tie_map": list(TIED)}


def test_what_is_remembered_of_a_model_does_not_keep_it():
    model = tiny_gpt2()
    tie_layers(model, TIED)
    gone = weakref.ref(model)
    assert model in _layouts
    del model
    gc.collect()
    assert gone() is None
