"""Parameters and bytes, in closed form and measured."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dlt_core.learner.evaluation import training_mode
from dlt_core.learner.loss import chunk_size, mean_loss
from dlt_core.learner.training import Learner


def block_parameters(n_embd: int) -> int:
    """Parameters of one block of width d, of GPT-2 as of BERT: 12 d² in matrices, 13 d in biases and layer norms."""
    return 12 * n_embd**2 + 13 * n_embd


def gpt2_parameters(*, vocab_size: int, n_positions: int, n_embd: int, num_groups: int) -> int:
    """Trainable parameters of a GPT-2 with tied output head whose blocks share `num_groups` weight sets."""
    embeddings = (vocab_size + n_positions) * n_embd
    final_norm = 2 * n_embd
    return embeddings + final_norm + num_groups * block_parameters(n_embd)


def bert_parameters(*, vocab_size: int, n_positions: int, n_embd: int, num_groups: int) -> int:
    """The same for a `BertLMHeadModel` with tied output matrix: it also has two token types, a layer norm over the
    embeddings, and before the output a dense layer with a layer norm, and a bias."""
    embeddings = (vocab_size + n_positions + 2) * n_embd + 2 * n_embd
    head = n_embd**2 + n_embd + 2 * n_embd + vocab_size
    return embeddings + head + num_groups * block_parameters(n_embd)


def model_parameters(architecture: str, **shape: int) -> int:
    """`gpt2_parameters` or `bert_parameters`, by name."""
    return {"gpt2": gpt2_parameters, "bert": bert_parameters}[architecture](**shape)


def training_bytes(num_parameters: int, *, bytes_per_value: int = 4) -> dict[str, int]:
    """Bytes of the training state under AdamW: a weight, a gradient and two averages for each parameter.

    Activations are not in it: they depend on the depth, not on the number of weight sets.
    """
    one = num_parameters * bytes_per_value
    return {"weights": one, "gradients": one, "optimizer": 2 * one, "total": 4 * one}


def measured_bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """The same, counted in the live tensors, each storage once."""
    parameters = list(model.parameters())
    parts = {
        "weights": _storage_bytes(parameters),
        "gradients": _storage_bytes(p.grad for p in parameters if p.grad is not None),
        "optimizer": _storage_bytes(
            value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)
        ),
    }
    return {**parts, "total": sum(parts.values())}


def _storage_bytes(tensors: Iterable[torch.Tensor]) -> int:
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def step_flops(
    architecture: str,
    *,
    batch_size: int,
    block_size: int,
    vocab_size: int,
    n_layer: int,
    n_embd: int,
    constant_layers: int = 0,
) -> int:
    """Floating point operations of one training step in matrix products, a multiplication and an addition being two.

    Forward, for each token: by a block 24 d² (queries, keys and values 6 d², their projection 2 d², the perceptron
    16 d²) and 4 T d in attention, of which a causal mask is not taken off; by the output 2 d V, and for BERT 2 d²
    before it. Backward twice as much, for the gradients of inputs and of weights. A block whose weights are constants,
    a tied one under gradient="source", has no products for these: 24 d² less. Ties as such save nothing.
    Equal to what torch.utils.flop_counter counts. Raises KeyError for another architecture.
    """
    head = 2 * n_embd * vocab_size + {"gpt2": 0, "bert": 2 * n_embd**2}[architecture]
    forward = n_layer * (24 * n_embd**2 + 4 * block_size * n_embd) + head
    return batch_size * block_size * (3 * forward - constant_layers * 24 * n_embd**2)


def model_activation_bytes(
    architecture: str,
    *,
    batch_size: int,
    block_size: int,
    vocab_size: int,
    n_layer: int,
    n_head: int,
    n_embd: int,
    checkpointing: bool = False,
    logits_at_once: int | None = None,
) -> int:
    """What `activation_bytes` measures, in closed form: fp32, no dropout, fused attention (sdpa, the default).

    The number of weight sets is not in it. For each of the B·T tokens these values are kept:

    - by a block, of GPT-2 as of BERT, 16 d + h + 4: input and output of two layer norms (4 d) with mean and deviation
      (4); queries, keys and values (3 d); what attention returns (d), with its log-sum-exp (h); the perceptron before
      and after its nonlinearity (8 d). With activation checkpointing a block keeps its input, d, and no more.
    - outside the blocks, by GPT-2 2 d + 2 + V: the last layer norm, and the logarithm of each token's probability. By
      BERT 5 d + 4 + V: two layer norms, and the output's dense layer with its nonlinearity.

    To these come indices of 8 bytes (tokens, targets, positions) and the 4 bytes of the loss's denominator. Where the
    logits are made in chunks (`loss.chunk_size`), the output matrix's gradient takes the place of the probabilities,
    V d (and V for BERT's bias) instead of V for each token, and neither targets nor denominator are kept.
    Equal to the byte on the CPU for B > 1 and T > 1. Raises KeyError for another architecture.
    """
    widths, statistics = {"gpt2": (2, 2), "bert": (5, 4)}[architecture]
    block = n_embd if checkpointing else _block_values(n_embd, n_head)
    tokens = batch_size * block_size
    values = tokens * (n_layer * block + widths * n_embd + statistics)
    indices = batch_size * (block_size + 1) + block_size
    if chunk_size(tokens, vocab_size, logits_at_once) < tokens:
        bias = {"gpt2": 0, "bert": vocab_size}[architecture]
        return 4 * (values + vocab_size * n_embd + bias) + 8 * indices
    return 4 * (values + tokens * vocab_size + 1) + 8 * (indices + tokens)


def model_peak_bytes(
    architecture: str,
    *,
    n_positions: int,
    num_groups: int,
    checkpointing: bool = False,
    logits_at_once: int | None = None,
    **shape: int,
) -> int:
    """What `step_peak_bytes` measures, in closed form; shape as in `model_activation_bytes`, under the same conditions.

    The four parts of the memory are never all there at once, because a step starts without gradients. With P bytes of
    weights and A of activations, the largest of three moments:

    - the backward pass begins: 3 P (weights and averages) + A + two tensors of the logits' size, the gradient before
      and after the softmax;
    - it enters the last block: 3 P + A without the logits + the output matrix's gradient + about three tensors of width
      d; with checkpointing also the block's activations, computed again;
    - it ends: 4 P + two more copies of the embedding's gradient, the sum of its uses at input and output; or, if that
      is more, the first block's activations, computed again.

    Where the logits are made in chunks, the output matrix's gradient is there from the forward pass on, in A: the first
    moment is the chunk in which the loss is computed, with twice a chunk's logits; the second has 3 P + A + three
    tensors; and at the end there is one copy less.

    On the CPU, for V >= 16 d: within 0.5 % of the measurement, with checkpointing within 4 %; in chunks within 2 %,
    with checkpointing or for a few dozen tokens within 9 %. For a smaller vocabulary the peak often lies in between
    these moments, and with checkpointing the error can reach 15 %.
    """
    batch_size, block_size, vocab_size, n_embd = (
        shape[name] for name in ("batch_size", "block_size", "vocab_size", "n_embd")
    )
    tokens = batch_size * block_size
    weights = 4 * model_parameters(
        architecture, vocab_size=vocab_size, n_positions=n_positions, n_embd=n_embd, num_groups=num_groups
    )
    activations = model_activation_bytes(
        architecture, **shape, checkpointing=checkpointing, logits_at_once=logits_at_once
    )
    logits, embedding, width = 4 * tokens * vocab_size, 4 * vocab_size * n_embd, 4 * tokens * n_embd
    again = 4 * tokens * _block_values(n_embd, shape["n_head"]) if checkpointing else 0
    if (chunk := chunk_size(tokens, vocab_size, logits_at_once)) < tokens:
        return max(
            3 * weights + activations + 2 * 4 * chunk * vocab_size,
            3 * weights + activations + 3 * width + again,
            4 * weights + max(embedding, again),
        )
    return max(
        3 * weights + activations + 2 * logits,
        3 * weights + activations - logits + embedding + 3 * width + again,
        4 * weights + max(2 * embedding, again),
    )


def _block_values(n_embd: int, n_head: int) -> int:
    """Values that a block keeps for each token, see `model_activation_bytes`."""
    return 16 * n_embd + n_head + 4


def activation_bytes(model: nn.Module, batch: torch.Tensor, logits_at_once: int | None = None) -> int:
    """Bytes that autograd keeps between the forward and the backward pass of one training step on `batch` (B, T + 1).

    Each storage once, on any device; parameters and buffers, which are there anyway, are not counted. Under autocast
    the 16-bit copies of the weights are. The model's training mode and torch's generators are restored.
    """
    ours = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used twice

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in ours:
            kept[storage.data_ptr()] = storage
        return tensor

    with (
        training_mode(model, True),
        torch.random.fork_rng(devices=[batch.device] if batch.device.type == "cuda" else []),
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
    ):
        mean_loss(model, batch, logits_at_once)
    return sum(storage.nbytes() for storage in kept.values())


def measure_training(learner: Learner) -> dict[str, Any]:
    """The memory of training in bytes, for the end of a run: `state`, see `measured_bytes`; `device_peak`, the
    allocator's peak since the run began, None on the CPU; `step_peak`, see `step_peak_bytes`.

    Takes one further optimiser step, for the last of them. It is taken by itself: an allocator does not see the replay
    of a CUDA graph, only its capture, whose memory is given back before.
    """
    if learner.graph is not None:
        learner.graph.drop()
    state = measured_bytes(learner.model, learner.optimizer)
    device_peak = torch.cuda.max_memory_allocated(learner.device) if learner.device.type == "cuda" else None
    return {"state": state, "device_peak": device_peak, "step_peak": step_peak_bytes(learner)}


def step_peak_bytes(learner: Learner) -> int:
    """The most bytes that tensors hold at any moment of one further optimiser step of `learner`: weights, optimiser
    state, gradients, activations, logits and everything temporary.

    How much the step adds is the allocator's own figure: on CUDA its peak (`torch.cuda.max_memory_allocated`, which
    starts anew here), on the CPU see `step_timeline`. It sees no Python objects and no scratch memory of the libraries
    below PyTorch. Other models on the device are not counted.

    The step changes the weights and the optimiser's state; `step`, `seconds` and `last_loss` are put back. Raises
    TrainingDiverged as `learner.train` does.
    """
    if learner.device.type != "cuda":
        return max(step_timeline(learner))
    with _step_aside(learner) as held:
        allocated = torch.cuda.memory_allocated(learner.device)
        torch.cuda.reset_peak_memory_stats(learner.device)
        learner.train(1)
        return held + torch.cuda.max_memory_allocated(learner.device) - allocated


def step_timeline(learner: Learner) -> list[int]:
    """Bytes that tensors hold in one further optimiser step: at its start, and after each allocation and release.

    From what the CPU's allocator reports to torch.profiler; everything else as in `step_peak_bytes`. Raises ValueError
    on another device.
    """
    if learner.device.type != "cpu":
        raise ValueError(f"the learner is on {learner.device}: only the CPU's allocator reports every allocation")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler writes to stderr, past Python
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with (
        _step_aside(learner) as held,
        torch.profiler.profile(activities=cpu, profile_memory=True) as profiler,
    ):
        learner.train(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        trace = json.loads(path.read_text(encoding="utf-8"))
    events = [event for event in trace["traceEvents"] if event.get("name") == "[memory]"]
    if not events:
        raise RuntimeError("torch.profiler reported no allocation in a training step")
    events.sort(key=lambda event: event["ts"])
    changes = (event["args"]["Bytes"] for event in events)  # negative where memory is given back
    return list(itertools.accumulate(changes, initial=held))


@contextlib.contextmanager
def _step_aside(learner: Learner) -> Iterator[int]:
    """Yields the bytes of weights and optimiser state; puts the counters back after a step within the block. Tensors
    that others left to Python's garbage collector are freed before the block, and none within it: there the allocator
    would take them for memory that the step gives back."""
    learner.optimizer.zero_grad(set_to_none=True)  # the first thing that a step does: it starts without gradients
    before = learner.step, learner.seconds, learner.last_loss
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield measured_bytes(learner.model, learner.optimizer)["total"]
    finally:
        if collecting:
            gc.enable()
        learner.step, learner.seconds, learner.last_loss = before
