"""Tying: the model obeys the map, and parameters, gradients and optimiser state go where they should."""

import copy
import gc
import random
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from transformers import GPT2LMHeadModel

from dlt_core.blocks import build_gpt2, find_blocks
from dlt_core.learner.accounting import gpt2_parameters, measured_bytes, training_bytes
from dlt_core.learner.evaluation import token_losses
from dlt_core.tie_map import ORPHANS, TieMap
from dlt_core.tying import GRADIENTS, TIES_KEY, count_parameters, read_tie_map, tie_layers
from tests.conftest import actions, tie_maps
from tests.huggingface.families import NAMES, blocks_of, inputs, tiny

L, VOCAB, POSITIONS, WIDTH = 5, 31, 16, 16
TIED = TieMap((0, 0, 2, 0, 2))


def tiny_gpt2(n_layer: int = L, seed: int = 0) -> GPT2LMHeadModel:
    return build_gpt2(
        vocab_size=VOCAB, n_positions=POSITIONS, n_layer=n_layer, n_head=2, n_embd=WIDTH, dropout=0.0, seed=seed
    )


def adamw(model: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)


def some_batch(seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCAB, (2, 9), generator=torch.Generator().manual_seed(seed))


def backward(model: nn.Module) -> None:
    model.zero_grad()
    token_losses(model, some_batch()).mean().backward()


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int = 0) -> None:
    optimizer.zero_grad()
    token_losses(model, some_batch(seed)).mean().backward()
    optimizer.step()


def untied_copy(model: nn.Module) -> nn.Module:
    """An independent model with the same values, made without `tie_layers`: parameter by parameter."""
    twin = copy.deepcopy(model)
    for block in find_blocks(twin):
        for module in block.modules():
            for name, p in module._parameters.items():
                if p is not None:
                    module._parameters[name] = nn.Parameter(p.detach().clone())
    return twin


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict without what it says of the ties, for a model that has none."""
    state = model.state_dict()
    state.pop(TIES_KEY)
    return state


def ids(tensors) -> list[int]:
    return sorted(map(id, tensors))


def of_block(model: nn.Module, i: int) -> list[nn.Parameter]:
    return list(find_blocks(model)[i].parameters())


def held(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


# --- which Parameters ---


@given(tie_maps(L), tie_maps(L), st.sampled_from(GRADIENTS))
def test_tied_blocks_hold_the_very_same_parameters_and_others_do_not(first, second, gradient):
    model = tiny_gpt2()
    blocks = find_blocks(model)
    for tie_map in (first, second):
        tie_layers(model, tie_map, gradient=gradient)
        for i in range(L):
            for j in range(L):
                same = [p is q for p, q in zip(of_block(model, i), of_block(model, j), strict=True)]
                assert same == [tie_map[i] == tie_map[j]] * 12
        assert read_tie_map(model) == tie_map
        assert all(now is then for now, then in zip(find_blocks(model), blocks, strict=True))
        assert len(set(map(id, blocks))) == L
        expected = gpt2_parameters(
            vocab_size=VOCAB, n_positions=POSITIONS, n_embd=WIDTH, num_groups=tie_map.num_independent
        )
        assert sum(p.numel() for p in {id(p): p for p in model.parameters()}.values()) == expected
        assert count_parameters(model) == expected


def test_counts_of_the_xl_shape():
    shape = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 1600}
    model = build_gpt2(**shape, n_layer=48, n_head=25, dropout=0.2, device="meta")
    assert all(p.device.type == "meta" for p in model.parameters())
    assert count_parameters(model) == gpt2_parameters(**shape, num_groups=48) == 1_557_611_200
    tie_layers(model, TieMap.pattern("sequence", 48, 6))
    assert count_parameters(model) == gpt2_parameters(**shape, num_groups=6) == 266_497_600
    assert count_parameters(model) == pytest.approx(264e6, rel=0.01)


# --- forward ---


def test_loss_and_logits_equal_the_plain_library_model():
    model = tiny_gpt2()
    tie_layers(model, TIED)
    plain = GPT2LMHeadModel(model.config)
    plain.load_state_dict(values(model))
    plain.eval()
    model.eval()
    batch = some_batch()
    with torch.no_grad():
        reference = plain(input_ids=batch, labels=batch)
        logits = model(input_ids=batch[:, :-1]).logits
        losses = token_losses(model, batch)
    torch.testing.assert_close(logits, reference.logits[:, :-1], atol=1e-6, rtol=0)
    torch.testing.assert_close(losses.mean(), reference.loss, atol=1e-6, rtol=0)
    assert losses.shape == (2, 8)
    by_hand = F.cross_entropy(reference.logits[1, 3], batch[1, 4])
    torch.testing.assert_close(losses[1, 3], by_hand, atol=1e-6, rtol=0)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_untying_leaves_the_forward_unchanged_to_the_bit(gradient):
    model = tiny_gpt2()
    tie_layers(model, TIED, gradient=gradient)
    before = token_losses(model, some_batch())
    tie_layers(model, TieMap.independent(L), gradient=gradient)
    assert torch.equal(token_losses(model, some_batch()), before)
    assert read_tie_map(model) == TieMap.independent(L)


def test_tying_does_change_the_forward():
    model = tiny_gpt2()
    before = token_losses(model, some_batch())
    tie_layers(model, TIED)
    assert not torch.allclose(token_losses(model, some_batch()), before, atol=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama"])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_generation_is_the_same_with_and_without_cache(name, gradient):
    torch.manual_seed(0)
    model = tiny(name, L)
    with torch.no_grad():  # large weights: every layer matters, the tokens do not settle on one
        for p in model.parameters():
            if p.ndim > 1:
                p.normal_(std=0.5)
    tie_layers(model, TIED, gradient=gradient)
    prompt = some_batch()[:, :3]
    options = {"max_new_tokens": 10, "min_new_tokens": 10, "do_sample": True, "top_k": 0, "pad_token_id": 0}
    texts = []
    for use_cache in (True, False):
        torch.manual_seed(1)
        texts.append(model.generate(prompt, attention_mask=torch.ones_like(prompt), use_cache=use_cache, **options))
    cached, plain = texts
    assert cached.shape == (2, 13)
    assert torch.equal(cached, plain)
    assert len(cached[:, 3:].unique()) > 3


# --- gradients ---


@given(tie_maps(L))
@settings(max_examples=15)
def test_gradients_are_the_sum_over_uses_or_the_roots_use_alone(tie_map):
    for gradient in GRADIENTS:
        model = tiny_gpt2().double()
        tie_layers(model, tie_map, gradient=gradient)
        reference = untied_copy(model)
        backward(model)
        backward(reference)
        for group in tie_map.groups:
            users = group if gradient == "shared" else group[:1]
            for n, p in enumerate(of_block(model, group[0])):
                expected = sum(of_block(reference, i)[n].grad for i in users)
                torch.testing.assert_close(p.grad, expected, atol=1e-12, rtol=1e-10)
        # what lies below the blocks still gets its gradient through tied layers
        torch.testing.assert_close(
            model.transformer.wpe.weight.grad, reference.transformer.wpe.weight.grad, atol=1e-12, rtol=1e-10
        )


def test_gradients_in_single_precision_and_the_two_kinds_differ():
    found = {}
    for gradient in GRADIENTS:
        model = tiny_gpt2()
        tie_layers(model, TIED, gradient=gradient)
        reference = untied_copy(model)
        backward(model)
        backward(reference)
        users = {"shared": (0, 1, 3), "source": (0,)}[gradient]
        found[gradient] = of_block(model, 0)[2].grad
        expected = sum(of_block(reference, i)[2].grad for i in users)
        torch.testing.assert_close(found[gradient], expected, atol=1e-6, rtol=0)
    assert (found["shared"] - found["source"]).abs().max() > 1e-3


# --- the optimiser ---


def test_untied_layers_part_company_after_one_step():
    model = tiny_gpt2()
    optimizer = adamw(model)
    tie_layers(model, TieMap.all_tied(L), optimizer=optimizer)
    train_step(model, optimizer)
    tie_layers(model, TieMap.all_tied(L).with_action(2, 2), optimizer=optimizer)
    assert all(torch.equal(p, q) for p, q in zip(of_block(model, 0), of_block(model, 2), strict=True))
    train_step(model, optimizer)
    pairs = list(zip(of_block(model, 0), of_block(model, 2), strict=True))
    assert all(not torch.equal(p, q) for p, q in pairs if p.ndim > 1)
    assert all(p is q for p, q in zip(of_block(model, 0), of_block(model, 1), strict=True))


@given(actions(L), st.sampled_from(ORPHANS), st.sampled_from(GRADIENTS))
@settings(max_examples=20)
def test_the_optimizer_holds_each_tensor_once_and_no_state_of_dropped_ones(sequence, orphans, gradient):
    model = tiny_gpt2()
    optimizer = adamw(model)
    train_step(model, optimizer)
    tie_map = TieMap.independent(L)
    for layer, action in sequence:
        tie_map = tie_map.with_action(layer, action, orphans=orphans)
        tie_layers(model, tie_map, gradient=gradient, optimizer=optimizer)
        assert ids(held(optimizer)) == ids(model.parameters())
        assert ids(optimizer.state) == ids(model.parameters())  # all have been trained, so all have state
    train_step(model, optimizer)
    assert measured_bytes(model, optimizer)["weights"] == 4 * count_parameters(model)


def test_tensors_stay_in_their_own_parameter_group():
    model = tiny_gpt2()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for tie_map in (TIED, TieMap.independent(L), TieMap.all_tied(L)):
        tie_layers(model, tie_map, optimizer=optimizer)
        train_step(model, optimizer)
        scheduler.step()
        assert len(optimizer.param_groups) == 2
        assert all(p.ndim > 1 for p in optimizer.param_groups[0]["params"])
        assert all(p.ndim <= 1 for p in optimizer.param_groups[1]["params"])
        assert ids(held(optimizer)) == ids(model.parameters())


def test_a_clone_inherits_a_clone_of_the_state():
    model = tiny_gpt2()
    optimizer = adamw(model)
    tie_layers(model, TieMap.all_tied(L), optimizer=optimizer)
    for seed in range(3):
        train_step(model, optimizer, seed)
    tie_layers(model, TieMap.all_tied(L).with_action(3, 3), optimizer=optimizer)
    for original, clone in zip(of_block(model, 0), of_block(model, 3), strict=True):
        assert original is not clone
        assert set(optimizer.state[clone]) == set(optimizer.state[original]) == {"step", "exp_avg", "exp_avg_sq"}
        assert float(optimizer.state[clone]["step"]) == 3
        for key, value in optimizer.state[original].items():
            assert torch.equal(optimizer.state[clone][key], value)
            assert optimizer.state[clone][key].data_ptr() != value.data_ptr()
        assert clone.data_ptr() != original.data_ptr()
    before = [optimizer.state[p]["exp_avg"].clone() for p in of_block(model, 3)]
    for p in of_block(model, 3):
        p.requires_grad_(False)
    train_step(model, optimizer)  # the original moves on, the frozen clone's state stays
    assert all(torch.equal(optimizer.state[p]["exp_avg"], b) for p, b in zip(of_block(model, 3), before, strict=True))


def test_promotion_hands_over_the_old_parameters_and_their_state():
    model = tiny_gpt2()
    optimizer = adamw(model)
    tie_map = TieMap((0, 1, 1, 1, 4))
    tie_layers(model, tie_map, optimizer=optimizer)
    train_step(model, optimizer)
    old = of_block(model, 1)
    states = [dict(optimizer.state[p]) for p in old]
    promoted = tie_map.with_action(1, 0, orphans="promote")
    tie_layers(model, promoted, optimizer=optimizer)
    assert promoted == TieMap((0, 0, 2, 2, 4))
    assert all(p is q for i in (2, 3) for p, q in zip(of_block(model, i), old, strict=True))
    for p, state in zip(old, states, strict=True):
        assert all(optimizer.state[p][key] is value for key, value in state.items())
    assert ids(held(optimizer)) == ids(model.parameters())


@given(tie_maps(L), tie_maps(L))
def test_an_untied_layer_starts_from_the_values_it_used(first, second):
    """Whatever two maps follow each other: a layer that is its own root keeps the values it had."""
    model = tiny_gpt2()
    tie_layers(model, first)
    values = [[p.detach().clone() for p in of_block(model, i)] for i in range(L)]
    tie_layers(model, second)
    for i, root in enumerate(second):
        assert all(torch.equal(p, v) for p, v in zip(of_block(model, i), values[root], strict=True))


def test_dropped_parameters_are_freed_at_once():
    model = tiny_gpt2()
    optimizer = adamw(model)
    train_step(model, optimizer)
    dropped = [weakref.ref(p) for i in range(1, L) for p in of_block(model, i)]
    dropped += [weakref.ref(optimizer.state[p()]["exp_avg"]) for p in dropped]
    tie_layers(model, TieMap.all_tied(L), gradient="source", optimizer=optimizer)
    assert len(dropped) == 2 * 12 * (L - 1)
    assert all(ref() is None for ref in dropped)


@pytest.fixture
def no_garbage_collection():
    """What is freed is freed at once, by its reference count."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_thousand_random_actions_leak_nothing(no_garbage_collection, gradient):
    rng = random.Random(0)
    model = tiny_gpt2()
    optimizer = adamw(model)
    train_step(model, optimizer)
    tie_map = TieMap.independent(L)
    seen: dict[int, weakref.ref] = {}  # Parameters, and the moments of each
    for n in range(1000):
        layer = rng.randrange(L)
        tie_map = tie_map.with_action(layer, rng.randrange(layer + 1), orphans=rng.choice(ORPHANS))
        tie_layers(model, tie_map, gradient=gradient, optimizer=optimizer)
        if n % 20 == 10:
            train_step(model, optimizer, seed=n)
        parameters = list(model.parameters())
        assert len(parameters) == 4 + 12 * tie_map.num_independent
        assert ids(optimizer.state) == ids(held(optimizer)) == ids(parameters)
        in_use = [*parameters, *(optimizer.state[p][key] for p in parameters for key in ("exp_avg", "exp_avg_sq"))]
        for t in in_use:
            if seen.get(id(t), lambda: None)() is not t:
                seen[id(t)] = weakref.ref(t)
        assert {i for i, ref in seen.items() if ref() is not None} == {*ids(in_use)}, "what nobody uses lives on"
    assert len(seen) > 3 * (4 + 12 * L)
    shape = {"vocab_size": VOCAB, "n_positions": POSITIONS, "n_embd": WIDTH}
    for final in (tie_map, TieMap.independent(L), TieMap.all_tied(L)):
        tie_layers(model, final, gradient=gradient, optimizer=optimizer)
        train_step(model, optimizer)
        closed = training_bytes(gpt2_parameters(**shape, num_groups=final.num_independent))
        counters = 4 * len(optimizer.state)
        closed |= {"optimizer": closed["optimizer"] + counters, "total": closed["total"] + counters}
        assert measured_bytes(model, optimizer) == closed


# --- which blocks ---


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama", "vit"])
def test_the_blocks_of_each_architecture_are_found_and_tied(name):
    model = tiny(name, L)
    blocks = find_blocks(model)
    assert len(blocks) == L
    one = sum(p.numel() for p in blocks[0].parameters())
    everything = count_parameters(model)
    tie_layers(model, TIED, gradient="source")
    assert count_parameters(model) == everything - 3 * one
    reference = untied_copy(model)
    for m in (model, reference):
        m(**inputs(name)).logits.square().mean().backward()
    for group in TIED.groups:
        for p, q in zip(of_block(model, group[0]), of_block(reference, group[0]), strict=True):
            torch.testing.assert_close(p.grad, q.grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_architecture_by_name_is_tied_and_untied_with_its_optimizer_in_step(name):
    model, path = tiny(name), blocks_of(name)
    one = sum(p.numel() for p in find_blocks(model, path)[0].parameters())
    everything, optimizer = count_parameters(model), adamw(model)
    for tie_map in (TieMap.independent(3), TieMap((0, 1, 0)), TieMap.all_tied(3), TieMap((0, 0, 2))):
        before = model(**inputs(name)).logits
        tie_layers(model, tie_map, optimizer=optimizer, blocks=path)
        assert read_tie_map(model, blocks=path) == tie_map
        assert count_parameters(model) == everything - one * (3 - tie_map.num_independent)
        assert list(map(id, held(optimizer))) == list(map(id, model.parameters()))
        if tie_map == TieMap((0, 0, 2)):
            assert torch.equal(model(**inputs(name)).logits, before), "untying clones"
        optimizer.zero_grad()
        model(**inputs(name)).logits.square().mean().backward()
        optimizer.step()
        assert ids(optimizer.state) == ids(p for p in model.parameters() if p.grad is not None)


def test_the_headless_model_has_the_same_blocks():
    model = tiny_gpt2()
    assert find_blocks(model.transformer) == find_blocks(model) == list(model.transformer.h)


class Stack(nn.Module):
    """A model of nobody's architecture."""

    def __init__(self, *sizes: tuple[int, int]) -> None:
        super().__init__()
        self.body = nn.Module()
        self.body.stack = nn.ModuleList([nn.Linear(*size) for size in sizes])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.body.stack:
            x = block(x)
        return x


def test_a_dotted_path_names_the_blocks_of_any_module():
    model = Stack((4, 4), (4, 4), (4, 4))
    assert find_blocks(model, "body.stack") == list(model.body.stack)
    tie_layers(model, TieMap((0, 1, 0)), blocks="body.stack")
    assert model.body.stack[2].weight is model.body.stack[0].weight
    assert model.body.stack[1].weight is not model.body.stack[0].weight
    assert read_tie_map(model, blocks="body.stack") == TieMap((0, 1, 0))
    with pytest.raises(ValueError, match=r"blocks='dotted\.path'"):
        find_blocks(model)
    with pytest.raises(ValueError, match=r"body\.nothing"):
        tie_layers(model, TieMap((0, 1, 0)), blocks="body.nothing")


def test_blocks_of_unlike_shape_raise_and_are_left_alone():
    unlike = [Stack((4, 4), (4, 4), (4, 5)), Stack((4, 4), (4, 4), (4, 4)), Stack((4, 4), (4, 4), (4, 4))]
    unlike[1].body.stack[2].bias = None
    unlike[2].body.stack[2].double()
    for model in unlike:
        before = ids(model.parameters())
        with pytest.raises(ValueError, match=r"unlike.*block 2"):
            find_blocks(model, "body.stack")
        with pytest.raises(ValueError, match="unlike"):
            tie_layers(model, TieMap.all_tied(3), blocks="body.stack")
        assert ids(model.parameters()) == before


@pytest.mark.parametrize("n_layer", [1, L - 1, L + 1])
def test_a_map_of_another_length_raises_and_changes_nothing(n_layer):
    model = tiny_gpt2()
    with pytest.raises(ValueError, match=rf"{n_layer} layers.*{L}"):
        tie_layers(model, TieMap.all_tied(n_layer))
    assert read_tie_map(model) == TieMap.independent(L)


def test_an_unknown_gradient_raises_and_lists_the_known():
    model = tiny_gpt2()
    with pytest.raises(ValueError, match=r"copied.*shared.*source"):
        tie_layers(model, TIED, gradient="copied")
    assert read_tie_map(model) == TieMap.independent(L)


def test_an_optimizer_of_another_model_raises():
    model, other = tiny_gpt2(), tiny_gpt2(seed=1)
    tie_layers(model, TieMap.all_tied(L))
    with pytest.raises(ValueError, match="optimizer"):
        tie_layers(model, TieMap.independent(L), optimizer=adamw(other))
