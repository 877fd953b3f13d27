"""What notebooks 04 to 08 say of a text before anything is trained on it: counts beside those published, what two
texts have in common, what a window holds. What they return is Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from dlt_core import corpora
from dlt_core.corpora.hub import CorpusUnavailable
from dlt_core.corpora.tokenization import TokenizedCorpus, tokenize
from dlt_core.studies.tables import markdown_table

_TEST = {"validation": 217_646, "test": 245_569}  # the articles of both WikiTexts
WORDS = {"wikitext-2": {"train": 2_088_628, **_TEST}, "wikitext-103": {"train": 103_227_021, **_TEST}}
"""Words of each split with each line's end as one more, as published (Merity et al. 2016)."""
PASSAGES = {"validation": 4_869, "test": 5_153}
"""Lines of LAMBADA that are passages, as published (Paperno et al. 2016)."""
SENTENCES = {"train": 30_301_028, "test": 306_688}
"""Lines of One Billion Words, as the data set's card has them; none is a validation split."""
LINES = {"lambada": ("passages", PASSAGES), "lm1b": ("sentences", SENTENCES)}


def about(data: TokenizedCorpus) -> str:
    """Whether a text is whole, and what is particular about it."""
    if data.corpus.name == "embedded":
        return "not a data set of the paper, but the reference of the Python language"
    note = f": {data.corpus.note}" if data.corpus.note else ""
    return ("a sample" if data.corpus.is_sample else "complete") + note


def introduced(data: TokenizedCorpus) -> str:
    """Which text it is, whether it is whole, its first long line, and how much there is of it: the counts of each split
    beside those published, if we know them.

    Raises AssertionError where a split that is complete has another number of words or lines than was published.
    """
    name = data.corpus.name
    line = next((line for line in data.corpus.splits["train"].lines() if len(line) > 70), "").strip()
    published, rows = WORDS.get(name, {}), []
    what, lines = LINES.get(name, ("", {}))
    found = {split: sum(1 for _ in text.lines()) for split, text in data.corpus.splits.items()} if what else {}
    if published:
        _agree({split: text.words for split, text in data.corpus.splits.items()}, published, data, "words")
    if name == "lambada":
        _agree(found, lines, data, what)
    elif name == "lm1b" and not data.corpus.is_sample:  # validation is held out from the training text
        _agree({"train": found["train"] + found["validation"], "test": found["test"]}, lines, data, what)
    for split, text in data.corpus.splits.items():
        row = {"split": split, "words": f"{text.words:,}", "bytes": f"{text.bytes:,}"}
        row |= {"tokens": f"{len(data.tokens[split]):,}"}
        row |= {"words, published": f"{published[split]:,}"} if published else {}
        if what:
            row |= {"lines": f"{found[split]:,}", f"{what}, published": f"{lines[split]:,}" if split in lines else ""}
        rows.append(row)
    return (
        f"**{name}**, {about(data)}. Source: {data.corpus.source}. Its first long line:\n\n    {line[:100]} ...\n\n"
        f"{markdown_table(rows)}\n\nPerplexities are per {data.unit}."
    )


def _agree(found: Mapping[str, int], published: Mapping[str, int], data: TokenizedCorpus, what: str) -> None:
    for split, count in published.items():
        if split != "train" or not data.corpus.is_sample:
            assert found[split] == count, f"{data.corpus.name}, {split}: {found[split]} {what}, not {count}"


def beside_wikitext2(data: TokenizedCorpus) -> str:
    """Where the test text of WikiText-103 differs from that of WikiText-2, word by word, if that is at hand.

    Raises AssertionError if they differ elsewhere than where WikiText-2 has <unk>.
    """
    if data.corpus.name != "wikitext-103":
        return f"Skipped: {data.corpus.name} is not WikiText-103."
    try:
        other = corpora.load("wikitext-2")
    except (CorpusUnavailable, FileNotFoundError) as missing:
        return f"Skipped, as WikiText-2 is not at hand: {missing}"
    large, small = (str(corpus.splits["test"]).split() for corpus in (data.corpus, other))
    places = [i for i, (a, b) in enumerate(zip(large, small, strict=True)) if a != b]
    assert all(small[i] == "<unk>" for i in places), "they differ only where WikiText-2 has <unk>"
    i = next(i for i in places if i > 8)
    both = "\n".join(
        f"    {name:13} ... {' '.join(words[i - 8 : i + 3])} ..."
        for name, words in (("WikiText-103:", large), ("WikiText-2:", small))
    )
    return (
        f"**{len(places):,} of {len(large):,} words differ**, and each of them is `<unk>` in WikiText-2. One of "
        f"them:\n\n{both}\n\nThe training text of WikiText-103, as much of it as is used here, has "
        f"{data.corpus.splits['train'].words / other.splits['train'].words:.2g} times the words of WikiText-2's."
    )


def gpt2_tokens_a_word(data: TokenizedCorpus) -> float | None:
    """How many tokens GPT-2's tokenizer makes of a word of WikiText-2's test split, on average; None, with a line that
    says why, where the text is another or the tokenizer is not at hand."""
    if data.corpus.name != "wikitext-2":
        print(f"skipped: the two numbers are about WikiText-2, not {data.corpus.name}")
        return None
    try:
        return len(tokenize(data.corpus, "gpt2").tokens["test"]) / data.corpus.splits["test"].words
    except CorpusUnavailable as missing:
        print(f"skipped: {missing}")
        return None


def windows(data: TokenizedCorpus, lengths: Iterable[int], *, at_most: int = 2000) -> str:
    """What the first windows of the training text hold, for windows of each length in tokens: line ends; the share of
    tokens whose own line began before the window; the share that has other lines in view before its own."""
    tokens, rows = data.tokens["train"], []
    line_ends = [i for i in range(data.vocab_size) if "\n" in data.tokenizer.decode([i])]
    for length in lengths:
        n = min(at_most, len(tokens) // length)
        ends = np.isin(tokens[: n * length].reshape(n, length), line_ends)  # (windows, T)
        begins_fresh = np.concatenate([[True], ends[:-1, -1]])  # the window before it ended with a line's end
        first_line: np.ndarray = np.cumsum(ends, axis=1) - ends == 0  # no line has ended before this token
        rows.append(
            {
                "T": str(length),
                "line ends in a window": f"{ends.sum(axis=1).mean():.1f}",
                "tokens whose line is cut off at its beginning": f"{(first_line & ~begins_fresh[:, None]).mean():.0%}",
                "tokens with other lines in view": f"{1 - first_line.mean():.0%}",
            }
        )
    return markdown_table(rows)
