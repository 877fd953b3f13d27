"""Where data comes from: files under `$DLT_DATA_DIR`, or the Hugging Face hub, or a clear error within seconds."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.utils

REACH_SECONDS = 3.0  # how long the hub may take to answer before it counts as unreachable


class CorpusUnavailable(RuntimeError):
    """Neither a local copy nor the hub has the data; the message names both remedies."""


def local_files(pattern: str) -> list[Path]:
    """The files under $DLT_DATA_DIR that match the glob pattern, in the order of their names."""
    root = os.environ.get("DLT_DATA_DIR")
    return sorted(p for p in Path(root).expanduser().glob(pattern) if p.is_file()) if root else []


@contextlib.contextmanager
def offline_if_unreachable() -> Iterator[bool]:
    """Whether the hub answers. If not, the libraries are kept from trying for half a minute; caches still serve.

    Within the block HF_HUB_OFFLINE of huggingface_hub and of datasets is set, for the whole process.
    """
    import datasets

    reachable = not huggingface_hub.constants.HF_HUB_OFFLINE and _hub_answers()
    modules: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    before = [m.HF_HUB_OFFLINE for m in modules]
    for module in modules:
        module.HF_HUB_OFFLINE = not reachable
    try:
        yield reachable
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value


def _hub_answers() -> bool:
    """Asked in a thread, since looking up a name can hang for longer than any time limit of the request itself."""
    answers: list[object] = []

    def ask() -> None:
        with contextlib.suppress(Exception):  # whatever the HTTP library in use raises: no answer is no answer
            session = huggingface_hub.utils.get_session()
            answers.append(session.head(huggingface_hub.constants.ENDPOINT, timeout=REACH_SECONDS))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(REACH_SECONDS)
    return bool(answers)


def unavailable(what: str, repository: str, reachable: bool, files: Iterable[str]) -> CorpusUnavailable:
    """The error that says why `what` cannot be had, and what to do."""
    state = "the hub answered, but loading failed" if reachable else "the Hugging Face hub cannot be reached"
    return CorpusUnavailable(
        f"{what} is not here: {state}, and DLT_DATA_DIR"
        f"{'=' + os.environ['DLT_DATA_DIR'] if os.environ.get('DLT_DATA_DIR') else ' (not set)'} does not hold it.\n"
        f"Remedy 1: connect to the internet; it is then downloaded once from {repository!r}.\n"
        f"Remedy 2: set DLT_DATA_DIR to a folder that holds {', '.join(dict.fromkeys(files))}."
    )
