"""Figures are shown by a notebook and saved, the same each time, one colour for each weight set, samples marked."""

import dataclasses
import io
import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from dlt_core import figures
from dlt_core.figures import save, style
from dlt_core.tie_map import TieMap
from tests.figures.conftest import LINES


def on_every_page(shown, name):
    """Nothing lies under a figure, and what is drawn stands out from a light page as from a dark one."""
    pixels = np.asarray(shown.convert("RGBA"))
    assert pixels[[0, -1]][:, [0, -1], 3].max() == 0, f"{name} brings a background"
    colours, often = np.unique(pixels[pixels[..., 3] > 127][:, :3], axis=0, return_counts=True)
    assert often.sum() > 200, f"{name} is blank"
    for page in figures.BACKGROUNDS:
        seen = [contrast(colour / 255, page) >= 2.9 for colour in colours]
        assert often[seen].sum() > 0.97 * often.sum(), f"{name} on {page}"


def contrast(one, other) -> float:
    """1 to 21, as the W3C has it."""
    dark, bright = sorted(map(figures.luminance, (one, other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("page", figures.BACKGROUNDS)
def test_every_colour_can_be_told_from_every_page(page):
    assert contrast(figures.INK, page) > 4.3
    for n_layer in (len(figures.COLOURS), 12, 48):
        colours = [figures.weight_set_colours(n_layer)(i) for i in range(n_layer)]
        assert min(contrast(colour, page) for colour in colours) >= 3
        assert min(contrast(colour, figures.ink_on(colour)) for colour in colours) >= 4.5


# Machado, Oliveira and Fernandes (2009), full strength, on linear red, green and blue
SEEN_BY = {
    "most": np.eye(3),
    "protanopes": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopes": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}
TO_CONES = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]  # Ottosson's OKLab
TO_LAB = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]


@pytest.mark.parametrize("who", SEEN_BY)
def test_the_colours_are_as_far_apart_as_okabe_and_itos(who):
    def nearest(colours):
        linear = [[figures.luminance((c, c, c)) for c in to_rgb(colour)] for colour in colours]
        cones = np.clip(linear @ np.transpose(SEEN_BY[who]), 0, 1) @ np.transpose(TO_CONES)
        lab = np.cbrt(cones) @ np.transpose(TO_LAB)
        return min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2))

    okabe_ito = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
    for_all = min(0.074, nearest(okabe_ito))  # the least of theirs over the three, 0.076, less its third digit
    assert nearest(figures.COLOURS) > for_all - 0.001


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
        shown = Image.open(io.BytesIO(figure._repr_png_()[0]))
        assert shown.width > 100, name
        on_every_page(shown, name)
        saved = figures.save(figure, tmp_path / "new" / f"{name}.png")
        assert Image.open(saved).format == "PNG"
        for ax in figure.axes:
            named = ax.get_ylabel() or not ax.axison or [t.get_text() for t in ax.get_yticklabels()]
            assert named or not ax.get_subplotspec(), f"{name} has an axis without a label"


def test_names_are_moved_no_further_than_they_must():
    assert figures.spread([3.0, 1.0, 9.0], 1) == [3, 1, 9]
    assert figures.spread([2.0, 2.0, 2.0], 1) == [1, 2, 3]
    assert figures.spread([5.0, 4.8, 0.0], 1) == pytest.approx([5.4, 4.4, 0])
    assert figures.spread([], 1) == []


def test_a_legend_has_as_many_rows_as_it_needs_within_its_figure():
    for words, widest in (("short", 5), ("a name that is not short", 3)):
        figure, ax = figures.new_axes(width=6)
        lines = [ax.plot([1, 2])[0] for _ in range(5)]
        style.legend_outside(figure, lines, [words] * 5, title="what they are")
        (legend,) = figure.legends
        assert (legend._ncols, legend.get_title().get_text()) == (widest, "what they are")
        assert legend.get_window_extent().width <= figure.bbox.width


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
