"""A text of your own as a corpus: strings, files or folders, with the splits that it lacks held out of it."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from dlt_core.corpora.local import read_files
from dlt_core.corpora.text import CORPORA, SPLITS, Corpus, Text, text_name
from dlt_core.tie_map import in_short

Given: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"

OWN = "own"  # the source of such a corpus
HELD_OUT = 10  # percent of the text for each split that is not given
# What the file of a split may be called in a folder; the first that is there is taken.
FILE_NAMES = {
    "train": ("train.txt",),
    "validation": ("validation.txt", "valid.txt", "dev.txt", "val.txt"),
    "test": ("test.txt",),
}
_LONGEST_NAME = 4096  # characters of a path


def from_text(
    train: Given, validation: Given | None = None, test: Given | None = None, *, name: str | None = None
) -> Corpus:
    """A corpus of your own text.

    train, validation, test: a str is the text itself, always; a Path is a file, or a folder, of which the *.txt files
        are taken in the order of their names; a list of these is one text, in its order. A folder with a train.txt has
        the splits in train.txt, validation.txt (or valid.txt, dev.txt, val.txt) and test.txt, and nothing else of it is
        read. Files are UTF-8, and read when the text is.
    name: what records call it, the name of the file or folder by default, without where that lies; "text" for a str.

    A split that is not given is held out of the end of the training text, HELD_OUT percent of it, from the end of a
    line on (in a text of few lines, of a word); the corpus's `note` says so, and so do records.

    Raises ValueError in one line for what is not there, is empty, too short to hold anything out, or has the name of a
    corpus that `load` knows; and for a str that is the name of a file.
    """
    given: dict[str, Given | None] = {"train": train, "validation": validation, "test": test}
    if isinstance(train, os.PathLike) and (folder := Path(train).expanduser()).is_dir():
        for split, path in _splits_of(folder).items():
            if split != "train" and given[split] is not None:
                raise ValueError(f"the {split} split is given twice, once as {path.name} in {train}: leave one out")
            given[split] = path
    name = name or (text_name(train) if isinstance(train, os.PathLike) else "text")
    if name in CORPORA:
        raise ValueError(
            f"your text cannot be called {name}, which is another corpus: rename it, or give from_text another name=..."
        )
    texts = {split: _text(what, split) for split, what in given.items() if what is not None}
    missing = [split for split in SPLITS if split not in texts]
    if not missing:
        return Corpus(name, texts, OWN)
    each = " each" if len(missing) > 1 else ""
    note = f"no {' and no '.join(missing)} split was given: {HELD_OUT} %{each} of the text were held out, from its end"
    return Corpus(name, texts | _held_out(texts["train"], missing, name), OWN, note=note)


def is_path(value: str) -> bool:
    """Whether there is a file or a folder of this name."""
    return os.path.exists(os.path.expanduser(value))


def _splits_of(folder: Path) -> dict[str, Path]:
    """The files of a folder that holds splits; none for a folder of any texts."""
    found = {
        split: folder / name
        for split, names in FILE_NAMES.items()
        for name in reversed(names)
        if (folder / name).is_file()
    }
    if found and "train" not in found:
        there = " and ".join(path.name for path in found.values())
        raise ValueError(f"{folder} has {there}, but no train.txt: put the training text there, under this name")
    return found


def _text(given: Given, split: str) -> Text:
    """The text of one split. Raises ValueError if it is not there, or empty."""
    parts = [_part(one) for one in (given if isinstance(given, (list, tuple)) else [given])]
    files = [path for part in parts if isinstance(part, list) for path in part]
    text = Text(functools.partial(_read, parts))
    if any(path.stat().st_size for path in files) or any(isinstance(part, str) and part for part in parts):
        return text
    what = files[0] if len(files) == 1 else f"the {split} text"
    raise ValueError(f"{what} is empty: a text of some thousand words is the least to learn from")


def _part(given: Any) -> str | list[Path]:
    """A str as it is, the files of a path."""
    if isinstance(given, str):
        if len(given) <= _LONGEST_NAME and "\n" not in given and given and is_path(given):
            raise ValueError(
                f"{in_short(given)} is the name of a file or folder: give pathlib.Path(...) of it to read it"
            )
        try:
            given.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the text has half a character at {error.start} (a surrogate): decode it anew") from None
        return given
    if not isinstance(given, os.PathLike):
        raise ValueError(f"a text is a str, a Path or a list of these, got {in_short(given)}")
    path = Path(given).expanduser()
    if path.is_dir():
        if splits := _splits_of(path):
            names = " or ".join(file.name for file in splits.values())
            raise ValueError(f"the folder {path} holds splits: give it alone, or the Path of {names}")
        if files := [file for file in sorted(path.glob("*.txt")) if file.is_file()]:
            return files
        raise ValueError(f"the folder {path} holds no text: put files there whose names end in .txt")
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}: see to the spelling, or give the whole path")
    if not path.is_file():
        raise ValueError(f"{path} is no file: give a file of text, or a folder of them")
    return [path]


def _read(parts: Sequence[str | list[Path]]) -> Iterator[str]:
    """One after the other; each but the last ends with a line."""
    last = "\n"
    for part in parts:
        if last != "\n":
            yield (last := "\n")
        for block in [part] if isinstance(part, str) else read_files(part, published=False):
            yield block
            last = block[-1:] or last


def _held_out(text: Text, missing: Sequence[str], name: str) -> dict[str, Text]:
    """The training text without its end, and that as the splits that are missing."""
    total = sum(map(len, text))
    wanted = [total * (100 - HELD_OUT * share) // 100 for share in range(len(missing), 0, -1)]
    for marks in ("\n", " \t\n"):
        places = _places_after(text, marks, wanted)
        ends = [0, *places, total]
        sizes = [end - start for start, end in itertools.pairwise(ends)]
        # not where a line is so long that the splits would have quite other sizes
        if min(sizes[1:]) > 0 and max(sizes[1:]) <= 2 * max(1, total * HELD_OUT // 100) and places[0] >= wanted[0] // 2:
            parts = itertools.pairwise(ends)
            return {
                split: Text(functools.partial(_between, text, start, end))
                for split, (start, end) in zip(("train", *missing), parts, strict=True)
            }
    raise ValueError(
        f"the training text of {name} has {total} characters in too few lines and words to hold out a "
        f"{' and a '.join(missing)} split: give more text, or these splits (to read a file, give its pathlib.Path)"
    )


def _places_after(text: Text, marks: str, wanted: Sequence[int]) -> list[int]:
    """For each wanted place the last one before it, or there, that follows one of these characters; 0 for none."""
    found, begin = [0] * len(wanted), 0
    for piece in text:
        for i, place in enumerate(wanted):
            before = piece[: max(0, place - begin)]
            if (last := max(map(before.rfind, marks))) >= 0:
                found[i] = begin + last + 1
        begin += len(piece)
    return found


def _between(text: Text, start: int, end: int) -> Iterator[str]:
    """Characters start..end-1."""
    begin = 0
    for piece in text:
        if begin >= end:
            return
        if part := piece[max(0, start - begin) : end - begin]:
            yield part
        begin += len(piece)
