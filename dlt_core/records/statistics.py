"""What several seeds allow to say: means with intervals, paired differences, verdicts, and what they leave open."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import TypeVar

import numpy as np
from scipy import stats

from dlt_core.records.record import RunRecord

Key = TypeVar("Key")


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float | None]:
    """Mean and half the width of its confidence interval (Student's t, n - 1 degrees of freedom); None for one value.

    Raises ValueError for no values.
    """
    if not values:
        raise ValueError("no values to average")
    if len(values) == 1:
        return values[0], None
    t = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1))
    return fmean(values), t * stdev(values) / math.sqrt(len(values))


def bootstrap_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Ends of the bootstrap confidence interval of the mean (bias-corrected and accelerated, Efron 1987; 9,999
    resamples with a seed of their own, so that it is the same each time). Nothing is assumed about the distribution,
    but with fewer than about ten values it is too narrow: `mean_interval` is to be preferred there.

    Raises ValueError for fewer than two values. Equal values, up to rounding, have an interval without width.
    """
    if len(values) < 2:
        raise ValueError(f"a bootstrap needs at least two values, got {len(values)}")
    if np.allclose(values, values[0], rtol=1e-12, atol=0):
        return values[0], values[0]
    interval = stats.bootstrap(
        (values,), np.mean, confidence_level=confidence, n_resamples=9_999, rng=np.random.default_rng(0)
    ).confidence_interval
    low, high = map(float, interval)
    return (low, high) if math.isfinite(low + high) else (fmean(values), fmean(values))


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of the middle half of the values (IQM, Agarwal et al. 2021): outliers do not move it, unlike the mean, and
    it wastes less than the median. Of fewer than four values all are used. Raises ValueError for no values."""
    if not values:
        raise ValueError("no values to average")
    return float(stats.trim_mean(values, 0.25))


def plus_minus(mean: float, half: float | None, digits: int, sign: str = "") -> str:
    """A mean with half the width of its interval, such as "2.10 ± 0.03"; sign "+" shows it for positive means too."""
    return f"{mean:{sign}.{digits}f}" + (f" ± {half:.{digits}f}" if half is not None else "")


def verdict(differences: Sequence[float]) -> str:
    """What the 95 % interval of differences in bits per byte (of which fewer are better) allows to say."""
    mean, half = mean_interval(differences)
    if not any(differences):
        return "exactly equal"
    if half is None:
        return "one seed"
    return "not told apart" if abs(mean) <= half else "better" if mean < 0 else "worse"


def told_apart(differences: Sequence[float]) -> bool:
    """Whether the 95 % interval excludes zero."""
    return verdict(differences) in ("better", "worse")


FEW = 10  # values of which `bootstrap_interval` is too narrow to be heard


def hedged(differences: Sequence[float]) -> str:
    """`verdict` as it is to be quoted: "borderline" where it hangs on how the interval is made.

    That is where |mean| is within 10 % of half the interval, or where of ten or more values the bootstrap's interval
    excludes 0 and Student's t does not, or the other way round. Raises ValueError for no values.
    """
    word = verdict(differences)
    if word in ("exactly equal", "one seed"):
        return word
    mean, half = mean_interval(differences)
    near = half is not None and abs(abs(mean) - half) <= 0.1 * half
    if not near and len(differences) >= FEW:
        low, high = bootstrap_interval(differences)
        near = (low <= 0 <= high) != (word == "not told apart")
    return "borderline" if near else word


def percent_of_perplexity(difference: float, bytes_per_token: float | None = None) -> float:
    """A difference in log perplexity (nats per token) as percent of perplexity, 100 (e^d - 1); of one in bits per byte
    with the text's `bytes_per_token`."""
    return 100 * math.expm1(difference if bytes_per_token is None else difference * math.log(2) * bytes_per_token)


def allowed(differences: Sequence[float]) -> str:
    """What the 95 % interval of differences in log perplexity still allows, such as "perplexity -2.0 to +3.1 %"; with
    one value, which has no interval, "perplexity +3.1 %". Raises ValueError for no values."""
    mean, half = mean_interval(differences)
    if not any(differences):
        return "perplexity equal"
    if half is None:
        return f"perplexity {percent_of_perplexity(mean):+.1f} %"
    low, high = percent_of_perplexity(mean - half), percent_of_perplexity(mean + half)
    if max(abs(low), abs(high)) < 0.05:
        return "perplexity equal within 0.05 %"
    return f"perplexity {low:+.1f} to {high:+.1f} %"


def range_in_words(differences: Sequence[float]) -> str:
    """The 95 % interval of differences in log perplexity as "2.0 to 3.1 % higher", "2.0 to 3.1 % lower" or, where it
    contains zero, "between 2.0 % lower and 3.1 % higher". Raises ValueError for fewer than two values."""
    mean, half = mean_interval(differences)
    if half is None:
        raise ValueError("one value has no interval: give at least two seeds")
    low, high = percent_of_perplexity(mean - half), percent_of_perplexity(mean + half)
    if told_apart(differences):
        return f"{low:.1f} to {high:.1f} % higher" if mean > 0 else f"{-high:.1f} to {-low:.1f} % lower"
    return f"between {-low:.1f} % lower and {high:.1f} % higher"


def excluded(differences: Sequence[float], percent: float) -> bool:
    """Whether the 95 % interval of differences in log perplexity excludes one of so many percent of perplexity, in
    either direction; one value, which has no interval, excludes nothing. Raises ValueError for no values."""
    mean, half = mean_interval(differences)
    ends = [] if half is None else [percent_of_perplexity(end) for end in (mean - half, mean + half)]
    return bool(ends) and -percent < ends[0] and ends[1] < percent


def p_value(differences: Sequence[float]) -> float:
    """Of Student's t test that the mean is 0, two-sided; below 0.05 where the 95 % interval excludes 0.

    Raises ValueError for fewer than two values.
    """
    return min(1.0, 2 * min(_one_sided(differences, 0.0), _one_sided([-d for d in differences], 0.0)))


def p_in_words(p: float) -> str:
    """With three digits, such as "0.049"; "< 0.001" where these would be zeros."""
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"


def equivalence(differences: Sequence[float], margin: float) -> float:
    """p of the two one-sided t tests (TOST, Schuirmann 1987): below 0.05, "the two are equal within the margin" is
    shown, and their 90 % interval lies within it. Not to be told apart is less: that shows nothing.

    differences: in log perplexity. margin: in percent of perplexity, such as 3 for -3 % to +3 %. Raises ValueError for
    fewer than two values or a margin that is not between 0 and 100.
    """
    if not 0 < margin < 100:
        raise ValueError(f"a margin of {margin} % of perplexity must lie between 0 and 100")
    return within(differences, math.log1p(-margin / 100), math.log1p(margin / 100))


def within(differences: Sequence[float], low: float, high: float) -> float:
    """p of the two one-sided t tests that the mean lies between `low` and `high`, in the differences' unit; see
    `equivalence`. Raises ValueError for fewer than two values."""
    return max(_one_sided(differences, low), _one_sided([-d for d in differences], -high))


def _one_sided(values: Sequence[float], bound: float) -> float:
    """p of the t test that the mean is at most `bound`."""
    if len(values) < 2:
        raise ValueError(f"a test needs at least two values, got {len(values)}")
    if np.allclose(values, values[0], rtol=1e-12, atol=0):
        return 0.0 if values[0] > bound else 1.0
    return float(stats.ttest_1samp(values, bound, alternative="greater").pvalue)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """The p of each test of a family, corrected for how many there are (Holm 1979): those below 0.05 hold together,
    with a chance of one in twenty that any of them is wrong. They come with the smallest first."""
    corrected, largest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        corrected[name] = largest
    return corrected


def pooled(rows: Iterable[Mapping[int, float]], fewest: float = 0) -> dict[int, float]:
    """Rows of seed -> difference to one: the mean over the rows, for each seed that all rows have. fewest: if these are
    fewer, for each seed that any row has, over those that have it.

    The seed is the unit: rows share initial weights, initial Q and random numbers with the other rows of their seed, so
    they are no tests of their own. Raises ValueError for no rows.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("no rows to pool")
    found: dict[int, list[float]] = {}
    for seed, value in (item for row in rows for item in row.items()):
        found.setdefault(seed, []).append(value)
    in_all = {seed: values for seed, values in found.items() if len(values) == len(rows)}
    return {seed: fmean(values) for seed, values in (in_all if len(in_all) >= fewest else found).items()}


def log_perplexity(record: RunRecord) -> float:
    """Of the test split, in nats per token. Raises ValueError for a run that is not finished."""
    return math.log(record.required(record.test)["perplexity"])


def bits_per_byte(record: RunRecord) -> float:
    """Of the test split. Raises ValueError for a run that is not finished."""
    return float(record.required(record.test)["bits_per_byte"])


def paired_differences(
    runs: Iterable[RunRecord], baseline: Iterable[RunRecord], value: Callable[[RunRecord], float] = bits_per_byte
) -> dict[int, float]:
    """seed -> value of the run minus value of the baseline's run with that seed, where both are there.

    A pair saw the same initial weights and the same batches, so what is common to both cancels.
    """
    theirs = {record.seed: value(record) for record in baseline}
    return {record.seed: value(record) - theirs[record.seed] for record in runs if record.seed in theirs}


def bits_and_nats(runs: Iterable[RunRecord], baseline: Iterable[RunRecord]) -> tuple[list[float], list[float]]:
    """The `paired_differences` in both units: in bits per byte for a verdict, and in log perplexity for what the
    interval allows."""
    runs, baseline = list(runs), list(baseline)
    bits, nats = (paired_differences(runs, baseline, value) for value in (bits_per_byte, log_perplexity))
    return list(bits.values()), list(nats.values())
