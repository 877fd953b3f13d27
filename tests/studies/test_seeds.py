"""The statistics lesson of notebook 03: its intervals are the project's, and hold as often as they say."""

import numpy as np
import pytest

from dlt_core.records.statistics import mean_interval, paired_differences
from dlt_core.studies import seeds
from tests.studies.conftest import made_up, table_cells


def test_the_intervals_are_the_projects_and_nineteen_of_twenty_hold_the_truth():
    many = seeds.simulated(0.02, 0.03, 3, 4000)
    ends = seeds.intervals(many)
    mean, half = mean_interval(many[7].tolist())
    assert ends[7] == pytest.approx([mean - half, mean + half])
    held = seeds.holds(ends, 0.02)
    assert held.mean() == pytest.approx(0.95, abs=0.015)
    shown = seeds.holds(seeds.intervals(seeds.simulated(0.02, 0.03, 3, 20)), 0.02)
    assert (held[:20] == shown).all(), "the picture's twenty are the first of many"


def test_pairs_show_what_the_same_runs_without_their_seeds_do_not():
    base, gain = (2.0, 2.1, 2.2, 2.3), (0.011, 0.009, 0.010, 0.010)  # the seeds differ far more than the methods
    theirs = [made_up("conventional", s, b) for s, b in enumerate(base)]
    ours = [made_up("sandwich-2", s, b + g) for s, (b, g) in enumerate(zip(base, gain, strict=True))]
    mean, half = mean_interval(list(paired_differences(ours, theirs).values()))
    alone, wide = seeds.unpaired(ours, theirs)
    assert alone == pytest.approx(mean)
    assert half < 0.002 < 0.1 < wide
    with pytest.raises(ValueError, match="two runs of each, got 4 and 1"):
        seeds.unpaired(ours, theirs[:1])
    (left,) = seeds.picture(seeds.simulated(0.02, 0.03, 3, 20), 0.02).axes
    (right,) = seeds.pairs({"sandwich-2": ours, "conventional": theirs}).axes
    misses = sum(line.get_marker() == "X" for line in left.lines)
    assert misses == 20 - seeds.holds(seeds.intervals(seeds.simulated(0.02, 0.03, 3, 20)), 0.02).sum()
    pairs = [line for line in right.lines if np.array_equal(line.get_xdata(), [0, 1])]
    assert [list(line.get_ydata()) for line in pairs] == [[b, b + g] for b, g in zip(base, gain, strict=True)]


def test_what_the_last_steps_were_worth_is_read_off_the_curves():
    runs = [made_up(seed=s) for s in (0, 1)]
    for run, values in zip(runs, ([2.5, 2.3, 2.2], [2.6, 2.4, 2.1]), strict=True):
        run.curves = {"validation": {"step": [75, 150, 225], "bits_per_byte": values}}
    steps, worth = seeds.worth_of_the_last_steps(runs)
    assert steps == 75
    assert worth == pytest.approx([0.1, 0.3])
    runs[1].curves["validation"] = {"step": [75], "bits_per_byte": [2.6]}
    with pytest.raises(ValueError, match="evaluated once"):
        seeds.worth_of_the_last_steps(runs)


def test_a_table_says_the_verdict_what_is_left_open_and_what_is_shown_equal():
    rows = {
        "conventional": [made_up("conventional", s, 2.0) for s in range(3)],
        "close": [made_up("dynamic", s, b) for s, b in enumerate((2.01, 1.995, 2.0))],
        "far": [made_up("random", s, b) for s, b in enumerate((2.3, 2.31, 2.29))],
    }
    pairs = [("close", "conventional"), ("far", "conventional"), ("far", "close")]
    close, far, _ = table_cells(seeds.verdicts(rows, pairs, 3))[1:]
    assert close[:4] == [
        "close minus conventional", "+0.002 ± 0.019", "not told apart", "perplexity -0.9 to +1.0 %"
    ]  # fmt: skip
    assert (close[-1], far[-1]) == ("shown", "not shown")
    assert far[2] == "worse"
    assert float(far[4]) == pytest.approx(0.0011, rel=0.05), "the smallest p of three, three times"
