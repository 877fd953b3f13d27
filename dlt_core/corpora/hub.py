"""The Hugging Face hub: what it holds, or within seconds an error that says why not and what to do."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.utils

REACH_SECONDS = 3.0  # how long the hub may take to answer before it counts as unreachable


class CorpusUnavailable(RuntimeError):
    """Neither a local copy nor the hub has the data; the message names both remedies."""


@contextlib.contextmanager
def offline_if_unreachable() -> Iterator[str]:
    """Why the hub cannot be asked, "" if it can. Then the libraries are kept from trying; their caches still serve.

    Whoever sets HF_HUB_OFFLINE or HF_DATASETS_OFFLINE wants no request at all, and none is made. Within the block the
    switch is set in both libraries, for the whole process.
    """
    import datasets

    modules: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    before = [m.HF_HUB_OFFLINE for m in modules]
    reason = ""
    if any(before):
        reason = "HF_HUB_OFFLINE or HF_DATASETS_OFFLINE forbids to ask the Hugging Face hub"
    elif not _hub_answers():
        reason = "the Hugging Face hub cannot be reached"
    for module in modules:
        module.HF_HUB_OFFLINE = bool(reason)
    try:
        yield reason
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


def unavailable(
    what: str, repository: str, offline: str, failure: Exception, files: Iterable[str]
) -> CorpusUnavailable:
    """The error that says why `what` cannot be had, and what to do. offline: why the hub cannot be asked, or ""."""
    state = offline or f"the hub answered, but loading failed ({type(failure).__name__}: {failure})"
    unset = "unset the offline switches and " if "OFFLINE" in offline else ""
    return CorpusUnavailable(
        f"{what} is not here: {state}, and DLT_DATA_DIR"
        f"{'=' + os.environ['DLT_DATA_DIR'] if os.environ.get('DLT_DATA_DIR') else ' (not set)'} does not hold it.\n"
        f"Remedy 1: {unset}connect to the internet; it is then downloaded once from {repository!r}.\n"
        f"Remedy 2: set DLT_DATA_DIR to a folder that holds {', '.join(dict.fromkeys(files))}."
    )
