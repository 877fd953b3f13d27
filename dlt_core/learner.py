"""The learner owns the model, its optimiser, device, precision and the order of the data.

It trains k optimiser steps and evaluates. It knows nothing of agents or rewards. Randomness is a function of the seed
and the step number alone (batches, dropout masks), so two methods with one seed see the same data and the same noise,
and a run resumes from its step number.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from dlt_core.evaluation import Evaluation, LastWords, evaluate, last_words, perplexity, token_losses
from dlt_core.tie_map import TieMap
from dlt_core.tokenization import Batches, TokenizedCorpus
from dlt_core.tying import read_tie_map, tie_layers

PRECISIONS = ("fp32", "bf16")
TRAINING, PROBING, DROPOUT = range(1, 4)  # independent random streams of one seed; agents.py has a fourth


class TrainingDiverged(RuntimeError):
    """A loss became infinite or NaN; the message names step, tie map and the last finite loss."""


class Learner:
    """A transformer language model in training, whose layers can be re-tied between steps.

    build_model: called with seed=..., at the start and by `restart`; returns a causal language model.
    data: its train split is learned; validation and test are only evaluated.
    batch_size, block_size: B sequences of T predicted tokens make a step. evaluation_tokens: evaluate on at most so
    many tokens of a split (None: on all). gradient, see `tie_layers`. precision: "fp32", or "bf16" for autocast over
    fp32 weights. device: "auto" is CUDA where there is one.
    Raises ValueError where sizes and data do not fit, before anything is trained.
    """

    selection = "validation"  # the split that selects the best model

    def __init__(
        self,
        build_model: Callable[..., nn.Module],
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
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        for split in ("validation", "test"):
            if len(data.tokens[split]) < batch_size * block_size + 1:
                raise ValueError(
                    f"the {split} split of {data.corpus.name} has {len(data.tokens[split])} tokens, too few for one "
                    f"batch of {batch_size} x {block_size}: take a smaller batch_size or block_size"
                )
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """A new model and optimiser from `seed`, no step taken, all layers independent."""
        sizes = {"batch_size": self.batch_size, "block_size": self.block_size, "seed": seed}
        self.batches = Batches(self.data.tokens["train"], **sizes, stream=TRAINING)
        self.probes = Batches(self.data.tokens["train"], **sizes, stream=PROBING)
        self.seed = seed
        self.model: nn.Module = self.build_model(seed=seed).to(self.device)
        positions = getattr(self.model.config, "n_positions", None) or self.model.config.max_position_embeddings
        if self.block_size > positions:
            raise ValueError(f"block_size={self.block_size} is longer than the model's {positions} positions")
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
        losses = []
        with self._own_randomness():
            for _ in range(steps):
                batch = self._on_device(self.batches[self.step])
                torch.manual_seed(_mix(self.seed, DROPOUT, self.step))
                self.optimizer.zero_grad(set_to_none=True)  # before the forward pass, which needs the memory
                with self._autocast():
                    loss = token_losses(self.model, batch).mean()
                loss.backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip)
                self.optimizer.step()
                self.step += 1
                losses.append(loss.detach())
        losses = torch.stack(losses).tolist()  # waits for the device
        self.seconds += time.perf_counter() - started
        for i, loss in enumerate(losses):
            if not math.isfinite(perplexity(loss)):
                raise TrainingDiverged(
                    f"the training loss is {loss} at step {self.step - steps + i + 1} with {self.tie_map}; "
                    f"the last finite loss was {self.last_loss:.4f}. Try a smaller learning rate."
                )
            self.last_loss = loss
        return losses

    @torch.no_grad()
    def probe(self, index: int) -> float:
        """Loss (nats per token, dropout off) on minibatch number `index` of the training text in an order of its own:
        what rewards are computed from. No training step. Raises TrainingDiverged if it is not finite."""
        self.model.eval()
        with self._autocast():
            loss = float(token_losses(self.model, self._on_device(self.probes[index])).mean())
        if not math.isfinite(perplexity(loss)):
            raise TrainingDiverged(
                f"the loss of probe {index} is {loss} after step {self.step} with {self.tie_map}; "
                f"the last finite training loss was {self.last_loss:.4f}"
            )
        return loss

    def evaluate(self, split: str) -> Evaluation:
        """Perplexity and bits per byte of the first `evaluation_tokens` tokens of a split."""
        return evaluate(
            self.model,
            self.data.tokens[split][: self.evaluation_tokens],
            block_size=self.block_size,
            batch_size=self.batch_size,
            token_bytes=self.data.token_bytes,
            autocast=self._autocast(),
        )

    def last_words(self, split: str) -> LastWords:
        """How well the last words of a split's lines are guessed; of the first lines, of `evaluation_tokens` in all."""
        return last_words(
            self.model,
            self.data.passages(split, max_tokens=self.evaluation_tokens),
            block_size=self.block_size,
            batch_size=self.batch_size,
            autocast=self._autocast(),
        )

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the weights by name on the CPU, each weight set once, under its root's names."""
        return {name: p.detach().to("cpu", copy=True) for name, p in self.model.named_parameters()}

    def load_weights(self, tie_map: TieMap, weights: Mapping[str, torch.Tensor]) -> None:
        """Undo of `weights`, taken under `tie_map`."""
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
        """Undo of `state_dict`, on a learner made with the same arguments."""
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
                # AdamW keeps its step counters on the CPU unless it is fused on another device
                self.optimizer.state[p][key] = tensor.to(p.device, copy=True)
        self.step = values["step"]
        self.seconds = values["seconds"]
        self.last_loss = math.nan if values["last_loss"] is None else values["last_loss"]

    def _on_device(self, batch: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(batch)
        if self.device.type == "cuda":  # a pinned copy need not be waited for
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _autocast(self) -> contextlib.AbstractContextManager:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    @contextlib.contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Leave torch's global generators as they were."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            yield


def _mix(*entropy: int) -> int:
    """A 32-bit seed from several numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
