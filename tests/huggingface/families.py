"""Tiny models of the families that are tested by name."""

from typing import Any

import torch
from transformers import (
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {"vocab_size": 31, "max_position_embeddings": 16, **SIZES}
HEADS = {"num_key_value_heads": 2}
NAMES = ("gpt2", "bert", "llama", "mistral", "qwen2", "gpt_neox", "opt", "vit", "t5")
DECODER = "decoder.block[1:]"  # of T5: the first of its blocks alone has position biases
CAUSAL = ("gpt2", "bert", "llama", "mistral", "qwen2", "gpt_neox", "opt")


def blocks_of(name: str) -> str | None:
    return DECODER if name == "t5" else None


def tiny(name: str, n_layer: int = 3) -> PreTrainedModel:
    """So many blocks that can be tied, with weights from seed 0, in evaluation mode."""
    sizes = SIZES | {"num_hidden_layers": n_layer}
    text = TEXT | sizes
    gpt2 = {"vocab_size": 31, "n_positions": 16, "n_layer": n_layer, "n_head": 2, "n_embd": 16}
    opt = text | {"ffn_dim": 32, "word_embed_proj_dim": 16}
    t5 = {"vocab_size": 31, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    build: dict[str, Any] = {
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**gpt2)),
        "bert": lambda: BertLMHeadModel(BertConfig(**text, is_decoder=True)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**text)),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**text, **HEADS, head_dim=8)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**text, **HEADS)),
        "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**text)),
        "opt": lambda: OPTForCausalLM(OPTConfig(**opt)),
        "vit": lambda: ViTForImageClassification(ViTConfig(**sizes, image_size=8, patch_size=4)),
        "t5": lambda: T5ForConditionalGeneration(T5Config(**t5, num_decoder_layers=1 + n_layer)),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build[name]().eval()


def inputs(name: str) -> dict[str, torch.Tensor]:
    """What the model takes."""
    if name == "vit":
        return {"pixel_values": torch.linspace(-1, 1, 192).view(1, 3, 8, 8)}
    tokens = {"input_ids": torch.tensor([[3, 1, 4, 1, 5]])}
    return tokens | ({"decoder_input_ids": torch.tensor([[9, 2, 6]])} if name == "t5" else {})
