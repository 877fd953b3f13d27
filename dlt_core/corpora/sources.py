"""The data sets as text in three splits.

`load(name)` looks in `$DLT_DATA_DIR`, then on the Hugging Face hub; "embedded" needs neither: it is the Python language
reference that ships with CPython. Data never silently becomes other data. A text is read piece by piece, so the large
ones need not fit in memory; `tokenization` makes tokens of it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlt_core.corpora.hub import CorpusUnavailable as CorpusUnavailable  # part of what `load` promises
from dlt_core.corpora.hub import offline_if_unreachable, unavailable
from dlt_core.corpora.local import local_files, read_blocks, read_files
from dlt_core.corpora.own_text import from_text, is_path
from dlt_core.corpora.text import CORPORA, SPLITS, Corpus, Text

ROWS_AT_ONCE = 32  # read from a data set of the hub; a row of LAMBADA is a novel of some 400 kB


class PartialCopy(FileNotFoundError, ValueError):
    """The local copy of a corpus lacks a split; the message names the files."""


@dataclass(frozen=True)
class Part:
    """Lines first..last-1 of the files that match a pattern (or of a split on the hub), files in order of their names.

    count: how many files make it complete; with fewer the corpus is a sample.
    """

    where: str
    first: int = 0
    last: int | None = None
    count: int = 1


@dataclass(frozen=True)
class Layout:
    """Where the splits of a data set lie under $DLT_DATA_DIR, by the data set's own file names."""

    train: Part
    validation: Part
    test: Part
    is_sample: bool = False
    note: str = ""


@dataclass(frozen=True)
class HubSource:
    """Where the splits of a data set lie on the hub, and how a row of its column "text" becomes text."""

    repository: str
    configuration: str | None
    row_to_text: Callable[[str], str]
    train: Part = Part("train")
    validation: Part = Part("validation")
    test: Part = Part("test")
    revision: str | None = None
    note: str = ""


def _line(row: str) -> str:
    return row + "\n"


def _wikitext_line(row: str) -> str:
    """The hub's WikiText has a line as a row, with the blank lines " \\n" made empty: with them put back, the text is
    byte for byte that of the original files."""
    return row or " \n"


# One Billion Words has no validation split. We hold out as many sentences as about one of its 50 held-out shards has.
LM1B_HELD_OUT = 6_000
_LM1B_NOTE = f"no official validation split: the first {LM1B_HELD_OUT:,} sentences of {{}} are held out for validation"
_LM1B_SHARDS = "lm1b/{0}-monolingual.tokenized.shuffled/news.en{1}"

HUB = {
    "wikitext-2": HubSource("Salesforce/wikitext", "wikitext-2-v1", _wikitext_line),
    "wikitext-103": HubSource("Salesforce/wikitext", "wikitext-103-v1", _wikitext_line),
    "lambada": HubSource("cimec/lambada", "plain_text", _line),
    "lm1b": HubSource(
        "billion-word-benchmark/lm1b",
        None,
        _line,
        train=Part("train", first=LM1B_HELD_OUT),
        validation=Part("train", last=LM1B_HELD_OUT),
        revision="refs/convert/parquet",
        note=_LM1B_NOTE.format("the training text"),
    ),
}


def _wikitext(folder: str, train: str = "wiki.train.tokens") -> dict[str, Any]:
    names = {"train": train, "validation": "wiki.valid.tokens", "test": "wiki.test.tokens"}
    return {split: Part(f"{folder}/{name}") for split, name in names.items()}


_LAMBADA_PASSAGES: dict[str, Any] = {
    "validation": Part("lambada/lambada_development_plain_text.txt"),
    "test": Part("lambada/lambada_test_plain_text.txt"),
}
# For each corpus the complete layout first, then what may stand in for it as a sample.
LOCAL = {
    "wikitext-2": (Layout(**_wikitext("wikitext-2")),),
    "wikitext-103": (
        Layout(**_wikitext("wikitext-103")),
        Layout(
            **_wikitext("wikitext-103", "wiki.train.prefix.tokens"),
            is_sample=True,
            note="the training text is only the beginning of WikiText-103's",
        ),
    ),
    "lambada": (
        Layout(train=Part("lambada/train-novels/**/*.txt", count=2_662), **_LAMBADA_PASSAGES),
        Layout(
            train=Part("lambada/train_sample/train.txt"),
            **_LAMBADA_PASSAGES,
            is_sample=True,
            note="the training text is an unofficial sample of novels",
        ),
    ),
    "lm1b": (
        Layout(
            train=Part(_LM1B_SHARDS.format("training", "-*-of-00100"), first=LM1B_HELD_OUT, count=99),
            validation=Part(_LM1B_SHARDS.format("training", "-*-of-00100"), last=LM1B_HELD_OUT, count=99),
            test=Part(_LM1B_SHARDS.format("heldout", ".heldout-*-of-00050"), count=50),
            note=_LM1B_NOTE.format("the training text"),
        ),
        Layout(
            train=Part("lm1b/1b_benchmark.heldout-10-11.tokens"),
            validation=Part("lm1b/1b_benchmark.heldout-12-13.tokens", last=LM1B_HELD_OUT),
            test=Part("lm1b/1b_benchmark.heldout-12-13.tokens", first=LM1B_HELD_OUT),
            is_sample=True,
            note="four of the 50 held-out shards, two of them as training text; " + _LM1B_NOTE.format("the other two"),
        ),
    ),
}
LAST_WORD = ("lambada",)  # a line is a passage, whose last word is to be guessed


def load(name: str, *, train_bytes: int | None = None) -> Corpus:
    """The corpus `name`, from `$DLT_DATA_DIR` or the hub; or a text of your own, by the path of its file or folder.

    train_bytes: take at most so many bytes of the training text, up to the end of a line; from the hub, no more than
    that is downloaded then. A corpus cut so counts as a sample.

    Raises ValueError for what is neither a name nor a path and for a damaged local copy, PartialCopy if that lacks a
    split, CorpusUnavailable (within seconds) if it can be had from neither place. A file is read when its text is, and
    refused then.
    """
    if name not in CORPORA:
        if not is_path(name):
            raise ValueError(
                f"unknown corpus {name!r}; known: {', '.join(CORPORA)}; and there is no file or folder of this name"
            )
        corpus = from_text(Path(name))
    elif name == "embedded":
        corpus = Corpus(name, {split: Text(text) for split, text in _python_reference().items()}, "embedded")
    else:
        corpus = _from_files(name) or _from_hub(name, streaming=train_bytes is not None)
    return corpus if train_bytes is None else dataclasses.replace(_cut(corpus, train_bytes), train_bytes=train_bytes)


def missing(name: str) -> str:
    """Of a corpus that is not here what it needs, or what is wrong with it; "" for one that is here. Asks nobody."""
    if name == "embedded":
        return ""
    try:
        if _from_files(name):
            return ""
    except ValueError as error:
        return str(error)
    files = ", ".join(dict.fromkeys(getattr(LOCAL[name][0], split).where for split in SPLITS))
    return f"not here, needs DLT_DATA_DIR with {files}, or {HUB[name].repository} from the Hugging Face hub"


def _from_files(name: str) -> Corpus | None:
    """From $DLT_DATA_DIR; None if nothing of it is there."""
    partial = None
    for layout in LOCAL[name]:
        parts = {split: getattr(layout, split) for split in SPLITS}
        files = {split: local_files(part.where) for split, part in parts.items()}
        for split in SPLITS:
            if files[split] and not any(path.stat().st_size for path in files[split]):
                raise ValueError(f"{files[split][0]} is empty: copy the {split} text of {name} there again")
        if all(files.values()):
            texts = {split: Text(functools.partial(_read_files, files[split], parts[split])) for split in SPLITS}
            short = [
                f"{len(files[s])} of {parts[s].count} files of {s}" for s in SPLITS if len(files[s]) < parts[s].count
            ]
            note = "; ".join([*([layout.note] if layout.note else []), *short])
            return Corpus(name, texts, "local", layout.is_sample or bool(short), note)
        if any(files.values()) and partial is None:
            partial = ", ".join(parts[split].where for split in SPLITS if not files[split])
    if partial:
        raise PartialCopy(
            f"DLT_DATA_DIR={os.environ['DLT_DATA_DIR']} has only a part of {name}: no {partial}; copy that there, too, "
            "or unset DLT_DATA_DIR to ask the Hugging Face hub"
        )
    return None


def _read_files(files: list[Path], part: Part) -> Iterator[str]:
    """The part's text, in blocks, or line by line where it does not begin and end with the files."""
    if part.first or part.last is not None:
        lines = itertools.chain.from_iterable(Text(functools.partial(read_blocks, path)).lines() for path in files)
        yield from itertools.islice(lines, part.first, part.last)
        return
    yield from read_files(files)


def _from_hub(name: str, *, streaming: bool) -> Corpus:
    import datasets  # a second to import, and only needed here

    source = HUB[name]
    parts = {split: getattr(source, split) for split in SPLITS}
    arguments: dict[str, Any] = {"revision": source.revision} if source.revision else {}
    if streaming:
        arguments["streaming"] = True
    with offline_if_unreachable() as offline:
        try:
            rows = {
                where: datasets.load_dataset(source.repository, source.configuration, split=where, **arguments)
                for where in dict.fromkeys(part.where for part in parts.values())
            }
        except Exception as error:
            files = [getattr(LOCAL[name][0], split).where for split in SPLITS]
            raise unavailable(f"the corpus {name!r}", source.repository, offline, error, files) from error
    texts = {s: Text(functools.partial(_read_rows, rows[p.where], p, source.row_to_text)) for s, p in parts.items()}
    return Corpus(name, texts, "hub", note=source.note)


def _read_rows(rows: Any, part: Part, row_to_text: Callable[[str], str]) -> Iterator[str]:
    """The part's text, row by row; neither a memory-mapped nor a streamed data set is ever in memory as a whole."""
    texts = itertools.chain.from_iterable(batch["text"] for batch in rows.iter(ROWS_AT_ONCE))
    try:
        yield from map(row_to_text, itertools.islice(texts, part.first, part.last))
    except Exception as error:
        raise CorpusUnavailable(
            f"reading the split {part.where!r} from the hub or its cache failed ({type(error).__name__}: {error}). "
            "Try again; if that does not help, remove the folder that HF_HOME names, or ~/.cache/huggingface"
        ) from error


def _cut(corpus: Corpus, train_bytes: int) -> Corpus:
    """The corpus with the first lines of its training text, read now, since a streamed one is downloaded each time."""
    kept, size = [], 0
    for line in corpus.splits["train"].lines():
        size += len(line.encode())
        if size > train_bytes:
            break
        kept.append(line)
    texts = {"train": Text("".join(kept)), **{split: Text(str(corpus.splits[split])) for split in SPLITS[1:]}}
    if size <= train_bytes:  # all of it
        return Corpus(corpus.name, texts, corpus.source, corpus.is_sample, corpus.note)
    note = f"the training text is cut to its first {train_bytes:,} bytes"
    return Corpus(corpus.name, texts, corpus.source, True, "; ".join(filter(None, [corpus.note, note])))


def _python_reference() -> dict[str, str]:
    """The Python language reference, split 80/10/10 by topic in alphabetical order.

    Topics quote each other at length, so each paragraph is kept only where it stands first: otherwise a fifth of the
    text would occur twice, partly in training and test.
    """
    from pydoc_data.topics import topics

    seen: set[str] = set()
    texts = []
    for topic in sorted(topics):
        paragraphs = [p.strip("\n") for p in re.split(r"\n\s*\n", topics[topic])]
        fresh = [p for p in dict.fromkeys(paragraphs) if p.strip() and p not in seen]
        seen.update(fresh)
        texts.append("\n\n".join(fresh) + "\n\n" if fresh else "")
    total = sum(map(len, texts))
    splits = dict.fromkeys(SPLITS, "")
    before = 0
    for text in texts:
        middle = (before + len(text) / 2) / total  # a topic goes where its middle falls
        splits["train" if middle < 0.8 else "validation" if middle < 0.9 else "test"] += text
        before += len(text)
    return splits
