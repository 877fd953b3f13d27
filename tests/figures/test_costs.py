"""What training costs: bars as long as the record says. The benchmark's figure is tested with its tables."""

import pytest

from dlt_core import figures


def test_memory_bars_are_as_long_as_the_record_says(runs):
    bars = figures.memory(runs[2:]).axes[0].patches
    held = runs[2].bytes["measured_at_end"]
    widths = [held["weights"], held["optimizer"], held["gradients"], runs[2].bytes["step_peak"] - held["total"]]
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


def test_weight_set_parameters_shows_what_was_given_and_its_bytes():
    closed = {1: 100_000_000, 2: 150_000_000, 3: 200_000_000}
    figure = figures.weight_set_parameters(closed, {1: 90_000_000}, ("said", 120_000_000), ("seen", 2, 3))
    (ax,) = figure.axes
    line, dots, dashed = ax.lines
    assert line.get_xydata().tolist() == [[1, 0.1], [2, 0.15], [3, 0.2]]
    assert dots.get_xydata().tolist() == [[1, 0.09]]
    assert set(dashed.get_ydata()) == {0.12}
    (band,) = ax.patches
    assert (band.get_x(), band.get_width()) == (2, 1)
    assert {text.get_text(): text.xy[1] for text in ax.texts if text.get_text() in ("said", "seen")} == {
        "said": 0.12, "seen": 1
    }  # fmt: skip
    (right,) = ax.child_axes
    figure.draw_without_rendering()
    assert right.get_ylim() == pytest.approx([16 * limit for limit in ax.get_ylim()])  # bytes of each parameter
