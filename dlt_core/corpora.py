"""Text to tokens to batches.

`load(name)` looks in `$DLT_DATA_DIR`, then on the Hugging Face hub; "embedded" needs neither: it is the Python language
reference that ships with CPython. Data never silently becomes other data. `tokenize` encodes a corpus once and caches
the tokens under `$DLT_CACHE_DIR` or the user's cache directory. `Batches` is a pure function of seed and index.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.utils
import numpy as np
import platformdirs
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from dlt_core.files import write_atomically, write_text_atomically

SPLITS = ("train", "validation", "test")
# Hub repository and configuration, and the data set's own file names for $DLT_DATA_DIR.
HUB = {"wikitext-2": ("Salesforce/wikitext", "wikitext-2-v1")}
LOCAL = {
    "wikitext-2": {
        "train": "wikitext-2/wiki.train.tokens",
        "validation": "wikitext-2/wiki.valid.tokens",
        "test": "wikitext-2/wiki.test.tokens",
    }
}
CORPORA = ("embedded", *HUB)
GPT2_HUB = ("openai-community/gpt2", "vocab.json", "merges.txt")
GPT2_LOCAL = ("gpt2-bpe/encoder.json", "gpt2-bpe/vocab.bpe")
REACH_SECONDS = 3.0  # how long the hub may take to answer before it counts as unreachable


class CorpusUnavailable(RuntimeError):
    """Neither a local copy nor the hub has the data; the message names both remedies."""


@dataclass(frozen=True)
class Corpus:
    """Text in three splits. `source` is "embedded", "local" or "hub"; `is_sample` if it is only part of the corpus."""

    name: str
    splits: Mapping[str, str]
    source: str
    is_sample: bool = False

    @functools.cached_property
    def sha256(self) -> str:
        """Over the UTF-8 bytes of the splits in order, each behind its name; the same wherever it came from."""
        digest = hashlib.sha256()
        for split in SPLITS:
            digest.update(split.encode() + b"\0" + self.splits[split].encode() + b"\0")
        return digest.hexdigest()


def load(name: str) -> Corpus:
    """The corpus `name`, from `$DLT_DATA_DIR` or the hub.

    Raises ValueError for an unknown name, CorpusUnavailable (within seconds) if it can be had from neither place,
    FileNotFoundError if the local copy lacks a split.
    """
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}; known: {', '.join(CORPORA)}")
    if name == "embedded":
        return Corpus(name, _python_reference(), "embedded")
    paths = {split: _local(LOCAL[name][split]) for split in SPLITS}
    if all(paths.values()):
        return Corpus(name, {s: p.read_bytes().decode() for s, p in paths.items()}, "local")
    if any(paths.values()):
        missing = ", ".join(LOCAL[name][split] for split, path in paths.items() if path is None)
        raise FileNotFoundError(f"DLT_DATA_DIR={os.environ['DLT_DATA_DIR']} has only a part of {name}: no {missing}")
    return Corpus(name, _from_hub(name), "hub")


def _local(relative: str) -> Path | None:
    """The file under $DLT_DATA_DIR, if it is there."""
    root = os.environ.get("DLT_DATA_DIR")
    path = Path(root).expanduser() / relative if root else None
    return path if path is not None and path.is_file() else None


def _from_hub(name: str) -> dict[str, str]:
    import datasets  # a second to import, and only needed here

    repository, configuration = HUB[name]
    with _offline_if_unreachable() as reachable:
        try:
            rows = {s: datasets.load_dataset(repository, configuration, split=s)["text"] for s in SPLITS}
        except Exception as error:
            raise _unavailable(f"the corpus {name!r}", repository, reachable, LOCAL[name].values()) from error
    # The hub's copy of WikiText gives each line as a row, with the blank lines " \n" made empty: put them back, so
    # that the text is byte for byte that of the original files.
    return {split: "".join(line or " \n" for line in lines) for split, lines in rows.items()}


@contextlib.contextmanager
def _offline_if_unreachable() -> Iterator[bool]:
    """Whether the hub answers. If not, the libraries are kept from trying for half a minute; caches still serve."""
    import datasets

    reachable = not huggingface_hub.constants.HF_HUB_OFFLINE and _hub_answers()
    modules = (datasets.config, huggingface_hub.constants)
    before = [m.HF_HUB_OFFLINE for m in modules]
    for module in modules:
        module.HF_HUB_OFFLINE = not reachable
    try:
        yield reachable
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value


def _hub_answers() -> bool:
    """Asked in a thread, since looking up a name can hang for longer than any time limit of the request itself."""
    answers: list[object] = []

    def ask() -> None:
        with contextlib.suppress(Exception):  # whatever the HTTP library in use raises: no answer is no answer
            session = huggingface_hub.utils.get_session()
            answers.append(session.head(huggingface_hub.constants.ENDPOINT, timeout=REACH_SECONDS))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(REACH_SECONDS)
    return bool(answers)


def _unavailable(what: str, repository: str, reachable: bool, files: object) -> CorpusUnavailable:
    state = "the hub answered, but loading failed" if reachable else "the Hugging Face hub cannot be reached"
    return CorpusUnavailable(
        f"{what} is not here: {state}, and DLT_DATA_DIR"
        f"{'=' + os.environ['DLT_DATA_DIR'] if os.environ.get('DLT_DATA_DIR') else ' (not set)'} does not hold it.\n"
        f"Remedy 1: connect to the internet; it is then downloaded once from {repository!r}.\n"
        f"Remedy 2: set DLT_DATA_DIR to a folder that holds {', '.join(files)}."
    )


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


def bpe_pieces(tokenizer: str) -> int | None:
    """N for the tokenizer name "bpe-N", None for "gpt2". Raises ValueError for any other name."""
    if tokenizer == "gpt2":
        return None
    if match := re.fullmatch(r"bpe-(\d+)", tokenizer):
        return int(match[1])
    raise ValueError(f"unknown tokenizer {tokenizer!r}; known: gpt2, bpe-N (such as bpe-2048)")


def tokenize(corpus: Corpus, tokenizer: str) -> TokenizedCorpus:
    """Encode all splits with "gpt2" (GPT-2's BPE, 50,257 pieces) or "bpe-N" (N pieces, trained on the train split).

    Tokens and trained tokenizers are cached. Raises ValueError for another name, OSError if the cache directory
    cannot be written.
    """
    pieces = bpe_pieces(tokenizer)
    if pieces is None:
        encoder, unit = _gpt2_bpe(), "GPT-2 BPE token"
    else:
        encoder, unit = _trained_bpe(corpus, pieces), f"token of a {pieces:,}-piece BPE"
    key = hashlib.sha256((corpus.sha256 + encoder.to_str()).encode()).hexdigest()[:32]
    tokens = {}
    for split in SPLITS:
        path = cache_dir() / f"tokens-{key}-{split}.npy"
        if not path.exists():
            buffer = io.BytesIO()
            np.save(buffer, np.array(encoder.encode(corpus.splits[split]).ids, dtype=np.int32))
            with _naming_the_cache(path.parent):
                write_atomically(path, functools.partial(Path.write_bytes, data=buffer.getvalue()))
        tokens[split] = np.load(path, mmap_mode="r")
    sizes = np.zeros(encoder.get_vocab_size(), dtype=np.int64)
    for piece, index in encoder.get_vocab().items():
        sizes[index] = len(piece)  # in a byte-level vocabulary each character of a piece stands for one byte
    return TokenizedCorpus(corpus, encoder, tokens, sizes, unit)


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
    files = [_local(name) for name in GPT2_LOCAL]
    if not all(files):
        repository, *names = GPT2_HUB
        with _offline_if_unreachable() as reachable:
            try:
                files = [
                    huggingface_hub.hf_hub_download(repository, name, local_files_only=not reachable) for name in names
                ]
            except Exception as error:
                raise _unavailable("GPT-2's tokenizer", repository, reachable, GPT2_LOCAL) from error
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
    path = cache_dir() / f"bpe-{vocab_size}-{corpus.sha256[:32]}.json"
    if not path.exists():
        encoder = _byte_level(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        encoder.train_from_iterator(corpus.splits["train"].splitlines(keepends=True), trainer)
        with _naming_the_cache(path.parent):
            write_text_atomically(path, encoder.to_str())
    return tokenizers.Tokenizer.from_file(str(path))


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
