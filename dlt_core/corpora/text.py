"""A text that need not fit in memory."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator

PIECE = 2**16  # characters in a piece of a text, about


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
