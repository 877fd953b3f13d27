"""Write files whole or not at all, and one process at a time."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DAY = 24 * 3600.0
PROBE_BYTES = 2**16


def write_atomically(path: Path, write: Callable[[Path], object], *, keep: Path | None = None) -> None:
    """Let `write` fill a file in a folder of its own beside `path`, then rename it; nothing is left if that fails.

    The folder's name is no other writer's, in whatever thread, process or machine. What a writer that was killed left
    behind is removed by `remove_leftovers`, or here after a day. keep: the name that the file before this one gets.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path, older_than=DAY)
    private = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    private.mkdir()
    try:
        beside = private / path.name  # safetensors writes by way of a third file, which stays in here
        write(beside)
        with open(beside, "r+b") as file:
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(beside, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def remove_leftovers(path: Path, *, older_than: float = 0.0) -> None:
    """Remove what writers of `path` left that were killed; older_than: seconds, for whom another may be writing now."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 32}.part"):
        with contextlib.suppress(OSError):  # another process has removed it, or may, and this one may not
            newest = max(one.stat().st_mtime for one in (left, *left.iterdir()))
            if time.time() - newest >= older_than:
                shutil.rmtree(left)


def _sync(folder: Path) -> None:
    """Let the disk know of a renaming, where folders can be synced."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system without
            raise
    finally:
        os.close(descriptor)


def write_text_atomically(path: Path, text: str) -> None:
    """UTF-8 with newlines as they are, on every system."""
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8", newline="\n"))


def write_json_atomically(path: Path, value: Any) -> None:
    """Indented by one blank, with a newline at the end."""
    write_text_atomically(path, json.dumps(value, indent=1) + "\n")


def refuse_unwritable(folder: Path, *, needed: int = 0) -> None:
    """Try out whether files can be written to a folder, which is made.

    needed: bytes that will be, at least. Raises ValueError for a folder that is a file, read-only or full.
    """
    try:
        try_writing(folder, PROBE_BYTES)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror
        raise ValueError(f"nothing can be written to {folder}: {reason}. Name another folder") from error
    if free < needed:
        raise ValueError(
            f"{folder} has room for {free / 1e6:,.0f} MB, and at least {needed / 1e6:,.0f} MB will be written: "
            "make room, or name another folder"
        )


def try_writing(folder: Path, size: int) -> None:
    """Make the folder, and write so many bytes into it, for a moment. Raises OSError if that cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold `path` for this process, by a lock on a file beside it that ends with the process, however it ends.

    Yields whether that excludes others: not where the file system knows no locks. Raises ValueError if it is held
    already, by another process or thread.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.lock")
    while True:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT, 0o666)
        locked = lock(descriptor)
        if locked is False:
            os.close(descriptor)
            raise ValueError(f"another process is at work on {path}: wait until it has ended, or name another place")
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), beside.stat()):
                break
        os.close(descriptor)  # its last holder has just removed it
    try:
        yield locked is True
    finally:
        if sys.platform != "win32":  # where an open file cannot be removed
            beside.unlink(missing_ok=True)
        os.close(descriptor)


def lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed. False: it is locked; None: its file system has no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK) else None
    return True
