"""Text, tokens and batches: nothing lost, nothing leaked between splits, nothing silently replaced."""

import hashlib
import os
import re
import socket
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlt_core import corpora
from dlt_core.corpora import SPLITS, Batches, Corpus, CorpusUnavailable, load, tokenize

# Blank lines, a non-ASCII letter, and characters at which str.splitlines() would break a line but a file does not.
TEXT = {
    "train": " \n = Title = \n \n Valkyria \u00e9 @-@ Chronicles \u2028 and \x85 on <unk> \n \n \n = = Next = = \n",
    "validation": " \n = Other = \n \n The end . \n",
    "test": " \n = Third = \n \n",
}
FILES = {  # corpus -> split -> file under $DLT_DATA_DIR
    "wikitext-2": {
        "train": "wikitext-2/wiki.train.tokens",
        "validation": "wikitext-2/wiki.valid.tokens",
        "test": "wikitext-2/wiki.test.tokens",
    }
}
HUB = {"wikitext-2": ("Salesforce/wikitext", "wikitext-2-v1")}


@pytest.fixture
def no_local_data(monkeypatch):
    monkeypatch.delenv("DLT_DATA_DIR", raising=False)


@pytest.fixture
def data_dir(tmp_path, monkeypatch) -> Path:
    """A DLT_DATA_DIR with a small copy of each corpus."""
    for files in FILES.values():
        for split, name in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(TEXT[split].encode())
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path))
    return tmp_path


def hub_that_answers(monkeypatch) -> None:
    session = SimpleNamespace(head=lambda *_, **__: SimpleNamespace(status_code=200))
    monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: session)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def empty_hub_caches(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


# --- embedded ---


def test_the_embedded_corpus_is_the_same_each_time_and_large_enough():
    corpus = load("embedded")
    assert (corpus.name, corpus.source) == ("embedded", "embedded")
    assert set(corpus.splits) == set(SPLITS) == {"train", "validation", "test"}
    assert load("embedded").sha256 == corpus.sha256
    total = sum(map(len, corpus.splits.values()))
    assert total > 100_000
    assert len(corpus.splits["train"]) >= 0.75 * total
    assert len(corpus.splits["validation"]) >= 0.05 * total
    assert len(corpus.splits["test"]) >= 0.05 * total


def paragraphs(text: str) -> list[str]:
    return [p.strip("\n") for p in re.split(r"\n\s*\n", text) if p.strip()]


def test_no_paragraph_and_no_topic_is_in_two_splits():
    from pydoc_data.topics import topics

    where = defaultdict(set)
    for split, text in load("embedded").splits.items():
        found = paragraphs(text)
        assert len(found) == len(set(found))
        for paragraph in found:
            where[paragraph].add(split)
    assert all(len(splits) == 1 for splits in where.values())

    seen: set[str] = set()
    for topic in sorted(topics):  # a paragraph belongs to the first topic that has it
        own = [p for p in paragraphs(topics[topic]) if p not in seen]
        seen.update(own)
        assert len({split for p in own for split in where[p]}) <= 1, topic
    assert seen == set(where)  # and none was lost


def test_the_digest_tells_texts_and_splits_apart():
    base = Corpus("a", TEXT, "local")
    moved = {"train": TEXT["train"] + "x", "validation": "y", "test": ""}
    other = {"train": TEXT["train"], "validation": "xy", "test": ""}
    assert base.sha256 == Corpus("b", dict(TEXT), "hub").sha256
    assert len({base.sha256, Corpus("a", moved, "local").sha256, Corpus("a", other, "local").sha256}) == 3
    digest = hashlib.sha256()
    for split in ("train", "validation", "test"):
        digest.update(split.encode() + b"\0" + TEXT[split].encode() + b"\0")
    assert base.sha256 == digest.hexdigest()


# --- local, hub, neither ---


@pytest.mark.parametrize("name", FILES)
def test_a_local_copy_is_read_byte_for_byte_and_no_hub_is_asked(name, data_dir, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", fail)
    corpus = load(name)
    assert dict(corpus.splits) == TEXT
    assert (corpus.name, corpus.source) == (name, "local")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("missing", SPLITS)
def test_a_partial_local_copy_raises_and_names_the_missing_file(name, missing, data_dir, monkeypatch):
    hub_that_answers(monkeypatch)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: {"text": ["never this\n"]})
    (data_dir / FILES[name][missing]).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(FILES[name][missing])) as error:
        load(name)
    assert str(data_dir) in str(error.value)


@pytest.mark.parametrize("name", HUB)
def test_the_hub_is_asked_for_the_right_data_and_gives_the_same_text(name, no_local_data, data_dir, monkeypatch):
    local = load(name)
    monkeypatch.setenv("DLT_DATA_DIR", str(data_dir / "empty"))
    hub_that_answers(monkeypatch)
    asked = []

    def load_dataset(repository, configuration, *, split):
        asked.append((repository, configuration, split))
        lines = re.findall(r".*\n", TEXT[split])  # the hub's rows: lines with their end, blank ones empty
        return datasets.Dataset.from_dict({"text": [line if line.strip() else "" for line in lines]})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    corpus = load(name)
    assert corpus.source == "hub"
    assert dict(corpus.splits) == TEXT
    assert corpus.sha256 == local.sha256
    assert sorted(asked) == sorted((*HUB[name], split) for split in SPLITS)
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False


def test_the_tables_above_cover_every_corpus():
    assert {"embedded", *HUB} == {"embedded", *FILES} == set(corpora.CORPORA)


def both_remedies(error) -> bool:
    message = str(error.value)
    return "DLT_DATA_DIR" in message and "internet" in message


@pytest.mark.parametrize("name", HUB)
def test_no_network_and_no_copy_is_an_error_that_names_both_remedies(name, no_local_data, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no route to host")

    hub_that_answers(monkeypatch)
    empty_hub_caches(monkeypatch, tmp_path)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: SimpleNamespace(head=refuse))
    online_before = datasets.config.HF_HUB_OFFLINE
    started = time.monotonic()
    with pytest.raises(CorpusUnavailable, match=name) as error:
        load(name)
    assert time.monotonic() - started < 5
    assert both_remedies(error)
    assert FILES[name]["train"] in str(error.value)
    assert HUB[name][0] in str(error.value)
    with pytest.raises(CorpusUnavailable) as error:
        tokenize(Corpus("any", TEXT, "local"), "gpt2")
    assert both_remedies(error)
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False  # as it was before
    assert online_before == datasets.config.HF_HUB_OFFLINE


def test_a_hub_that_never_answers_is_given_up_within_five_seconds(no_local_data, tmp_path, monkeypatch):
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            while True:
                try:
                    accepted.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        empty_hub_caches(monkeypatch, tmp_path)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)
        started = time.monotonic()
        with pytest.raises(CorpusUnavailable) as error:
            load("wikitext-2")
        assert time.monotonic() - started < 5
        assert both_remedies(error)
        server.shutdown(socket.SHUT_RDWR)
    assert accepted  # it was this hub that was asked
    for connection in accepted:
        connection.close()


def test_a_hub_that_answers_and_then_fails_says_so(no_local_data, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    hub_that_answers(monkeypatch)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(CorpusUnavailable, match="loading failed") as error:
        load("wikitext-2")
    assert both_remedies(error)
    assert "disk full" in str(error.value.__cause__)


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match="wikitext-3") as error:
        load("wikitext-3")
    assert all(name in str(error.value) for name in corpora.CORPORA)
    for name in ("gpt3", "bpe", "bpe-x", "bpe-2048 "):
        with pytest.raises(ValueError, match=r"known: gpt2, bpe-N"):
            tokenize(Corpus("any", TEXT, "local"), name)
    with pytest.raises(ValueError, match="256"):
        tokenize(Corpus("any", TEXT, "local"), "bpe-255")


# --- tokens ---


def test_embedded_tokens_add_up_to_the_bytes_and_decode_exactly(tiny_data):
    assert tiny_data.vocab_size == 512
    assert "512" in tiny_data.unit
    for split in SPLITS:
        text, ids = tiny_data.corpus.splits[split], tiny_data.tokens[split]
        assert tiny_data.token_bytes[ids].sum() == len(text.encode())
        assert tiny_data.tokenizer.decode(ids.tolist(), skip_special_tokens=False) == text
        assert 0 <= ids.min() <= ids.max() < tiny_data.vocab_size
        assert len(ids) < 0.7 * len(text)  # pieces, not bytes


@given(st.tuples(*[st.text(st.characters(codec="utf-8"), max_size=60)] * 3))
@settings(max_examples=15)
def test_tokens_of_any_text_lose_nothing(tmp_path_factory, texts):
    splits = dict(zip(SPLITS, texts, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        data = tokenize(Corpus("any", splits, "local"), "bpe-300")
        for split, text in splits.items():
            ids = data.tokens[split]
            assert data.token_bytes[ids].sum() == len(text.encode())
            assert data.tokenizer.decode(ids.tolist(), skip_special_tokens=False) == text


def test_the_bpe_is_trained_on_the_training_split_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("DLT_CACHE_DIR", str(tmp_path))
    one = tokenize(Corpus("a", {"train": "abab " * 50, "validation": "xyxy " * 50, "test": ""}, "local"), "bpe-270")
    pieces = one.tokenizer.get_vocab()
    assert "ab" in pieces
    assert "xy" not in pieces


def test_the_cache_is_used_on_the_second_call(tmp_path, monkeypatch):
    corpus = Corpus("any", TEXT, "local")
    real = corpora.tokenizers.Tokenizer

    class Refusing:
        """A tokenizer that can be looked at, but neither trained nor used."""

        def __init__(self, *arguments):
            self.real = real(*arguments) if arguments else None

        @classmethod
        def from_file(cls, path):
            made = cls()
            made.real = real.from_file(path)
            return made

        def __getattr__(self, name):
            if name in ("encode", "encode_batch", "train_from_iterator"):
                raise AssertionError(f"{name} was called")
            return getattr(self.real, name)

    monkeypatch.setenv("DLT_CACHE_DIR", str(tmp_path / "one"))
    first = tokenize(corpus, "bpe-270")
    monkeypatch.setattr(corpora, "tokenizers", SimpleNamespace(Tokenizer=Refusing))
    second = tokenize(corpus, "bpe-270")
    assert all(np.array_equal(first.tokens[s], second.tokens[s]) for s in SPLITS)
    assert np.array_equal(first.token_bytes, second.token_bytes)
    monkeypatch.setenv("DLT_CACHE_DIR", str(tmp_path / "two"))
    with pytest.raises(AssertionError, match="was called"):
        tokenize(corpus, "bpe-270")


def test_another_text_is_not_served_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DLT_CACHE_DIR", str(tmp_path))
    splits = {"train": "", "validation": "", "test": ""}  # nothing to learn from: both get the same BPE
    for text in ("one", "two"):
        data = tokenize(Corpus("any", {**splits, "test": text}, "local"), "bpe-256")
        assert data.tokenizer.decode(data.tokens["test"].tolist()) == text


def test_a_cache_that_cannot_be_made_names_its_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("DLT_CACHE_DIR", str(path))
        with pytest.raises(OSError, match="DLT_CACHE_DIR"):
            tokenize(Corpus("any", TEXT, "local"), "bpe-270")


def test_a_cache_that_cannot_be_written_names_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("DLT_CACHE_DIR", str(tmp_path))
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):  # root may write everywhere: refuse on its behalf

        def refuse(path, *_, **__):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(OSError, match="DLT_CACHE_DIR"):
        tokenize(Corpus("any", TEXT, "local"), "bpe-270")
    tmp_path.chmod(0o700)


def test_an_interrupted_write_leaves_no_half_file(tmp_path, monkeypatch):
    monkeypatch.setenv("DLT_CACHE_DIR", str(tmp_path))

    def half(path, data):
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(KeyboardInterrupt):
            tokenize(Corpus("any", TEXT, "local"), "bpe-270")
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"], "only the tokenizer was whole"
    data = tokenize(Corpus("any", TEXT, "local"), "bpe-270")
    assert data.tokenizer.decode(data.tokens["train"].tolist()) == TEXT["train"]


@pytest.mark.skipif(not os.environ.get("DLT_DATA_DIR"), reason="needs DLT_DATA_DIR with gpt2-bpe and wikitext-2")
def test_gpt2_bpe_on_the_real_wikitext_2():
    data = tokenize(load("wikitext-2"), "gpt2")
    assert data.tokenizer.encode("Hello world").ids == [15496, 995]
    assert data.vocab_size == 50257
    assert {s: len(t) for s, t in data.tokens.items()} == {"train": 2448382, "validation": 258659, "test": 295877}
    for split, ids in data.tokens.items():
        assert data.token_bytes[ids].sum() == len(data.corpus.splits[split].encode())
    text = data.corpus.splits["test"]
    assert data.tokenizer.decode(data.tokens["test"].tolist(), skip_special_tokens=False) == text
    # every blank line is " \n", which is what makes the hub's rows the same text
    assert all(line.strip() or line == " \n" for s in SPLITS for line in re.findall(r".*\n", data.corpus.splits[s]))


# --- batches ---

sizes = {"n": st.integers(2, 400), "batch_size": st.integers(1, 6), "block_size": st.integers(1, 20)}


@given(**sizes, seed=st.integers(0, 2**31), stream=st.integers(0, 3))
def test_a_pass_visits_each_block_once_and_targets_are_shifted_inputs(n, batch_size, block_size, seed, stream):
    tokens = np.arange(n, dtype=np.int32) + 7
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
            starts += (batch[:, 0] - 7).tolist()
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
