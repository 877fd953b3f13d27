"""What the reader is told when something goes wrong in an answer."""

import pytest

from dlt_core.reproduce.checks.common import NotYet, ask, ask_number, ask_pair, call_of, near, passed, require


def test_a_stub_says_its_own_words():
    def stub(x):
        raise NotImplementedError("Task 1 is still yours")

    with pytest.raises(NotYet, match=r"^Task 1 is still yours$") as stopped:
        ask(stub, 1)
    assert stopped.value._render_traceback_() == ["✗ Not yet. Task 1 is still yours"]


def test_an_error_in_an_answer_names_call_kind_and_line():
    def half(x):
        return x / 0

    with pytest.raises(NotYet, match=r"^half\(3\) stopped with ZeroDivisionError: .* In your line \d+: return x / 0"):
        ask(half, 3)
    with pytest.raises(NotYet, match=r"^half\(1, 2\) stopped with TypeError: .*\.$"):
        ask(half, 1, 2)


def test_what_a_check_says_within_an_answer_is_left_as_it_is():
    def fail():
        require(False, "said inside")

    with pytest.raises(NotYet, match=r"^said inside$"):
        ask(fail)


@pytest.mark.parametrize("value", [None, "1", True, float("nan"), [1]])
def test_a_number_is_a_number(value):
    with pytest.raises(NotYet, match="a number is asked for"):
        ask_number(lambda: value)
    with pytest.raises(NotYet, match="number"):
        ask_pair(lambda: (1.0, value))


def test_a_forgotten_return_is_suspected():
    with pytest.raises(NotYet, match="Is there a `return`"):
        ask_number(lambda: None)


@pytest.mark.parametrize("value", [1.0, (1.0,), None])
def test_a_pair_is_a_pair(value):
    with pytest.raises(NotYet, match="two numbers are asked for"):
        ask_pair(lambda: value)
    assert ask_pair(lambda: [1, 2.5]) == (1.0, 2.5)


def test_calls_are_cut_and_success_is_one_line(capsys):
    assert call_of(len, list(range(100))).endswith("...)")
    assert call_of(sum, [1, 2]) == "sum([1, 2])"
    passed("So it is.")
    assert capsys.readouterr().out == "✓ Right. So it is.\n"
    assert near(1.0, 1.0 + 1e-9)
    assert not near(1.0, 1.001)
