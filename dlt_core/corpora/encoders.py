"""Tokenizers beside the BPEs of `tokenization`: by characters, and any of Hugging Face's."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tokenizers
from tokenizers import decoders, models

from dlt_core.corpora.hub import CorpusUnavailable, offline_if_unreachable
from dlt_core.corpora.text import SPLITS, Corpus, Text, text_name
from dlt_core.tie_map import in_short

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

HuggingFaceTokenizer: TypeAlias = "PreTrainedTokenizerFast | tokenizers.Tokenizer"


def characters(corpus: Corpus) -> tokenizers.Tokenizer:
    """One token for each character that the corpus has in any split, in the order of their code points."""
    found: set[str] = set()
    for split in SPLITS:
        for piece in corpus.splits[split]:
            found.update(piece)
    encoder = tokenizers.Tokenizer(models.BPE({character: i for i, character in enumerate(sorted(found))}, []))
    encoder.decoder = decoders.Fuse()
    return encoder


def hugging_face(tokenizer: str | os.PathLike[str] | HuggingFaceTokenizer) -> tuple[tokenizers.Tokenizer, str]:
    """The encoder of a fast tokenizer, which adds no marks and cuts nothing off, and its name for records.

    tokenizer: its name on the hub, the path of its folder, or itself. One that is not of the hub has its own name, that
    of no folder, and after @ the beginning of its checksum. Raises ValueError for what is none, and CorpusUnavailable.
    """
    name = tokenizer if isinstance(tokenizer, str) else None
    if isinstance(tokenizer, (str, os.PathLike)):
        where = os.fspath(tokenizer)
        tokenizer = _loaded(tokenizer)
    else:
        where = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, tokenizers.Tokenizer):
        raise ValueError(
            f"{in_short(tokenizer)} is no tokenizer that can be used: give a fast one of transformers, or a "
            "tokenizers.Tokenizer"
        )
    encoder = tokenizers.Tokenizer.from_str(backend.to_str())
    encoder.no_truncation()
    encoder.no_padding()
    digest = hashlib.sha256(encoder.to_str().encode()).hexdigest()[:8]
    return encoder, name or f"{text_name(where)}@{digest}"


def _loaded(where: str | os.PathLike[str]) -> Any:
    from transformers import AutoTokenizer  # a second to import, and only needed here

    if isinstance(where, os.PathLike):
        folder = Path(where).expanduser()
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}: a tokenizer's folder is what its save_pretrained writes")
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # whatever the library finds wrong with its files
            raise ValueError(f"{folder} holds no tokenizer ({' '.join(str(error).split())[:200]})") from error
    with offline_if_unreachable() as offline:
        try:
            return AutoTokenizer.from_pretrained(where, local_files_only=bool(offline))
        except Exception as error:
            reason = offline or f"the hub answered, but loading failed ({type(error).__name__}: {error})"
            raise CorpusUnavailable(
                f"the tokenizer {where!r} is not here: {reason}. Connect to the internet, where it is downloaded once, "
                "or give corpora.tokenize the Path of a folder that holds it"
            ) from error


def keeps(encoder: tokenizers.Tokenizer, text: str) -> bool:
    """Whether a text comes back from its tokens as it was."""
    ids = encoder.encode(text, add_special_tokens=False).ids
    return encoder.decode(ids, skip_special_tokens=False) == text


def bytes_in_place(text: Text, encoder: tokenizers.Tokenizer, number: int) -> np.ndarray:
    """How many bytes of the text each of its `number` tokens stands for, int32 of shape (number,): from the end of the
    one before it to its own end. What no token stands for belongs to the next one, at the end to the last, so that they
    add up to the bytes of the text."""
    found, left = np.zeros(number, np.int32), 0
    done = 0
    for piece in text:
        encoding = encoder.encode(piece, add_special_tokens=False)
        width = np.array([len(character.encode()) for character in piece])
        before = np.concatenate([[0], np.cumsum(width)])  # bytes before each character
        ends = np.maximum.accumulate(np.array([end for _, end in encoding.offsets], dtype=np.int64))
        if len(ends):
            sizes = np.diff(before[ends], prepend=0)
            sizes[0] += left
            left = 0
            found[done : done + len(ends)] = sizes
            done += len(ends)
            left = int(before[-1] - before[ends[-1]])
        else:
            left += int(before[-1])
    if done:
        found[done - 1] += left
    return found
