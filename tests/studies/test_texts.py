"""What is said of a text: counts that must agree with those published, and numbers with known answers."""

import dataclasses

import pytest

from dlt_core import corpora
from dlt_core.corpora.hub import CorpusUnavailable
from dlt_core.corpora.text import Text
from dlt_core.studies import texts
from tests.studies.conftest import table_cells


def named(data, name, **splits):
    """The same tokens under a text of that name; splits, or three short ones."""
    few = {split: Text(splits.get(split, "a b c\n")) for split in ("train", "validation", "test")}
    return dataclasses.replace(data, corpus=dataclasses.replace(data.corpus, name=name, splits=few, is_sample=False))


def test_a_text_is_introduced_with_its_counts(tiny_data):
    text = texts.introduced(tiny_data)
    assert text.startswith("**embedded**, not a data set of the paper")
    assert tiny_data.unit in text
    train, *_ = [row for row in table_cells(text) if row[0] == "train"]
    assert train[1:] == [
        f"{tiny_data.corpus.splits['train'].words:,}",
        f"{tiny_data.corpus.splits['train'].bytes:,}",
        f"{len(tiny_data.tokens['train']):,}",
    ]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("wikitext-2", "wikitext-2, train: 4 words, not 2088628"),
        ("lambada", "lambada, validation: 1 passages, not 4869"),
        ("lm1b", "lm1b, train: 2 sentences, not 30301028"),
    ],
)
def test_counts_that_differ_from_those_published_stop_the_notebook(name, error, tiny_data):
    with pytest.raises(AssertionError, match=error):
        texts.introduced(named(tiny_data, name))


def test_lines_stand_beside_those_published(tiny_data, monkeypatch):
    monkeypatch.setitem(texts.LINES, "lm1b", ("sentences", {"train": 2, "test": 1}))
    cells = table_cells(texts.introduced(named(tiny_data, "lm1b")))
    assert [row[-2:] for row in cells[1:]] == [["1", "2"], ["1", ""], ["1", "1"]]


def test_two_wikitexts_side_by_side(tiny_data, monkeypatch):
    words = "one two three four five six seven eight nine Deed in 2002"
    ours = named(tiny_data, "wikitext-103", test=words)
    theirs = named(tiny_data, "wikitext-2", test=words.replace("Deed", "<unk>"))
    monkeypatch.setattr(corpora, "load", lambda name: theirs.corpus)
    text = texts.beside_wikitext2(ours)
    assert text.startswith("**1 of 12 words differ**")
    assert "eight nine Deed in 2002 ..." in text
    assert "eight nine <unk> in 2002 ..." in text
    with pytest.raises(AssertionError, match="only where"):
        texts.beside_wikitext2(named(tiny_data, "wikitext-103", test=words.replace("two", "three")))
    assert texts.beside_wikitext2(tiny_data).startswith("Skipped: embedded")

    def missing(*_):
        raise CorpusUnavailable("not here")

    monkeypatch.setattr(corpora, "load", missing)
    assert texts.beside_wikitext2(ours) == "Skipped, as WikiText-2 is not at hand: not here"


def test_tokens_a_word_or_why_not(tiny_data, monkeypatch, capsys):
    assert texts.gpt2_tokens_a_word(tiny_data) is None
    assert "not embedded" in capsys.readouterr().out
    six = dataclasses.replace(tiny_data, tokens={"test": range(6)})
    monkeypatch.setattr(texts, "tokenize", lambda corpus, name: six)
    assert texts.gpt2_tokens_a_word(named(tiny_data, "wikitext-2")) == 1.5  # a b c and the line's end


def test_windows_with_a_known_answer(tiny_data):
    """Lines of four tokens: every other window of six begins in the middle of one."""
    end = next(i for i in range(tiny_data.vocab_size) if tiny_data.tokenizer.decode([i]) == "\n")
    inside = next(i for i in range(tiny_data.vocab_size) if "\n" not in tiny_data.tokenizer.decode([i]))
    (tokens := tiny_data.tokens["train"][:12].copy())[:] = inside
    tokens[3::4] = end
    data = dataclasses.replace(tiny_data, tokens={"train": tokens})
    (row,) = table_cells(texts.windows(data, [6]))[1:]
    assert row == ["6", "1.5", f"{2 / 12:.0%}", f"{6 / 12:.0%}"]
