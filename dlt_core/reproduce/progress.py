"""What a batch says while it works: which notebooks run, since when, at which cell, and how long they may take."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dlt_core.reproduce.jobs import Job

SECONDS = 30.0  # between two lines


@dataclass
class Running:
    """A job that is being executed, with the time when it began."""

    job: Job
    since: float = field(default_factory=time.time)

    @property
    def seconds(self) -> float:
        return time.time() - self.since


class Progress:
    """Prints a line on what runs, at most every SECONDS.

    expected: seconds that a notebook took before, by its name.
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        self.expected = expected
        self._last = -SECONDS

    def look(self, running: Sequence[Running], waiting: int) -> None:
        """Say what runs, if it is time to. waiting: how many notebooks are to come."""
        if running and time.monotonic() - self._last >= SECONDS:
            self._last = time.monotonic()
            more = f"; {waiting} to come" if waiting else ""
            say(f"now: {'; '.join(self._words(each) for each in running)}{more}")

    def _words(self, one: Running) -> str:
        usual = self.expected.get(one.job.notebook.stem)
        of_usual = f" of about {usual:.0f} s" if usual is not None else " s"
        since = time.strftime("%H:%M:%S", time.localtime(one.since))
        return f"{one.job.name} since {since}, {one.seconds:.0f}{of_usual}{_cell(one)}"


def _cell(one: Running) -> str:
    """The cell that is executed, as papermill notes it in the executed notebook, which is written whole each time."""
    path = one.job.folder / one.job.notebook.name
    try:
        if path.stat().st_mtime < one.since - 1:  # of an earlier execution
            return ""
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        states = [cell["metadata"]["papermill"]["status"] for cell in cells]
    except (OSError, ValueError, KeyError, TypeError):  # not there yet
        return ""
    return f", cell {states.index('running') + 1} of {len(states)}" if "running" in states else ""


def expected_seconds(path: Path) -> dict[str, float]:
    """How long the notebooks took, as it was noted there; empty if nothing can be read."""
    try:
        return {name: float(seconds) for name, seconds in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def say(text: str) -> None:
    """Print at once. Where nobody listens any more, a closed terminal or pipe, the batch goes on in silence."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # or Python would try again at its end
