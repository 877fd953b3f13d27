"""What several seeds allow to say, against SciPy and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import (
    allowed,
    bits_per_byte,
    bootstrap_interval,
    equivalence,
    excluded,
    hedged,
    holm,
    interquartile_mean,
    log_perplexity,
    mean_interval,
    p_in_words,
    p_value,
    paired_differences,
    percent_of_perplexity,
    plus_minus,
    pooled,
    range_in_words,
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


SPLIT = [0.01, -0.01, -0.06, 0.0, -0.01, -0.06, 0.0, 0.02, -0.06, -0.01]  # -0.018 ± 0.022, bootstrap -0.038 to -0.002


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1.0, 2.0, 3.0], "not told apart"),  # 2 ± 2.48
        ([1.3, 2.3, 3.3], "borderline"),  # 2.3 ± 2.48: within 10 %
        ([1.7, 2.7, 3.7], "borderline"),  # 2.7 ± 2.48, from the other side
        ([-2.0, -3.0, -4.0], "better"),  # -3 ± 2.48
        (SPLIT, "borderline"),  # the bootstrap's interval excludes 0, Student's t does not
        (SPLIT[:9], "not told apart"),  # as it does of nine, too few for the bootstrap to be heard
        ([0.0, 0.0], "exactly equal"),
        ([0.5], "one seed"),
    ],
)
def test_a_verdict_that_hangs_on_the_interval_is_borderline(differences, expected):
    assert hedged(differences) == expected


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
    with pytest.raises(ValueError, match="e-smoke-m-seed3 is running and lacks"):
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


# --- what an interval still allows ---


def test_a_difference_in_percent_of_perplexity_from_nats_and_from_bits():
    assert percent_of_perplexity(math.log(1.03)) == pytest.approx(3)
    assert percent_of_perplexity(math.log(0.97)) == pytest.approx(-3)
    # 4 bytes a token: 0.5 bits per byte more are 2 bits a token more, and the perplexity is four times as large
    assert percent_of_perplexity(0.5, bytes_per_token=4) == pytest.approx(300)
    record = RunRecord({}, "m", 0, {}, test={"bits_per_byte": 1.5, "perplexity": 2**6, "tokens": 10, "bytes": 40})
    of = record.test["bytes"] / record.test["tokens"]
    assert 100 + percent_of_perplexity(bits_per_byte(record), of) == pytest.approx(100 * record.test["perplexity"])
    assert log_perplexity(record) == pytest.approx(6 * math.log(2))


def test_what_is_not_told_apart_says_its_bound():
    mean, half = mean_interval([-0.01, 0.0, 0.01, 0.02])
    low, high = (100 * (math.exp(end) - 1) for end in (mean - half, mean + half))
    assert allowed([-0.01, 0.0, 0.01, 0.02]) == f"perplexity {low:+.1f} to {high:+.1f} %" == "perplexity -1.5 to +2.6 %"
    assert allowed([math.log(1.25)]) == "perplexity +25.0 %"
    assert allowed([0.0, 0.0]) == "perplexity equal"
    assert allowed([1e-6, -1e-6, 4e-6]) == "perplexity equal within 0.05 %"
    with pytest.raises(ValueError, match="no values"):
        allowed([])


def test_an_interval_of_perplexity_in_words():
    assert range_in_words([-0.01, 0.0, 0.01, 0.02]) == "between 1.5 % lower and 2.6 % higher"
    assert range_in_words([0.05, 0.05]) == "5.1 to 5.1 % higher"
    assert range_in_words([-0.05, -0.05]) == "4.9 to 4.9 % lower"
    with pytest.raises(ValueError, match="at least two seeds"):
        range_in_words([0.1])


@settings(max_examples=25)
@given(st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=12))
def test_the_tests_say_what_the_intervals_say(values):
    """p below 0.05 where the 95 % interval excludes 0; equivalent where the 90 % interval lies in the margin."""
    if np.std(values) < 1e-6:
        return
    mean, half = mean_interval(values)
    if abs(abs(mean) - half) > 1e-9:
        assert (p_value(values) < 0.05) == (abs(mean) > half)
    assert p_value(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    mean, half = mean_interval(values, 0.9)
    inside = math.log(0.95) < mean - half and mean + half < math.log(1.05)
    if min(abs(mean - half - math.log(0.95)), abs(mean + half - math.log(1.05))) > 1e-9:
        assert (equivalence(values, 5) < 0.05) == inside


def test_equivalence_by_hand():
    # mean 0, standard error 0.01: to log(1.05) = 0.04879 it is 4.879 of them, to log(0.95) = -0.05129 it is 5.129
    values = [-0.02, 0.0, 0.02, 0.0, -0.02, 0.0, 0.02]
    error = np.std(values, ddof=1) / math.sqrt(7)
    assert equivalence(values, 5) == pytest.approx(stats.t.sf(math.log(1.05) / error, 6), rel=1e-6)
    assert equivalence(values, 5) < 0.05 < equivalence(values, 0.5)
    assert p_value(values) == pytest.approx(1)
    assert (equivalence([0.0, 0.0], 1), equivalence([0.1, 0.1], 5), p_value([0.1, 0.1])) == (0, 1, 0)
    assert p_value([0.0, 0.0]) == 1
    with pytest.raises(ValueError, match="at least two values, got 1"):
        equivalence([0.0], 3)
    with pytest.raises(ValueError, match=r"a margin of 0 % .* between 0 and 100"):
        equivalence([0.0, 0.1], 0)


def test_what_an_interval_excludes_in_percent_of_perplexity():
    # mean 0.01, half 4.303 * 0.001 / sqrt(3) = 0.0025: from +0.75 % to +1.26 %
    differences = [0.009, 0.010, 0.011]
    assert (excluded(differences, 1.3), excluded(differences, 1.2)) == (True, False)
    assert not excluded([-d for d in differences], 1.2), "in either direction"
    assert not excluded([0.0], 5), "one value has no interval"


def test_a_small_p_is_not_said_to_be_zero():
    assert [p_in_words(p) for p in (0.0004, 0.0006, 0.0494, 1.0)] == ["< 0.001", "0.001", "0.049", "1.000"]


def test_holms_correction_by_hand():
    # four tests: 4 times the smallest, 3 times the next, ...; never below the one before, never above 1
    found = holm({"c": 0.03, "a": 0.01, "d": 0.9, "b": 0.011})
    assert list(found) == ["a", "b", "c", "d"]
    assert list(found.values()) == pytest.approx([0.04, 0.04, 0.06, 0.9])
    assert holm({"a": 0.4, "b": 0.6}) == pytest.approx({"a": 0.8, "b": 0.8})
    assert holm({}) == {}


def test_rows_are_pooled_seed_by_seed():
    rows = [{0: 0.2, 1: 0.4, 2: 9.0}, {1: 0.0, 0: 0.1}, {0: 0.3, 1: -0.1, 5: 9.0}]
    assert pooled(rows) == pytest.approx({0: 0.2, 1: 0.1})  # 2 and 5 are not in all rows
    assert pooled([{0: 1.0}, {1: 1.0}]) == {}
    assert pooled(rows, fewest=2) == pooled(rows)
    assert pooled(rows, fewest=3) == pytest.approx({0: 0.2, 1: 0.1, 2: 9.0, 5: 9.0}), "too few: each over its own rows"
    with pytest.raises(ValueError, match="no rows to pool"):
        pooled([])
