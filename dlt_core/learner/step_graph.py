"""One CUDA graph a decision: the k steps between two decisions launch their kernels with one call each.

Ties, shapes and addresses stand still between two decisions. So one whole training step (forward, backward, clipping,
AdamW) is captured after each re-tie, and replayed for the others: the host, which needs longer than the device for a
small model, has next to nothing to do. Captured again is only what has other ties or other addresses.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dlt_core.learner import parallel

if TYPE_CHECKING:
    from dlt_core.learner.training import Learner

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # AdamW's state of a Parameter


class StepGraph:
    """A learner's training step as a CUDA graph, see `reason_against` for which learners.

    captures: how often a step was captured. refused: why capturing failed, after which steps are taken one by one.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.captures = 0
        self.refused: str | None = None
        self.graph: Any = None
        self.loss: torch.Tensor | None = None  # of the last replay; in the graph's memory
        self.captured_for: tuple[Any, ...] | None = None  # what `standing` was then
        shape = (learner.batch_size, learner.block_size + 1)
        self.batch = torch.zeros(shape, dtype=torch.int64, device=learner.device)  # what a replay reads
        self.prepare()

    def prepare(self) -> None:
        """A stream and a pool of memory for all captures. A pool that no graph uses any more cannot be used again, so
        this one is held here, and for the learner's whole life."""
        self.stream = torch.cuda.Stream(self.learner.device)
        self.pool = torch.cuda.MemPool()

    def __del__(self) -> None:
        self.drop()  # before the pool, which must outlive its graphs

    def drop(self) -> None:
        """Forget what was captured, and give its memory back."""
        if self.graph is not None:
            self.graph.reset()
        self.graph = self.loss = self.captured_for = None

    def train(self, steps: int) -> torch.Tensor:
        """Take so many steps; their losses, shape (steps,), on the device. A step is taken by itself, not replayed, as
        long as AdamW has no moments for some Parameter: a capture would set them to zero at each replay."""
        learner = self.learner
        parameters = list(learner.model.parameters())
        first = learner.step
        staged = learner.on_device(np.stack([learner.batches[first + i] for i in range(steps)]))  # in one transfer
        losses = torch.empty(steps, device=learner.device)
        ready = False  # once it is, it stays so: within a call nothing moves
        with self.apart():
            for i in range(steps):
                ready = ready or (
                    self.refused is None and self.has_moments(parameters) and self.is_captured(parameters)
                )
                learner.seed_dropout()  # right before: a replay draws from where the generator stands then
                if ready and self.loss is not None:
                    self.batch.copy_(staged[i])
                    self.graph.replay()
                    losses[i] = self.loss
                else:
                    losses[i] = learner.take_step(staged[i], parameters)
                learner.step += 1
        return losses

    def has_moments(self, parameters: list[torch.nn.Parameter]) -> bool:
        """Whether AdamW has begun with all of them."""
        return all(MOMENTS[1] in self.learner.optimizer.state.get(p, ()) for p in parameters)

    def standing(self, parameters: list[torch.nn.Parameter]) -> tuple[Any, ...]:
        """What a graph holds fast: the ties, and where weights and moments lie."""
        state = self.learner.optimizer.state
        addresses = ((p.data_ptr(), *(state[p][name].data_ptr() for name in MOMENTS)) for p in parameters)
        return tuple(self.learner.tie_map), tuple(addresses)

    def is_captured(self, parameters: list[torch.nn.Parameter]) -> bool:
        """Capture a step if what stands now is not what was captured; False if that fails, which is said."""
        standing = self.standing(parameters)
        if self.captured_for == standing:
            return True
        self.learner.optimizer.zero_grad(set_to_none=True)  # so that a replay writes gradients instead of adding
        try:
            graph, loss = self.capture(parameters)
        except RuntimeError as error:
            self.refused = str(error).strip().splitlines()[0]
            self.drop()
            warnings.warn(f"no CUDA graph of a training step could be captured ({self.refused}): "
                          "the steps are taken one by one", stacklevel=4)  # fmt: skip
            return False
        self.drop()  # only now: memory that the old graph has used is used again by the new one
        self.graph, self.loss, self.captured_for = graph, loss, standing
        self.captures += 1
        return True

    def capture(self, parameters: list[torch.nn.Parameter]) -> tuple[Any, torch.Tensor]:
        """The graph of a step on `batch`, and its loss. Nothing is computed. `torch.cuda.graph` would do the same, and
        wait for the device and empty the allocator's cache each time."""
        graph = torch.cuda.CUDAGraph()
        with self._capturable():
            graph.capture_begin(pool=self.pool.id, capture_error_mode="thread_local")  # type: ignore[arg-type]
            try:
                loss = self.learner.take_step(self.batch, parameters)
            finally:
                graph.capture_end()
        return graph, loss

    @contextlib.contextmanager
    def _capturable(self) -> Iterator[None]:
        """AdamW as it must be for a capture; taken step by step it would complain of it."""
        groups = self.learner.optimizer.param_groups
        before = [group["capturable"] for group in groups]
        for group in groups:
            group["capturable"] = True
        try:
            yield
        finally:
            for group, value in zip(groups, before, strict=True):
                group["capturable"] = value

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """On a stream of its own, which waits for what was begun before, and is waited for by what comes after."""
        around = torch.cuda.current_stream(self.learner.device)
        self.stream.wait_stream(around)
        with torch.cuda.stream(self.stream):
            yield
        around.wait_stream(self.stream)


def reason_against(learner: Learner, own_step: bool) -> str | None:
    """Why this learner's steps cannot be captured; None if they can. own_step: it takes them in its own way."""
    reasons = {
        f"the device is {learner.device.type}": learner.device.type != "cuda",
        "several processes average their gradients": parallel.world_size() > 1,
        f"the gradient is {learner.gradient!r}": learner.gradient != "shared",
        "gradients are accumulated": learner.gradient_accumulation_steps > 1,
        "activations are made again, with their dropout": learner.activation_checkpointing,
        f"compile_mode {learner.compile_mode!r} has graphs of its own": learner.compile_mode == "reduce-overhead",
        "it is a learner of another kind": own_step,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
