"""Files under $DLT_DATA_DIR: found by their names, and read as the UTF-8 text that they should be."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dlt_core.corpora.text import PIECE

_KINDS = {  # what a file that is no text begins with
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"BZh": "a bzip2 archive: unpack it",
    b"\xfd7zXZ": "an xz archive: unpack it",
    b"\x28\xb5\x2f\xfd": "a zstandard archive: unpack it",
    b"PAR1": "a parquet file: write its column of text to a file",
    b"\xff\xfe": "UTF-16: convert it with iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "UTF-16: convert it with iconv -f UTF-16 -t UTF-8",
}


def folder_of(variable: str) -> Path | None:
    """The folder that an environment variable names, None if it is not set.

    Raises ValueError for a relative path: it would mean another folder in a notebook, or after a change of folder.
    """
    value = os.environ.get(variable)
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_absolute():
        raise ValueError(
            f"{variable}={value} is a relative path: set it to an absolute one, such as {folder.absolute()}"
        )
    return folder


def local_files(pattern: str) -> list[Path]:
    """The files under $DLT_DATA_DIR that match the glob pattern, in the order of their names.

    Raises ValueError for a folder that has the name of a file, and for a $DLT_DATA_DIR that is relative or no folder.
    """
    root = folder_of("DLT_DATA_DIR")
    if root and not root.is_dir():
        raise ValueError(
            f"DLT_DATA_DIR={os.environ['DLT_DATA_DIR']}: there is no such folder. Correct it, or unset it to ask the "
            "Hugging Face hub"
        )
    found = sorted(root.glob(pattern)) if root else []
    for path in found:
        if not path.is_file():
            raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'no file'}: put the file itself there")
    return found


def read_blocks(path: Path, *, published: bool = True) -> Iterator[str]:
    """A file's text, in blocks of about PIECE bytes, without the byte order mark that an editor may have put before it.

    Raises ValueError, naming the file and the remedy, for one that cannot be read, is not UTF-8 or holds NUL; also for
    one with the line ends of Windows, if it should be a published text, whose copy it then is not.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    done, last, one_line = 0, "", published
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            file.seek(0)
            while True:
                block = file.read(PIECE)
                done += len(block)
                try:
                    text = decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    raise ValueError(f"{path} is {_no_text(error, head, done)}") from error
                if "\0" in text:
                    place = done - len(block) + block.index(0)
                    raise ValueError(
                        f"{path} is {_kind(head) or f'damaged, or UTF-16: byte {place} is NUL. Copy it again'}"
                    )
                if one_line and (end := text.find("\n")) >= 0:
                    one_line = False
                    if (last + text[:end])[-1:] == "\r":
                        raise ValueError(
                            f"{path} has the line ends of Windows (CR LF), and the published text has not: copy it "
                            "again as it is, or convert it with dos2unix"
                        )
                if text:
                    yield text
                    last = text[-1]
                if not block:
                    return
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}): see to it that you may, or copy it again"
        ) from error


def read_files(files: Iterable[Path], *, published: bool = True) -> Iterator[str]:
    """The text of several files, one after the other, as `read_blocks` reads each.

    A file whose last line has no end gets one if another file follows: a novel does not run on into the next.
    """
    last = "\n"
    for path in files:
        if last != "\n":
            yield (last := "\n")
        for block in read_blocks(path, published=published):
            yield block
            last = block[-1]


def _kind(head: bytes) -> str | None:
    return next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)


def _no_text(error: UnicodeDecodeError, head: bytes, done: int) -> str:
    """What a file is that is not UTF-8, and the remedy; head: its first bytes, done: how many of it are read."""
    byte = f"(byte 0x{error.object[error.start]:02x} at {done - len(error.object) + error.start})"
    if error.reason == "unexpected end of data":
        return f"cut off in the middle of a character, or not UTF-8: copy it again {byte}"
    unknown = f"not UTF-8 text {byte}: copy it again, or convert it"
    return _kind(head) or f"{unknown}, if it is Latin-1 with iconv -f LATIN1 -t UTF-8"
