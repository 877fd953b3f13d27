"""Figures are shown by a notebook and saved, the same each time, one colour for each weight set, samples marked."""

import dataclasses
import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from dlt_core import figures
from dlt_core.figures import save
from dlt_core.tie_map import TieMap
from tests.figures.conftest import LINES


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


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_figure_gives_the_same_bytes(runs, tmp_path, ending):
    first, second = (figures.save(figures.learning_curves(runs), tmp_path / f"{i}.{ending}") for i in range(2))
    assert first.read_bytes() == second.read_bytes()
    assert b"<dc:date>" not in first.read_bytes()


def test_charts_are_saved_and_the_same_each_time(tmp_path):
    draw = {
        "bands": lambda: figures.bands({"": LINES}, "x", "y"),
        "front": lambda: figures.front({"a": ([1.0], [2.0])}, "x", "y"),
        "signs": lambda: figures.sign_map({"": {"a": ([1, 2], [[1.0, -1.0]])}}, "x", "y"),
    }
    for name, chart in draw.items():
        first, second = (save(chart(), tmp_path / f"{name}{i}.png") for i in range(2))
        assert Image.open(first).format == "PNG"
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("n_layer", [2, 6, 8, 12, 48])
def test_each_weight_set_has_its_own_colour(n_layer):
    colours = {to_hex(figures.weight_set_colours(n_layer)(i)) for i in range(n_layer)}
    assert len(colours) == n_layer


def test_every_figure_of_runs_on_a_sample_says_so(runs):
    sampled = [dataclasses.replace(run, corpus={**run.corpus, "is_sample": True}) for run in runs]
    for draw in (figures.tie_map_evolution, figures.learning_curves, figures.independent_layers):
        for some, said in ((runs[:2], False), (sampled[:2], True)):
            titles = [ax.get_title() for ax in draw(some).axes]
            assert any("gpt2-embedded (sample)" in title for title in titles) == said
    labels = [label.get_text() for label in figures.memory([runs[2], sampled[2]]).axes[0].get_yticklabels()]
    assert labels == ["gpt2-embedded, conventional", "gpt2-embedded (sample), conventional"]
