"""The first signal to stop is noted, for the batch to end in order; what is finished is kept."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from dlt_core.records.stopping import ASKING, SAME


class Stop:
    """Whether a signal has asked to stop: true from then on."""

    def __init__(self) -> None:
        self.signal = 0
        self.again = False  # asked once more: do not wait for anything
        self._since = 0.0

    def __bool__(self) -> bool:
        return self.signal != 0

    @property
    def status(self) -> int:
        """The exit status of a process that this signal has ended: 130 after Ctrl-C, 143 after `kill`."""
        return 128 + self.signal

    def note(self, number: int, _: FrameType | None = None) -> None:
        """The signal's handler."""
        if not self.signal:
            self.signal, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > SAME:
            self.again = True


@contextlib.contextmanager
def noticed() -> Iterator[Stop]:
    """Note SIGINT (Ctrl-C), SIGTERM (`kill`) and SIGHUP (a closed terminal, unless `nohup` has it ignored) within."""
    stop, before = Stop(), {}
    if threading.current_thread() is threading.main_thread():  # no other may have handlers
        for number in ASKING:
            if not (number.name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                before[number] = signal.signal(number, stop.note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
