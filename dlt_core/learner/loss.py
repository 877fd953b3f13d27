"""The cross entropy of a language model, without the logits of a whole batch where the vocabulary is large.

In fp32 the logits of the paper's batch, 16 x 256 tokens with 50,257 pieces each, take 0.8 GB, and their gradient as
much again. PyTorch 2.13 has a `linear_cross_entropy` that works in chunks, too; for bf16 factors it gives the loss in
bf16, which has three digits, so that it cannot be used here.

Importing this module changes transformers for the whole process, by an addition: its registry of attention functions
gets the name WHOLE. Only `_whole_sequences` uses it; every other model runs as before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

WHOLE = "sdpa_whole_sequences"  # transformers' sdpa attention under a name for which it prepares no mask
AttentionInterface.register(WHOLE, sdpa_attention_forward)  # for the whole process, see above
LOGITS_AT_ONCE = 2**25  # values; 128 MiB in fp32
LOGITS_AT_ONCE_ON_CUDA = 2**28  # 1 GiB: the paper's batch as a whole; chunks would cost more passes over it


def chunk_size(tokens: int, vocab_size: int, logits_at_once: int | None = None, device: str = "cpu") -> int:
    """How many of `tokens` to predict get their logits at a time: all of them, or as many as make `logits_at_once`
    values; None: LOGITS_AT_ONCE, or with device="cuda" LOGITS_AT_ONCE_ON_CUDA."""
    if logits_at_once is None:
        logits_at_once = LOGITS_AT_ONCE_ON_CUDA if device == "cuda" else LOGITS_AT_ONCE
    return min(tokens, max(1, logits_at_once // vocab_size))


def token_losses(model: nn.Module, batch: torch.Tensor, logits_at_once: int | None = None) -> torch.Tensor:
    """Cross entropy of each predicted token in nats, shape (B, T), for a batch (B, T + 1) of token ids.

    logits_at_once: the largest number of logits, tokens times vocabulary, see `chunk_size`.
    For evaluation: while gradients are recorded, all chunks' logits are kept. Then see `mean_loss`.
    """
    inputs, targets = batch[:, :-1], batch[:, 1:]
    head, chunk = _head_and_chunk(model, targets, logits_at_once)
    if head is None or chunk is None:
        return _losses(_logits(model, inputs), targets).view_as(targets)
    chunks = zip(_hidden_states(model, inputs).flatten(0, 1).split(chunk), targets.flatten().split(chunk), strict=True)
    return torch.cat([_losses(head(hidden), wanted) for hidden, wanted in chunks]).view_as(targets)


def mean_loss(model: nn.Module, batch: torch.Tensor, logits_at_once: int | None = None) -> torch.Tensor:
    """Mean of `token_losses`, a scalar, for training. Chunk by chunk the logits' gradient is made with the logits, used
    and dropped, so that no product is done twice."""
    inputs, targets = batch[:, :-1], batch[:, 1:]
    head, chunk = _head_and_chunk(model, targets, logits_at_once)
    if head is None or chunk is None or not torch.is_grad_enabled():
        return token_losses(model, batch, logits_at_once).mean()
    hidden = _hidden_states(model, inputs).flatten(0, 1)
    loss: torch.Tensor = _ChunkedMeanLoss.apply(hidden, head.weight, head.bias, targets.flatten(), chunk)
    return loss


def logits_at(model: nn.Module, inputs: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Logits in fp32, shape (B, P, V), for token ids (B, T), at the places (B, P) only, each in 0..T-1."""
    place = place[..., None]
    if (head := _head(model)) is None:
        return _logits(model, inputs).take_along_dim(place, dim=1).float()
    logits: torch.Tensor = head(_hidden_states(model, inputs).take_along_dim(place, dim=1))
    return logits.float()


def _head(model: Any) -> nn.Linear | None:
    """The output layer; None in a model that is not of transformers."""
    return model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None


def _head_and_chunk(
    model: nn.Module, targets: torch.Tensor, logits_at_once: int | None
) -> tuple[nn.Linear | None, int | None]:
    """The output layer, and how many tokens to take at a time; None for all, as in a model without such a layer."""
    head, tokens = _head(model), targets.numel()
    if head is None:
        return None, None
    size = chunk_size(tokens, head.weight.shape[0], logits_at_once, targets.device.type)
    return head, size if size < tokens else None


def _losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """In fp32, flattened."""
    return F.cross_entropy(logits.float().flatten(0, -2), targets.flatten(), reduction="none")


@contextlib.contextmanager
def _whole_sequences(model: nn.Module) -> Iterator[None]:
    """No row has padding, so no mask beyond the causal one is needed. Otherwise transformers' GPT-2 reads off the
    positions, in each forward pass, whether several texts were packed into one row, and waits for the device."""
    config: Any = getattr(model, "config", None)
    if getattr(config, "_attn_implementation", None) != "sdpa":
        yield
        return
    config._attn_implementation = WHOLE
    try:
        yield
    finally:
        config._attn_implementation = "sdpa"


def _logits(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Shape (B, T, V), for token ids (B, T)."""
    with _whole_sequences(model):
        logits: torch.Tensor = model(input_ids=inputs, use_cache=False).logits
    return logits


def _hidden_states(model: Any, inputs: torch.Tensor) -> torch.Tensor:
    """What the output matrix is applied to, shape (B, T, d), for token ids (B, T)."""
    with _whole_sequences(model):
        hidden: torch.Tensor = model.base_model(input_ids=inputs, use_cache=False).last_hidden_state
    if hasattr(model, "cls"):  # BERT has a dense layer in between
        hidden = model.cls.predictions.transform(hidden)
    return hidden


class _ChunkedMeanLoss(torch.autograd.Function):
    """Mean cross entropy of softmax(hidden Wᵀ + bias); hidden (N, d), weight W (V, d), bias (V,) or None, targets (N,).

    Products in autocast's precision, everything else in fp32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        chunk: int,
    ) -> torch.Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        w = weight.to(dtype)
        b = None if bias is None else bias.to(dtype)
        d_hidden = torch.empty_like(hidden, dtype=torch.float32)
        d_weight = torch.zeros_like(weight, dtype=torch.float32)
        d_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        losses = []
        with torch.autocast(device, enabled=False):
            for start in range(0, len(hidden), chunk):
                rows, wanted = hidden[start : start + chunk].to(dtype), targets[start : start + chunk, None]
                p = F.linear(rows, w, b).float()  # logits, then probabilities, then their gradient
                normaliser = p.logsumexp(-1, keepdim=True)
                losses.append((normaliser - p.gather(1, wanted)).sum())
                p.sub_(normaliser).exp_()
                p.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=p.dtype)).div_(len(hidden))
                if d_bias is not None:
                    d_bias += p.sum(0)
                p = p.to(dtype)
                d_hidden[start : start + chunk] = p @ w
                if dtype == d_weight.dtype:
                    d_weight.addmm_(p.T, rows)
                else:
                    d_weight += p.T @ rows
        gradients = zip((d_hidden, d_weight, d_bias), (hidden, weight, bias), strict=True)
        ctx.save_for_backward(*(d if d is None or of is None else d.to(of.dtype) for d, of in gradients))
        return torch.stack(losses).sum() / len(hidden)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients = (g if g is None else g.mul_(upstream) for g in ctx.saved_tensors)
        return *gradients, None, None
