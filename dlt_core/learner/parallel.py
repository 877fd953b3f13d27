"""Several processes train one model, each on its own device with its share of every batch.

`torchrun` (or accelerate's `notebook_launcher`) starts them, `process_group` lets them meet. All have the whole model
and make the same steps: gradients are averaged over the processes in one flat all-reduce. So N processes run the very
experiment that one process runs, up to rounding, and ties may change between any two steps. PyTorch's DDP forbids that:
it has to be wrapped anew at each change. FSDP cannot be used: it gives each process a piece of each weight, and refuses
weights that are shared between the modules that it wraps, or undoes the sharing without a word.

Without a process group all functions are those of one process.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import distributed


def rank() -> int:
    """Number of this process, from 0 on."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Number of processes, N."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share(batch: np.ndarray) -> np.ndarray:
    """This process's rows of a batch."""
    rows = len(batch) // world_size()
    return batch[rank() * rows : (rank() + 1) * rows]


def device(name: str = "auto") -> torch.device:
    """The torch device of that name; "auto" is CUDA where there is one, for each process its own. Raises ValueError for
    one that this machine does not have. A warning says so where nothing was tried on devices of this kind."""
    if name != "auto":
        asked = torch.device(name)
        backends: dict[str, Any] = {"cuda": torch.cuda, "mps": torch.mps, "xpu": torch.xpu}
        there = backends[asked.type].device_count() if asked.type in backends else None
        if there is not None and (asked.index or 0) >= there:
            raise ValueError(
                f"there is no device {name!r} here: of {asked.type} this machine has {there} for this PyTorch "
                f"({torch.__version__}). device='cpu' works everywhere, 'auto' takes CUDA where there is one"
            )
        if asked.type in ("mps", "xpu"):
            warnings.warn(
                f"nothing of this project was tried on {asked.type}: compare the first losses with device='cpu'",
                stacklevel=2,
            )
        return asked
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if distributed.is_initialized() else torch.device("cuda")


def preset() -> str:
    """The size of model for this machine: "gpu" where there is one, otherwise "laptop"."""
    return "gpu" if torch.cuda.is_available() else "laptop"


@contextlib.contextmanager
def process_group(name: str = "auto", *, timeout: float = 1800.0) -> Iterator[None]:
    """The processes that were started together, until the block ends; nothing for a process started alone.

    name: of the device, see `device`. timeout: seconds after which a process that waits in vain for another gives up,
    with an error that ends the job. Raises ValueError if there are more processes than devices.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    limit = datetime.timedelta(seconds=timeout)
    if name.startswith("cuda") or (name == "auto" and torch.cuda.is_available()):
        here, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if here >= there:
            raise ValueError(f"process {here} of this machine has no GPU: there are {there}. Start {there} processes")
        torch.cuda.set_device(here)
        distributed.init_process_group("nccl", timeout=limit, device_id=torch.device("cuda", here))
    else:
        distributed.init_process_group("gloo", timeout=limit)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextlib.contextmanager
def one_first() -> Iterator[None]:
    """Process 0 runs the block before the others, which then find its results in a cache."""
    if rank() > 0:
        distributed.barrier()
    yield
    if rank() == 0 and world_size() > 1:
        distributed.barrier()


def from_rank_0(value: int) -> int:
    """Process 0's value, in every process."""
    if world_size() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.int64, device=_device_of_the_group())
    distributed.broadcast(shared, src=0)
    return int(shared)


def largest(value: int) -> int:
    """The largest value of all processes, in every process."""
    if world_size() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.int64, device=_device_of_the_group())
    distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
    return int(shared)


def total(values: torch.Tensor) -> torch.Tensor:
    """Sum over the processes, element by element, in float64."""
    if world_size() == 1:
        return values
    summed = values.detach().to(_device_of_the_group(), torch.float64)
    distributed.all_reduce(summed)
    return summed


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes, in one all-reduce for each dtype."""
    if world_size() == 1:
        return
    by_dtype: dict[torch.dtype, list[torch.Tensor]] = {}
    for p in parameters:
        if p.grad is not None:
            by_dtype.setdefault(p.grad.dtype, []).append(p.grad)
    for gradients in by_dtype.values():
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        flat /= world_size()
        pieces = flat.split([g.numel() for g in gradients])
        torch._foreach_copy_(gradients, [piece.view_as(g) for piece, g in zip(pieces, gradients, strict=True)])


def _device_of_the_group() -> torch.device:
    return torch.device("cpu" if distributed.get_backend() == "gloo" else f"cuda:{torch.cuda.current_device()}")
