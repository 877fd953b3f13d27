"""Stop a run when a signal asks for it, at the next moment at which nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

# Ctrl-C and a notebook's stop button; `kill`, and whoever else ends processes; a terminal that is closed
ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
SAME = 1.0  # seconds within which a second one is the first again: a terminal sends it to torchrun and its processes


class RunStopped(KeyboardInterrupt):
    """A run was asked to stop, and did. The message says what is kept, and how to go on."""

    record: Any = None
    """The record so far."""
    signal: int = signal.SIGINT
    """What asked for it."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: no traceback, since nothing went wrong."""
        return [str(self)]


class Asked:
    """Within it a signal that asks this process to stop is only remembered, as `number`; a second Ctrl-C acts.

    In the main thread alone, which gets the signals, and where nobody else has a handler: what is ignored stays so.
    """

    number = 0

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._since = 0.0

    def __enter__(self) -> Asked:
        if threading.current_thread() is threading.main_thread():
            for number in ASKING:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if not self.number:
            self.number, self._since = number, time.monotonic()
            with contextlib.suppress(OSError):  # of a terminal that is closed
                os.write(2, b"\nstopping after this decision (Ctrl-C once more: at once)\n")
        elif number == signal.SIGINT and time.monotonic() - self._since > SAME:
            raise KeyboardInterrupt
