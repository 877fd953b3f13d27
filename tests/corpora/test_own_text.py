"""A text of one's own: where it may come from, what is held out of it and said so, and what is refused in one line."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlt_core.corpora import load
from dlt_core.corpora.own_text import from_text
from dlt_core.corpora.text import SPLITS

LINES = "".join(f"line {number} of many\n" for number in range(200))


def strings(corpus) -> tuple[str, ...]:
    return tuple(str(corpus.splits[split]) for split in SPLITS)


def write(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_bytes(text.encode())
    return folder


def test_strings_files_folders_and_lists_are_texts(tmp_path):
    folder = write(tmp_path / "novels", b="second\n", a="first")
    (folder / "c.md").write_text("no text")
    assert strings(from_text("one", "two", "three", name="mine")) == ("one", "two", "three")
    mixed = from_text(["zero\n", folder / "b.txt", folder], "v", [folder / "a.txt", "tail"])
    assert strings(mixed) == ("zero\nsecond\nfirst\nsecond\n", "v", "first\ntail")
    assert (mixed.name, mixed.source, mixed.note, mixed.is_sample) == ("text", "own", "", False)
    assert from_text(folder / "a.txt", "v", "t").name == "a.txt"


@pytest.mark.parametrize("validation", ["validation", "valid", "dev", "val"])
def test_a_folder_may_hold_the_splits(tmp_path, monkeypatch, validation):
    folder = write(tmp_path / "mine", train="t1\n", test="t3\n", other="not read", **{validation: "t2\n"})
    corpus = from_text(folder)
    assert (corpus.name, strings(corpus), corpus.note) == ("mine", ("t1\n", "t2\n", "t3\n"), "")
    assert load(str(folder)).sha256 == corpus.sha256
    with pytest.raises(ValueError, match=r"the test split is given twice, once as test\.txt in .*: leave one out"):
        from_text(folder, test="again")
    for together in ([folder], ["more", folder]):
        with pytest.raises(ValueError, match=r"mine holds splits: give it alone, or the Path of train\.txt or "):
            from_text(together)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert from_text(Path("~/mine")).sha256 == load("~/mine").sha256 == corpus.sha256


def test_what_is_missing_is_held_out_at_the_end_of_a_line_and_said(tmp_path):
    corpus = from_text(LINES)
    assert "".join(strings(corpus)) == LINES
    assert corpus.note == "no validation and no test split was given: 10 % each of the text were held out, from its end"
    for text, share in zip(strings(corpus), (0.8, 0.1, 0.1), strict=True):
        assert text.endswith("\n")
        assert len(text) == pytest.approx(share * len(LINES), abs=30)
    one = from_text(LINES, test="a test")
    assert strings(one)[2] == "a test"
    assert "".join(strings(one)[:2]) == LINES
    assert len(strings(one)[1]) == pytest.approx(0.1 * len(LINES), abs=30)
    assert one.note == "no validation split was given: 10 % of the text were held out, from its end"
    words = "word " * 100  # of one line
    assert [len(text) for text in strings(from_text(words))] == [400, 50, 50]
    (tmp_path / "long.txt").write_text(LINES * 50)  # of several pieces
    assert "".join(strings(from_text(tmp_path / "long.txt"))) == LINES * 50


@given(st.text(alphabet="ab \n", max_size=60))
def test_nothing_is_lost_whatever_the_text(text):
    try:
        corpus = from_text(text)
    except ValueError as error:
        assert "text" in str(error)  # noqa: PT017 - allowed, not demanded
    else:
        assert "".join(strings(corpus)) == text
        assert all(strings(corpus))


def test_what_cannot_be_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    halves = write(tmp_path / "halves", dev="x")
    empty = write(tmp_path / "empty", a="", b="")
    write(tmp_path / "wikitext-2", train=LINES)
    (tmp_path / "nothing").mkdir()
    for given_text, said in {
        Path("nope.txt"): "there is no file or folder nope.txt: see to the spelling",
        Path("nothing"): "the folder nothing holds no text: put files there whose names end in .txt",
        Path("halves"): "halves has dev.txt, but no train.txt: put the training text there",
        empty / "a.txt": f"{empty / 'a.txt'} is empty",
        empty: "the train text is empty",
        "": "the train text is empty",
        "halves": "'halves' is the name of a file or folder: give pathlib.Path(...) of it to read it",
        "so few": "the training text of text has 6 characters in too few lines and words to hold out a validation",
        "half \ud800": "the text has half a character at 5 (a surrogate)",
        Path("wikitext-2"): "your text cannot be called wikitext-2, which is another corpus: rename it",
        7: "a text is a str, a Path or a list of these, got 7",
        b"bytes": "a text is a str, a Path or a list of these, got b'bytes'",
    }.items():
        with pytest.raises(ValueError, match=re.escape(said)) as error:
            from_text(given_text)
        assert "\n" not in str(error.value)
    assert from_text(Path("wikitext-2"), name="mine").name == "mine"
    for name in ("a/b", "a\\b", "two\nlines"):
        with pytest.raises(ValueError, match="cannot be the name of a corpus"):
            from_text(LINES, name=name)
    (halves / "dev.txt").write_bytes(b"caf\xe9 ")
    with pytest.raises(ValueError, match=r"dev.txt is not UTF-8 text \(byte 0xe9 at 3\)"):
        str(from_text(halves / "dev.txt", "v", "t").splits["train"])
    (halves / "dev.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"dev.txt is cut off .* \(byte 0xe9 at 3\)"):
        str(from_text(halves / "dev.txt", "v", "t").splits["train"])


def test_line_ends_of_windows_are_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(LINES.replace("\n", "\r\n").encode())
    assert "".join(strings(from_text(tmp_path / "a.txt"))) == LINES.replace("\n", "\r\n")
