"""A text that need not fit in memory, and a corpus, which is three of them."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

CORPORA = ("embedded", "wikitext-2", "wikitext-103", "lambada", "lm1b")  # that `sources.load` knows by name
SPLITS = ("train", "validation", "test")
PIECE = 2**16  # characters in a piece of a text, about


def text_name(where: str | os.PathLike[str]) -> str:
    """What a corpus at this path goes by: the file's or folder's own name, without the folders that it lies in. A name
    stays as it is."""
    return os.path.basename(os.path.abspath(os.path.expanduser(where)))


class Text:
    """A text that need not fit in memory: every reading begins anew.

    read: the text itself, or a function that yields it in strings of any length.
    """

    def __init__(self, read: str | Callable[[], Iterable[str]]) -> None:
        self._read = functools.partial(iter, (read,)) if isinstance(read, str) else read

    def __iter__(self) -> Iterator[str]:
        """Pieces of moderate size. Each but the first begins with the white space that follows a word, so that a
        piece can be tokenised, and its words counted, as if it stood in the whole text."""
        parts: list[str] = []  # joined only where they end: a word may be as long as the text
        length = 0
        for string in self._read():
            for start in range(0, len(string), PIECE):
                part = string[start : start + PIECE]
                length += len(part)
                if length >= PIECE and (cut := _last_word_end(parts[-1][-1] if parts else "", part)) is not None:
                    yield "".join([*parts, part[:cut]])
                    parts, part = [], part[cut:]
                    length = len(part)
                if part:
                    parts.append(part)
        if parts:
            yield "".join(parts)

    def __str__(self) -> str:
        """The whole text; for small ones."""
        return "".join(self)

    def head(self, characters: int) -> str:
        """The first characters."""
        head = ""
        for piece in self:
            head += piece
            if len(head) >= characters:
                break
        return head[:characters]

    def lines(self) -> Iterator[str]:
        """The lines, each with its newline; the last one perhaps without."""
        rest: list[str] = []  # joined only where a line ends: it may be as long as the text
        for piece in self:
            first, *others = piece.split("\n")
            rest.append(first)
            for other in others:
                yield "".join(rest) + "\n"
                rest = [other]
        if last := "".join(rest):
            yield last

    @functools.cached_property
    def words(self) -> int:
        """Words between white space, and each line's end as one more (<eos>): how the authors of WikiText count."""
        return sum(len(piece.split()) + piece.count("\n") for piece in self)

    @property
    def bytes(self) -> int:
        """Length in UTF-8."""
        return self._measured[0]

    @property
    def sha256(self) -> str:
        """Of the text in UTF-8."""
        return self._measured[1]

    @functools.cached_property
    def _measured(self) -> tuple[int, str]:
        digest, length = hashlib.sha256(), 0
        for piece in self:
            encoded = piece.encode()
            digest.update(encoded)
            length += len(encoded)
        return length, digest.hexdigest()


@dataclass(frozen=True)
class Corpus:
    """Text in three splits; plain strings will do for `splits`.

    source: "embedded", "local", "hub" or "own". is_sample: it is only part of the corpus. note: what is particular
    about it. train_bytes: what `load` was asked for.

    Raises ValueError for a split that is missing, and for a name that is a path: records have it.
    """

    name: str
    splits: Mapping[str, Text]
    source: str
    is_sample: bool = False
    note: str = ""
    train_bytes: int | None = None

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable() or set(self.name) & {"/", "\\"}:
            raise ValueError(f"{self.name!r} cannot be the name of a corpus: no path, and no empty one")
        if missing := [split for split in SPLITS if split not in self.splits]:
            raise ValueError(
                f"the corpus {self.name} has no {' and no '.join(missing)} split: give all three, or let "
                "corpora.from_text hold out what is missing"
            )
        texts = {split: Text(text) if isinstance(text, str) else text for split, text in self.splits.items()}
        object.__setattr__(self, "splits", texts)

    @functools.cached_property
    def sha256(self) -> str:
        """Over name and sha256 of each split; the same wherever the text came from."""
        return hashlib.sha256("".join(f"{s} {self.splits[s].sha256}\n" for s in SPLITS).encode()).hexdigest()


def _last_word_end(before: str, text: str) -> int | None:
    """The last place where white space follows something else; None if there is none. before: the character before."""
    end = len(text)
    while (place := max(text.rfind(" ", 0, end), text.rfind("\n", 0, end))) >= 0:
        end = place
        while end and text[end - 1].isspace():
            end -= 1
        if text[end] in " \n\t\r" and not (text[end - 1] if end else before or " ").isspace():
            return end  # what every library takes for white space
    return None
