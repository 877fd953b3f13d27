"""gradient="source": a tied block uses its weights as constants, so that their gradient comes from the root alone."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn


def hold_constant(block: nn.Module, constant: bool) -> None:
    """Let the block's forward pass use its weights as constants, or as usual again. Changes the block's class."""
    present: Any = type(block)
    base = getattr(present, "constant_weights_of", None)
    if constant and base is None:
        block.__class__ = _with_constant_weights(present)
    elif not constant and base is not None:
        block.__class__ = base


@functools.cache
def _with_constant_weights(base: Any) -> Any:
    """A subclass of a block's class whose forward pass uses the weights as constants.

    A subclass and no hook, because transformers' activation checkpointing repeats `forward` without the hooks.
    """

    class ConstantWeights(base):
        constant_weights_of = base

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            places = [
                (m._parameters, name) for m in self.modules() for name, p in m._parameters.items() if p is not None
            ]
            kept = [parameters[name] for parameters, name in places]
            try:
                for parameters, name in places:
                    parameters[name] = parameters[name].detach()
                return super().forward(*args, **kwargs)
            finally:  # also when a notebook's stop button interrupts it
                for (parameters, name), parameter in zip(places, kept, strict=True):
                    parameters[name] = parameter

        def __reduce__(self) -> tuple[Any, ...]:  # this class has no name to be pickled by
            return _new_with_constant_weights, (base,), self.__dict__

    ConstantWeights.__name__, ConstantWeights.__qualname__ = base.__name__, base.__qualname__
    return ConstantWeights


def _new_with_constant_weights(base: Any) -> Any:
    return object.__new__(_with_constant_weights(base))
