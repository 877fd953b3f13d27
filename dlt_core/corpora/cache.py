"""Files kept between runs under `$DLT_CACHE_DIR`, or the user's cache directory.

Each is sealed: its last bytes are a checksum of its name and its content. So a file that was cut short, damaged,
swapped with another or left by an older version is noticed, and made again.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import platformdirs

from dlt_core.corpora.files import write_atomically
from dlt_core.corpora.local import folder_of

SEAL_BYTES = 32  # of a SHA-256
_AT_ONCE = 2**20  # bytes read at once to check a seal: a large file is never in memory as a whole


def cache_dir() -> Path:
    """`$DLT_CACHE_DIR`, or the user's cache directory. Raises ValueError for a relative path."""
    return folder_of("DLT_CACHE_DIR") or Path(platformdirs.user_cache_dir("dlt_core"))


def kept(name: str, make: Callable[[], Iterable[bytes]]) -> np.ndarray:
    """The content of the cache's file `name`, uint8 of shape (N,), read-only and memory-mapped.

    make: yields the content where the file is not there or is damaged, which a warning says; it may be called twice.
    Where the cache cannot be written, a warning says so and the content is in memory. What `make` raises is raised.
    """
    path = cache_dir() / name
    content = _opened(path)
    if content is not None:
        return content
    reason = "it did not keep what was written"
    try:
        write_atomically(path, lambda beside: _write(beside, name, make()))
        content = _opened(path)
    except OSError as error:  # `make`'s own come again below
        reason = error.strerror or str(error)
    if content is None:
        content = np.frombuffer(b"".join(make()), np.uint8)
        warnings.warn(
            f"the cache {path.parent} cannot be used ({reason}): tokens are made anew by each process and held in "
            "memory, unless you set DLT_CACHE_DIR to a folder with room that can be written",
            stacklevel=2,
        )
    return content


def _opened(path: Path) -> np.ndarray | None:
    """The content of a sealed file; None if there is none, or it is damaged."""
    digest = hashlib.sha256(path.name.encode())
    try:
        with open(path, "rb") as file:  # what is mapped is this very file, also if another takes its name
            size = file.seek(0, 2) - SEAL_BYTES
            file.seek(0)
            for start in range(0, size, _AT_ONCE):
                digest.update(file.read(min(_AT_ONCE, size - start)))
            if size >= 0 and file.read() == digest.digest():
                return np.memmap(file, np.uint8, mode="r")[:size]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        warnings.warn(f"the cache's file {path} cannot be read ({error.strerror}): it is made again", stacklevel=3)
        return None
    warnings.warn(f"the cache's file {path} is damaged, or of an older version: it is made again", stacklevel=3)
    return None


def _write(path: Path, name: str, content: Iterable[bytes]) -> None:
    digest = hashlib.sha256(name.encode())
    with open(path, "wb") as file:
        for some in content:
            digest.update(some)
            file.write(some)
        file.write(digest.digest())
