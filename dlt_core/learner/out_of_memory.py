"""Say in one line what helps when the memory does not suffice."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

# PyTorch has a class of its own for GPUs only; these are its words, and cuBLAS's and NumPy's
_WORDS = re.compile("out of memory|can.t allocate memory|not enough memory|unable to allocate|ALLOC_FAILED", re.I)


class OutOfMemory(RuntimeError):
    """The device has too little memory; the message names what helps."""

    record: Any = None
    """The record of the run that ended so, if it was a run."""


def with_remedies(error: BaseException | None, sizes: Any) -> OutOfMemory | None:
    """The error said so that it helps, if it is for want of memory. sizes: the Experiment, or its Learner."""
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and _WORDS.search(str(error))):
        return None
    reason = " ".join(str(error).split())[:200] or "MemoryError"
    return OutOfMemory(
        f"out of memory on {sizes.device} ({reason}). A larger gradient_accumulation_steps than "
        f"{sizes.gradient_accumulation_steps} and activation_checkpointing=True need less, and leave the result as it "
        f"is up to rounding. A smaller batch_size than {sizes.batch_size} is another run, and so is a smaller model"
    )


@contextlib.contextmanager
def naming_remedies(sizes: Any) -> Iterator[None]:
    """Within it, where memory does not suffice, OutOfMemory is raised. sizes: as in `with_remedies`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if (named := with_remedies(error, sizes)) is None:
            raise
        raise named from None
