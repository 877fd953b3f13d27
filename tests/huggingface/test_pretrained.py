"""Saved and loaded: every family, both forms, exact to the bit; and no loader makes up weights."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from dlt_core.blocks import build_gpt2, find_blocks
from dlt_core.huggingface.pretrained import COMPACT, from_pretrained, save_pretrained
from dlt_core.tie_map import TieMap
from dlt_core.tying import read_tie_map, tie_layers
from tests.huggingface.families import CAUSAL, NAMES, blocks_of, inputs, tiny

TIED = TieMap((0, 0, 2))


@pytest.fixture
def saved(tmp_path):
    model = tiny("gpt2")
    tie_layers(model, TIED)
    save_pretrained(model, tmp_path / "full")
    save_pretrained(model, tmp_path / "compact", compact=True)
    return model, tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_every_family_comes_back_exactly_and_tied_from_both_forms(name, tmp_path):
    model, blocks = tiny(name), blocks_of(name)
    tie_layers(model, TIED, blocks=blocks)
    expected, config = model(**inputs(name)).logits, model.config.to_dict()
    for compact in (False, True):
        save_pretrained(model, tmp_path / f"{compact}", compact=compact, blocks=blocks)
        loaded = from_pretrained(tmp_path / f"{compact}")
        assert type(loaded) is type(model)
        assert torch.equal(loaded(**inputs(name)).logits, expected)
        assert read_tie_map(loaded, blocks=blocks) == TIED
        assert not any(field.startswith("dlt") for field in loaded.config.to_dict())
    assert not any(field.startswith("dlt") for field in config)
    plain = type(model).from_pretrained(tmp_path / "False")
    assert torch.equal(plain(**inputs(name)).logits, expected)
    with pytest.raises(OSError, match="no file named"):  # refused, not filled with random numbers
        type(model).from_pretrained(tmp_path / "True")


@pytest.mark.parametrize("name", CAUSAL)
def test_a_tied_model_generates_the_same_with_and_without_its_cache(name, tmp_path):
    model = tiny(name)
    tie_layers(model, TIED)
    prompt = torch.tensor([[3, 1, 4]])
    for how in ({"do_sample": False}, {"do_sample": True, "top_k": 0}):
        texts = []
        for use_cache in (True, False):
            torch.manual_seed(1)
            options = {"max_new_tokens": 6, "min_new_tokens": 6, "use_cache": use_cache, "pad_token_id": 0, **how}
            texts.append(model.generate(prompt, attention_mask=torch.ones_like(prompt), **options))
        assert torch.equal(*texts)
        assert texts[0].shape == (1, 9)


def test_at_six_of_48_layers_the_compact_form_holds_each_weight_set_once(tmp_path):
    model = build_gpt2(vocab_size=31, n_positions=16, n_layer=48, n_head=2, n_embd=16, dropout=0.0)
    tie_layers(model, TieMap.pattern("sequence", 48, 6))
    save_pretrained(model, tmp_path / "full")
    save_pretrained(model, tmp_path / "compact", compact=True)
    sizes = {
        name: sum(t.numel() for t in load_file(path).values())
        for name, path in (
            ("full", tmp_path / "full" / "model.safetensors"),
            ("compact", tmp_path / "compact" / COMPACT),
        )
    }
    block = sum(p.numel() for p in find_blocks(model)[0].parameters())
    assert sizes["full"] - sizes["compact"] == 42 * block
    assert sizes["compact"] == sum(p.numel() for p in model.parameters())


def test_a_plain_checkpoint_begins_independent(saved):
    _, folder = saved
    tiny("llama").save_pretrained(folder / "plain")
    assert read_tie_map(from_pretrained(folder / "plain")) == TieMap.independent(3)


def test_weights_of_two_forms_do_not_lie_in_one_folder(saved):
    model, folder = saved
    with pytest.raises(ValueError, match=r"already holds model.safetensors, weights of another form: save elsewhere"):
        save_pretrained(model, folder / "full", compact=True)
    with pytest.raises(ValueError, match=r"already holds weight_sets.dlt"):
        save_pretrained(model, folder / "compact")
    with pytest.raises(ValueError, match="the compact form has no option max_shard_size"):
        save_pretrained(model, folder / "new", compact=True, max_shard_size="1GB")


def test_what_is_no_longer_as_it_was_written_is_refused(saved):
    _, folder = saved
    weights = load_file(folder / "full" / "model.safetensors")
    weights["transformer.h.1.ln_1.weight"] += 1
    save_file(weights, folder / "full" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="layer 1 is tied to layer 0, and has different values"):
        from_pretrained(folder / "full")
    save_file({"a": torch.zeros(1)}, folder / "compact" / COMPACT)
    with pytest.raises(ValueError, match=r"weight_sets.dlt cannot be read as weight sets: format None"):
        from_pretrained(folder / "compact")
    (folder / "compact" / COMPACT).write_bytes(b"no such thing")
    with pytest.raises(ValueError, match=r"weight_sets.dlt cannot be read as weight sets"):
        from_pretrained(folder / "compact")
    with pytest.raises(ValueError, match=r"holds no config.json: it was not saved by save_pretrained"):
        from_pretrained(folder / "nowhere")
    config = json.loads((folder / "full" / "config.json").read_text())
    (folder / "full" / "config.json").write_text(json.dumps(config | {"architectures": ["Unheard"]}))
    with pytest.raises(ValueError, match="transformers has no class 'Unheard'"):
        from_pretrained(folder / "full")


def test_lora_trains_on_a_tied_model_and_is_merged_only_after_untying():
    model = tiny("gpt2")
    tie_layers(model, TIED)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["c_attn"], init_lora_weights=False))
    where = "base_model.model.transformer.h"
    before = adapted(**inputs("gpt2")).logits.detach()
    frozen = {n: p.clone() for n, p in adapted.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    adapted(**inputs("gpt2"), labels=inputs("gpt2")["input_ids"]).loss.backward()
    optimizer.step()
    after = adapted(**inputs("gpt2")).logits.detach()
    assert not torch.equal(before, after)
    assert all(torch.equal(p, frozen[n]) for n, p in adapted.named_parameters() if n in frozen)

    def merged(untie):
        twin = tiny("gpt2")
        tie_layers(twin, TIED)
        twin = get_peft_model(twin, LoraConfig(r=2, target_modules=["c_attn"], init_lora_weights=False))
        twin.load_state_dict(adapted.state_dict(), strict=False)
        twin.eval()
        if untie:
            tie_layers(twin, TieMap.independent(3), blocks=where)
        return twin.merge_and_unload()(**inputs("gpt2")).logits.detach()

    adapted.eval()
    expected = adapted(**inputs("gpt2")).logits.detach()
    torch.testing.assert_close(merged(untie=True), expected, atol=1e-5, rtol=0)
    assert (merged(untie=False) - expected).abs().max() > 1e-2  # one weight got the changes of two layers
