"""Text to tokens to batches.

`tokenize` encodes a corpus once and keeps the tokens under `$DLT_CACHE_DIR` or the user's cache directory,
memory-mapped: neither text nor tokens are ever in memory as a whole. `Batches` is a pure function of seed and index.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import numpy as np
import platformdirs
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from dlt_core.corpora.files import write_atomically, write_text_atomically
from dlt_core.corpora.hub import local_files, offline_if_unreachable, unavailable
from dlt_core.corpora.sources import SPLITS, Corpus, Text

GPT2_HUB = ("openai-community/gpt2", "vocab.json", "merges.txt")
GPT2_LOCAL = ("gpt2-bpe/encoder.json", "gpt2-bpe/vocab.bpe")
BPE_TRAINING_BYTES = 2**24  # a BPE is trained on the beginning of the training text: more hardly changes it
PIECES_AT_ONCE = 32  # encoded in parallel by the tokenizers library, one piece a thread


@dataclass(frozen=True)
class TokenizedCorpus:
    """A corpus as token ids.

    tokens: split -> int array of shape (N,). token_bytes: shape (vocab_size,), the bytes of text that each token
    stands for; a byte-level BPE loses nothing, so they add up to the bytes of the text. unit: what a perplexity on
    these tokens is per.
    """

    corpus: Corpus
    tokenizer: tokenizers.Tokenizer
    tokens: Mapping[str, np.ndarray]
    token_bytes: np.ndarray
    unit: str

    @property
    def vocab_size(self) -> int:
        return len(self.token_bytes)

    def passages(self, split: str, *, max_tokens: int | None = None) -> list[tuple[list[int], list[int]]]:
        """Each line as (ids of all but its last word, ids of the last word); the first lines, of `max_tokens` in all.

        Together the ids are those of the line: a word's pieces begin with the blank before it.
        """
        passages, total = [], 0
        for line in self.corpus.splits[split].lines():
            context, blank, word = line.rstrip().rpartition(" ")
            ids = self.tokenizer.encode(context).ids, self.tokenizer.encode(blank + word).ids
            total += len(ids[0]) + len(ids[1])
            if max_tokens is not None and total > max_tokens:
                break
            passages.append(ids)
        return passages


def bpe_pieces(tokenizer: str) -> int | None:
    """N for the tokenizer name "bpe-N", None for "gpt2". Raises ValueError for any other name."""
    if tokenizer == "gpt2":
        return None
    if match := re.fullmatch(r"bpe-(\d+)", tokenizer):
        return int(match[1])
    raise ValueError(f"unknown tokenizer {tokenizer!r}; known: gpt2, bpe-N (such as bpe-2048)")


def tokenize(corpus: Corpus, tokenizer: str) -> TokenizedCorpus:
    """Encode all splits with "gpt2" (GPT-2's BPE, 50,257 pieces) or "bpe-N" (N pieces, trained on the beginning of the
    train split).

    Tokens and trained tokenizers are cached. Raises ValueError for another name, OSError if the cache directory
    cannot be written.
    """
    pieces = bpe_pieces(tokenizer)
    if pieces is None:
        encoder, unit = _gpt2_bpe(), "GPT-2 BPE token"
    else:
        encoder, unit = _trained_bpe(corpus, pieces), f"token of a {pieces:,}-piece BPE"
    tokens = {split: encode(corpus.splits[split], encoder) for split in SPLITS}
    sizes = np.zeros(encoder.get_vocab_size(), dtype=np.int64)
    for piece, index in encoder.get_vocab().items():
        sizes[index] = len(piece)  # in a byte-level vocabulary each character of a piece stands for one byte
    return TokenizedCorpus(corpus, encoder, tokens, sizes, unit)


def marked_blocks(data: TokenizedCorpus, block_size: int) -> TokenizedCorpus:
    """The text as the authors' released code cuts it: without blank lines, in blocks of T = block_size labels, where
    BOS and T - 1 tokens predict these tokens and EOS.

    GPT-2 has one mark for both: one after each T - 1 tokens turns windows of T into such blocks. A small vocabulary
    gets a mark of its own. Perplexities are per label, marks included; bits per byte are of the text that is kept. The
    released code joins its text batch by batch, which is left out here; and here the tokens are in memory as a whole.
    Raises ValueError for blocks of fewer than two labels.
    """
    if block_size < 2:
        raise ValueError(f"block_size={block_size}: a marked block has at least a token and a mark to predict")
    texts = {s: Text(functools.partial(_lines_with_text, data.corpus.splits[s])) for s in SPLITS}
    note = "; ".join(filter(None, [data.corpus.note, "blank lines dropped"]))
    corpus = Corpus(data.corpus.name, texts, data.corpus.source, data.corpus.is_sample, note)
    mark = data.tokenizer.token_to_id("<|endoftext|>")
    mark = data.vocab_size if mark is None else mark
    sizes = np.append(data.token_bytes, 0)[: max(data.vocab_size, mark + 1)]
    sizes[mark] = 0  # it stands for no text
    tokens = {}
    for split in SPLITS:
        plain = encode(texts[split], data.tokenizer)
        dtype = np.result_type(plain.dtype, np.min_scalar_type(mark))
        places = [*range(0, len(plain), block_size - 1), len(plain)]
        tokens[split] = np.insert(plain.astype(dtype, copy=False), places, mark)
    return TokenizedCorpus(corpus, data.tokenizer, tokens, sizes, f"{data.unit}, marks of blocks counted")


def _lines_with_text(text: Text) -> Iterator[str]:
    return filter(str.strip, text.lines())


def encode(text: Text, encoder: tokenizers.Tokenizer) -> np.ndarray:
    """The text's token ids, shape (N,), memory-mapped from the cache, which is filled first if need be."""
    dtype = np.dtype("<u2" if encoder.get_vocab_size() <= 2**16 else "<u4")
    key = hashlib.sha256((text.sha256 + encoder.to_str()).encode()).hexdigest()[:32]
    path = cache_dir() / f"tokens-{key}.{dtype.name}"

    def write(beside: Path) -> None:
        with open(beside, "wb") as file:
            for pieces in _several(text, PIECES_AT_ONCE):
                for encoding in encoder.encode_batch_fast(pieces):
                    np.array(encoding.ids, dtype=dtype).tofile(file)

    if not path.exists():
        with _naming_the_cache(path.parent):
            write_atomically(path, write)
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)


def _several(items: Iterator[str] | Text, number: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while some := list(itertools.islice(iterator, number)):
        yield some


def cache_dir() -> Path:
    """`$DLT_CACHE_DIR`, or the user's cache directory; made if it does not exist."""
    path = Path(os.environ.get("DLT_CACHE_DIR") or platformdirs.user_cache_dir("dlt_core")).expanduser()
    with _naming_the_cache(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def _naming_the_cache(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            f"cannot write to the cache ({path}): {error}. Set DLT_CACHE_DIR to a folder that can be"
        ) from error


def _gpt2_bpe() -> tokenizers.Tokenizer:
    files = [path for name in GPT2_LOCAL for path in local_files(name)]
    if len(files) < len(GPT2_LOCAL):
        repository, *names = GPT2_HUB
        with offline_if_unreachable() as reachable:
            try:
                download = functools.partial(
                    huggingface_hub.hf_hub_download, repository, local_files_only=not reachable
                )
                files = [Path(download(name)) for name in names]
            except Exception as error:
                raise unavailable("GPT-2's tokenizer", repository, reachable, GPT2_LOCAL) from error
    # <|endoftext|> is in the vocabulary, but not made special: text that contains it is text
    return _byte_level(models.BPE(*models.BPE.read_file(*map(str, files))))


def _byte_level(model: models.BPE) -> tokenizers.Tokenizer:
    encoder = tokenizers.Tokenizer(model)
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder.decoder = decoders.ByteLevel()
    return encoder


def _trained_bpe(corpus: Corpus, vocab_size: int) -> tokenizers.Tokenizer:
    if vocab_size < 256:
        raise ValueError(f"bpe-{vocab_size}: a byte-level BPE needs at least 256 pieces, one for each byte")
    path = cache_dir() / f"bpe-{vocab_size}-{corpus.splits['train'].sha256[:32]}.json"
    if not path.exists():
        encoder = _byte_level(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        encoder.train_from_iterator(_beginning(corpus.splits["train"]), trainer)
        with _naming_the_cache(path.parent):
            write_text_atomically(path, encoder.to_str())
    return tokenizers.Tokenizer.from_file(str(path))


def _beginning(text: Text) -> Iterator[str]:
    """The first lines of a text, of BPE_TRAINING_BYTES in all."""
    size = 0
    for line in text.lines():
        size += len(line.encode())
        if size > BPE_TRAINING_BYTES:
            return
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
