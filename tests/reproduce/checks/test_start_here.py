"""Wrong answers of notebook 00's exercises, and what is said of them."""

import math

import pytest

from dlt_core.reproduce.checks.start_here import check_bits_per_byte, check_cycle, check_perplexity, check_weight_sets


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (len, "the number of layers"),
        (lambda m: len(m) - len(set(m)), "You count the layers that use another one's weights"),
        (lambda m: max(m) + 1, "The largest entry is the name of a layer"),
        (lambda m: 99, "one colour"),
        (lambda m: print, "a number is asked for"),
    ],
)
def test_weight_sets(told, answer, said):
    assert said in told(check_weight_sets, answer)


def test_right_ones(passes):
    passes(check_weight_sets, lambda m: sum(i == j for i, j in enumerate(m)))
    passes(check_cycle, lambda n, g: tuple(i % g for i in range(n)))
    passes(check_perplexity, lambda losses: math.prod(math.exp(x) for x in losses) ** (1 / len(losses)))
    passes(check_bits_per_byte, lambda loss, tokens, num_bytes: loss / math.log(2) * tokens / num_bytes)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda n, g: 3, "a list is asked for"),
        (lambda n, g: [0], "A map has one for each layer"),
        (lambda n, g: [max(0, i - g) for i in range(n)], "is no tie map"),
        (lambda n, g: [i - i % (n // g) for i in range(n)], "neighbours share here"),
        (lambda n, g: [0] * n, "has 1 weight sets"),
        (lambda n, g: [i if i < g else 0 for i in range(n)], "the same colour as layer 0"),
    ],
)
def test_cycle(told, answer, said):
    assert said in told(check_cycle, answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: sum(x) / len(x), "you give the mean loss itself"),
        (lambda x: math.exp(sum(x)), "a longer text"),
        (lambda x: 2 ** (sum(x) / len(x)), "In which unit"),
        (lambda x: math.exp(-sum(x) / len(x)), "Mind the sign"),
        (lambda x: sum(map(math.exp, x)) / len(x), "You average perplexities"),
        (lambda x: 7.0, "Among how many tokens"),
        (lambda x: math.exp(max(x)), "is not it, though equal ones are"),
    ],
)
def test_perplexity(told, answer, said):
    assert said in told(check_perplexity, answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x, t, b: x * t / b, "still in nats"),
        (lambda x, t, b: x * t * math.log(2) / b, "more than a bit"),
        (lambda x, t, b: x / math.log(2), "bits per token"),
        (lambda x, t, b: x * b / t / math.log(2), "changed places"),
        (lambda x, t, b: x * t / math.log(2), "of the whole text"),
        (lambda x, t, b: x / b / math.log(2), "the text has many"),
        (lambda x, t, b: 5.0, "how many nats has the whole text"),
        (lambda x, t, b: x / 4 / math.log(2), "not for another one"),
    ],
)
def test_bits_per_byte(told, answer, said):
    assert said in told(check_bits_per_byte, answer)
