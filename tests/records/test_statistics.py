"""What several seeds allow to say, against SciPy and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import (
    bits_per_byte,
    bootstrap_interval,
    interquartile_mean,
    mean_interval,
    paired_differences,
    plus_minus,
    verdict,
)


def test_an_interval_by_hand():
    # mean 2, standard deviation 1, standard error 1/√3, and t of a 95 % interval with 2 degrees of freedom: 4.3027
    mean, half = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.302652729911275 / math.sqrt(3), rel=1e-9)
    # two values: t = 12.706, and the standard error is half their distance
    assert mean_interval([5.0, 6.0]) == (5.5, pytest.approx(12.706204736432095 / 2, rel=1e-9))
    assert mean_interval([4.0] * 5) == (4, 0)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_intervals_are_scipys(values, confidence):
    mean, half = mean_interval(values, confidence)
    scale = stats.sem(values)
    assert mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    if scale > 1e-6:
        low, high = stats.t.interval(confidence, len(values) - 1, loc=mean, scale=scale)
        assert (mean - half, mean + half) == (pytest.approx(low), pytest.approx(high))


def test_one_value_has_no_interval_and_no_value_no_mean():
    assert mean_interval([3.5]) == (3.5, None)
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def made_up(seed: int, bits: float, perplexity: float = 9.0) -> RunRecord:
    return RunRecord({}, "m", seed, {}, test={"bits_per_byte": bits, "perplexity": perplexity})


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([-0.3, -0.2, -0.1], "not told apart"),  # half the width is 4.303 * 0.1 / sqrt(3) = 0.248
        ([-0.4, -0.3, -0.2], "better"),
        ([0.4, 0.3, 0.2], "worse"),
        ([0.1], "one seed"),
        ([0.0, 0.0], "exactly equal"),
    ],
)
def test_what_an_interval_allows_to_say(differences, expected):
    assert verdict(differences) == expected


def test_a_mean_with_its_interval_in_words():
    assert plus_minus(2.104, 0.0312, 2) == "2.10 ± 0.03"
    assert plus_minus(0.5, None, 3, "+") == "+0.500"
    assert plus_minus(-0.5, 0.25, 1, "+") == "-0.5 ± 0.2"


def test_differences_are_paired_by_seed_alone():
    ours = [made_up(2, 2.5), made_up(0, 2.25), made_up(7, 1.0)]
    theirs = [made_up(0, 2.0), made_up(1, 9.0), made_up(2, 2.0)]
    assert paired_differences(ours, theirs) == {2: 0.5, 0: 0.25}  # 7 and 1 have no partner
    assert paired_differences(iter(ours), iter(theirs)) == paired_differences(
        theirs[::-1], ours, lambda r: -bits_per_byte(r)
    )
    assert paired_differences(ours, []) == {}
    assert paired_differences([made_up(0, 1.0, 30.0)], [made_up(0, 1.0, 20.0)], lambda r: r.test["perplexity"]) == {
        0: 10
    }


def test_a_run_that_is_not_finished_has_no_bits_per_byte():
    with pytest.raises(ValueError, match="e-smoke-m-seed3 is running, its test split was not read"):
        bits_per_byte(RunRecord({"name": "e", "preset": "smoke"}, "m", 3, {}))


# --- without assuming a distribution ---


def test_the_bootstrap_is_scipys_and_the_same_each_time():
    values = [0.1, 0.4, -0.2, 0.3, 0.9, 0.05, 0.2]
    found = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=9_999, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    assert bootstrap_interval(values, 0.9) == (found.low, found.high) == bootstrap_interval(values, 0.9)
    low, high = bootstrap_interval(values)
    assert low < found.low < np.mean(values) < found.high < high


def test_the_bootstraps_coverage_is_about_what_it_says():
    """Of 200 samples of 20 from a skewed distribution of mean 1, nearly 95 % have an interval with 1 in it."""
    rng = np.random.default_rng(1)
    ends = [bootstrap_interval(rng.exponential(1.0, 20).tolist()) for _ in range(200)]
    assert 0.86 <= np.mean([low <= 1 <= high for low, high in ends]) <= 0.98


def test_a_bootstrap_of_equal_or_too_few_values():
    assert bootstrap_interval([0.0, 0.0, 0.0]) == (0.0, 0.0)
    assert bootstrap_interval([1.0, 1.0 + 2.3e-16, 1.0]) == pytest.approx((1.0, 1.0))
    with pytest.raises(ValueError, match="at least two"):
        bootstrap_interval([1.0])


def test_the_interquartile_mean_by_hand():
    assert interquartile_mean([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -100.0]) == 3.5  # of 2, 3, 4, 5
    assert interquartile_mean([1.0, 2.0, 4.0]) == pytest.approx(7 / 3), "too few to cut a quarter off"
    with pytest.raises(ValueError, match="no values"):
        interquartile_mean([])
