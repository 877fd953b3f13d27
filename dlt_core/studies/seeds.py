"""What several seeds allow to say, taught once, in notebook 03: simulated intervals, and recorded pairs.

The statistics themselves are in `records.statistics`; here is what shows how they behave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from dlt_core import figures
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import (
    allowed,
    bits_per_byte,
    equivalence,
    holm,
    log_perplexity,
    mean_interval,
    p_value,
    paired_differences,
    plus_minus,
    verdict,
)
from dlt_core.studies.tables import markdown_table


def simulated(truth: float, spread: float, seeds: int, repeats: int) -> np.ndarray:
    """Differences of `repeats` experiments whose truth we know, shape (repeats, seeds): normal around `truth` with the
    standard deviation `spread`. The same each time; the first ones of many are those of few."""
    return np.random.default_rng(0).normal(truth, spread, (repeats, seeds))


def intervals(differences: np.ndarray) -> np.ndarray:
    """Low and high end of the 95 % interval of each row (Student's t), shape (rows, 2)."""
    means = differences.mean(axis=1)
    n = differences.shape[1]
    half = stats.t.ppf(0.975, n - 1) * differences.std(axis=1, ddof=1) / np.sqrt(n)
    return np.stack([means - half, means + half], axis=1)


def holds(ends: np.ndarray, truth: float) -> np.ndarray:
    """Which intervals contain the truth, for `intervals`: bools of shape (rows,)."""
    return (ends[:, 0] <= truth) & (truth <= ends[:, 1])


def unpaired(runs: Sequence[RunRecord], baseline: Sequence[RunRecord]) -> tuple[float, float]:
    """`welch` of the runs' test bits per byte: as if nobody had noted which two runs have one seed."""
    return welch([bits_per_byte(r) for r in runs], [bits_per_byte(r) for r in baseline])


def welch(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Difference of two means, and half of its 95 % interval, for values that are not pairs (Welch 1947).

    Raises ValueError for fewer than two values of either."""
    if min(len(ours), len(theirs)) < 2:
        raise ValueError(f"an interval needs two runs of each, got {len(ours)} and {len(theirs)}")
    ends = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    return float(np.mean(ours) - np.mean(theirs)), float(ends.high - ends.low) / 2


def worth_of_the_last_steps(runs: Sequence[RunRecord]) -> tuple[int, list[float]]:
    """How many steps lie between the last two evaluations, and by how many bits per byte validation fell in them, for
    each run. Raises ValueError for runs with fewer than two evaluations."""
    curves = [run.curves["validation"] for run in runs]
    if any(len(curve["step"]) < 2 for curve in curves):
        raise ValueError("a run was evaluated once: what steps are worth needs two evaluations")
    steps = curves[0]["step"][-1] - curves[0]["step"][-2]
    return steps, [curve["bits_per_byte"][-2] - curve["bits_per_byte"][-1] for curve in curves]


def pairs(runs: Mapping[str, Sequence[RunRecord]]) -> figures.Figure:
    """Test bits per byte of two methods by name, a line for the two runs of a seed; beside them each method's mean with
    its own 95 % interval."""
    (name, ours), (other, theirs) = runs.items()
    figure, ax = figures.new_axes(5.0, 3.2)
    for seed in paired_differences(ours, theirs):
        pair = [bits_per_byte(next(r for r in some if r.seed == seed)) for some in (theirs, ours)]
        ax.plot([0, 1], pair, "o-", color=figures.INK, markersize=4, linewidth=1)
    for x, method, some in ((-0.18, other, theirs), (1.18, name, ours)):
        mean, half = mean_interval([bits_per_byte(r) for r in some])
        ax.errorbar(x, mean, yerr=half, fmt="s", color=figures.method_style(method)[0], capsize=4)
    ax.set(xlim=(-0.5, 1.5), ylabel="test bits per byte")
    ax.set_xticks([0, 1], [other, name])
    return figure


def picture(differences: np.ndarray, truth: float) -> figures.Figure:
    """The interval of each row of simulated differences, marked where it misses the truth; lines at the truth and 0."""
    figure, ax = figures.new_axes(5.0, 3.2)
    ends = intervals(differences)
    all_held = holds(ends, truth)
    for row, ((low, high), held) in enumerate(zip(ends, all_held, strict=True)):
        colour, mark = (figures.COLOURS[0], "o") if held else (figures.COLOURS[1], "X")
        ax.plot([low, high], [row, row], color=colour, linewidth=1.4)
        ax.plot((low + high) / 2, row, mark, color=colour, markersize=4 if held else 7)
    missed = np.count_nonzero(~np.asarray(all_held))
    ax.set_label(f"{len(ends)} intervals of 95 %, of which {missed} miss the truth, which is {truth:g}")
    for x, style, name in ((truth, "--", "the truth"), (0, ":", "0")):
        ax.axvline(x, color=figures.INK, linestyle=style, linewidth=1, label=name)
    ax.set(yticks=[], xlabel="difference (bits per byte)", ylabel="experiments; × misses the truth")
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def verdicts(rows: Mapping[str, list[RunRecord]], pairs: Sequence[tuple[str, str]], margin: float) -> str:
    """A Markdown table with a line for each pair of rows: the paired difference, what is to be said of it, what its
    interval allows, p after Holm's correction over the pairs, and whether it is shown equal within `margin` percent of
    perplexity."""
    bits = {(a, b): list(paired_differences(rows[a], rows[b]).values()) for a, b in pairs}
    nats = {(a, b): list(paired_differences(rows[a], rows[b], log_perplexity).values()) for a, b in pairs}
    corrected = holm({pair: p_value(values) for pair, values in bits.items()})
    equal = holm({pair: equivalence(values, margin) for pair, values in nats.items()})
    return markdown_table(
        [
            {
                "difference": f"{pair[0]} minus {pair[1]}",
                "in bits per byte": plus_minus(*mean_interval(bits[pair]), 3, "+"),
                "verdict": verdict(bits[pair]),
                "still allowed": allowed(nats[pair]),
                "p, after Holm": f"{corrected[pair]:.2g}",
                f"equal within {margin:g} %?": "shown" if equal[pair] < 0.05 else "not shown",
            }
            for pair in pairs
        ]
    )
