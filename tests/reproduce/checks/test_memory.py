"""Wrong accounts of memory, and what is said of them."""

import pytest

from dlt_core.reproduce.checks.memory import (
    PARTS,
    check_block_activations,
    check_largest_saving,
    check_shrinks,
    check_state_bytes,
)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda p, b: p * b, "the weights alone"),
        (lambda p, b: 2 * p * b, "what does AdamW remember"),
        (lambda p, b: 3 * p * b, "one more than you think"),
        (lambda p, b: 16 * p, "makes no difference"),
        (lambda p, b: 5 * p * b, "List them"),
    ],
)
def test_state(told, answer, said):
    assert said in told(check_state_bytes, answer)


def test_values_in_place_of_bytes_are_taken_for_the_weights_alone(told):
    assert "the weights alone" in told(check_state_bytes, lambda p, b: 4 * p)  # 4 values, or 4 bytes of one


ANSWER = dict.fromkeys(PARTS, True) | {"activations": False}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "a dictionary is asked for"),
        ({"weights": True}, "The parts are weights, gradients, optimizer, activations"),
        (ANSWER | {"weights": ...}, "not yet for weights"),
        (dict.fromkeys(PARTS, True), "1 of 4 are wrong"),
        ({part: not smaller for part, smaller in ANSWER.items()}, "4 of 4 are wrong"),
    ],
)
def test_shrinks(told, answer, said):
    assert said in told(check_shrinks, lambda: answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda b, t, d, h: b * t * (16 * d + h + 4), "That is a number of values"),
        (lambda b, t, d, h: 4 * t * (16 * d + h + 4), "A batch has several"),
        (lambda b, t, d, h: 4 * (16 * d + h + 4), "for one token"),
        (lambda b, t, d, h: 4 * b * t * 16 * d, "Nearly"),
        (lambda b, t, d, h: 4 * b * t * d, "keeps more"),
        (lambda b, t, d, h: 4 * b * t * 20 * d, "keeps less"),
    ],
)
def test_block_activations(told, answer, said):
    assert said in told(check_block_activations, answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda e, b, n: n, "what cannot be tied"),
        (lambda e, b, n: (e + b) / (e + n * b), "How many times smaller"),
        (lambda e, b, n: 1 - (e + b) / (e + n * b), "the share that is saved"),
        (lambda e, b, n: (e + n * b) / b, "One set of weights must stay"),
        (lambda e, b, n: 1.0, "Write down both sizes"),
    ],
)
def test_largest_saving(told, answer, said):
    assert said in told(check_largest_saving, answer)


def test_right_ones(passes):
    passes(check_state_bytes, lambda p, b: p * 4 * b)
    passes(check_shrinks, lambda: ANSWER)
    passes(check_block_activations, lambda b, t, d, h: 4 * b * t * (16 * d + h + 4))
    passes(check_largest_saving, lambda e, b, n: (e + n * b) / (e + b))
