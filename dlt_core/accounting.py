"""Parameters and bytes, in closed form and measured."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def gpt2_block_parameters(n_embd: int) -> int:
    """Parameters of one GPT-2 block of width d: 12 d² in four matrices, 13 d in biases and two layer norms."""
    return 12 * n_embd**2 + 13 * n_embd


def gpt2_parameters(*, vocab_size: int, n_positions: int, n_embd: int, num_groups: int) -> int:
    """Trainable parameters of a GPT-2 with tied output head whose blocks share `num_groups` weight sets."""
    embeddings = (vocab_size + n_positions) * n_embd
    final_norm = 2 * n_embd
    return embeddings + final_norm + num_groups * gpt2_block_parameters(n_embd)


def training_bytes(num_parameters: int, *, bytes_per_value: int = 4) -> dict[str, int]:
    """Bytes of the training state under AdamW: a weight, a gradient and two moments for each parameter.

    Activations are not in it: they depend on the depth, not on the number of weight sets.
    """
    one = num_parameters * bytes_per_value
    return {"weights": one, "gradients": one, "optimizer": 2 * one, "total": 4 * one}


def measured_bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """The same, counted in the live tensors, each storage once."""
    parameters = list(model.parameters())
    found = {
        "weights": _storage_bytes(parameters),
        "gradients": _storage_bytes(p.grad for p in parameters if p.grad is not None),
        "optimizer": _storage_bytes(
            value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)
        ),
    }
    return {**found, "total": sum(found.values())}


def _storage_bytes(tensors: Iterable[torch.Tensor]) -> int:
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())
