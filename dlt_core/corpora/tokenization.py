"""Text to tokens to batches.

`tokenize` encodes a corpus once and keeps the tokens in the cache, memory-mapped: neither text nor tokens are ever in
memory as a whole. `Batches` is a pure function of seed and index.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from dlt_core.corpora.cache import kept
from dlt_core.corpora.encoders import HuggingFaceTokenizer, bytes_in_place, characters, hugging_face, keeps
from dlt_core.corpora.hub import offline_if_unreachable, unavailable
from dlt_core.corpora.local import local_files
from dlt_core.corpora.sources import LAST_WORD
from dlt_core.corpora.text import PIECE, SPLITS, Corpus, Text

GPT2_HUB = ("openai-community/gpt2", "vocab.json", "merges.txt")
GPT2_LOCAL = ("gpt2-bpe/encoder.json", "gpt2-bpe/vocab.bpe")
GPT2_PIECES = 50_257
HUB_NAME = r"[A-Za-z0-9][\w.-]*/[\w.-]+"
BPE_TRAINING_BYTES = 2**24  # a BPE is trained on the beginning of the training text: more hardly changes it
LONGEST_WORD = 1000  # characters of a word that a BPE is trained on: its time grows with their square
PIECES_AT_ONCE = 32  # encoded in parallel by the tokenizers library, one piece a thread


@dataclass(frozen=True)
class TokenizedCorpus:
    """A corpus as token ids.

    tokens: split -> int array of shape (N,). token_bytes: shape (vocab_size,), the bytes of text that each token
    stands for; a byte-level BPE loses nothing, so they add up to the bytes of the text. unit: what a perplexity on
    these tokens is per. tokenizer_name: as in `Experiment.tokenizer`; None: not known. bytes_in_place: split -> int
    array of shape (N,), the bytes that each token stands for in its place, of a tokenizer that drops or changes
    something, where the token alone does not say it.
    """

    corpus: Corpus
    tokenizer: tokenizers.Tokenizer
    tokens: Mapping[str, np.ndarray]
    token_bytes: np.ndarray
    unit: str
    tokenizer_name: str | None = None
    bytes_in_place: Mapping[str, np.ndarray] | None = None
    _passages: dict[tuple[str, int | None], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def vocab_size(self) -> int:
        return len(self.token_bytes)

    def passages(self, split: str, *, max_tokens: int | None = None) -> list[tuple[list[int], list[int]]]:
        """Each line as (ids of all but its last word, ids of the last word); the first lines, of `max_tokens` in all.

        Together the ids are those of the line: a word's pieces begin with the blank before it. A line of fewer than two
        words has nothing to guess from, and is none. The text is read once: what is asked for again is remembered.
        """
        if (split, max_tokens) not in self._passages:
            fitting, total = [], 0
            for ids in self._lines(split):
                total += len(ids[0]) + len(ids[1])
                if max_tokens is not None and total > max_tokens:
                    break
                fitting.append(ids)
            self._passages[split, max_tokens] = fitting
        return self._passages[split, max_tokens]

    def _lines(self, split: str) -> Iterator[tuple[list[int], list[int]]]:
        for line in self.corpus.splits[split].lines():
            context, blank, word = line.rstrip().rpartition(" ")
            if context.strip():
                plain = {"add_special_tokens": False}
                yield self.tokenizer.encode(context, **plain).ids, self.tokenizer.encode(blank + word, **plain).ids

    def refuse_too_few(self, *, batch_size: int, block_size: int, evaluation_tokens: int | None) -> None:
        """Raises ValueError, naming the split, if one is too short for a batch, or for the last word of a passage."""
        name, needed = self.corpus.name, batch_size * block_size + 1
        for split, tokens in self.tokens.items():
            if len(tokens) < needed:
                raise ValueError(
                    f"the {split} split of {name} has {len(tokens)} tokens, too few for one batch of {batch_size} x "
                    f"{block_size}, which needs {needed}: take a smaller batch_size or block_size, or more text"
                )
        if name not in LAST_WORD or self.passages("test", max_tokens=evaluation_tokens):
            return
        first = next(self._lines("test"), None)
        if first is None:
            raise ValueError(f"the test split of {name} has no line of two words: it should have a passage in each")
        raise ValueError(
            f"the first passage in the test split of {name} has {len(first[0]) + len(first[1])} tokens, more than "
            f"evaluation_tokens={evaluation_tokens}: take at least so many"
        )


def bpe_pieces(tokenizer: str) -> int | None:
    """N for the tokenizer name "bpe-N", None for "gpt2", "characters" and a tokenizer of the hub, "owner/name". Raises
    ValueError for any other name, and for an N that cannot be."""
    if tokenizer in ("gpt2", "characters") or re.fullmatch(HUB_NAME, tokenizer):
        return None
    if not (match := re.fullmatch(r"bpe-0*([0-9]+)", tokenizer)):
        raise ValueError(
            f"unknown tokenizer {tokenizer!r}; known: gpt2, bpe-N (such as bpe-2048), characters, and those of the "
            "Hugging Face hub as owner/name"
        )
    pieces = int(match[1][:9])  # more digits are too many in any case
    if pieces < 256:
        raise ValueError(f"{tokenizer}: a byte-level BPE needs at least 256 pieces, one for each byte")
    if pieces - 256 > BPE_TRAINING_BYTES:
        raise ValueError(
            f"{tokenizer[:20]}: more pieces than the {BPE_TRAINING_BYTES:,} bytes that a BPE is trained on can give: "
            "take fewer, such as bpe-2048"
        )
    return pieces


def tokenize(corpus: Corpus, tokenizer: str | os.PathLike[str] | HuggingFaceTokenizer) -> TokenizedCorpus:
    """Encode all splits.

    tokenizer: "gpt2" (GPT-2's BPE, 50,257 pieces), "bpe-N" (N pieces, trained on the beginning of the train split),
    "characters" (those that the text has); or any fast one of Hugging Face: by its name on the hub, "owner/name", by
    the Path of its folder, or itself. Such a one may change the text, as by lower case: then perplexities and bits per
    byte are of predicting the changed text, which is easier, and the corpus's note says so.

    Tokens and trained tokenizers are kept, see `cache`. Raises ValueError for another name, for more pieces than the
    text gives, and for a text that changes while it is read.
    """
    _ = corpus.sha256  # each text is hashed before it is read again, so that `encode` notices a change
    if not isinstance(tokenizer, str) or re.fullmatch(HUB_NAME, tokenizer):
        return _with_any(corpus, tokenizer)
    pieces = bpe_pieces(tokenizer)
    if tokenizer == "characters":
        encoder, unit = characters(corpus), "character"
        sizes = np.zeros(encoder.get_vocab_size(), dtype=np.int64)
        for character, index in encoder.get_vocab().items():
            sizes[index] = len(character.encode())
        return TokenizedCorpus(corpus, encoder, _encoded(corpus, encoder), sizes, unit, tokenizer)
    if pieces is None:
        encoder, unit = _gpt2_bpe(), "GPT-2 BPE token"
    else:
        encoder, unit = _trained_bpe(corpus, pieces), f"token of a {pieces:,}-piece BPE"
    sizes = np.zeros(encoder.get_vocab_size(), dtype=np.int64)
    for piece, index in encoder.get_vocab().items():
        sizes[index] = len(piece)  # in a byte-level vocabulary each character of a piece stands for one byte
    return TokenizedCorpus(corpus, encoder, _encoded(corpus, encoder), sizes, unit, tokenizer)


def _encoded(corpus: Corpus, encoder: tokenizers.Tokenizer) -> dict[str, np.ndarray]:
    return {split: encode(corpus.splits[split], encoder, f"the {split} split of {corpus.name}") for split in SPLITS}


def _with_any(corpus: Corpus, tokenizer: str | os.PathLike[str] | HuggingFaceTokenizer) -> TokenizedCorpus:
    """With a tokenizer of Hugging Face. Whether it keeps the text as it is, the first characters show."""
    encoder, name = hugging_face(tokenizer)
    tokens, unit = _encoded(corpus, encoder), f"token of {name}"
    sizes = np.ones(1 + max(encoder.get_vocab(with_added_tokens=True).values()), dtype=np.int64)
    changed = [split for split in SPLITS if not keeps(encoder, corpus.splits[split].head(PIECE))]
    if changed:
        note = "; ".join(filter(None, [corpus.note, f"{name} does not keep the text as it is"]))
        corpus = dataclasses.replace(corpus, note=note)
    in_place = {split: bytes_in_place(corpus.splits[split], encoder, len(tokens[split])) for split in SPLITS}
    return TokenizedCorpus(corpus, encoder, tokens, sizes, unit, name, in_place)


def marked_blocks(data: TokenizedCorpus, block_size: int) -> TokenizedCorpus:
    """The text as the authors' released code cuts it: without blank lines, in blocks of T = block_size labels, where
    BOS and T - 1 tokens predict these tokens and EOS.

    GPT-2 has one mark for both: one after each T - 1 tokens turns windows of T into such blocks. A small vocabulary
    gets a mark of its own. Perplexities are per label, marks included; bits per byte are of the text that is kept. The
    released code joins its text batch by batch, which is left out here; and here the tokens are in memory as a whole.
    Raises ValueError for blocks of fewer than two labels, and for a tokenizer whose tokens do not say for how much text
    they stand.
    """
    if data.bytes_in_place is not None:
        raise ValueError(
            f"marked blocks are not for the tokenizer {data.tokenizer_name}: take gpt2, bpe-N or characters"
        )
    if block_size < 2:
        raise ValueError(f"block_size={block_size}: a marked block has at least a token and a mark to predict")
    texts = {s: Text(functools.partial(_lines_with_text, data.corpus.splits[s])) for s in SPLITS}
    note = "; ".join(filter(None, [data.corpus.note, "blank lines dropped"]))
    corpus = dataclasses.replace(data.corpus, splits=texts, note=note)
    mark = data.tokenizer.token_to_id("<|endoftext|>")
    mark = data.vocab_size if mark is None else mark
    sizes = np.append(data.token_bytes, 0)[: max(data.vocab_size, mark + 1)]
    sizes[mark] = 0  # it stands for no text
    tokens = {}
    for split in SPLITS:
        plain = encode(texts[split], data.tokenizer, f"the {split} split of {data.corpus.name}")
        dtype = np.result_type(plain.dtype, np.min_scalar_type(mark))
        places = [*range(0, len(plain), block_size - 1), len(plain)]
        tokens[split] = np.insert(plain.astype(dtype, copy=False), places, mark)
    unit = f"{data.unit}, marks of blocks counted"
    return TokenizedCorpus(corpus, data.tokenizer, tokens, sizes, unit, data.tokenizer_name)


def _lines_with_text(text: Text) -> Iterator[str]:
    return filter(str.strip, text.lines())


def encode(text: Text, encoder: tokenizers.Tokenizer, name: str = "the text") -> np.ndarray:
    """The text's token ids, shape (N,), memory-mapped from the cache, which is filled first if need be.

    What is encoded is hashed, too. Raises ValueError, by this name, for a text that is no longer what it was when
    `text.sha256` was computed.
    """
    dtype = np.dtype("<u2" if encoder.get_vocab_size() <= 2**16 else "<u4")
    key = hashlib.sha256((text.sha256 + encoder.to_str()).encode()).hexdigest()[:32]

    def make() -> Iterator[bytes]:
        digest = hashlib.sha256()
        for pieces in _several(text, PIECES_AT_ONCE):
            for piece, encoding in zip(
                pieces, encoder.encode_batch_fast(pieces, add_special_tokens=False), strict=True
            ):
                digest.update(piece.encode())
                yield np.array(encoding.ids, dtype=dtype).tobytes()
        if digest.hexdigest() != text.sha256:
            raise ValueError(f"{name} changed while it was read: load it again once nothing writes to its files")

    return kept(f"tokens-{key}.{dtype.name}", make).view(dtype)


def _several(items: Iterator[str] | Text, number: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while some := list(itertools.islice(iterator, number)):
        yield some


def _gpt2_bpe() -> tokenizers.Tokenizer:
    files = [path for name in GPT2_LOCAL for path in local_files(name)]
    if len(files) < len(GPT2_LOCAL):
        repository, *names = GPT2_HUB
        with offline_if_unreachable() as offline:
            try:
                download = functools.partial(
                    huggingface_hub.hf_hub_download, repository, local_files_only=bool(offline)
                )
                files = [Path(download(name)) for name in names]
            except Exception as error:
                raise unavailable("GPT-2's tokenizer", repository, offline, error, GPT2_LOCAL) from error
    try:  # <|endoftext|> is in the vocabulary, but not made special: text that contains it is text
        return _byte_level(models.BPE(*models.BPE.read_file(*map(str, files))))
    except Exception as error:  # the library's own is nothing more special
        raise ValueError(f"{files[0]} and {files[1].name} are no tokenizer ({error}): copy both again") from error


def _byte_level(model: models.BPE) -> tokenizers.Tokenizer:
    encoder = tokenizers.Tokenizer(model)
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder.decoder = decoders.ByteLevel()
    return encoder


def _trained_bpe(corpus: Corpus, pieces: int) -> tokenizers.Tokenizer:
    """Kept by the very text that it is trained on, which is read once. Raises ValueError if that gives fewer pieces."""
    lines = list(_beginning(corpus.splits["train"]))
    digest, size = hashlib.sha256(), 0
    for line in lines:
        encoded = line.encode()
        digest.update(encoded)
        size += len(encoded)

    @functools.cache  # `kept` may ask twice
    def made() -> tuple[bytes]:
        encoder = _byte_level(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=min(pieces, 256 + size),  # the library takes memory for as many as are asked for
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        encoder.train_from_iterator(_without_long_words(lines), trainer)
        if (found := encoder.get_vocab_size()) < pieces:
            raise ValueError(
                f"bpe-{pieces}: the training text of {corpus.name} gives only {found} pieces: take bpe-{found}, or a "
                "longer text"
            )
        return (encoder.to_str().encode(),)

    content = kept(f"bpe-{pieces}-{digest.hexdigest()[:32]}.tokenizer", made)
    return tokenizers.Tokenizer.from_str(content.tobytes().decode())


def _beginning(text: Text) -> Iterator[str]:
    """The first lines of a text, of BPE_TRAINING_BYTES in all; of a first line that is longer, its beginning."""
    size = 0
    for line in text.lines():
        encoded = line.encode()
        if size + len(encoded) > BPE_TRAINING_BYTES:
            if not size:
                yield encoded[:BPE_TRAINING_BYTES].decode(errors="ignore")
            return
        size += len(encoded)
        yield line


def _without_long_words(lines: Iterable[str]) -> Iterator[str]:
    """The lines; one with a word, or white space, of more than LONGEST_WORD characters in parts of so many."""
    for line in lines:
        if len(line) > LONGEST_WORD and max(len(run[0]) for run in re.finditer(r"\S+|\s+", line)) > LONGEST_WORD:
            yield from (line[i : i + LONGEST_WORD] for i in range(0, len(line), LONGEST_WORD))
        else:
            yield line


class Batches:
    """Endless training batches: `batches[i]` is a pure function of (tokens, sizes, seed, i).

    The tokens are cut into blocks of T = block_size inputs; a pass takes whole batches of them, no block twice, in an
    order drawn from seed, `stream` and the number of the pass (fewer than B blocks sit out each pass). So two runs with
    one seed see the same data, a run resumes by remembering one number, and another `stream` is independent.
    Raises ValueError if the tokens do not fill one batch.
    """

    def __init__(self, tokens: np.ndarray, *, batch_size: int, block_size: int, seed: int, stream: int = 0) -> None:
        self.tokens = tokens
        self.block_size = block_size
        self.batch_size = batch_size
        self.num_blocks = (len(tokens) - 1) // block_size
        self.per_pass = self.num_blocks // batch_size
        if self.per_pass < 1:
            raise ValueError(
                f"{len(tokens)} tokens make {self.num_blocks} blocks of {block_size}, too few for one batch of "
                f"{batch_size}: take a smaller batch_size or block_size, or a larger corpus"
            )
        self.entropy = (seed, stream)
        self._pass: tuple[int, np.ndarray] | None = None

    def __getitem__(self, index: int) -> np.ndarray:
        """Batch number `index`, int64 of shape (B, T + 1): inputs are [:, :-1], targets [:, 1:]."""
        if index < 0:
            raise IndexError(f"batches are endless, there is no batch {index}")
        turn, position = divmod(index, self.per_pass)
        if self._pass is None or self._pass[0] != turn:
            self._pass = (turn, np.random.default_rng((*self.entropy, turn)).permutation(self.num_blocks))
        chosen = self._pass[1][position * self.batch_size : (position + 1) * self.batch_size]
        offsets = chosen[:, None] * self.block_size + np.arange(self.block_size + 1)
        return self.tokens[offsets].astype(np.int64)
