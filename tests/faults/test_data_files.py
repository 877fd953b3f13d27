"""Damaged or missing data ends in one line that names it and the remedy, before anything is trained."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import huggingface_hub
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dlt_core.__main__ import main
from dlt_core.corpora import text as text_module
from dlt_core.corpora import tokenization
from dlt_core.corpora.cache import cache_dir
from dlt_core.corpora.sources import SPLITS, Corpus, CorpusUnavailable, PartialCopy, load
from dlt_core.corpora.text import Text
from dlt_core.corpora.tokenization import LONGEST_WORD, bpe_pieces, tokenize
from dlt_core.experiments import build_learner, load_data

FILES = {"train": "wiki.train.tokens", "validation": "wiki.valid.tokens", "test": "wiki.test.tokens"}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A DLT_DATA_DIR with a WikiText-2 of our own; the folder of its files."""
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "data"))
    where = tmp_path / "data" / "wikitext-2"
    where.mkdir(parents=True)
    for split, name in FILES.items():
        (where / name).write_text(f" \n the {split} text\n", newline="\n")
    return where


encoded = st.builds(
    lambda text, encoding: text.encode(encoding, "replace"),
    st.text(max_size=40),
    st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "shift-jis"]),
)


@settings(max_examples=200)
@given(st.binary(max_size=40) | encoded)
@example(b"")
@example(b"\xef\xbb\xbf")
@example(b"\xef\xbb\xbf\xef\xbb\xbfa")
@example(b"a\r\n")
@example(b"\0")
def test_any_bytes_are_the_right_text_or_an_error_that_names_the_file(folder, content):
    path = folder / FILES["train"]
    path.write_bytes(content)
    found = outcome(lambda: str(load("wikitext-2").splits["train"]))
    if isinstance(found, str):
        assert found.encode() == content.removeprefix(b"\xef\xbb\xbf")
        assert b"\0" not in content
        return
    assert type(found) is ValueError
    said = str(found)
    assert said.startswith(f"{path} ")
    assert any(remedy in said for remedy in (": copy ", "Copy it again", "convert it", "unpack it", "write its column"))
    assert "\n" not in said


def outcome(call: Callable[[], str]) -> str | Exception:
    try:
        return call()
    except Exception as error:
        return error


def refused(capsys, *arguments: str) -> str:
    """The one line with which a command refuses."""
    with pytest.raises(SystemExit) as stopped:
        main([*arguments])
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err


TRAIN = ["train", "--experiment", "gpt2-wikitext2", "--preset", "smoke"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "wiki.valid.tokens is empty: copy the validation text of wikitext-2 there again"),
        ("caf\u00e9\n".encode("latin-1"), "wiki.valid.tokens is not UTF-8 text (byte 0xe9 at 3)"),
        (
            None,
            "has only a part of wikitext-2: no wikitext-2/wiki.valid.tokens; copy that there, too, or unset "
            "DLT_DATA_DIR to ask the Hugging Face hub",
        ),
        ("folder", "wiki.valid.tokens is a folder: put the file itself there"),
        (b"too short\n", "the train split of wikitext-2 has "),
    ],
)
def test_the_command_refuses_in_one_line(content, said, folder, tmp_path, capsys):
    path = folder / FILES["validation"]
    path.unlink()
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    arguments = ["--tokenizer", "bpe-256", "--out", str(tmp_path / "out")]
    assert said in refused(capsys, *TRAIN, *arguments)
    assert not list((tmp_path / "out").rglob("*.*"))


def test_a_partial_copy_is_known_by_its_type(folder):
    (folder / FILES["test"]).unlink()
    with pytest.raises(PartialCopy) as error:
        load("wikitext-2")
    assert isinstance(error.value, FileNotFoundError)


def test_a_split_too_short_is_named_with_what_it_has_and_needs(smoke):
    long = "the cat and the dog \n" * 40
    for split in SPLITS:
        corpus = Corpus("mine", {**dict.fromkeys(SPLITS, long), split: "short"}, "local")
        with pytest.raises(
            ValueError, match=rf"the {split} split of mine has 5 tokens, too few .* 4 x 32, which needs 129"
        ):
            build_learner(smoke, tokenize(corpus, "bpe-256"))


# --- LAMBADA ---


def lambada_of(test: str) -> Corpus:
    long = "the cat and the dog \n" * 40
    return Corpus("lambada", {"train": long, "validation": long, "test": test}, "local")


def test_a_lambada_without_a_passage_to_score_is_refused_before_it_is_trained(smoke):
    data = tokenize(lambada_of("we walked on through the long cold night\n" * 40), "bpe-256")
    for tokens, fits in ((40, True), (39, False), (2, False), (None, True)):
        experiment = smoke.replace(evaluation_tokens=tokens)
        if fits:
            build_learner(experiment, data)
            continue
        said = rf"first passage in the test split of lambada has 40 tokens, more than evaluation_tokens={tokens}: take"
        with pytest.raises(ValueError, match=said):
            build_learner(experiment, data)
    with pytest.raises(ValueError, match="the test split of lambada has no line of two words"):
        build_learner(smoke, tokenize(lambada_of("lonely\n\n" * 40), "bpe-256"))


def test_passages_are_read_before_the_training_and_not_again_after_it(smoke):
    times = 0

    def read():
        nonlocal times
        times += 1
        yield "we walked on through the long cold night\n" * 40

    learner = build_learner(smoke, tokenize(lambada_of(Text(read)), "bpe-256"))
    before = times
    assert learner.last_words("test").passages == 1024 // 40
    assert times == before


# --- tokenizers that cannot be ---


@pytest.mark.parametrize("digits", [9, 10, 20, 30, 5000])
def test_a_tokenizer_larger_than_can_be_is_refused_before_a_text_is_fetched(digits, smoke, monkeypatch):
    monkeypatch.setattr("dlt_core.corpora.sources.load", None)
    with pytest.raises(ValueError, match=r"^bpe-9+: more pieces than the 16,777,216 bytes .* such as bpe-2048$"):
        load_data(smoke.replace(tokenizer=f"bpe-{'9' * digits}"))
    assert bpe_pieces("bpe-0004096") == 4096


def test_a_bpe_that_the_text_is_too_short_for_is_refused_with_the_size_that_fits():
    corpus = Corpus("mine", {"train": "the cat and the dog \n" * 9, "validation": "", "test": ""}, "local")
    for pieces in (10_000, 10_000_000):
        with pytest.raises(ValueError, match=r"text of mine gives only (\d+) pieces: take bpe-\1, or") as error:
            tokenize(corpus, f"bpe-{pieces}")
    found = int(str(error.value).split("only ")[1].split()[0])
    assert not list(cache_dir().glob("bpe-10000*"))
    data = tokenize(corpus, f"bpe-{found}")
    assert (data.vocab_size, data.unit) == (found, f"token of a {found}-piece BPE")
    with pytest.raises(ValueError, match=f"gives only {found} pieces"):
        tokenize(corpus, f"bpe-{found + 1}")


def test_damaged_files_of_gpt2s_tokenizer_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path))
    (tmp_path / "gpt2-bpe").mkdir()
    (tmp_path / "gpt2-bpe/encoder.json").write_text('{"a": 0, "b"')
    (tmp_path / "gpt2-bpe/vocab.bpe").write_text("#version: 0.2\na b\n")
    with pytest.raises(ValueError, match=r"gpt2-bpe/encoder.json and vocab.bpe are no tokenizer .*: copy both again"):
        tokenize(Corpus("mine", dict.fromkeys(SPLITS, "text"), "local"), "gpt2")


# --- time that grows with the length, and not faster ---


@pytest.mark.parametrize("unit", ["x", " ", "\x1c", "\u00a0", "word ", "x\x1c ", "\n"])
def test_no_character_is_looked_at_again_and_again_for_the_end_of_a_word(unit, monkeypatch):
    monkeypatch.setattr(text_module, "PIECE", 8)
    looked_at = 0
    real = text_module._last_word_end

    def counting(before, text):
        nonlocal looked_at
        looked_at += len(text)
        return real(before, text)

    monkeypatch.setattr(text_module, "_last_word_end", counting)
    string = unit * (4_000 // len(unit))
    assert "".join(Text(string)) == "".join(Text(lambda: iter(string))) == string
    assert looked_at <= 2 * len(string)


@given(st.lists(st.sampled_from(["word", " ", "x" * 1001, " " * 1001, "\n", "\u00e9" * 2500, "x" * 1000]), max_size=9))
def test_no_word_that_a_bpe_is_trained_on_is_long_and_nothing_is_lost(parts):
    lines = list(Text("".join(parts)).lines())
    trained_on = list(tokenization._without_long_words(lines))
    assert "".join(trained_on) == "".join(lines)
    assert not any(re.search(r"\S{1001}|\s{1001}", part) for part in trained_on)
    if not any(re.search(r"\S{1001}|\s{1001}", line) for line in lines):
        assert trained_on == lines


def test_a_text_of_one_line_and_one_word_is_learned_from_and_encoded(monkeypatch):
    """200,000 times one letter took a BPE more than a minute, and as a line longer than the beginning it gave none."""
    monkeypatch.setattr(tokenization, "BPE_TRAINING_BYTES", 150_000)
    corpus = Corpus("one", {"train": "x" * 200_000, "validation": "", "test": ""}, "local")
    data = tokenize(corpus, "bpe-268")  # of the whole word its largest piece would be 2^12 letters
    assert data.token_bytes[data.tokens["train"]].sum() == 200_000
    assert 512 <= data.token_bytes.max() <= LONGEST_WORD


# --- without a network, by the user's own wish ---

OFFLINE = """
import socket
import huggingface_hub
asked = []
def refuse(*arguments, **_):
    asked.append(arguments)
    raise OSError("no network in this test")
socket.getaddrinfo = socket.socket.connect = socket.create_connection = refuse
from dlt_core.corpora import Corpus, CorpusUnavailable, load, tokenize
text = Corpus("any", dict.fromkeys(("train", "validation", "test"), "text"), "local")
for ask in (lambda: load("wikitext-2"), lambda: load("lm1b", train_bytes=1000), lambda: tokenize(text, "gpt2")):
    try:
        ask()
    except CorpusUnavailable as error:
        print(" ".join(str(error).split()))
print("requests:", asked)
import datasets
datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = False
try:
    load("wikitext-2")
except CorpusUnavailable as error:
    print(error)
print("requests now:", len(asked))
"""


def test_an_offline_switch_is_obeyed_and_both_remedies_are_named(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "DLT_DATA"))}
    environment |= {"HF_HOME": str(tmp_path), "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *said, requests, unasked, _, _, now = done.stdout.splitlines()
    assert len(said) == 3
    for line in said:
        assert "HF_HUB_OFFLINE or HF_DATASETS_OFFLINE forbids to ask the Hugging Face hub" in line
        assert "Remedy 1: unset the offline switches and connect to the internet" in line
        assert "Remedy 2: set DLT_DATA_DIR to a folder that holds" in line
    assert requests == "requests: []"
    assert "the Hugging Face hub cannot be reached" in unasked
    assert now != "requests now: 0"  # so that the test would have seen one


def test_the_switch_of_the_hubs_own_library_is_obeyed_too(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.delenv("DLT_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", fail)
    for module in (datasets.config, huggingface_hub.constants):
        with monkeypatch.context() as patch:
            patch.setattr(module, "HF_HUB_OFFLINE", True)
            with pytest.raises(CorpusUnavailable, match="forbids to ask"):
                load("wikitext-2")
            assert module.HF_HUB_OFFLINE is True  # as it was
    assert datasets.config.HF_HUB_OFFLINE is huggingface_hub.constants.HF_HUB_OFFLINE is False
