"""What all checks share: how an answer is called, and how a reader is told that it is not right yet."""

from __future__ import annotations

import math
import numbers
import textwrap
import traceback
from collections.abc import Callable
from typing import Any


class NotYet(AssertionError):
    """An answer that is missing or not right yet; the message says in which way."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the message alone, without the insides of the check."""
        return [f"✗ Not yet. {self}"]


def passed(insight: str) -> None:
    """Say in one line that an answer is right, and what follows from it."""
    print(f"✓ Right. {insight}")


def require(condition: object, message: str) -> None:
    """Raises NotYet with the message unless the condition holds."""
    if not condition:
        raise NotYet(message)


def call_of(function: Callable[..., Any], *arguments: Any) -> str:
    """The call as the reader would write it, with long arguments cut."""
    shown = (textwrap.shorten(repr(argument), 60, placeholder=" ...") for argument in arguments)
    return f"{getattr(function, '__name__', 'your function')}({', '.join(shown)})"


def ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the reader's function gives. Raises NotYet for whatever it raises, with the line at fault."""
    try:
        return function(*arguments)
    except NotImplementedError as stub:
        raise NotYet(str(stub)) from None
    except NotYet:
        raise
    except Exception as error:
        theirs = traceback.extract_tb(error.__traceback__)[1:]
        where = f" In your line {theirs[0].lineno}: {theirs[0].line}" if theirs else ""
        call = call_of(function, *arguments)
        raise NotYet(f"{call} stopped with {type(error).__name__}: {error}.{where}") from error


def ask_number(function: Callable[..., Any], *arguments: Any) -> float:
    """The same where a number is asked for; NotYet for anything else."""
    value = ask(function, *arguments)
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or math.isnan(float(value)):
        forgotten = " Is there a `return`?" if value is None else ""
        raise NotYet(f"{call_of(function, *arguments)} gave {value!r}; a number is asked for.{forgotten}")
    return float(value)


def ask_pair(function: Callable[..., Any], *arguments: Any) -> tuple[float, float]:
    """The same where two numbers are asked for."""
    value = ask(function, *arguments)
    call = call_of(function, *arguments)
    require(isinstance(value, tuple | list) and len(value) == 2, f"{call} gave {value!r}; two numbers are asked for.")
    return ask_number(lambda: value[0]), ask_number(lambda: value[1])


def near(one: float, other: float, rel: float = 1e-6) -> bool:
    """Equal up to rounding."""
    return math.isclose(one, other, rel_tol=rel, abs_tol=1e-9)
