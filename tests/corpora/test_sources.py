"""Corpora: nothing lost, nothing leaked between splits, nothing silently replaced, samples called samples."""

import hashlib
import os
import random
import re
import socket
import string
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dlt_core.corpora import hub, local, sources
from dlt_core.corpora.hub import CorpusUnavailable
from dlt_core.corpora.sources import SPLITS, Corpus, load
from dlt_core.corpora.tokenization import tokenize
from dlt_core.experiments import Experiment, load_data

# Blank lines, a non-ASCII letter, and characters at which str.splitlines() would break a line but a file does not.
TEXT = {
    "train": " \n = Title = \n \n Valkyria \u00e9 @-@ Chronicles \u2028 and \x85 on <unk> \n \n \n = = Next = = \n",
    "validation": " \n = Other = \n \n The end . \n",
    "test": " \n = Third = \n \n",
}
SENTENCES = [f"Sentence {i} is \r not the last .\n" for i in range(6_005)]
TEXTS = {  # what `load` should give
    "wikitext-2": TEXT,
    "wikitext-103": TEXT,
    "lambada": {
        "train": "".join(f"novel {i} went \u2028 on .\n" for i in range(2_662)),
        "validation": "the caf\u00e9 was shut , so they left the caf\u00e9\n" * 3,
        "test": "`` who is it ? '' she asked him , but it was not him\n" * 2,
    },
    "lm1b": {
        "train": "".join(SENTENCES[6_000:]),
        "validation": "".join(SENTENCES[:6_000]),
        "test": "".join(f"Held-out sentence {i} \u00e9 .\n" for i in range(55)),
    },
}
WIKITEXT = {"train": "wiki.train.tokens", "validation": "wiki.valid.tokens", "test": "wiki.test.tokens"}
LAMBADA = {"validation": "lambada/lambada_development_plain_text.txt", "test": "lambada/lambada_test_plain_text.txt"}
LM1B_TRAIN, LM1B_TEST = "lm1b/training-monolingual.tokenized.shuffled", "lm1b/heldout-monolingual.tokenized.shuffled"
FILES = {  # the complete layouts under $DLT_DATA_DIR: corpus -> split -> files
    "wikitext-2": {split: [f"wikitext-2/{file}"] for split, file in WIKITEXT.items()},
    "wikitext-103": {split: [f"wikitext-103/{file}"] for split, file in WIKITEXT.items()},
    "lambada": {
        "train": [f"lambada/train-novels/{'Adventure' if i < 9 else 'Romance'}/{i:04}.txt" for i in range(2_662)],
        **{split: [file] for split, file in LAMBADA.items()},
    },
    "lm1b": {
        "train": [f"{LM1B_TRAIN}/news.en-{i:05}-of-00100" for i in range(1, 100)],
        "test": [f"{LM1B_TEST}/news.en.heldout-{i:05}-of-00050" for i in range(50)],
    },
}


def lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def stored(name: str) -> dict[str, str]:
    """The corpus as it is published: lm1b's validation sentences are the first of its training text."""
    texts = dict(TEXTS[name])
    if name == "lm1b":
        texts["train"] = texts.pop("validation") + texts["train"]
    return texts


def write(root: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())


def write_complete(root: Path, name: str) -> None:
    """A complete local copy, the lines of each split shared out among its files."""
    for split, files in FILES[name].items():
        rows = lines(stored(name)[split])
        size = -(-len(rows) // len(files))
        write(root, {file: "".join(rows[i * size : (i + 1) * size]) for i, file in enumerate(files)})


def as_published(text: str) -> bool:
    """Whether a file may hold the text: without NUL, mark of the byte order and line ends of Windows."""
    return "\0" not in text and text[:1] != "\ufeff" and not text.partition("\n")[0].endswith("\r")


def texts_of(corpus: Corpus) -> dict[str, str]:
    return {split: str(text) for split, text in corpus.splits.items()}


@pytest.fixture
def data_dir(tmp_path, monkeypatch) -> Path:
    """An empty DLT_DATA_DIR."""
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_local_data(monkeypatch):
    monkeypatch.delenv("DLT_DATA_DIR", raising=False)


@pytest.fixture
def no_hub(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", fail)


def hub_that_answers(monkeypatch) -> None:
    session = SimpleNamespace(head=lambda *_, **__: SimpleNamespace(status_code=200))
    monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: session)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def hub_that_holds(monkeypatch, rows: dict[str, list[str]]) -> list[tuple]:
    """A hub with these rows in its splits; what it is asked for is found in the list."""
    hub_that_answers(monkeypatch)
    asked = []

    def load_dataset(repository, configuration, *, split, revision=None, streaming=False):
        asked.append((repository, configuration, revision, split, streaming))
        made = datasets.Dataset.from_dict({"text": rows[split]})
        return made.to_iterable_dataset() if streaming else made

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def hub_rows(name: str) -> dict[str, list[str]]:
    """The corpus as the hub has it: WikiText's lines with their end, blank ones empty; the others' lines without."""
    if name.startswith("wikitext"):
        return {split: [line if line.strip() else "" for line in lines(text)] for split, text in stored(name).items()}
    return {split: [line.removesuffix("\n") for line in lines(text)] for split, text in stored(name).items()}


def empty_hub_caches(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


# --- embedded ---


def test_the_embedded_corpus_is_the_same_each_time_and_large_enough():
    corpus = load("embedded")
    assert (corpus.name, corpus.source, corpus.is_sample, corpus.note) == ("embedded", "embedded", False, "")
    assert set(corpus.splits) == set(SPLITS) == {"train", "validation", "test"}
    assert load("embedded").sha256 == corpus.sha256
    sizes = {split: text.bytes for split, text in corpus.splits.items()}
    total = sum(sizes.values())
    assert total > 100_000
    assert sizes["train"] >= 0.75 * total
    assert sizes["validation"] >= 0.05 * total
    assert sizes["test"] >= 0.05 * total


def paragraphs(text: str) -> list[str]:
    return [p.strip("\n") for p in re.split(r"\n\s*\n", text) if p.strip()]


def test_no_paragraph_and_no_topic_is_in_two_splits():
    from pydoc_data.topics import topics

    where = defaultdict(set)
    for split, text in texts_of(load("embedded")).items():
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
    swapped = {"train": TEXT["test"], "validation": TEXT["validation"], "test": TEXT["train"]}
    assert base.sha256 == Corpus("b", dict(reversed(TEXT.items())), "hub").sha256
    assert len({base.sha256, *(Corpus("a", splits, "local").sha256 for splits in (moved, other, swapped))}) == 4
    digest = hashlib.sha256()
    for split in ("train", "validation", "test"):
        digest.update(f"{split} {hashlib.sha256(TEXT[split].encode()).hexdigest()}\n".encode())
    assert base.sha256 == digest.hexdigest()


# --- local copies ---


@pytest.mark.parametrize("name", FILES)
def test_a_complete_local_copy_is_read_byte_for_byte_and_no_hub_is_asked(name, data_dir, no_hub):
    write_complete(data_dir, name)
    corpus = load(name)
    assert texts_of(corpus) == TEXTS[name]
    assert (corpus.name, corpus.source, corpus.is_sample) == (name, "local", False)
    assert ("6,000 sentences" in corpus.note) if name == "lm1b" else corpus.note == ""


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).filter(as_published))
@example("a\rb\nc\r\n\u2028\x85\x1cd\n\ufeff\n\r")
def test_any_text_is_read_byte_for_byte_in_blocks_of_any_size(data_dir, no_hub, monkeypatch, text):
    monkeypatch.setattr(local, "PIECE", 7)
    write(data_dir, {file: text for files in FILES["wikitext-2"].values() for file in files})
    assert texts_of(load("wikitext-2")) == dict.fromkeys(SPLITS, text)


@pytest.mark.parametrize("name", ["wikitext-2", "wikitext-103"])
@pytest.mark.parametrize("missing", SPLITS)
def test_a_partial_copy_of_wikitext_raises_and_names_the_missing_file(name, missing, data_dir, no_hub):
    write_complete(data_dir, name)
    (data_dir / FILES[name][missing][0]).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(FILES[name][missing][0])) as error:
        load(name)
    assert str(data_dir) in str(error.value)
    assert not any(FILES[name][split][0] in str(error.value) for split in SPLITS if split != missing)


@pytest.mark.parametrize(
    ("name", "here", "missing"),
    [
        ("wikitext-103", ["wikitext-103/wiki.train.prefix.tokens"], ["wiki.valid.tokens", "wiki.test.tokens"]),
        ("lambada", list(LAMBADA.values()), ["lambada/train-novels/"]),
        ("lambada", [LAMBADA["test"], "lambada/train_sample/train.txt"], [LAMBADA["validation"]]),
        ("lambada", ["lambada/train-novels/Adventure/1.txt", LAMBADA["validation"]], [LAMBADA["test"]]),
        ("lm1b", FILES["lm1b"]["train"], [LM1B_TEST]),
        ("lm1b", FILES["lm1b"]["test"], [LM1B_TRAIN]),
        ("lm1b", ["lm1b/1b_benchmark.heldout-12-13.tokens"], ["lm1b/1b_benchmark.heldout-10-11.tokens"]),
        ("lm1b", ["lm1b/1b_benchmark.heldout-10-11.tokens"], ["lm1b/1b_benchmark.heldout-12-13.tokens"]),
    ],
)
def test_other_partial_copies_raise_and_name_what_is_missing(name, here, missing, data_dir, no_hub):
    write(data_dir, dict.fromkeys(here, "text\n"))
    with pytest.raises(FileNotFoundError, match=name) as error:
        load(name)
    assert str(data_dir) in str(error.value)
    assert all(file in str(error.value) for file in missing)
    assert not any(file in str(error.value) for file in here)


def test_the_complete_wikitext_103_wins_over_its_beginning(data_dir, no_hub):
    write(data_dir, {"wikitext-103/wiki.train.prefix.tokens": " = Ti"})
    write(data_dir, {f"wikitext-103/{WIKITEXT[split]}": TEXT[split] for split in ("validation", "test")})
    sample = load("wikitext-103")
    assert texts_of(sample) == {**TEXT, "train": " = Ti"}
    assert sample.is_sample
    assert "only the beginning" in sample.note
    write_complete(data_dir, "wikitext-103")
    corpus = load("wikitext-103")
    assert texts_of(corpus) == TEXT
    assert (corpus.is_sample, corpus.note) == (False, "")


def test_lambada_with_too_few_novels_is_a_sample_that_says_how_many(data_dir, no_hub):
    write_complete(data_dir, "lambada")
    for file in FILES["lambada"]["train"][2:]:
        (data_dir / file).unlink()
    corpus = load("lambada")
    assert texts_of(corpus) == {**TEXTS["lambada"], "train": "novel 0 went \u2028 on .\nnovel 1 went \u2028 on .\n"}
    assert corpus.is_sample
    assert "2 of 2662 files of train" in corpus.note


def test_lambada_takes_real_novels_rather_than_the_unofficial_sample(data_dir, no_hub):
    write(data_dir, {**dict.fromkeys(LAMBADA.values(), "passage\n"), "lambada/train_sample/train.txt": "sample\n"})
    sample = load("lambada")
    assert (str(sample.splits["train"]), sample.is_sample) == ("sample\n", True)
    assert "unofficial sample" in sample.note
    write(data_dir, {"lambada/train-novels/Fantasy/a/deeper.txt": "novel\n"})
    assert str(load("lambada").splits["train"]) == "novel\n"


def test_no_line_runs_on_from_one_file_into_the_next(data_dir, no_hub):
    novels = {f"lambada/train-novels/Horror/{i}.txt": novel for i, novel in enumerate(["the end", "call me", "", "\n"])}
    write(data_dir, {**dict.fromkeys(LAMBADA.values(), "passage"), **novels})
    assert texts_of(load("lambada")) == {"train": "the end\ncall me\n\n", "validation": "passage", "test": "passage"}


def test_sentences_of_lm1b_held_out_for_validation_are_not_trained_on(data_dir, no_hub):
    write_complete(data_dir, "lm1b")
    corpus = load("lm1b")
    assert list(corpus.splits["validation"].lines()) == SENTENCES[:6_000]
    assert list(corpus.splits["train"].lines()) == SENTENCES[6_000:]
    assert "of the training text are held out" in corpus.note
    (data_dir / FILES["lm1b"]["train"][-1]).unlink()
    (data_dir / FILES["lm1b"]["test"][-1]).unlink()
    sample = load("lm1b")
    assert sample.is_sample
    assert "98 of 99 files of train" in sample.note
    assert "49 of 50 files of test" in sample.note
    assert list(sample.splits["validation"].lines()) == SENTENCES[: 98 * 61]


def test_four_held_out_shards_of_lm1b_make_a_sample_without_overlap(data_dir, no_hub):
    write(data_dir, {"lm1b/1b_benchmark.heldout-10-11.tokens": "Learn from this .\n"})
    write(data_dir, {"lm1b/1b_benchmark.heldout-12-13.tokens": "".join(SENTENCES)})
    corpus = load("lm1b")
    assert str(corpus.splits["train"]) == "Learn from this .\n"
    assert list(corpus.splits["validation"].lines()) == SENTENCES[:6_000]
    assert list(corpus.splits["test"].lines()) == SENTENCES[6_000:]
    assert corpus.is_sample
    assert "four of the 50 held-out shards" in corpus.note
    assert "6,000 sentences of the other two" in corpus.note


# --- the hub ---

HUB_CALLS = {  # repository, configuration, revision, splits
    "wikitext-2": ("Salesforce/wikitext", "wikitext-2-v1", None, {"train", "validation", "test"}),
    "wikitext-103": ("Salesforce/wikitext", "wikitext-103-v1", None, {"train", "validation", "test"}),
    "lambada": ("cimec/lambada", "plain_text", None, {"train", "validation", "test"}),
    "lm1b": ("billion-word-benchmark/lm1b", None, "refs/convert/parquet", {"train", "test"}),
}


@pytest.mark.parametrize("name", HUB_CALLS)
@pytest.mark.parametrize("train_bytes", [None, 10**9])
def test_the_hub_is_asked_for_the_right_data_and_gives_the_text_of_the_files(name, train_bytes, data_dir, monkeypatch):
    write_complete(data_dir, name)
    local = load(name)
    (data_dir / "empty").mkdir()
    monkeypatch.setenv("DLT_DATA_DIR", str(data_dir / "empty"))
    asked = hub_that_holds(monkeypatch, hub_rows(name))
    corpus = load(name, train_bytes=train_bytes)
    *where, splits = HUB_CALLS[name]
    streaming = train_bytes is not None
    assert Counter(asked) == Counter((*where, split, streaming) for split in splits)
    assert texts_of(corpus) == TEXTS[name] == texts_of(local)
    assert corpus.sha256 == local.sha256
    assert (corpus.source, corpus.is_sample, corpus.note) == ("hub", False, local.note)
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False


def test_the_tables_here_cover_every_corpus():
    assert set(HUB_CALLS) == set(TEXTS) == set(FILES) == set(sources.HUB) == set(sources.LOCAL)
    assert {"embedded", *HUB_CALLS} == set(sources.CORPORA)


@pytest.fixture
def parquet_branch(tmp_path, monkeypatch) -> Path:
    """A folder in the shape of the branch refs/convert/parquet of lm1b's repository."""
    empty_hub_caches(monkeypatch, tmp_path)
    for split, rows in hub_rows("lm1b").items():
        folder = tmp_path / "lm1b" / "plain_text" / split
        folder.mkdir(parents=True)
        datasets.Dataset.from_dict({"text": rows}).to_parquet(folder / "0000.parquet")
    return tmp_path / "lm1b"


def test_the_parquet_branch_of_lm1b_has_its_splits_under_no_configuration(parquet_branch):
    for split, rows in hub_rows("lm1b").items():
        assert datasets.load_dataset(str(parquet_branch), None, split=split)["text"][:] == rows
    with pytest.raises(ValueError, match="plain_text"):
        datasets.load_dataset(str(parquet_branch), "plain_text", split="train")


@pytest.mark.parametrize("train_bytes", [None, 10**9])
def test_lm1b_is_read_from_such_a_branch(train_bytes, parquet_branch, no_local_data, monkeypatch):
    hub_that_answers(monkeypatch)
    real = datasets.load_dataset

    def load_dataset(repository, *arguments, **options):
        return real({"billion-word-benchmark/lm1b": str(parquet_branch)}[repository], *arguments, **options)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    corpus = load("lm1b", train_bytes=train_bytes)
    assert corpus.source == "hub"
    assert texts_of(corpus) == TEXTS["lm1b"]


def both_remedies(error) -> bool:
    message = str(error.value)
    return "DLT_DATA_DIR" in message and "internet" in message


@pytest.mark.parametrize("name", HUB_CALLS)
@pytest.mark.parametrize("train_bytes", [None, 1000])
def test_no_network_and_no_copy_is_an_error_that_names_both_remedies(
    name, train_bytes, no_local_data, tmp_path, monkeypatch
):
    def refuse(*_, **__):
        raise ConnectionError("no route to host")

    hub_that_answers(monkeypatch)
    empty_hub_caches(monkeypatch, tmp_path)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: SimpleNamespace(head=refuse))
    online_before = datasets.config.HF_HUB_OFFLINE
    started = time.monotonic()
    with pytest.raises(CorpusUnavailable, match=name) as error:
        load(name, train_bytes=train_bytes)
    assert time.monotonic() - started < 5
    assert both_remedies(error)
    assert "cannot be reached" in str(error.value)
    assert os.path.dirname(FILES[name]["test"][0]) in str(error.value)
    assert HUB_CALLS[name][0] in str(error.value)
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


def test_a_look_up_that_hangs_is_given_up_too(no_local_data, tmp_path, monkeypatch):
    over = threading.Event()
    hub_that_answers(monkeypatch)
    empty_hub_caches(monkeypatch, tmp_path)
    monkeypatch.setattr(hub, "REACH_SECONDS", 0.2)
    monkeypatch.setattr(
        huggingface_hub.utils, "get_session", lambda: SimpleNamespace(head=lambda *_, **__: over.wait(30))
    )
    started = time.monotonic()
    with pytest.raises(CorpusUnavailable, match="cannot be reached"):
        load("wikitext-2")
    assert time.monotonic() - started < 5
    over.set()


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
    assert all(name in str(error.value) for name in sources.CORPORA)


# --- part of the training text ---


def test_the_training_text_is_cut_at_the_last_line_end_that_fits(data_dir, no_hub):
    write_complete(data_dir, "wikitext-2")
    whole = load("wikitext-2")
    total = whole.splits["train"].bytes
    for train_bytes in range(1, total + 3):
        corpus = load("wikitext-2", train_bytes=train_bytes)
        fitting = ""
        for line in lines(TEXT["train"]):
            if len((fitting + line).encode()) > train_bytes:
                break
            fitting += line
        assert texts_of(corpus) == {**TEXT, "train": fitting}
        if train_bytes < total:
            assert corpus.is_sample
            assert f"first {train_bytes:,} bytes" in corpus.note
        else:
            assert (corpus.is_sample, corpus.note) == (False, "")
            assert corpus.sha256 == whole.sha256
    assert (corpus.name, corpus.source) == ("wikitext-2", "local")


def test_a_sample_that_is_cut_says_both(data_dir, no_hub):
    write_complete(data_dir, "lambada")
    for file in FILES["lambada"]["train"][9:]:
        (data_dir / file).unlink()
    corpus = load("lambada", train_bytes=50)
    assert 0 < corpus.splits["train"].bytes <= 50
    assert corpus.is_sample
    assert "9 of 2662 files" in corpus.note
    assert "50 bytes" in corpus.note


def test_the_embedded_corpus_can_be_cut_too():
    corpus = load("embedded", train_bytes=10_000)
    assert corpus.is_sample
    assert 9_000 < corpus.splits["train"].bytes <= 10_000
    assert str(load("embedded").splits["train"]).startswith(str(corpus.splits["train"]))


def test_a_cut_corpus_of_the_hub_is_drawn_once_and_little_more_than_is_kept(no_local_data, monkeypatch):
    drawn = Counter()

    def novels(split):
        for _ in range(2_662 if split == "train" else 5):
            drawn[split] += 1
            yield {"text": "it was a dark night . " * 20_000}

    def load_dataset(*_, split, streaming):
        assert streaming
        return datasets.IterableDataset.from_generator(novels, gen_kwargs={"split": split})

    hub_that_answers(monkeypatch)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    corpus = load("lambada", train_bytes=1_000_000)
    assert corpus.splits["train"].bytes == 2 * 440_001
    assert drawn["train"] <= 50
    drawn.clear()
    assert tokenize(corpus, "bpe-260").tokens["train"].size > 0
    assert not drawn


def test_an_experiment_learns_from_as_much_as_it_says(data_dir, no_hub):
    write_complete(data_dir, "wikitext-103")
    letters = random.Random(0).choices(string.ascii_lowercase, k=40 * 19)  # 40 lines of 21 bytes, over and over
    some = "".join("".join(letters[i : i + 19]) + " \n" for i in range(0, len(letters), 19))
    write(data_dir, {"wikitext-103/wiki.train.tokens": some * 2_500})
    default = load_data(Experiment.preset("gpt2-wikitext103", "smoke"))
    assert 2**20 - 21 < default.corpus.splits["train"].bytes <= 2**20
    data = load_data(Experiment.preset("gpt2-wikitext103", "smoke", train_bytes=1_000))
    assert data.corpus.splits["train"].bytes == 47 * 21
    assert data.corpus.is_sample
    assert data.token_bytes[data.tokens["train"]].sum() == 47 * 21


# --- real data ---


def real_data(*needed: str, without: str | None = None):
    root = Path(os.environ.get("DLT_DATA_DIR") or os.devnull).expanduser()
    here = all((root / name).exists() for name in needed) and not (without and (root / without).exists())
    return pytest.mark.skipif(not here, reason=f"needs DLT_DATA_DIR with {', '.join(needed)}")


@real_data("wikitext-2")
def test_the_real_wikitext_2_has_the_published_number_of_words():
    corpus = load("wikitext-2")
    words = {split: text.words for split, text in corpus.splits.items()}
    assert words == {"train": 2_088_628, "validation": 217_646, "test": 245_569}
    assert (corpus.source, corpus.is_sample, corpus.note) == ("local", False, "")
    # every blank line is " \n", which is what makes the hub's rows the same text
    assert all(line.strip() or line == " \n" for text in corpus.splits.values() for line in text.lines())


@real_data("wikitext-103/wiki.valid.tokens")
def test_the_real_wikitext_103_has_the_published_number_of_words():
    splits = load("wikitext-103").splits
    assert (splits["validation"].words, splits["test"].words) == (217_646, 245_569)


@real_data(*LAMBADA.values())
def test_the_real_lambada_has_the_published_number_of_passages():
    splits = load("lambada").splits
    assert [sum(1 for _ in splits[split].lines()) for split in ("validation", "test")] == [4_869, 5_153]
    assert all(len(line.split()) > 1 for line in splits["test"].lines())


@real_data("lm1b/1b_benchmark.heldout-12-13.tokens", without=LM1B_TRAIN)
def test_the_real_sample_of_lm1b_has_the_words_of_four_shards():
    splits = load("lm1b").splits
    assert {split: sum(1 for _ in text.lines()) for split, text in splits.items()} == {
        "train": 12_216,
        "validation": 6_000,
        "test": 6_105,
    }
    assert splits["train"].words == 310_490 + 12_216
    assert splits["validation"].words + splits["test"].words == 306_181 + 12_105  # wc misses one, a control character


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("wikitext-103", marks=real_data("wikitext-103", without="wikitext-103/wiki.train.tokens")),
        pytest.param("lambada", marks=real_data("lambada/train_sample", without="lambada/train-novels")),
        pytest.param("lm1b", marks=real_data("lm1b", without=LM1B_TRAIN)),
    ],
)
def test_real_samples_are_called_samples(name):
    corpus = load(name)
    assert corpus.is_sample
    assert "training text" in corpus.note
