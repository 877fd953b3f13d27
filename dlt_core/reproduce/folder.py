"""The folder of a batch: whether it can be written, and who holds it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from dlt_core.corpora.files import lock, try_writing

ROOM = 16 * 2**20  # bytes that must be free: for some checkpoints and executed notebooks of the preset laptop
LOCK = ".lock"
POLL_SECONDS = 0.2


def check_writable(folder: Path, room: int = ROOM) -> None:
    """Make the folder and write so many bytes into it, for a moment. Raises ValueError if that cannot be."""
    try:
        try_writing(folder, room)
    except OSError as error:
        needed = f": {room / 2**20:.0f} MiB are needed" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise ValueError(
            f"cannot write to {folder} ({error.strerror}{needed}): mend that, or name another folder with --out"
        ) from error


@contextlib.contextmanager
def held(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the folder: nobody else can within. The system ends a hold with its process, however that ends.

    wait: seconds to wait for another holder. Raises ValueError naming the holder if it still is one then.
    """
    if sys.platform == "win32":  # there nobody waits for anybody
        yield
        return
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        _lock(file.fileno(), folder, time.monotonic() + wait)
        file.truncate(0)
        file.write(json.dumps([os.getpid(), socket.gethostname(), time.strftime("%Y-%m-%d %H:%M:%S")]))
        file.flush()
        yield


def _lock(descriptor: int, folder: Path, until: float) -> None:
    while lock(descriptor) is False:
        if time.monotonic() >= until:
            raise ValueError(
                f"another batch works in {folder} ({_holder(folder)}): wait until it is done, or name another "
                "folder with --out"
            )
        time.sleep(POLL_SECONDS)


def _holder(folder: Path) -> str:
    """Who says to hold the folder."""
    try:
        process, host, since = json.loads((folder / LOCK).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # between taking hold and saying so
        return "since this moment"
    return f"process {process} on {host}, since {since}"
