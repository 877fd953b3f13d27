"""Figures: drawn from records alone, shown by a notebook, one colour for each weight set."""

import copy
import dataclasses
import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from dlt_core import figures
from dlt_core.agents import RandomAgent
from dlt_core.algorithm1 import train_conventional, train_dynamic
from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import mean_interval
from dlt_core.studies import released_code, tables
from dlt_core.studies.bandits import ThompsonAgent
from dlt_core.studies.diagnosis import q_scale
from dlt_core.tie_map import TieMap


@pytest.fixture(scope="module")
def runs(tiny_data) -> list[RunRecord]:
    """Read back from JSON, as a notebook on another machine would."""
    smoke = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=4)
    agent = RandomAgent(4, seed=0)
    found = [
        train_dynamic(smoke, data=tiny_data),
        train_dynamic(smoke, agent=agent, data=tiny_data),
        train_conventional(smoke, data=tiny_data),
    ]
    return [RunRecord.from_json(record.to_json()) for record in found]


def test_every_figure_is_drawn_shown_and_saved(runs, tmp_path):
    drawn = {
        "evolution": figures.tie_map_evolution(runs[0]),
        "maps": figures.tie_maps({"start": TieMap.all_tied(4), "end": TieMap(runs[0].final_tie_map)}),
        "independent": figures.independent_layers(runs[:2]),
        "curves": figures.learning_curves(runs),
        "history": figures.agent_history(runs[0]),
        "q": figures.q_values(runs[0], 3),
        "graphs": figures.map_graphs({"best": TieMap(runs[0].tie_map), "end": TieMap(runs[0].final_tie_map)}),
        "memory": figures.memory(runs),
    }
    for name, figure in drawn.items():
        shown = Image.open(io.BytesIO(figure._repr_png_()))
        assert shown.width > 100, name
        assert np.asarray(shown.convert("L")).std() > 5, f"{name} is blank"
        saved = figures.save(figure, tmp_path / "new" / f"{name}.png")
        assert Image.open(saved).format == "PNG"
        for ax in figure.axes:
            named = ax.get_ylabel() or not ax.axison or [t.get_text() for t in ax.get_yticklabels()]
            assert named or not ax.get_subplotspec(), f"{name} has an axis without a label"


@pytest.mark.parametrize("n_layer", [2, 6, 8, 12, 48])
def test_each_weight_set_has_its_own_colour(n_layer):
    colours = {to_hex(figures.weight_set_colours(n_layer)(i)) for i in range(n_layer)}
    assert len(colours) == n_layer


def test_the_picture_of_a_tie_map_shows_the_record(runs):
    figure = figures.tie_map_evolution(runs[0])
    image = figure.axes[0].images[0]
    assert np.array_equal(image.get_array(), np.array(runs[0].history["tie_map"]).T)
    left, right, bottom, top = image.get_extent()
    assert (left, right) == (0.5, len(runs[0].history["tie_map"]) + 0.5)  # decisions rightwards
    assert figure.axes[0].get_ylim() == (bottom, top) == (3.5, -0.5)  # layers downwards


def test_a_graph_has_a_node_for_each_layer_and_an_arc_for_each_tie():
    figure = figures.map_graphs({"a": TieMap([0, 0, 2, 0]), "b": TieMap.independent(4)})
    for ax, tied, sets in zip(figure.axes, ([1, 3], []), (2, 4), strict=True):
        assert len(ax.collections) == 4
        arcs = [text for text in ax.texts if text.arrow_patch is not None]
        assert [text.xyann[1] for text in arcs] == tied  # from the tied layer ...
        assert all(text.xy[1] == 0 for text in arcs)  # ... to the one whose weights it uses
        assert f"{sets} weight sets" in ax.get_title()
    nodes = [to_hex(c.get_facecolor()[0]) for c in figure.axes[0].collections]
    assert nodes[0] == nodes[1] == nodes[3] != nodes[2]


def test_several_records_make_a_panel_each(runs):
    panels = [ax for ax in figures.tie_map_evolution(runs[:2]).axes if ax.get_title()]
    for ax, record in zip(panels, runs, strict=False):
        assert np.array_equal(ax.images[0].get_array(), np.array(record.history["tie_map"]).T)
        assert record.method in ax.get_title()
    assert len(panels) == 2


def test_memory_bars_are_as_long_as_the_record_says(runs):
    bars = figures.memory(runs[2:]).axes[0].patches
    held = runs[2].bytes["measured_at_end"]
    widths = [held["weights"], held["gradients"], held["optimizer"], runs[2].bytes["step_peak"] - held["total"]]
    assert [bar.get_width() * 2**20 for bar in bars] == pytest.approx(widths)


def test_several_seeds_are_drawn_as_mean_and_range(runs):
    other = copy.deepcopy(runs[2])
    other.curves["validation"]["perplexity"] = [2 * p for p in other.curves["validation"]["perplexity"]]
    ax = figures.learning_curves([runs[2], other, runs[0]]).axes[0]
    mean = next(line for line in ax.lines if "2 seeds" in line.get_label())
    assert list(mean.get_ydata()) == pytest.approx([1.5 * p for p in runs[2].curves["validation"]["perplexity"]])
    assert len(ax.collections) == 1  # the range, of the method with two seeds alone
    assert "dynamic" in [line.get_label() for line in ax.lines]


def test_every_figure_of_runs_on_a_sample_says_so(runs):
    sampled = [dataclasses.replace(run, corpus={**run.corpus, "is_sample": True}) for run in runs]
    for draw in (figures.tie_map_evolution, figures.learning_curves, figures.independent_layers):
        for some, said in ((runs[:2], False), (sampled[:2], True)):
            titles = [ax.get_title() for ax in draw(some).axes]
            assert any("gpt2-embedded (sample)" in title for title in titles) == said
    labels = [label.get_text() for label in figures.memory([runs[2], sampled[2]]).axes[0].get_yticklabels()]
    assert labels == ["gpt2-embedded, conventional", "gpt2-embedded (sample), conventional"]


def test_several_experiments_make_a_panel_each_under_one_legend(runs):
    groups = {"a": runs[:2], "b": runs[:1], "c": runs[1:2], "d": runs[:2]}
    for draw in (figures.independent_layers, figures.learning_curves):
        figure = draw(groups)
        shown = [ax for ax in figure.axes if ax.axison]
        assert [ax.get_title() for ax in shown] == list(groups)
        assert [bool(ax.get_xlabel()) for ax in shown] == [False, True, True, True]  # the lowest of each column
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
    same = released_code.train(experiment, released_code.ReleasedCode(), data=tiny_data)
    assert len(figures.independent_layers([same]).axes[0].lines) == 2  # the state, and the mean of a uniform policy


def test_q_values_of_an_agent_that_has_an_opinion_only_on_some(tiny_data):
    experiment = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=4)
    record = train_dynamic(experiment, agent=ThompsonAgent(4, seed=0), data=tiny_data)
    for found in (record, RunRecord.from_json(record.to_json())):
        assert found.history["q_values"][0] is None
        assert len(figures.q_values(found, 2).axes[0].lines) == 4
        seen = [q for values in found.history["q_values"] if values for q in values if q is not None and q == q]
        assert q_scale(found)[0] == max(map(abs, seen))


def test_learning_curves_are_of_the_split_that_selects(tiny_data):
    experiment = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=2)
    record = released_code.train(experiment, released_code.ReleasedCode(test_selects=True), data=tiny_data)
    ax = figures.learning_curves([record]).axes[0]
    assert list(ax.lines[0].get_ydata()) == record.curves["test"]["perplexity"]
    assert ax.lines[0].get_label().endswith("(on the test split)")


def test_panels_of_differences_share_their_names():
    panels = {"one": {"a": [1.0]}, "two": {"b": [3.0]}}
    figure = figures.differences(panels, "difference")
    one, two = figure.axes
    assert [label.get_text() for label in one.get_yticklabels()] == ["a", "b"]  # of any panel
    assert one.get_ylim() == two.get_ylim()
    (dot,) = [line for line in two.lines if line.get_marker() == "."]
    assert dot.get_xydata().tolist() == [[3.0, 1.28]]
    assert figure.get_supxlabel() == "difference"


def test_differences_show_each_seed_the_mean_and_the_interval():
    figure = figures.differences({"": {"a": [1.0, 3.0], "b": [0.5]}}, "difference")
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    dots = [line for line in ax.lines if line.get_marker() == "."]
    assert [list(line.get_xdata()) for line in dots] == [[1.0, 3.0], [0.5]]
    _, half = mean_interval([1.0, 3.0])
    ends = [tuple(segment[:, 0]) for c in ax.collections for segment in c.get_segments()]
    assert ends == [pytest.approx((2 - half, 2 + half))]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_figure_gives_the_same_bytes(runs, tmp_path, ending):
    first, second = (figures.save(figures.learning_curves(runs), tmp_path / f"{i}.{ending}") for i in range(2))
    assert first.read_bytes() == second.read_bytes()
    assert b"<dc:date>" not in first.read_bytes()


def test_the_table_says_what_the_records_say(runs):
    rows = tables.comparison(runs)
    assert [row["method"] for row in rows] == ["dynamic", "random", "conventional"]
    assert rows[0]["perplexity"] == runs[0].test["perplexity"]
    assert rows[2]["of_conventional"] == 1
    table = tables.markdown_table(rows)
    assert f"| {runs[0].test['perplexity']:.1f} | per token of a 512-piece BPE |" in table
    unfinished = RunRecord(runs[0].experiment, "dynamic", 0, {}, status="stopped")
    assert tables.comparison([unfinished]) == []
