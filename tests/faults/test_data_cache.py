"""A damaged cache never gives wrong tokens, nor does a text that changes while it is read."""

import random
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dlt_core.corpora import text as text_module
from dlt_core.corpora.sources import SPLITS, Corpus, load
from dlt_core.corpora.text import Text
from dlt_core.corpora.tokenization import TokenizedCorpus, tokenize

TRAIN = "the cat and the dog and the end of the story , again and again \n" * 8
OTHER = "another text , of another story altogether \n" * 8


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty DLT_CACHE_DIR."""
    monkeypatch.setenv("DLT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def corpus_of(train: str | Text) -> Corpus:
    return Corpus("any", {"train": train, "validation": "", "test": ""}, "local")


def corruptions(whole: bytes, others: list[bytes], number: int) -> Iterator[tuple[str, bytes]]:
    """What may have become of a file: cut short, longer, swapped, empty, foreign, old, or with other bytes in it."""
    yield "empty", b""
    yield "as an older version wrote it", whole[:-32]
    yield "the seal alone", whole[-32:]
    yield "twice", whole * 2
    yield "zeros", bytes(len(whole))
    yield "foreign", b"%PDF-1.7 nothing of ours\n" * 20
    for other in others:
        yield "swapped", other
        yield "swapped, its own seal", other[:-32] + whole[-32:]
    rng = random.Random(0)
    for _ in range(number - 6 - 2 * len(others)):
        place, kind = rng.randrange(len(whole)), rng.randrange(5)
        if kind == 0:
            yield f"cut at {place}", whole[:place]
        elif kind == 1:
            yield f"bit of {place}", whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :]
        elif kind == 2:
            yield f"without {place}", whole[:place] + whole[place + 1 :]
        elif kind == 3:
            yield f"more at {place}", whole[:place] + rng.randbytes(rng.randrange(1, 9)) + whole[place:]
        else:
            yield f"zeros from {place}", whole[:place] + bytes(len(whole) - place)


@pytest.mark.parametrize("of", ["tokens-*", "bpe-*"])
def test_200_corruptions_are_all_noticed_and_made_good(of, cache):
    tokenize(corpus_of(OTHER), "bpe-260")
    others = {path: path.read_bytes() for path in cache.iterdir()}
    right = tokenize(corpus_of(TRAIN), "bpe-260")
    expected, encoder = right.tokens["train"].tolist(), right.tokenizer.to_str()
    (path,) = (path for path in set(cache.glob(of)) - others.keys() if path.stat().st_size > 32)
    whole = path.read_bytes()
    tried = 0
    for what, damaged in corruptions(whole, list(others.values()), 200):
        if damaged == whole:  # zeros where zeros were
            damaged = whole[:-1]
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"damaged, or of an older version: it is made again") as said:
            found = tokenize(corpus_of(TRAIN), "bpe-260")
        assert len(said) == 1, what
        assert str(path) in str(said[0].message)
        assert (found.tokens["train"].tolist(), found.tokenizer.to_str()) == (expected, encoder), what
        assert path.read_bytes() == whole, what
        tried += 1
    assert tried == 200
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenize(corpus_of(TRAIN), "bpe-260")


def lose_nothing(data: TokenizedCorpus, text: str) -> bool:
    return data.tokenizer.decode(data.tokens["train"].tolist()) == text


@pytest.mark.parametrize("reading", [1, 2, 3])
def test_a_text_that_changes_after_any_of_its_readings_poisons_nothing(reading, cache, monkeypatch):
    """It is read to be hashed, to train the BPE, and to be encoded."""
    monkeypatch.setattr(text_module, "PIECE", 8)
    times = 0

    def read() -> Iterator[str]:
        nonlocal times
        times += 1
        yield OTHER if times > reading else TRAIN

    changing = corpus_of(Text(read))
    if reading < 3:
        with pytest.raises(ValueError, match=r"^the train split of any changed while it was read: load it again.*$"):
            tokenize(changing, "bpe-260")
        assert not list(cache.glob("tokens-*"))
    else:
        assert lose_nothing(tokenize(changing, "bpe-260"), TRAIN)
    for text in (TRAIN, OTHER):
        found = tokenize(corpus_of(text), "bpe-260")
        assert lose_nothing(found, text)
        monkeypatch.setenv("DLT_CACHE_DIR", str(cache / "new"))
        fresh = tokenize(corpus_of(text), "bpe-260")
        monkeypatch.setenv("DLT_CACHE_DIR", str(cache))
        assert np.array_equal(found.tokens["train"], fresh.tokens["train"])
        assert found.tokenizer.to_str() == fresh.tokenizer.to_str()


def test_a_file_of_data_that_changes_while_it_is_read_is_refused(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "data" / "wikitext-2"
    folder.mkdir(parents=True)
    for name in ("train", "valid", "test"):
        (folder / f"wiki.{name}.tokens").write_text(f"{name}: {TRAIN}")
    corpus = load("wikitext-2")
    before = corpus.sha256
    (folder / "wiki.valid.tokens").write_text(OTHER)
    with pytest.raises(ValueError, match="the validation split of wikitext-2 changed while it was read: load it again"):
        tokenize(corpus, "bpe-260")
    again = load("wikitext-2")
    assert again.sha256 != before
    data = tokenize(again, "bpe-260")
    assert data.tokenizer.decode(data.tokens["validation"].tolist()) == OTHER


def test_without_a_cache_the_tokens_are_the_same(cache, tmp_path, monkeypatch):
    expected = tokenize(corpus_of(TRAIN), "bpe-260")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DLT_CACHE_DIR", str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match="DLT_CACHE_DIR") as said:
        found = tokenize(corpus_of(TRAIN), "bpe-260")
    assert len({str(warning.message) for warning in said}) == 1
    assert found.tokenizer.to_str() == expected.tokenizer.to_str()
    assert all(found.tokens[split].tolist() == expected.tokens[split].tolist() for split in SPLITS)
    assert all(found.tokens[split].dtype == expected.tokens[split].dtype for split in SPLITS)


TWO = """
import sys
from dlt_core.corpora import Corpus, tokenize
corpus = Corpus("any", {"train": sys.argv[1], "validation": sys.argv[1][::-1], "test": ""}, "local")
sys.stdin.readline()
data = tokenize(corpus, "bpe-400")
for split, text in corpus.splits.items():
    assert data.tokenizer.decode(data.tokens[split].tolist()) == str(text), split
print(data.tokenizer.to_str(), data.tokens["train"].tolist())
"""


def test_two_processes_that_fill_one_cache_at_once_are_both_right(cache):
    text = load("embedded").splits["train"].head(50_000)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-W", "error::UserWarning", "-c", TWO, text], **pipes) for _ in range(2)]
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    (one, errors), (other, more) = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], errors + more
    assert one == other
    assert sorted(path.name.partition("-")[0] for path in cache.iterdir()) == ["bpe", "tokens", "tokens", "tokens"]
