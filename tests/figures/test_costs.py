"""What training costs: bars as long as the record says. The benchmark's figure is tested with its tables."""

import pytest

from dlt_core import figures


def test_memory_bars_are_as_long_as_the_record_says(runs):
    bars = figures.memory(runs[2:]).axes[0].patches
    held = runs[2].bytes["measured_at_end"]
    widths = [held["weights"], held["gradients"], held["optimizer"], runs[2].bytes["step_peak"] - held["total"]]
    assert [bar.get_width() * 2**20 for bar in bars] == pytest.approx(widths)


def test_weight_set_memory_is_stacked_to_the_sum_of_its_parts():
    size = {"weights": 1e9, "gradients": 1e9, "optimizer": 2e9, "activations": 6e9, "peak": 9e9}
    ax = figures.weight_set_memory({1: size, 48: {name: 2 * value for name, value in size.items()}}).axes[0]
    tops = [bar.get_y() + bar.get_height() for bar in ax.patches]
    assert max(tops) == pytest.approx(20)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "48"]
    peak, tenth = ax.lines
    assert list(peak.get_ydata()) == [9, 18]
    assert list(tenth.get_ydata()) == [2, 2]
