"""Text, and the tokens made of it: `corpora.load(name)`, then `corpora.tokenize(corpus, tokenizer)`."""

from dlt_core.corpora.hub import CorpusUnavailable
from dlt_core.corpora.sources import CORPORA, LAST_WORD, SPLITS, Corpus, load
from dlt_core.corpora.text import Text
from dlt_core.corpora.tokenization import Batches, TokenizedCorpus, marked_blocks, tokenize

__all__ = [
    "CORPORA",
    "LAST_WORD",
    "SPLITS",
    "Batches",
    "Corpus",
    "CorpusUnavailable",
    "Text",
    "TokenizedCorpus",
    "load",
    "marked_blocks",
    "tokenize",
]
