"""What training costs: bars as long as the record says. The benchmark's figure is tested with its tables."""

import pytest

from dlt_core import figures


def test_memory_bars_are_as_long_as_the_record_says(runs):
    bars = figures.memory(runs[2:]).axes[0].patches
    held = runs[2].bytes["measured_at_end"]
    widths = [held["weights"], held["gradients"], held["optimizer"], runs[2].bytes["step_peak"] - held["total"]]
    assert [bar.get_width() * 2**20 for bar in bars] == pytest.approx(widths)
