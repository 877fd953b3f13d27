"""The learner owns the model, its optimiser, device, precision and the order of the data.

It trains k optimiser steps and evaluates. It knows nothing of agents or rewards. Randomness is a function of the seed
and the step number alone (batches, dropout masks), so two methods with one seed see the same data and the same noise,
and a run resumes from its step number. Within the k steps nothing waits for the device.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from dlt_core.blocks import checkpoint_activations, find_blocks
from dlt_core.corpora.tokenization import Batches, TokenizedCorpus
from dlt_core.learner import parallel
from dlt_core.learner.evaluation import Evaluation, LastWords, evaluate, last_words, perplexity
from dlt_core.learner.loss import mean_loss
from dlt_core.learner.step_graph import StepGraph, reason_against
from dlt_core.tie_map import TieMap
from dlt_core.tying import read_tie_map, tie_layers

PRECISIONS = {
    "fp32": "single precision",
    "tf32": "the same, with products in TensorFloat-32 where the device has it",
    "bf16": "products in bfloat16 (autocast), weights in fp32",
    "bf16-weights": "everything in bfloat16, weights and averages too, as in the released code",
}
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune-no-cudagraphs")
EVALUATION_TOKENS = 2**15  # in a batch of an evaluation on a GPU, which a training batch would not fill
TRAINING, PROBING, DROPOUT = range(1, 4)  # independent random streams of one seed; agents.py has a fourth


class TrainingDiverged(RuntimeError):
    """A loss became infinite or NaN; the message names step, tie map and the last finite loss."""

    record: Any = None
    """The record of the run that ended so, if it was a run."""


class Learner:
    """A transformer language model in training, whose layers can be re-tied between steps.

    build_model: called with seed=..., at the start and by `restart`; returns a causal language model.
    data: its train split is learned; validation and test are only evaluated.
    batch_size, block_size: B sequences of T predicted tokens make a step. evaluation_tokens: evaluate on at most so
    many tokens of a split (None: on all). gradient: see `tie_layers`. precision: see PRECISIONS. device: "auto" is
    CUDA where there is one.
    gradient_accumulation_steps: so many parts of the batch go through the model one after the other.
    activation_checkpointing: see `checkpoint_activations`. compile_mode: torch.compile's, for each block by itself, so
    that ties may change without a new compilation, and raises Dynamo's limit of recompilations for the whole process;
    None leaves the blocks as they are. cuda_graph: `train` replays its steps from a CUDA graph where that can be, see
    `StepGraph`; `graph_note` says whether.

    In a process group (see `parallel`) each process takes its share of every batch: B is that of all together.
    Raises ValueError where sizes and data do not fit, before anything is trained.

    >>> learner = build_learner(Experiment.preset("gpt2-embedded", "smoke"))
    >>> learner.tie([0, 0, 2, 2])
    >>> [round(loss) for loss in learner.train(2)]  # nats per token
    [6, 6]
    """

    def __init__(
        self,
        build_model: Callable[..., PreTrainedModel],
        data: TokenizedCorpus,
        *,
        seed: int,
        batch_size: int,
        block_size: int,
        learning_rate: float,
        weight_decay: float = 0.01,
        grad_clip: float = 1.0,
        gradient: str = "shared",
        precision: str = "fp32",
        device: str = "auto",
        evaluation_tokens: int | None = None,
        gradient_accumulation_steps: int = 1,
        activation_checkpointing: bool = False,
        compile_mode: str | None = None,
        cuda_graph: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
        self.build_model = build_model
        self.data = data
        self.batch_size = batch_size
        self.block_size = block_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.grad_clip = grad_clip
        self.gradient = gradient
        self.precision = precision
        self.evaluation_tokens = evaluation_tokens
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.activation_checkpointing = activation_checkpointing
        self.compile_mode = compile_mode
        self.logits_at_once: int | None = None  # at most so many logits at a time; None: `loss.LOGITS_AT_ONCE`
        self.device = parallel.device(device)
        if batch_size % (parallel.world_size() * gradient_accumulation_steps):
            raise ValueError(
                f"batch_size={batch_size} cannot be shared by {parallel.world_size()} processes with "
                f"gradient_accumulation_steps={gradient_accumulation_steps}: it must be a multiple of their product"
            )
        for split in ("validation", "test"):
            if len(data.tokens[split]) < batch_size * block_size + 1:
                raise ValueError(
                    f"the {split} split of {data.corpus.name} has {len(data.tokens[split])} tokens, too few for one "
                    f"batch of {batch_size} x {block_size}: take a smaller batch_size or block_size"
                )
        self.graph: StepGraph | None = None
        self.restart(seed)
        self.no_graph = "not asked for" if not cuda_graph else reason_against(self, type(self) is not Learner)
        if self.no_graph is None:
            self.graph = StepGraph(self)

    @property
    def graph_note(self) -> str:
        """Whether `train` replays a CUDA graph: "on", or "off: " and why."""
        reason = self.graph.refused if self.graph is not None else self.no_graph
        return "on" if reason is None else f"off: {reason}"

    def restart(self, seed: int) -> None:
        """A new model and optimiser from `seed`, no step taken, all layers independent."""
        sizes = {"batch_size": self.batch_size, "block_size": self.block_size, "seed": seed}
        self.batches = Batches(self.data.tokens["train"], **sizes, stream=TRAINING)
        self.probes = Batches(self.data.tokens["train"], **sizes, stream=PROBING)
        self.seed = seed
        if self.graph is not None:
            self.graph.drop()
        dtype = torch.bfloat16 if self.precision == "bf16-weights" else torch.float32
        model: Any = self.build_model(seed=seed)
        self.model: PreTrainedModel = model.to(self.device, dtype)
        positions = getattr(self.model.config, "n_positions", None) or self.model.config.max_position_embeddings
        if self.block_size > positions:
            raise ValueError(f"block_size={self.block_size} is longer than the model's {positions} positions")
        if self.activation_checkpointing:
            checkpoint_activations(self.model)
        if self.compile_mode is not None:
            _allow_recompilations()
            for block in find_blocks(self.model):
                block.compile(mode=self.compile_mode)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.step = 0  # optimiser steps taken
        self.last_loss = math.nan  # of the last step
        self.seconds = 0.0  # spent in `train`

    @property
    def tie_map(self) -> TieMap:
        """The ties that the model obeys."""
        return read_tie_map(self.model)

    def tie(self, tie_map: TieMap) -> None:
        """Re-tie the model's layers, optimiser in step."""
        tie_layers(self.model, tie_map, gradient=self.gradient, optimizer=self.optimizer)

    def train(self, steps: int) -> list[float]:
        """Take `steps` optimiser steps; returns each step's training loss (nats per token, dropout on).

        The losses stay on the device until the end. Raises TrainingDiverged if one is not finite.
        """
        started = time.perf_counter()
        self.model.train()
        with self._own_randomness():
            # one step alone is not worth a capture, and an allocator sees what it needs
            losses = self.graph.train(steps) if self.graph is not None and steps > 1 else self._train(steps)
        total = parallel.total(losses)
        means: list[float] = (total / parallel.world_size()).tolist()  # waits for the device
        self.seconds += time.perf_counter() - started
        for i, loss in enumerate(means):
            if not math.isfinite(perplexity(loss)):
                raise TrainingDiverged(
                    f"the training loss is {loss} at step {self.step - steps + i + 1} with {self.tie_map}; "
                    f"the last finite loss was {self.last_loss:.4f}. Try a smaller learning rate."
                )
            self.last_loss = loss
        return means

    def _train(self, steps: int) -> torch.Tensor:
        """Take the steps one by one; their losses, shape (steps,), on the device."""
        # walked once: at 48 layers it takes a millisecond. Not the optimiser's lists, whose order changes with the
        # ties, and with it the last bit of the gradient's norm
        parameters = list(self.model.parameters())
        losses = []
        for _ in range(steps):
            batch = self.on_device(self.batches[self.step])
            self.seed_dropout()
            losses.append(self.take_step(batch, parameters))
            self.step += 1
        return torch.stack(losses)

    def seed_dropout(self) -> None:
        """Seed PyTorch's global generators for the masks of the step to come."""
        torch.manual_seed(_mix(self.seed, DROPOUT, self.step, *self._others))

    def take_step(self, batch: torch.Tensor, parameters: list[nn.Parameter]) -> torch.Tensor:
        """One optimiser step on a batch (B, T + 1) on the device; its loss, a scalar there. parameters: the model's.
        Waits for nothing."""
        self.optimizer.zero_grad(set_to_none=True)  # before the forward pass, which needs the memory
        loss = self._backward(batch)
        parallel.average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, self.grad_clip)
        self.optimizer.step()
        return loss

    def _backward(self, batch: torch.Tensor) -> torch.Tensor:
        """Forward and backward pass, part by part; the loss."""
        parts = batch.chunk(self.gradient_accumulation_steps)
        losses = []
        for part in parts:
            with self._precision():
                loss = mean_loss(self.model, part, self.logits_at_once)
            with self._tf32():
                (loss / len(parts) if len(parts) > 1 else loss).backward()
            losses.append(loss.detach())
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    @torch.inference_mode()
    def probe(self, index: int) -> float:
        """Loss (nats per token, dropout off) on minibatch number `index` of the training text in an order of its own:
        what rewards are computed from. No training step. Raises TrainingDiverged if it is not finite."""
        self.model.eval()
        with self._precision():
            share = mean_loss(self.model, self.on_device(self.probes[index]), self.logits_at_once)
        loss = float(parallel.total(share)) / parallel.world_size()
        if not math.isfinite(perplexity(loss)):
            raise TrainingDiverged(
                f"the loss of probe {index} is {loss} after step {self.step} with {self.tie_map}; "
                f"the last finite training loss was {self.last_loss:.4f}"
            )
        return loss

    def probe_gradient(self, index: int) -> None:
        """Add the gradient of `probe`'s loss on minibatch number `index` to the Parameters'. No training step."""
        self.model.eval()
        with self._precision():
            loss = mean_loss(self.model, self.on_device(self.probes[index]), self.logits_at_once)
        with self._tf32():
            loss.backward()

    def evaluate(self, split: str, *, in_full: bool = False) -> Evaluation:
        """Perplexity and bits per byte of the first `evaluation_tokens` tokens of a split, or of the split in full."""
        found = evaluate(
            self.model,
            self.data.tokens[split][: None if in_full else self.evaluation_tokens],
            block_size=self.block_size,
            batch_size=self._evaluation_batch,
            token_bytes=self.data.token_bytes,
            autocast=self._precision(),
            logits_at_once=self.logits_at_once,
        )
        if (in_place := self.data.bytes_in_place) is None:
            return found
        return dataclasses.replace(found, bytes=int(in_place[split][1 : found.tokens + 1].sum()))

    def last_words(self, split: str) -> LastWords:
        """How well the last words of a split's lines are guessed; of the first lines, of `evaluation_tokens` in all."""
        return last_words(
            self.model,
            self.data.passages(split, max_tokens=self.evaluation_tokens),
            block_size=self.block_size,
            batch_size=self._evaluation_batch,
            autocast=self._precision(),
        )

    def weights(self, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
        """A copy of the weights by name on `device`, each weight set once, under its root's names."""
        return {name: p.detach().to(device, copy=True) for name, p in self.model.named_parameters()}

    def load_weights(self, tie_map: TieMap, weights: Mapping[str, torch.Tensor]) -> None:
        """Put back what `weights` copied under `tie_map`. Raises ValueError for weights of other ties."""
        self.tie(tie_map)
        parameters = dict(self.model.named_parameters())
        if parameters.keys() != weights.keys():
            raise ValueError(f"weights do not fit {tie_map}: {sorted(parameters.keys() ^ weights.keys())[:3]} ...")
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(weights[name])

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the learner's future: {"tensors": name -> tensor, "values": JSON-able}.

        The optimiser's state goes by the Parameter's name: PyTorch's own order of Parameters changes with the ties.
        """
        tensors = {f"weights.{name}": tensor for name, tensor in self.weights().items()}
        for name, p in self.model.named_parameters():
            for key, value in self.optimizer.state.get(p, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value.detach().to("cpu", copy=True)
        last_loss = None if math.isnan(self.last_loss) else self.last_loss
        return {
            "tensors": tensors,
            "values": {
                "seed": self.seed,
                "step": self.step,
                "last_loss": last_loss,
                "tie_map": list(self.tie_map),
                "seconds": self.seconds,
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` saved, on a learner made with the same arguments."""
        values, tensors = state["values"], state["tensors"]
        self.restart(values["seed"])
        prefix = "weights."
        self.load_weights(
            TieMap(values["tie_map"]),
            {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)},
        )
        parameters = dict(self.model.named_parameters())
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, key, parameter = name.split(".", 2)
                p = parameters[parameter]
                self.optimizer.state[p][key] = tensor.to(state_device(self.optimizer, key, p), copy=True)
        self.step = values["step"]
        self.seconds = values["seconds"]
        self.last_loss = math.nan if values["last_loss"] is None else values["last_loss"]

    @property
    def _evaluation_batch(self) -> int:
        """Sequences in a batch of an evaluation."""
        return max(self.batch_size, EVALUATION_TOKENS // self.block_size if self.device.type == "cuda" else 0)

    @property
    def _others(self) -> tuple[int, ...]:
        """What makes this process's dropout masks differ from those of the others, if there are any."""
        return (parallel.rank(),) if parallel.world_size() > 1 else ()

    def on_device(self, batch: np.ndarray) -> torch.Tensor:
        """This process's share of a batch (B, T + 1), as a tensor on the device."""
        tensor = torch.from_numpy(parallel.share(batch))
        if self.device.type == "cuda":  # a pinned copy need not be waited for
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        """The precision of a forward pass."""
        with self._tf32(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            yield

    @contextlib.contextmanager
    def _tf32(self) -> Iterator[None]:
        """TensorFloat-32, if it is asked for."""
        before = torch.get_float32_matmul_precision()
        if self.precision == "tf32":
            torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    @contextlib.contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Leave torch's global generators as they were."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            yield


def _allow_recompilations() -> None:
    """Raise Dynamo's limit of recompilations to 64, for the whole process: it counts them over all models.

    A block is compiled once for training, reward and evaluation, tied or not, and for each shape: the default limit, 8,
    can be passed by less than two learners.
    """
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)


def state_device(optimizer: torch.optim.Optimizer, key: str, parameter: nn.Parameter) -> torch.device:
    """Where AdamW keeps `key` of a Parameter's state: its step counter on the CPU, unless it is fused or capturable.
    Elsewhere each step would wait for the device, once for each Parameter."""
    if key == "step" and not (optimizer.defaults.get("fused") or optimizer.defaults.get("capturable")):
        return torch.device("cpu")
    return parameter.device


def _mix(*entropy: int) -> int:
    """A 32-bit seed from several numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
