"""Who only counts words, on passages where the answer can be counted by hand; and what is said of runs beside that."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from dlt_core.corpora.text import Text
from dlt_core.studies import last_words
from dlt_core.studies.last_words import Counting
from tests.studies.conftest import made_up, table_cells

PASSAGES = [
    ["the", "the", "the", "ann", "saw", "ann", "run", "to", "ann"],
    ["the", "a", "the", "bob", "and", "bob", "met", "bob"],
    ["the", "end", "of", "the", "end"],
]


def test_passages_are_lines_of_two_words_or_more(tiny_data):
    few = dict.fromkeys(("train", "validation", "test"), Text("a b\n\none\n"))
    data = dataclasses.replace(tiny_data, corpus=dataclasses.replace(tiny_data.corpus, splits=few))
    assert last_words.passages(data) == {"validation": [["a", "b"]], "test": [["a", "b"]]}


def test_counting_finds_the_word_once_common_ones_are_left_out(monkeypatch):
    assert last_words.most_frequent(PASSAGES[0]) == "the"
    assert last_words.most_frequent(PASSAGES[0], {"the"}) == "ann"
    assert last_words.most_frequent(["the", "end"], {"the"}) is None
    monkeypatch.setattr(last_words, "LEFT_OUT", (0, 1))
    counting = Counting.from_validation(PASSAGES)
    assert counting.left_out == {"the"}
    assert counting.tried == {0: 0.0, 1: 1.0}
    assert counting.accuracies(PASSAGES[2:] * 2 + [["x", "y"]]) == {
        "constant: always 'ann'": 0,
        "random earlier word": 0.25 * 2 / 3,
        "frequent and uncommon, n = 1": 2 / 3,
    }
    table = counting.table(PASSAGES)
    assert table_cells(table)[-1] == ["bound: the word stands before", "100.00%"]
    assert "0.0% for 0, 100.0% for 1" in table


def test_likely_gives_the_models_best_pieces(tiny_data):
    logits = torch.zeros(1, 4, tiny_data.vocab_size)
    logits[0, -1, [65, 7]] = torch.tensor([2.0, 1.0])
    seen = []
    model = lambda input_ids: seen.append(input_ids) or SimpleNamespace(logits=logits)  # noqa: E731
    learner = SimpleNamespace(block_size=4, device="cpu", model=model)
    assert last_words.likely(learner, tiny_data, range(9), 2) == [tiny_data.tokenizer.decode([i]) for i in (65, 7)]
    assert seen[0].tolist() == [[5, 6, 7, 8]], "the end of the context"


@pytest.fixture
def runs():
    some = [made_up(method, name="gpt2-lambada") for method in ("dynamic", "random", "conventional")]
    for run in some:
        run.test["last_word"] = {"accuracy": 0.5, "passages": 2, "perplexity": 400.0**2, "truncated": 1}
    return some


def test_the_table_of_last_words(runs):
    (row,) = table_cells(last_words.table(runs[:1]))[1:]
    assert row == ["dynamic", "1 of 2", "50.00%", "1.26% to 98.74%", "160,000", "1"]


def test_models_stand_beside_who_counts(runs, tiny_data, monkeypatch):
    two = [([1], [2, 3]), ([1], [2, 3])]  # two passages, whose last words have two pieces
    data = SimpleNamespace(passages=lambda split, max_tokens: two)
    assert last_words.pieces(runs[2], data) == 2
    assert last_words.harder(runs[2], data) == pytest.approx(4)  # 400 per piece, 100 per token
    counting = Counting("ann", frozenset({"the"}), {1: 1.0})
    text = last_words.told(runs, data, counting, PASSAGES)
    assert "guesses 50.00% of 2, **not more** than the best guesser that only counts, 100.00% of the same" in text
    assert f"(its table is of all {len(PASSAGES)})" in text
    assert "4.0 times" in text
    assert "near zero" not in text
    assert last_words.told([made_up()], data, counting, PASSAGES) == ""
    two.append(two[0])
    with pytest.raises(AssertionError, match="passages of the run"):
        last_words.harder(runs[2], data)
