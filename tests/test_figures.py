"""Figures: drawn from records alone, shown by a notebook, one colour for each weight set."""

import io

import matplotlib.colors
import numpy as np
import pytest
from PIL import Image

from dlt_core import figures
from dlt_core.agents import RandomAgent
from dlt_core.algorithm1 import train_conventional, train_dynamic
from dlt_core.experiments import Experiment
from dlt_core.records import RunRecord
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
    }
    for name, figure in drawn.items():
        shown = Image.open(io.BytesIO(figure._repr_png_()))
        assert shown.width > 200, name
        assert np.asarray(shown.convert("L")).std() > 5, f"{name} is blank"
        saved = figures.save(figure, tmp_path / "new" / f"{name}.png")
        assert Image.open(saved).format == "PNG"
        for ax in figure.axes:
            assert ax.get_ylabel() or name == "maps" or not ax.get_subplotspec(), f"{name} has an axis without a label"


@pytest.mark.parametrize("n_layer", [2, 6, 8, 12, 48])
def test_each_weight_set_has_its_own_colour(n_layer):
    colours = {matplotlib.colors.to_hex(figures.weight_set_colours(n_layer)(i)) for i in range(n_layer)}
    assert len(colours) == n_layer


def test_the_picture_of_a_tie_map_shows_the_record(runs):
    figure = figures.tie_map_evolution(runs[0])
    image = figure.axes[0].images[0]
    assert np.array_equal(image.get_array(), np.array(runs[0].history["tie_map"]).T)
    assert image.get_extent()[1] == runs[0].budget["optimizer_steps"]


def test_the_table_says_what_the_records_say(runs):
    rows = figures.comparison(runs)
    assert [row["method"] for row in rows] == ["dynamic", "random", "conventional"]
    assert rows[0]["test perplexity"] == runs[0].test["perplexity"]
    assert rows[2]["of conventional"] == 1
    table = figures.markdown_table(rows)
    assert f"| {runs[0].test['perplexity']:.1f} | per token of a 512-piece BPE |" in table
    unfinished = RunRecord(runs[0].experiment, "dynamic", 0, {}, status="stopped")
    assert figures.comparison([unfinished]) == []
