"""What several seeds allow to say: means with intervals, paired differences, verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, stdev

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from dlt_core.records.record import RunRecord


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


def bits_per_byte(record: RunRecord) -> float:
    """Of the test split. Raises ValueError for a run that is not finished."""
    if record.test is None:
        raise ValueError(f"{record.key} is {record.status}, its test split was not read")
    return float(record.test["bits_per_byte"])


def paired_differences(
    runs: Iterable[RunRecord], baseline: Iterable[RunRecord], value: Callable[[RunRecord], float] = bits_per_byte
) -> dict[int, float]:
    """seed -> value of the run minus value of the baseline's run with that seed, where both are there.

    A pair saw the same initial weights and the same batches, so what is common to both cancels.
    """
    theirs = {record.seed: value(record) for record in baseline}
    return {record.seed: value(record) - theirs[record.seed] for record in runs if record.seed in theirs}
