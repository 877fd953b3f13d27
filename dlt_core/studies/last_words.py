"""LAMBADA's question: which word ends the passage? What guessers reach that only count words, and how far models get.

What is returned to be shown is Markdown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy import stats

from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.learner.training import Learner
from dlt_core.records.record import RunRecord
from dlt_core.studies.tables import markdown_table

Passage = Sequence[str]
"""The words of a passage, the last of which is to be guessed."""
LEFT_OUT = (0, 50, 200, 800, 2_000)  # numbers of common words that are tried


def passages(data: TokenizedCorpus) -> dict[str, list[list[str]]]:
    """The passages of validation and test: lines of at least two words."""
    return {
        split: [words for line in data.corpus.splits[split].lines() if len(words := line.split()) > 1]
        for split in ("validation", "test")
    }


def most_frequent(passage: Passage, left_out: Collection[str] = ()) -> str | None:
    """The word that stands most often before the last one, among those not left out; the first of equals."""
    counts = Counter(word for word in passage[:-1] if word not in left_out)
    return counts.most_common(1)[0][0] if counts else None


@dataclass(frozen=True)
class Counting:
    """Guessers that only count words, with what they take from the validation passages."""

    constant: str
    """The most frequent last word."""
    left_out: frozenset[str]
    """The most common words, as many as serve `most_frequent` best."""
    tried: Mapping[int, float]
    """How many common words were left out -> accuracy of `most_frequent` on the validation passages."""

    @classmethod
    def from_validation(cls, some: Sequence[Passage]) -> Counting:
        common = [word for word, _ in Counter(w for p in some for w in p).most_common(max(LEFT_OUT))]
        tried = {n: _share([most_frequent(p, set(common[:n])) == p[-1] for p in some]) for n in LEFT_OUT}
        constant = Counter(p[-1] for p in some).most_common(1)[0][0]
        return cls(constant, frozenset(common[: max(tried, key=lambda n: tried[n])]), tried)

    def accuracies(self, some: Sequence[Passage]) -> dict[str, float]:
        """Each guesser's share of last words guessed; of the random one, the expected share."""
        return {
            f"constant: always {self.constant!r}": _share([p[-1] == self.constant for p in some]),
            "random earlier word": _share([p[:-1].count(p[-1]) / (len(p) - 1) for p in some]),
            f"frequent and uncommon, n = {len(self.left_out)}": _share(
                [most_frequent(p, self.left_out) == p[-1] for p in some]
            ),
        }

    def table(self, test: Sequence[Passage]) -> str:
        """The accuracies, and under them what no guesser that repeats a word can exceed."""
        within_reach = _share([p[-1] in p[:-1] for p in test])
        rows = [
            {"guesser": name, "accuracy": f"{value:.2%}"}
            for name, value in {**self.accuracies(test), "bound: the word stands before": within_reach}.items()
        ]
        tried = ", ".join(f"{accuracy:.1%} for {n:,}" for n, accuracy in self.tried.items())
        return (
            f"{markdown_table(rows)}\n\nOn all {len(test):,} passages of the test split. How many common words to "
            f"leave out was chosen on the validation passages, where the accuracy is {tried}."
        )


def _share(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def likely(learner: Learner, data: TokenizedCorpus, context: Sequence[int], n: int = 5) -> list[str]:
    """The n pieces that the learner's model finds most likely after the context, which may be cut at its beginning."""
    ids = torch.tensor([list(context)[-learner.block_size :]], device=learner.device)
    with torch.inference_mode():
        best = learner.model(input_ids=ids).logits[0, -1].topk(n).indices.tolist()
    return [data.tokenizer.decode([i]) for i in best]


def table(runs: Sequence[RunRecord]) -> str:
    """How many last words were guessed, with the 95 % interval of the accuracy (exact binomial, over the passages, for
    one model), of runs on LAMBADA."""
    rows = []
    for run in runs:
        words = run.required(run.test)["last_word"]
        hits = round(words["accuracy"] * words["passages"])
        low, high = stats.binomtest(hits, words["passages"]).proportion_ci()
        rows.append(
            {
                "method": run.method,
                "guessed": f"{hits} of {words['passages']:,}",
                "accuracy": f"{words['accuracy']:.2%}",
                "95 % interval": f"{low:.2%} to {high:.2%}",
                "perplexity per last word": f"{words['perplexity']:,.0f}",
                "truncated": f"{words['truncated']:,}",
            }
        )
    return markdown_table(rows)


def pieces(run: RunRecord, data: TokenizedCorpus) -> float:
    """How many pieces a last word of the run's test has on average.

    Raises AssertionError if the run was given other passages than the data has for its evaluation.
    """
    scored = data.passages("test", max_tokens=run.experiment["evaluation_tokens"])
    assert len(scored) == run.required(run.test)["last_word"]["passages"], "the passages of the run"
    return sum(len(word) for _, word in scored) / len(scored)


def harder(run: RunRecord, data: TokenizedCorpus) -> float:
    """How many times as perplexing a piece of a last word is to the run's model as a token of all the text. Raises as
    `pieces`."""
    test = run.required(run.test)
    return test["last_word"]["perplexity"] ** (1 / pieces(run, data)) / test["perplexity"]


def told(runs: Sequence[RunRecord], data: TokenizedCorpus, counting: Counting, some: Sequence[Passage]) -> str:
    """What the runs guess beside who only counts, on the passages that they were given, and how hard these words are;
    nothing for runs without last words."""
    tests = [run.required(run.test) for run in runs]
    if not all("last_word" in test for test in tests):
        return ""
    given = [test["last_word"] for test in tests]
    top = max(given, key=lambda words: words["accuracy"])
    best = max(counting.accuracies(some[: top["passages"]]).values())
    return (
        f"Last words: the best of the {len(runs)} models guesses {top['accuracy']:.2%} of {top['passages']:,}, "
        f"**{'more' if top['accuracy'] > best else 'not more'}** than the best guesser that only counts, {best:.2%} of "
        f"the same passages (its table is of all {len(some):,}). To the {runs[-1].method} model a piece of a last word "
        f"is {harder(runs[-1], data):.1f} times as perplexing as a token of all the text."
        + (" An accuracy near zero cannot tell methods apart." if top["accuracy"] < 0.02 else "")
    )
