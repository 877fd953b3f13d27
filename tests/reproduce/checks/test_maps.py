"""Wrong counts, unfair pairs, hasty verdicts and flattering choices, and what is said of them."""

import math
from statistics import fmean

import pytest

from dlt_core.records.statistics import mean_interval
from dlt_core.reproduce.checks.maps import check_fair, check_judge, check_num_maps, check_pick, load


def stirling(n, m):
    if n == 0 or m == 0:
        return int(n == m)
    return stirling(n - 1, m - 1) + m * stirling(n - 1, m)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda n, m: stirling(n, m) + (m > n), "More weight sets than layers"),
        (lambda n, m: n, "All tied, and all independent"),
        (lambda n, m: math.comb(n, m) if 1 < m < n else 1, "What do the others do"),
        (lambda n, m: m**n if 1 < m < n else 1, "sets have no names"),
        (lambda n, m: math.comb(n - 1, m - 1), "a run of neighbours"),
        (lambda n, m: 2 if 1 < m < n else 1, "Think of the last layer"),
    ],
)
def test_num_maps(told, answer, said):
    assert said in told(check_num_maps, answer)


def fair(a, b, *, without=""):
    same = {
        "status": a.status == b.status == "finished",
        "seed": a.seed == b.seed,
        "budget": a.budget == b.budget,
        "corpus": a.corpus["sha256"] == b.corpus["sha256"],
    }
    return all(value for name, value in same.items() if name != without)


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("seed", "You let pass a run of another seed"),
        ("corpus", "You let pass a run on another text"),
        ("budget", "You let pass a run with twice the steps"),
        ("status", "You let pass a run that broke off"),
    ],
)
def test_fair(told, without, said):
    assert told(check_fair, lambda a, b: fair(a, b, without=without)).startswith(said)


def test_fair_refuses_too_much_or_gives_no_answer(told):
    assert "The method is what may differ" in told(check_fair, lambda a, b: fair(a, b) and a.method == b.method)
    assert "True or False" in told(check_fair, lambda a, b: None)


def judge(differences, margin, *, sign=1, equivalence=True, by="ends"):
    mean, half = mean_interval(differences)
    low, high = (mean, mean) if by == "mean" else (mean - half, mean + half)
    if equivalence and -margin < low and high < margin:
        return "equivalent"
    if high < 0:
        return ("better", "worse")[sign < 0]
    return ("worse", "better")[sign < 0] if low > 0 else "not told apart"


def equivalent_if_zero_is_in_it(differences, margin):
    mean, half = mean_interval(differences)
    return "equivalent" if abs(mean) < half else judge(differences, margin)


def never_worse(differences, margin):
    word = judge(differences, margin)
    return "not told apart" if word == "worse" else word


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda d, m: "good", "the words are better, worse"),
        (lambda d, m: judge(d, m, sign=-1), "fewer are better"),
        (equivalent_if_zero_is_in_it, "larger than the margin"),
        (lambda d, m: judge(d, m, equivalence=False), "No difference that matters is left"),
        (lambda d, m: judge(d, 0, by="mean"), "on both sides of zero"),
        (never_worse, "it reaches beyond the margin"),
    ],
)
def test_judge(told, answer, said):
    assert said in told(check_judge, answer)


def pick(runs, *, by=0, report=fmean, of=1, together=fmean):
    name = min(runs, key=lambda name: together(pair[by] for pair in runs[name]))
    return name, report([pair[of] for pair in runs[name]])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda runs: "cycle", "a name and a number"),
        (lambda runs: ("mirror", 1.0), "There is no pattern"),
        (lambda runs: pick(runs, by=1), "the best *test*"),
        (lambda runs: pick(runs, together=min), "One lucky seed decided"),
        (lambda runs: pick(runs, of=0), "what it was picked by"),
        (lambda runs: pick(runs, report=min), "its luckiest seed"),
        (lambda runs: pick(runs, report=max), "its mean test result is not"),
    ],
)
def test_pick(told, answer, said):
    assert said in told(check_pick, answer)


def test_right_ones(passes):
    passes(check_num_maps, stirling)
    passes(check_fair, fair)
    passes(check_judge, judge)
    passes(check_pick, pick)


def test_a_record_that_is_not_there():
    with pytest.raises(ValueError, match="there is no record nothing"):
        load("nothing")
