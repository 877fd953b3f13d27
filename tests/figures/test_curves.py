"""Curves over training: perplexity, weight sets, what the agent saw, and bands of many seeds."""

import copy

import numpy as np
import pytest
from matplotlib.colors import to_hex

from dlt_core import figures
from dlt_core.algorithm1 import train_dynamic
from dlt_core.experiments import Experiment
from dlt_core.figures import METHOD_STYLES
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import mean_interval
from dlt_core.studies import released_code
from dlt_core.studies.bandits import ThompsonAgent
from dlt_core.studies.diagnosis import q_scale
from tests.figures.conftest import LINES, assert_drawn

# --- runs ---


def test_several_seeds_are_drawn_as_mean_and_range(runs):
    other = copy.deepcopy(runs[2])
    other.curves["validation"]["perplexity"] = [2 * p for p in other.curves["validation"]["perplexity"]]
    ax = figures.learning_curves([runs[2], other, runs[0]]).axes[0]
    mean = next(line for line in ax.lines if "2 seeds" in line.get_label())
    assert list(mean.get_ydata()) == pytest.approx([1.5 * p for p in runs[2].curves["validation"]["perplexity"]])
    assert len(ax.collections) == 1  # the range, of the method with two seeds alone
    assert "dynamic" in [line.get_label() for line in ax.lines]


def test_learning_curves_are_of_the_split_that_selects(tiny_data):
    experiment = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=2)
    record = released_code.train(experiment, released_code.ReleasedCode(test_selects=True), data=tiny_data)
    ax = figures.learning_curves([record]).axes[0]
    assert list(ax.lines[0].get_ydata()) == record.curves["test"]["perplexity"]
    assert ax.lines[0].get_label().endswith("(on the test split)")


def test_several_experiments_make_a_panel_each_under_one_legend(runs):
    groups = {"a": runs[:2], "b": runs[:1], "c": runs[1:2], "d": runs[:2]}
    for draw in (figures.independent_layers, figures.learning_curves):
        figure = draw(groups)
        shown = [ax for ax in figure.axes if ax.axison]
        assert [ax.get_title() for ax in shown] == list(groups)
        assert [bool(ax.get_xlabel()) for ax in shown] == [False, True, True, True]  # the lowest of each column
        assert [bool(ax.get_ylabel()) for ax in shown] == [True, False, False, True]  # once for each row
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert len(labels) == len(set(labels))
        assert {"dynamic", "random"} <= set(labels)
        alone = draw(runs[:1]).axes[0]
        for ours, theirs in zip(shown[1].lines, alone.lines, strict=True):
            assert np.array_equal(ours.get_xydata(), theirs.get_xydata())


def test_both_counts_of_the_released_code_are_drawn_where_they_differ(tiny_data):
    experiment = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=4)
    record = released_code.train(experiment, data=tiny_data)
    labels = {line.get_label(): line for line in figures.independent_layers([record]).axes[0].lines}
    said, held = labels["released"].get_ydata(), labels["released: weight sets by storage"].get_ydata()
    assert list(said[:-1]) == record.history["num_independent"]
    assert list(held[:-1]) == record.history["weight_sets"]
    assert list(said) != list(held)
    assert "by storage" in figures.independent_layers([record]).axes[0].get_ylabel()
    same = released_code.train(experiment, released_code.ReleasedCode(), data=tiny_data)
    assert len(figures.independent_layers([same]).axes[0].lines) == 2  # the state, and the mean of a uniform policy


def test_a_constant_rewards_figure_has_the_limit_and_moving_means():
    left, right = figures.constant_reward({"table": [-1.0, -2.0]}, {"table": [0.0, 0.0, 1.0, 1.0] * 5}, -1000).axes
    mean, limit = left.lines
    assert list(mean.get_ydata()) == [-1, -2]
    assert set(limit.get_ydata()) == {-1000}
    (ranks,) = right.lines
    assert set(ranks.get_ydata()) == {0.5}, "of four choices, a fifth of twenty"
    assert ranks.get_xdata()[0] == 4
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in (left, right))


def test_q_values_of_an_agent_that_has_an_opinion_only_on_some(tiny_data):
    experiment = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=4)
    record = train_dynamic(experiment, agent=ThompsonAgent(4, seed=0), data=tiny_data)
    for found in (record, RunRecord.from_json(record.to_json())):
        assert found.history["q_values"][0] is None
        assert len(figures.q_values(found, 2).axes[0].lines) == 4
        seen = [q for values in found.history["q_values"] if values for q in values if q is not None and q == q]
        assert q_scale(found)[0] == max(map(abs, seen))


# --- bands ---


def test_bands_are_means_with_their_intervals():
    figure = figures.bands({"text": LINES}, "steps", "difference")
    (ax,) = figure.axes
    dynamic, random = ax.lines
    assert dynamic.get_xdata().tolist() == [1, 2, 3]
    assert dynamic.get_ydata().tolist() == [4.0, 2.0, 3.0]
    middle, half = np.array([mean_interval(list(at)) for at in zip(*LINES["dynamic"][1], strict=True)]).T
    (band,) = [path.vertices for path in ax.collections[0].get_paths()]
    for x, low, high in zip((1, 2, 3), middle - half, middle + half, strict=True):
        ends = [y for at, y in band if at == x]
        assert (min(ends), max(ends)) == pytest.approx((low, high))
    assert random.get_ydata().tolist() == [1.0, 2.0]
    assert (figure.get_supxlabel(), figure.get_supylabel(), ax.get_title()) == ("steps", "difference", "text")
    names = {text.get_text(): text for text in ax.texts}
    assert list(names) == list(LINES)
    for line, text in zip((dynamic, random), names.values(), strict=True):
        assert (text.get_color(), text.xy[1]) == (line.get_color(), line.get_ydata()[-1]), "where the line ends"
    assert_drawn(figure)


def test_each_name_stands_once_and_never_on_another():
    same = {name: ([1, 2], [[0.0, 1.0]]) for name in ("dynamic", "random", "all_tied")}
    one, two = figures.bands({"one": LINES, "two": {**same, "two": same["random"]}}, "", "").axes
    assert [text.get_text() for text in one.texts] == ["random (last)"], "the others are in the last panel"
    assert [text.get_text() for text in two.texts] == ["dynamic", "random", "all_tied"], "the title is no name"
    places = [text.xy[1] for text in two.texts]
    assert places == pytest.approx([1 - (places[2] - 1), 1, places[2]])
    low, high = two.get_ylim()
    assert places[1] - places[0] > 0.05 * (high - low)


def test_a_line_has_its_methods_colour_and_that_of_the_last_model_is_dashed():
    names = ["dynamic", "dynamic (last)", "dynamic, k=3", "random, price 0.5"]
    dynamic, last, often, random = figures.bands({"": dict.fromkeys(names, LINES["dynamic"])}, "", "").axes[0].lines
    colours = [to_hex(line.get_color()) for line in (dynamic, last, often, random)]
    expected = [to_hex(METHOD_STYLES[name][0]) for name in ("dynamic", "random")]
    assert colours == [expected[0]] * 3 + [expected[1]]
    assert (dynamic.get_linestyle(), last.get_linestyle(), often.get_linestyle()) == ("-", "--", "-")


def test_methods_without_a_colour_of_their_own_get_a_free_one_each():
    names = ["dqn", "dynamic", "thompson", "halving-4", "dqn, k=3"]
    panels = {
        "one": dict.fromkeys(names, LINES["dynamic"]),
        "two": dict.fromkeys(["evolution", "dqn"], LINES["dynamic"]),
    }
    one, two = figures.bands(panels, "", "").axes
    colours = [to_hex(line.get_color()) for line in [*one.lines, *two.lines]]
    assert colours[4] == colours[6] == colours[0], "the same in each panel"
    assert len(set(colours)) == 5
    assert colours.count(to_hex(METHOD_STYLES["dynamic"][0])) == 1


def test_panels_share_a_scale_with_the_zero_unless_each_has_its_own():
    small, large = ({"dynamic": ([0, 1], [[0.0, 0.01 * by]])} for by in (1, 100))
    shared, own = (figures.bands({"a": small, "b": large}, "x", "y", own_scale=o) for o in (False, True))
    assert shared.axes[0].get_ylim() == shared.axes[1].get_ylim()
    assert own.axes[0].get_ylim()[1] < own.axes[1].get_ylim()[1] / 10


@pytest.mark.parametrize(("number", "shape"), [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 3))])
def test_bands_have_a_panel_for_each_title_and_a_line_at_zero_on_request(number, shape):
    panels = {f"panel {i}": LINES for i in range(number)}
    for zero in (False, True):
        figure = figures.bands(panels, "x", "y", zero=zero)
        shown = [ax for ax in figure.axes if ax.axison]
        assert [ax.get_title() for ax in shown] == list(panels)
        assert len(figure.axes) == shape[0] * shape[1]
        for ax in shown:
            level = [line for line in ax.lines if set(line.get_ydata()) == {0}]
            assert len(level) == zero
            assert len(ax.lines) == len(LINES) + zero
        assert [len(ax.texts) for ax in shown] == [0] * (number - 1) + [len(LINES)]
    assert_drawn(figure)
