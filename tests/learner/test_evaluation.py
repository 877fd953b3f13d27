"""Perplexity and bits per byte: every token counted once, and no model better than the truth."""

import functools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlt_core.algorithm1 import train_conventional
from dlt_core.blocks import build_gpt2
from dlt_core.corpora.sources import SPLITS, Corpus
from dlt_core.corpora.tokenization import TokenizedCorpus, tokenize
from dlt_core.learner.evaluation import Evaluation, evaluate, last_words, perplexity
from dlt_core.learner.training import Learner
from dlt_core.tie_map import TieMap


class FixedModel(nn.Module):
    """Gives every token the same log-probabilities wherever it stands, and records what it was shown."""

    def __init__(self, log_probabilities: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(log_probabilities)
        self.seen: list[torch.Tensor] = []
        self.modes: list[bool] = []

    def forward(self, input_ids: torch.Tensor, **_) -> SimpleNamespace:
        self.seen.append(input_ids.clone())
        self.modes.append(self.training)
        return SimpleNamespace(logits=self.logits.expand(*input_ids.shape, -1))


def uniform(vocab_size: int) -> FixedModel:
    return FixedModel(torch.zeros(vocab_size))


@given(st.integers(2, 60), st.integers(2, 200), st.integers(1, 20), st.integers(1, 6))
def test_a_uniform_model_has_the_perplexity_of_the_vocabulary(vocab_size, n, block_size, batch_size):
    tokens = np.random.default_rng(n).integers(vocab_size, size=n)
    found = evaluate(
        uniform(vocab_size),
        tokens,
        block_size=block_size,
        batch_size=batch_size,
        token_bytes=np.full(vocab_size, 3),
    )
    assert found.perplexity == pytest.approx(vocab_size, rel=1e-5)
    assert found.loss == pytest.approx(math.log(vocab_size), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(math.log2(vocab_size) / 3, rel=1e-5)


@given(st.integers(2, 150), st.integers(1, 20), st.integers(1, 6))
def test_every_token_but_the_first_is_predicted_exactly_once(n, block_size, batch_size):
    # Token t stands at position t alone, and has a cost of its own: a sum of costs tells which were predicted.
    model = FixedModel(torch.randn(n, generator=torch.Generator().manual_seed(n)).log_softmax(0))
    costs = -model.logits.detach().double()
    sizes = np.random.default_rng(n).integers(1, 9, size=n)
    found = evaluate(model, np.arange(n), block_size=block_size, batch_size=batch_size, token_bytes=sizes)
    assert found.tokens == n - 1
    assert found.nll == pytest.approx(float(costs[1:].sum()), rel=1e-5)
    assert found.bytes == sizes[1:].sum()
    windows = [row for batch in model.seen for row in batch]
    assert sorted(t for row in windows for t in row.tolist()) == list(range(n - 1))
    assert all((row.diff() == 1).all() and len(row) <= block_size for row in windows)
    assert sum(len(row) < block_size for row in windows) <= 1
    assert all(len(batch) <= batch_size for batch in model.seen)


def test_bits_per_byte_by_hand():
    found = Evaluation(nll=6 * math.log(2), tokens=3, bytes=4)
    assert found.loss == pytest.approx(2 * math.log(2))
    assert found.perplexity == pytest.approx(4)
    assert found.bits_per_byte == pytest.approx(1.5)
    # p(a) = 1/2, p(b) = 1/4, p(c) = 1/8: "a|bca" costs 2 + 3 + 1 bits; its bytes are 2 + 3 + 1
    model = FixedModel(torch.log(torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 8])))
    found = evaluate(model, np.array([0, 1, 2, 0]), block_size=2, batch_size=1, token_bytes=np.array([1, 2, 3, 100]))
    assert (found.tokens, found.bytes) == (3, 6)
    assert found.bits_per_byte == pytest.approx(1, rel=1e-6)
    assert found.perplexity == pytest.approx(4, rel=1e-6)


def test_perplexity_of_any_loss():
    assert perplexity(0.0) == 1
    assert perplexity(math.log(50257)) == pytest.approx(50257)
    assert perplexity(1e6) == math.inf
    assert perplexity(math.inf) == math.inf
    assert math.isnan(perplexity(math.nan))


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_is_without_dropout_and_restores_the_mode(training):
    model = uniform(5).train(training)
    evaluate(model, np.arange(5), block_size=2, batch_size=2, token_bytes=np.ones(5, int))
    assert model.modes
    assert not any(model.modes)
    assert model.training is training
    assert model.logits.grad is None


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_tokens_raise(n):
    with pytest.raises(ValueError, match=f"{n} tokens"):
        evaluate(uniform(5), np.arange(n), block_size=2, batch_size=2, token_bytes=np.ones(5, int))


def test_the_result_does_not_depend_on_the_batch_size():
    model = build_gpt2(vocab_size=20, n_positions=8, n_layer=2, n_head=2, n_embd=16, dropout=0.5)
    tokens = np.random.default_rng(0).integers(20, size=101)
    one, other = (evaluate(model, tokens, block_size=8, batch_size=b, token_bytes=np.ones(20, int)).nll for b in (1, 7))
    assert one == pytest.approx(other, rel=1e-6)


# --- the leak detector ---

STATES = 8


@pytest.fixture(scope="module")
def markov() -> tuple[np.ndarray, TokenizedCorpus]:
    """A first-order Markov source of known transition probabilities, and text drawn from it."""
    rng = np.random.default_rng(0)
    transitions = rng.dirichlet(np.full(STATES, 0.5), size=STATES)
    transitions = 0.95 * transitions + 0.05 / STATES

    def draw(n: int) -> np.ndarray:
        tokens = np.zeros(n, dtype=np.int32)
        cumulative = transitions.cumsum(1)
        for i, u in enumerate(rng.random(n - 1), start=1):
            tokens[i] = min(np.searchsorted(cumulative[tokens[i - 1]], u), STATES - 1)
        return tokens

    tokens = {"train": draw(40_000), "validation": draw(4_000), "test": draw(4_000)}
    splits = {split: "".join(map(str, ids)) for split, ids in tokens.items()}
    corpus = Corpus("markov", splits, "embedded")
    return transitions, TokenizedCorpus(corpus, None, tokens, np.ones(STATES, dtype=np.int64), "state")


def build(seed: int) -> nn.Module:
    return build_gpt2(vocab_size=STATES, n_positions=16, n_layer=2, n_head=2, n_embd=32, dropout=0.0, seed=seed)


@pytest.mark.parametrize("tie_map", [TieMap.independent(2), TieMap.all_tied(2)])
def test_no_model_beats_the_source_and_training_comes_close(markov, tie_map):
    """If a target leaked into the input, or a token were left out, the loss would fall below the source's own."""
    transitions, data = markov
    learner = Learner(
        functools.partial(build), data, seed=0, batch_size=32, block_size=16, learning_rate=3e-3, device="cpu"
    )
    learner.tie(tie_map)
    held_out = data.tokens["test"]
    costs = -np.log(transitions[held_out[:-1], held_out[1:]])
    assert learner.evaluate("test").loss > costs.mean() + 0.3  # there is something to learn
    for _ in range(4):
        training = learner.train(75)
        found = learner.evaluate("test")
        assert found.tokens == len(costs)
        assert found.loss > costs.mean() - 0.01
        assert np.mean(training) > costs.mean() - 0.05
        assert learner.probe(0) > costs.mean() - 0.25  # 512 tokens only: a wider margin
    assert found.loss < costs.mean() + 0.05
    assert found.bits_per_byte == pytest.approx(found.loss / math.log(2))


class Bigrams(nn.Module):
    """A language model that knows only the token before: P(b | a) = table[a][b]."""

    def __init__(self, table):
        super().__init__()
        self.log = nn.Parameter(torch.tensor(table).log())

    def forward(self, input_ids, use_cache):
        return SimpleNamespace(logits=self.log[input_ids])


BIGRAMS = [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.5, 0.4, 0.1]]


def test_last_words_by_hand():
    passages = [
        ([2, 0, 1], [2]),  # P(2 | 1) = 0.6, the most likely: guessed
        ([0], [0, 1]),  # P(0 | 0) P(1 | 0) = 0.7 x 0.2, its second piece is not the most likely: missed
        ([1, 1], [2, 0, 0]),  # P(2 | 1) P(0 | 2) P(0 | 0) = 0.6 x 0.5 x 0.7, each the most likely: guessed
    ]
    for batch_size in (1, 2, 3):
        found = last_words(Bigrams(BIGRAMS), passages, block_size=8, batch_size=batch_size)
        assert (found.passages, found.correct, found.truncated) == (3, 2, 0)
        assert found.accuracy == pytest.approx(2 / 3)
        by_hand = 0.6 * 0.14 * 0.21
        assert found.nll == pytest.approx(-math.log(by_hand), rel=1e-5)
        assert found.perplexity == pytest.approx(by_hand ** (-1 / 3), rel=1e-5)


def test_what_gives_nothing_to_guess_or_to_guess_it_from_is_neither_hit_nor_miss():
    counted = [([1], [2]), ([0], [0, 1])]  # as above: guessed, missed
    empty = [([], [2]), ([0], []), ([], []), ([], [0, 0]), ([1], [2, 0, 0, 0, 0])]  # the last does not fit in T = 4
    expected = last_words(Bigrams(BIGRAMS), counted, block_size=4, batch_size=2)
    assert (expected.passages, expected.correct) == (2, 1)
    for passages in (counted + empty, empty + counted, [empty[0], counted[0], *empty[1:], counted[1]]):
        for batch_size in (1, 3, 10):
            found = last_words(Bigrams(BIGRAMS), passages, block_size=4, batch_size=batch_size)
            assert (found.passages, found.correct, found.truncated) == (2, 1, 0)
            assert found.nll == pytest.approx(expected.nll, rel=1e-6)
    for passage in empty:
        with pytest.raises(ValueError, match=r"no passages with a last word .* \(1 given\)"):
            last_words(Bigrams(BIGRAMS), [passage], block_size=4, batch_size=2)


def test_a_passage_longer_than_the_sequence_loses_its_beginning():
    model = build_gpt2(vocab_size=9, n_positions=4, n_layer=2, n_head=1, n_embd=8, dropout=0.5)
    model.train()
    longer = last_words(model, [([8, 7, 6, 5, 1, 2], [3, 4])], block_size=4, batch_size=2)
    shorter = last_words(model, [([5, 1, 2], [3, 4])], block_size=4, batch_size=2)
    assert (longer.truncated, shorter.truncated) == (1, 0)
    assert longer.nll == shorter.nll
    assert model.training
    with pytest.raises(ValueError, match="no passages"):
        last_words(model, [], block_size=4, batch_size=2)


def test_a_passage_is_split_before_its_last_word():
    text = dict.fromkeys(SPLITS, "a long walk home\nin the rain\nshe said no\n")
    data = tokenize(Corpus("lines", text, "local"), "bpe-270")
    found = data.passages("test")
    assert [data.tokenizer.decode(word) for _, word in found] == [" home", " rain", " no"]
    assert [data.tokenizer.decode(context + word) for context, word in found] == text["test"].splitlines()
    first = len(found[0][0]) + len(found[0][1])
    assert data.passages("test", max_tokens=first) == found[:1]
    assert data.passages("test", max_tokens=first - 1) == []
    lonely = tokenize(
        Corpus("lines", {**text, "test": "a long walk home\n\n \nalone\n alone\nshe said no"}, "local"), "bpe-270"
    )
    assert lonely.passages("test") == [found[0], found[2]]  # nothing stands before the only word of a line


def test_lambada_is_scored_both_ways(smoke, tiny_data):
    passages = "\n".join(["we walked on through the long cold night"] * 40) + "\n"
    corpus = Corpus("lambada", {**tiny_data.corpus.splits, "test": passages}, "local")
    record = train_conventional(smoke.replace(episodes=1), data=tokenize(corpus, "bpe-512"))
    assert 0 < record.test["bits_per_byte"] < 20
    scored = record.test["last_word"]
    assert scored["passages"] * 10 < 1024  # evaluation_tokens counts here, too
    assert scored["accuracy"] in (0.0, 1.0)  # all passages are the same
    assert scored["perplexity"] > 1
    assert "last_word" not in train_conventional(smoke.replace(episodes=1), data=tiny_data).test
