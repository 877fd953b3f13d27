"""Find the transformer blocks of a Hugging Face model, and build the models that the paper ties.

Nothing of the transformer is written by hand: the models are transformers' own classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import nn
from transformers import BertConfig, BertLMHeadModel, GPT2Config, GPT2LMHeadModel, PreTrainedConfig, PreTrainedModel

from dlt_core.tie_map import in_short

_Model = TypeVar("_Model", bound=PreTrainedModel)

# Where the architectures keep their list of blocks: GPT-2, BERT, LLaMA and its kin, OPT, GPT-NeoX, ViT, each with and
# without its head.
KNOWN_PATHS = (
    "transformer.h",
    "h",
    "bert.encoder.layer",
    "encoder.layer",
    "model.layers",
    "model.decoder.layers",
    "decoder.layers",
    "gpt_neox.layers",
    "vit.layers",
    "vit.encoder.layer",
    "layers",
)


Blocks: TypeAlias = str | Sequence[nn.Module]
"""Where a model keeps its blocks: the dotted path of their list, as in "decoder.block[1:]"; or the blocks."""


def locate_blocks(model: nn.Module, blocks: Blocks | None = None) -> list[nn.Module]:
    """The list behind `find_blocks`, without the comparison of shapes. Raises ValueError if there is none."""
    if blocks is not None and not isinstance(blocks, str):
        return _given_blocks(model, blocks)
    for path in (blocks,) if blocks is not None else KNOWN_PATHS:
        if found := _at(model, path):
            return found
    if blocks is not None:
        raise ValueError(f"{type(model).__name__} has no list of blocks at {blocks!r}")
    raise ValueError(
        f"cannot find the blocks of {type(model).__name__}: name their list with blocks='dotted.path'; "
        f"looked at {', '.join(KNOWN_PATHS)}"
    )


def _given_blocks(model: nn.Module, blocks: Sequence[nn.Module]) -> list[nn.Module]:
    inside = set(model.modules())
    for n, block in enumerate(blocks):
        if not isinstance(block, nn.Module) or block not in inside:
            raise ValueError(f"blocks[{n}] is {in_short(block)}, which is no module of {type(model).__name__}")
    if len(set(blocks)) < max(1, len(blocks)):
        raise ValueError("blocks must be modules of the model, each of them once, and at least one")
    return list(blocks)


def _at(model: nn.Module, path: str) -> list[nn.Module]:
    """The blocks at a path, of which a slice may take a part; [] if there are none."""
    if not (match := re.fullmatch(r"([^\[\]]+)(?:\[(-?\d*):(-?\d*)\])?", path)):
        return []
    names, first, last = match.groups()
    place: Any = model
    for name in names.split("."):
        place = getattr(place, name, None)
    if not isinstance(place, (nn.ModuleList, nn.Sequential, list, tuple)):
        return []
    found = list(place)[slice(*(int(n) if n else None for n in (first, last)))]
    return found if all(isinstance(block, nn.Module) for block in found) else []


def find_blocks(model: nn.Module, blocks: Blocks | None = None) -> list[nn.Module]:
    """The model's transformer blocks, bottom to top.

    blocks: for a model whose list is not at one of KNOWN_PATHS, its dotted path, of which a slice may take a part, as
    in "decoder.block[1:]"; or the blocks themselves, modules of the model.
    Raises ValueError if there is no such list, or if the blocks' parameters differ in name, shape or dtype.

    >>> model = build_gpt2(vocab_size=31, n_positions=8, n_layer=4, n_head=2, n_embd=8, dropout=0.0)
    >>> len(find_blocks(model))
    4
    """
    modules = locate_blocks(model, blocks)
    expected = _shapes(modules[0])
    for i, block in enumerate(modules[1:], start=1):
        shapes = _shapes(block)
        if shapes != expected:
            name = next(n for n in [*expected, *shapes] if expected.get(n) != shapes.get(n))
            raise ValueError(
                f"blocks of unlike shape cannot be tied: {name} of block {i} is {shapes.get(name)}, "
                f"of block 0 {expected.get(name)}"
            )
    return modules


def _shapes(block: nn.Module) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {name: (tuple(p.shape), p.dtype) for name, p in block.named_parameters(remove_duplicate=False)}


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Let each block keep its input alone and make the rest again in the backward pass: less memory, more time.

    The non-reentrant kind, which works with shared weights, by its name in transformers 5.23 or the one before.
    """
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def build_gpt2(
    *,
    vocab_size: int,
    n_positions: int,
    n_layer: int,
    n_head: int,
    n_embd: int,
    dropout: float,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> GPT2LMHeadModel:
    """A freshly initialised GPT-2 of the given shape, on `device` ("meta" for counting without memory).

    `dropout` is used in its three places (embeddings, attention, residual). The weights depend on `seed` alone and
    leave torch's global generator as it was. Raises ValueError if n_embd is not a multiple of n_head.

    >>> model = build_gpt2(vocab_size=31, n_positions=8, n_layer=4, n_head=2, n_embd=8, dropout=0.0)
    >>> count_parameters(model)
    3816
    """
    if n_embd % n_head:
        raise ValueError(f"n_embd={n_embd} must be a multiple of n_head={n_head}")
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=n_positions,
        n_layer=n_layer,
        n_head=n_head,
        n_embd=n_embd,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        resid_pdrop=dropout,
        activation_function="gelu_pytorch_tanh",  # GPT-2's own "gelu_new" in one fused kernel
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    return _initialised(GPT2LMHeadModel, config, seed, device)


def build_bert(
    *,
    vocab_size: int,
    n_positions: int,
    n_layer: int,
    n_head: int,
    n_embd: int,
    dropout: float,
    seed: int = 0,
    device: str | torch.device = "cpu",
    is_decoder: bool = True,
) -> BertLMHeadModel:
    """A freshly initialised BERT as a causal language model; arguments as in `build_gpt2`.

    `dropout` is used for hidden states and attention. Raises ValueError for `is_decoder=False`: without it
    `BertLMHeadModel` sees the tokens that it is to predict, and its perplexity means nothing.

    >>> model = build_bert(vocab_size=31, n_positions=8, n_layer=4, n_head=2, n_embd=8, dropout=0.0)
    >>> count_parameters(model)
    3951
    """
    if not is_decoder:
        raise ValueError("is_decoder=False: this BERT would see the future, which is no language model")
    if n_embd % n_head:
        raise ValueError(f"n_embd={n_embd} must be a multiple of n_head={n_head}")
    config = BertConfig(
        vocab_size=vocab_size,
        max_position_embeddings=n_positions,
        num_hidden_layers=n_layer,
        num_attention_heads=n_head,
        hidden_size=n_embd,
        intermediate_size=4 * n_embd,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        is_decoder=is_decoder,
        pad_token_id=None,
        use_cache=False,
    )
    return _initialised(BertLMHeadModel, config, seed, device)


_BUILDERS: dict[str, Callable[..., PreTrainedModel]] = {"gpt2": build_gpt2, "bert": build_bert}
ARCHITECTURES = tuple(_BUILDERS)


def build_model(architecture: str, **shape: object) -> PreTrainedModel:
    """`build_gpt2` or `build_bert`, by name. Raises ValueError for another name."""
    if architecture not in _BUILDERS:
        raise ValueError(f"unknown architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}")
    return _BUILDERS[architecture](**shape)


def _initialised(model: type[_Model], config: PreTrainedConfig, seed: int, device: str | torch.device) -> _Model:
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.default_generator.manual_seed(seed)
        return model(config)
