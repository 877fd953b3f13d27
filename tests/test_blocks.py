"""The models: BERT is a causal language model, seeds decide the weights, and what cannot be built is refused."""

import pytest
import torch
from transformers import BertConfig, BertLMHeadModel

from dlt_core.blocks import ARCHITECTURES, build_bert, build_gpt2, build_model, find_blocks
from dlt_core.learner.accounting import block_parameters, model_parameters
from dlt_core.tie_map import TieMap
from dlt_core.tying import GRADIENTS, count_parameters, read_tie_map, tie_layers

L, VOCAB, POSITIONS, WIDTH = 4, 31, 16, 16
SHAPE = {"vocab_size": VOCAB, "n_positions": POSITIONS, "n_layer": L, "n_head": 2, "n_embd": WIDTH, "dropout": 0.0}
TIED = TieMap((0, 0, 2, 0))


def with_large_weights(model: torch.nn.Module) -> torch.nn.Module:
    """In evaluation mode, with weights so large that every token and every layer shows in the logits."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.normal_(std=0.5, generator=generator)
    return model.eval()


def movement(model: torch.nn.Module, place: int) -> torch.Tensor:
    """How far the logits at each position move when the token at `place` changes, shape (T,)."""
    tokens = torch.randint(VOCAB, (3, POSITIONS), generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[:, place] = (changed[:, place] + 1) % VOCAB
    with torch.no_grad():
        return (model(tokens).logits - model(changed).logits).abs().amax(dim=(0, 2))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tie_map", [TieMap.independent(L), TIED, TieMap.all_tied(L)], ids=str)
def test_a_changed_token_changes_no_earlier_logit_and_every_later_one(architecture, tie_map):
    model = with_large_weights(build_model(architecture, **SHAPE))
    tie_layers(model, tie_map)
    for place in (1, 7, POSITIONS - 1):
        moved = movement(model, place)
        assert moved[:place].max() < 1e-5
        assert moved[place:].min() > 1e-2


def test_the_library_without_the_flag_does_look_ahead():
    """So the test above can fail, and the refusal below has a reason."""
    config = build_bert(**SHAPE).config.to_dict() | {"is_decoder": False}
    model = with_large_weights(BertLMHeadModel(BertConfig(**config)))
    assert movement(model, 7)[:7].min() > 1e-2


def test_a_bert_that_sees_the_future_is_refused():
    with pytest.raises(ValueError, match=r"is_decoder=False.*future"):
        build_bert(**SHAPE, is_decoder=False)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone(architecture):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_model(architecture, **SHAPE, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    second, other = (build_model(architecture, **SHAPE, seed=seed) for seed in (3, 4))
    pairs = list(zip(first.parameters(), second.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(p, q) for p, q, _ in pairs)
    assert not any(torch.equal(p, q) for p, _, q in pairs if p.ndim > 1)


def test_the_blocks_of_bert_are_found_and_are_as_large_as_those_of_gpt2():
    bert, gpt2 = build_bert(**SHAPE), build_gpt2(**SHAPE)
    assert find_blocks(bert) == list(bert.bert.encoder.layer)
    assert find_blocks(bert.bert) == find_blocks(bert)
    assert len(find_blocks(bert)) == L
    for block in (*find_blocks(bert), *find_blocks(gpt2)):
        assert sum(p.numel() for p in block.parameters()) == block_parameters(WIDTH) == 12 * WIDTH**2 + 13 * WIDTH


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_bert_is_tied_and_untied_and_counted(gradient):
    model = build_bert(**SHAPE).eval()
    tokens = torch.arange(POSITIONS)[None]
    size = {"vocab_size": VOCAB, "n_positions": POSITIONS, "n_embd": WIDTH}
    for tie_map in (TIED, TieMap.all_tied(L), TieMap.independent(L)):
        before = model(tokens).logits
        tie_layers(model, tie_map, gradient=gradient)
        assert read_tie_map(model) == tie_map
        assert count_parameters(model) == model_parameters("bert", **size, num_groups=tie_map.num_independent)
    assert torch.equal(model(tokens).logits, before), "untying clones: the function stays"


def test_a_tied_bert_generates_the_same_with_and_without_cache():
    """With the builder's own configuration, which has no padding token and no cache by default. Drawn from one seed, so
    that the tokens do not settle on one."""
    model = with_large_weights(build_bert(**SHAPE))
    tie_layers(model, TIED)
    prompt = torch.tensor([[1, 5, 9], [7, 2, 3]])
    found = []
    for use_cache in (True, False):
        torch.manual_seed(0)
        options = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 10, "do_sample": True, "top_k": 0,
                   "temperature": 5.0, "output_logits": True, "return_dict_in_generate": True}  # fmt: skip
        found.append(model.generate(prompt, use_cache=use_cache, **options))
    cached, plain = found
    assert (cached.past_key_values is None, plain.past_key_values is None) == (False, True)
    assert cached.sequences.shape == (2, 13)
    assert torch.equal(cached.sequences, plain.sequences)
    torch.testing.assert_close(torch.stack(cached.logits), torch.stack(plain.logits), atol=1e-4, rtol=1e-5)
    assert len(cached.sequences[:, 3:].unique()) > 3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dropout_is_everywhere_the_same_and_at_work_in_training_only(architecture):
    model = build_model(architecture, **{**SHAPE, "dropout": 0.5})
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.5}
    tokens = torch.arange(POSITIONS)[None]
    torch.manual_seed(0)
    assert not torch.equal(model.train()(tokens).logits, model(tokens).logits)
    assert torch.equal(model.eval()(tokens).logits, model(tokens).logits)


def test_models_are_built_by_name_and_unknown_names_are_refused():
    assert type(build_model("bert", **SHAPE)) is type(build_bert(**SHAPE)) is BertLMHeadModel
    assert type(build_model("gpt2", **SHAPE)) is type(build_gpt2(**SHAPE))
    with pytest.raises(ValueError, match=r"unknown architecture 'llama'; known: gpt2, bert"):
        build_model("llama", **SHAPE)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_width_that_the_heads_do_not_divide_is_refused(architecture):
    with pytest.raises(ValueError, match="n_embd=16 must be a multiple of n_head=3"):
        build_model(architecture, **{**SHAPE, "n_head": 3})
