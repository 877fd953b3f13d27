"""Text, and the tokens made of it: `corpora.load(name)` or `corpora.from_text(...)`, then `corpora.tokenize(corpus,
tokenizer)`.

Each name is loaded when it is first used: who writes a file atomically does not wait for the tokenizers.

>>> corpus = corpora.from_text("the cat sat on the mat. " * 50, name="cats")
>>> corpora.tokenize(corpus, "characters").vocab_size
11
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlt_core.corpora.hub import CorpusUnavailable
    from dlt_core.corpora.own_text import from_text
    from dlt_core.corpora.sources import LAST_WORD, load
    from dlt_core.corpora.text import CORPORA, SPLITS, Corpus, Text
    from dlt_core.corpora.tokenization import (
        Batches,
        TokenizedCorpus,
        marked_blocks,
        tokenize,
    )

_HOME = {
    "CorpusUnavailable": "hub",
    "CORPORA": "text",
    "LAST_WORD": "sources",
    "load": "sources",
    "from_text": "own_text",
    "SPLITS": "text",
    "Corpus": "text",
    "Text": "text",
    "Batches": "tokenization",
    "TokenizedCorpus": "tokenization",
    "marked_blocks": "tokenization",
    "tokenize": "tokenization",
}
__all__ = [
    "CORPORA", "LAST_WORD", "SPLITS", "Batches", "Corpus", "CorpusUnavailable", "Text", "TokenizedCorpus", "from_text",
    "load", "marked_blocks", "tokenize"
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
