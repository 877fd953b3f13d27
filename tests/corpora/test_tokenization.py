"""Tokens and batches: nothing lost, kept once and whole, and never all in memory."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from dlt_core.corpora import text as text_module
from dlt_core.corpora import tokenization
from dlt_core.corpora.cache import SEAL_BYTES
from dlt_core.corpora.local import local_files
from dlt_core.corpora.sources import SPLITS, Corpus, load
from dlt_core.corpora.text import Text
from dlt_core.corpora.tokenization import Batches, TokenizedCorpus, tokenize

TEXT = {
    "train": " \n = Title = \n \n Valkyria \u00e9 @-@ Chronicles \u2028 and \x85 on <unk> \n \n \n = = Next = = \n",
    "validation": " \n = Other = \n \n The end . \n",
    "test": " \n = Third = \n \n",
}


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty DLT_CACHE_DIR."""
    path = tmp_path / "cache"
    monkeypatch.setenv("DLT_CACHE_DIR", str(path))
    return path


@pytest.fixture
def tiny_pieces(monkeypatch):
    """Many pieces even of a short text, encoded two at a time."""
    monkeypatch.setattr(text_module, "PIECE", 8)
    monkeypatch.setattr(tokenization, "PIECES_AT_ONCE", 2)


def corpus_of(train: str | Text = "", validation: str = "", test: str = "") -> Corpus:
    return Corpus("any", {"train": train, "validation": validation, "test": test}, "local")


def decoded(data: TokenizedCorpus, split: str) -> str:
    return data.tokenizer.decode(data.tokens[split].tolist(), skip_special_tokens=False)


def lose_nothing(data: TokenizedCorpus) -> bool:
    """The tokens of every split decode to its text, and their bytes add up to its bytes."""
    texts = data.corpus.splits
    return all(
        decoded(data, split) == str(texts[split])
        and data.token_bytes[data.tokens[split]].sum() == len(str(texts[split]).encode())
        for split in SPLITS
    )


# --- tokens ---


def test_tokens_of_the_embedded_corpus_lose_nothing(tiny_data):
    assert tiny_data.vocab_size == 512
    assert "512" in tiny_data.unit
    assert lose_nothing(tiny_data)
    for split in SPLITS:
        ids = tiny_data.tokens[split]
        assert 0 <= ids.min() <= ids.max() < tiny_data.vocab_size
        assert len(ids) < 0.7 * tiny_data.corpus.splits[split].bytes  # pieces, not bytes


@given(st.tuples(*[st.text(st.characters(codec="utf-8"), max_size=60)] * 3))
@settings(max_examples=15)
def test_tokens_of_any_text_lose_nothing(tmp_path_factory, texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        train, *others = texts
        assert lose_nothing(tokenize(corpus_of(TEXT["train"] + train, *others), "bpe-270"))


def test_a_text_encoded_in_pieces_has_the_tokens_of_the_whole(cache, tiny_pieces):
    texts = {split: text.head(20_000) for split, text in load("embedded").splits.items()}
    data = tokenize(corpus_of(**texts), "bpe-512")
    for split, text in texts.items():
        assert len(list(data.corpus.splits[split])) > 1_000
        assert data.tokens[split].tolist() == data.tokenizer.encode(text).ids


def test_the_bpe_is_trained_on_the_training_split_alone(cache):
    data = tokenize(corpus_of("abab " * 50, "xyxy " * 50, "zwzw " * 50), "bpe-257")
    pieces = data.tokenizer.get_vocab()
    assert "ab" in pieces
    assert not {"xy", "zw"} & pieces.keys()


def test_the_bpe_is_trained_on_the_beginning_of_the_training_split(cache, monkeypatch):
    train = "abab \n" * 50 + "xyxy \n" * 50
    monkeypatch.setattr(tokenization, "BPE_TRAINING_BYTES", 303)
    data = tokenize(corpus_of(train), "bpe-257")
    pieces = data.tokenizer.get_vocab()
    assert "ab" in pieces
    assert "xy" not in pieces
    assert lose_nothing(data)


def test_unknown_tokenizers_list_the_known():
    for name in ("gpt3", "bpe", "bpe-x", "bpe-2048 "):
        with pytest.raises(ValueError, match=r"known: gpt2, bpe-N"):
            tokenize(corpus_of(**TEXT), name)
    with pytest.raises(ValueError, match="256"):
        tokenize(corpus_of(**TEXT), "bpe-255")


def gpt2_with(vocab_size: int) -> tuple[dict[str, int], str]:
    """Vocabulary and merges in GPT-2's form: bytes, pieces that nothing leads to, and as the last one "ab"."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(f"unused{i}" for i in range(vocab_size - len(alphabet) - 1)), "ab"]
    return {piece: i for i, piece in enumerate(pieces)}, "#version: 0.2\na b\n"


@pytest.mark.parametrize(("vocab_size", "dtype"), [(300, "uint16"), (2**16, "uint16"), (2**16 + 1, "uint32")])
def test_tokens_are_as_small_as_the_vocabulary_allows_and_memory_mapped(
    vocab_size, dtype, cache, tmp_path, monkeypatch
):
    vocab, merges = gpt2_with(vocab_size)
    (tmp_path / "gpt2-bpe").mkdir()
    (tmp_path / "gpt2-bpe/encoder.json").write_text(json.dumps(vocab))
    (tmp_path / "gpt2-bpe/vocab.bpe").write_text(merges)
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path))
    data = tokenize(corpus_of("cabab", "ab", "\u00e9"), "gpt2")
    assert data.vocab_size == vocab_size
    assert data.tokens["validation"].tolist() == [vocab_size - 1]
    assert len(data.tokens["train"]) == 3
    assert lose_nothing(data)
    for tokens in data.tokens.values():
        assert isinstance(tokens, np.memmap)
        assert not tokens.flags.writeable
        assert tokens.dtype == dtype
        assert Path(tokens.filename).parent == cache
        assert Path(tokens.filename).stat().st_size == tokens.nbytes + SEAL_BYTES


gpt2_and_wikitext_2 = pytest.mark.skipif(
    not all(map(local_files, (*tokenization.GPT2_LOCAL, "wikitext-2/wiki.train.tokens"))),
    reason="needs DLT_DATA_DIR with gpt2-bpe and wikitext-2",
)


@gpt2_and_wikitext_2
def test_gpt2_bpe_makes_the_known_number_of_tokens_of_the_real_wikitext_2():
    data = tokenize(load("wikitext-2"), "gpt2")
    assert data.tokenizer.encode("Hello world").ids == [15496, 995]
    assert data.vocab_size == 50_257
    assert {split: len(ids) for split, ids in data.tokens.items()} == {
        "train": 2_448_382,
        "validation": 258_659,
        "test": 295_877,
    }
    assert all(data.token_bytes[ids].sum() == data.corpus.splits[split].bytes for split, ids in data.tokens.items())
    assert decoded(data, "test") == str(data.corpus.splits["test"])


# --- the cache ---


def test_the_second_call_neither_trains_nor_encodes(cache, monkeypatch):
    real = tokenization.tokenizers.Tokenizer

    class Refusing:
        """A tokenizer that can be looked at, but neither trained nor used."""

        def __init__(self, *arguments):
            self.real = real(*arguments) if arguments else None

        @classmethod
        def from_str(cls, text):
            made = cls()
            made.real = real.from_str(text)
            return made

        def __getattr__(self, name):
            if name.startswith(("encode", "train")):
                raise AssertionError(f"{name} was called")
            return getattr(self.real, name)

    first = tokenize(corpus_of(**TEXT), "bpe-270")
    files = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    monkeypatch.setattr(tokenization, "tokenizers", SimpleNamespace(Tokenizer=Refusing))
    second = tokenize(corpus_of(**TEXT), "bpe-270")
    assert all(np.array_equal(first.tokens[split], second.tokens[split]) for split in SPLITS)
    assert np.array_equal(first.token_bytes, second.token_bytes)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == files
    monkeypatch.setenv("DLT_CACHE_DIR", str(cache / "another"))
    with pytest.raises(AssertionError, match="was called"):
        tokenize(corpus_of(**TEXT), "bpe-270")


def test_another_text_is_not_served_from_the_cache(cache):
    for text in ("one", "two"):  # no training text: both get the same BPE
        assert decoded(tokenize(corpus_of(test=text), "bpe-256"), "test") == text


def test_another_tokenizer_is_not_served_from_the_cache(cache):
    for tokenizer in ("bpe-260", "bpe-270", "bpe-280"):
        data = tokenize(corpus_of(**TEXT), tokenizer)
        assert data.tokens["train"].tolist() == data.tokenizer.encode(TEXT["train"]).ids


def halfway_through_encoding(cache: Path, text: str, happens: Callable[[], object]) -> Text:
    """The text, but when half of it has been encoded something happens."""

    def read() -> Iterator[str]:
        yield text[: len(text) // 2]
        if any(cache.glob("tokens-*")):
            happens()
        yield text[len(text) // 2 :]

    return Text(read)


def test_an_interrupted_encoding_leaves_no_file(cache, tiny_pieces):
    def interrupt():
        raise KeyboardInterrupt

    text = TEXT["train"] * 20
    with pytest.raises(KeyboardInterrupt):
        tokenize(corpus_of(halfway_through_encoding(cache, text, interrupt)), "bpe-270")
    assert [path.suffix for path in cache.iterdir()] == [".tokenizer"], "only the tokenizer was whole"
    assert decoded(tokenize(corpus_of(text), "bpe-270"), "train") == text


def test_another_process_that_encodes_the_same_meanwhile_does_no_harm(cache, tiny_pieces):
    text = TEXT["train"] * 20
    other = (
        "import sys; from dlt_core.corpora import Corpus; from dlt_core.corpora import tokenize\n"
        "corpus = Corpus('any', {'train': sys.argv[1], 'validation': '', 'test': ''}, 'local')\n"
        "print(tokenize(corpus, 'bpe-270').tokens['train'].tolist())"
    )
    found = []

    def encode_in_another_process():
        done = subprocess.run([sys.executable, "-c", other, text], check=True, capture_output=True, encoding="utf-8")
        found.append(json.loads(done.stdout))

    data = tokenize(corpus_of(halfway_through_encoding(cache, text, encode_in_another_process)), "bpe-270")
    assert found == [data.tokens["train"].tolist()]
    assert decoded(data, "train") == text
    assert sorted(path.suffix for path in cache.iterdir()) == [".tokenizer", ".uint16", ".uint16"]


# --- memory ---

# Small batches in one thread: they take the same memory for every text, but not exactly, and would hide the rest.
PEAK = """
import re
from pathlib import Path
from dlt_core import corpora
from dlt_core.corpora import tokenization

tokenization.BPE_TRAINING_BYTES = 2**18
tokenization.PIECES_AT_ONCE = 4
data = tokenization.tokenize(corpora.load("wikitext-103"), "bpe-280")
assert data.corpus.splits["train"].words and len(data.tokens["train"])
print(1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
def test_memory_does_not_grow_with_the_text(tmp_path):
    """Held as a whole, as text or as token ids, the longer text would take at least a byte more for each further
    character; a quarter of that is twice what allocators leave behind. (The peak is not ru_maxrss: a process inherits
    that from the one that starts it, which is larger than this one ever gets.)"""
    line = " \n the cat and the dog and the end of the story , again and again \n"
    lengths, peaks = (3_000_000, 30_000_000), []
    for length in lengths:
        root = tmp_path / str(length)
        (root / "wikitext-103").mkdir(parents=True)
        for name, characters in {"train": length, "valid": 1_000, "test": 1_000}.items():
            (root / f"wikitext-103/wiki.{name}.tokens").write_text(line * (characters // len(line)))
        where = {"DLT_DATA_DIR": str(root), "DLT_CACHE_DIR": str(root / "cache")}
        environment = {**os.environ, **where, "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run([sys.executable, "-c", PEAK], check=True, env=environment, stdout=subprocess.PIPE)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < (lengths[1] - lengths[0]) / 4


# --- batches ---

sizes = {"n": st.integers(2, 400), "batch_size": st.integers(1, 6), "block_size": st.integers(1, 20)}


@given(**sizes, seed=st.integers(0, 2**31), stream=st.integers(0, 3))
def test_a_pass_visits_each_block_once_and_targets_are_shifted_inputs(n, batch_size, block_size, seed, stream):
    tokens = np.arange(65_000, 65_000 + n, dtype=np.uint16)
    if (n - 1) // block_size < batch_size:
        with pytest.raises(ValueError, match=rf"{n} tokens.*too few"):
            Batches(tokens, batch_size=batch_size, block_size=block_size, seed=seed, stream=stream)
        return
    batches = Batches(tokens, batch_size=batch_size, block_size=block_size, seed=seed, stream=stream)
    num_blocks = (n - 1) // block_size
    per_pass = num_blocks // batch_size
    for turn in (0, 1, 5):
        starts = []
        for i in range(per_pass):
            batch = batches[turn * per_pass + i]
            assert batch.shape == (batch_size, block_size + 1)
            assert batch.dtype == np.int64
            assert (np.diff(batch, axis=1) == 1).all()  # inputs [:, :-1] and targets [:, 1:] are one token apart
            starts += (batch[:, 0] - 65_000).tolist()
        assert len(starts) == len(set(starts)) == per_pass * batch_size > num_blocks - batch_size
        assert set(starts) <= set(range(0, num_blocks * block_size, block_size))


@given(st.permutations(range(24)), st.integers(0, 2**31))
@settings(max_examples=15)
def test_a_batch_is_a_function_of_its_number_alone(order, seed):
    def make():
        return Batches(np.arange(400), batch_size=4, block_size=12, seed=seed)

    in_order = [make()[i] for i in range(24)]
    batches = make()
    for i in order:
        assert np.array_equal(batches[i], in_order[i])


def test_there_is_no_batch_before_the_first():
    with pytest.raises(IndexError, match="-1"):
        Batches(np.arange(400), batch_size=4, block_size=12, seed=0)[-1]


def test_seeds_streams_and_passes_have_different_orders():
    def order(seed, stream, turn):
        batches = Batches(np.arange(1001), batch_size=10, block_size=10, seed=seed, stream=stream)
        return tuple(int(s) for i in range(10) for s in batches[turn * 10 + i][:, 0])

    cases = [(seed, stream, turn) for seed in range(3) for stream in range(3) for turn in range(3)]
    orders = {case: order(*case) for case in cases}
    assert all(sorted(o) == list(range(0, 1000, 10)) for o in orders.values())
    assert len(set(orders.values())) == len(cases)
    default = Batches(np.arange(1001), batch_size=10, block_size=10, seed=1)
    assert tuple(default[0][:, 0]) == orders[1, 0, 0][:10]
