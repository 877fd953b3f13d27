"""A text read in pieces is the text: the same characters, words, lines, bytes and tokens."""

import hashlib
import itertools
import re
import sys
from pathlib import Path

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from dlt_core.corpora import text, tokenization
from dlt_core.corpora.local import local_files
from dlt_core.corpora.sources import Corpus
from dlt_core.corpora.text import Text
from dlt_core.corpora.tokenization import tokenize

WHITE = [c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace()]
LOOKS_WHITE = ["\u180e", "\u200b", "\u2060", "\ufeff"]  # to some libraries, and not to others
characters = st.sampled_from(" \n") | st.sampled_from(WHITE + LOOKS_WHITE) | st.sampled_from("aeZ19.'-@<é漢\u0301🙂")
texts = st.text(characters, max_size=120)
nasty = [
    "",
    " \n = Title = \n \n He \x85 said \u2028 so \x1c\t\r\n\r\n \x0b end",
    "one" + " " * 50 + "\n" * 50 + "two",
    "x" * 100,
    "\x1c" * 30 + "a" + "\u2028" * 30 + "b",
    " " * 60,
]


def with_nasty_examples(test):
    for string in nasty:
        test = example(string)(test)
    return test


@pytest.fixture(autouse=True)
def tiny_pieces(monkeypatch):
    monkeypatch.setattr(text, "PIECE", 8)


def in_strings(string: str, size: int) -> Text:
    """The text as a function that yields it `size` characters at a time."""
    return Text(lambda: (string[i : i + size] for i in range(0, len(string), size)))


@with_nasty_examples
@given(texts)
def test_the_pieces_joined_are_the_text_however_it_is_read(string):
    for read in (Text(string), *(in_strings(string, size) for size in (1, 3, 8, 30))):
        assert "".join(read) == str(read) == string
        assert str(read) == string, "the second reading begins anew"


@with_nasty_examples
@given(texts)
def test_pieces_part_where_white_space_follows_a_word(string):
    pieces = list(in_strings(string, 3))
    for before, after in itertools.pairwise(pieces):
        assert not before[-1].isspace()
        assert after[0] in " \n\t\r"


def test_no_piece_is_long_unless_a_word_is():
    pieces = list(Text(lambda: itertools.repeat("words of six characters\n", 100)))
    assert len(pieces) > 100
    assert max(map(len, pieces)) < 3 * text.PIECE


@with_nasty_examples
@given(texts)
def test_what_is_measured_piece_by_piece_is_what_the_whole_text_gives(string):
    for read in (Text(string), in_strings(string, 3)):
        assert read.words == len(string.split()) + string.count("\n")
        assert list(read.lines()) == re.findall(r"[^\n]*\n|[^\n]+", string)
        assert read.bytes == len(string.encode())
        assert read.sha256 == hashlib.sha256(string.encode()).hexdigest()
        assert all(read.head(n) == string[:n] for n in (0, 1, 8, 9, 17, len(string), len(string) + 1))


def test_only_as_much_is_read_as_is_asked_for():
    endless = Text(lambda: itertools.cycle(["no end \n", "in sight \n"]))
    assert endless.head(20) == "no end \nin sight \nno"
    assert list(itertools.islice(endless.lines(), 3)) == ["no end \n", "in sight \n", "no end \n"]


# --- tokens ---


@pytest.fixture(scope="module", params=["gpt2", "bpe-600"])
def encoder(request) -> tokenizers.Tokenizer:
    if request.param == "gpt2" and not all(map(local_files, tokenization.GPT2_LOCAL)):
        pytest.skip("needs DLT_DATA_DIR with gpt2-bpe")
    learn_from = Path(text.__file__).read_text("utf-8") + "".join(nasty) * 20  # with pieces of several blanks
    corpus = Corpus("any", {"train": learn_from, "validation": "", "test": ""}, "local")
    return tokenize(corpus, request.param).tokenizer


def encoded_in_pieces(encoder: tokenizers.Tokenizer, read: Text) -> list[int]:
    return [index for encoding in encoder.encode_batch_fast(list(read)) for index in encoding.ids]


@with_nasty_examples
@given(texts)
def test_tokens_of_the_pieces_are_the_tokens_of_the_whole(encoder, string):
    ids = encoder.encode(string).ids
    assert encoded_in_pieces(encoder, Text(string)) == ids
    assert encoded_in_pieces(encoder, in_strings(string, 3)) == ids


def test_no_white_space_of_unicode_joins_tokens_across_pieces(encoder):
    for white in WHITE + LOOKS_WHITE:
        string = f"words{white} {white}\tand{white}\n{white}{white} \r\nmore {white} words{white}"
        read = Text(string)
        assert len(list(read)) > 1
        assert encoded_in_pieces(encoder, read) == encoder.encode(string).ids, repr(white)
