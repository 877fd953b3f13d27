"""The pictures of notebook 02: each is drawn, has names on its axes, and can be read on light and dark pages."""

import io

import numpy as np
import pytest
from PIL import Image

from dlt_core import figures
from dlt_core.studies import toy_pictures
from dlt_core.studies.toy import Played
from dlt_core.tie_map import all_maps
from tests.figures.test_style import on_every_page

MAPS = list(all_maps(4))
PATHS = {"random": [MAPS[:12], MAPS[3:]], "Q-network": [MAPS[3:], MAPS[2:14]]}
ROWS = {name: Played(paths, [[1] * 12] * 2, [], lambda m: 30.0 + m[1] + m[3]) for name, paths in PATHS.items()}
COUNTS = {n: np.random.default_rng(n).integers(1, 6, 50) for n in (12, 48)}
PICTURES = {
    "moves": lambda: toy_pictures.moves([(None, None, (0, 0, 0, 0)), (1, 1, (0, 1, 0, 0))]),
    "ranking": lambda: toy_pictures.ranking({m: 30.0 + n for n, m in enumerate(MAPS)}, {MAPS[0]: "best"}),
    "outputs": lambda: toy_pictures.outputs(4),
    "learning": lambda: toy_pictures.learning(ROWS, 30),
    "level": lambda: toy_pictures.level(np.random.default_rng(0).normal(size=(2, 8, 3)), -40),
    "alike": lambda: toy_pictures.alike(-np.arange(9.0), -np.ones((9, 2)), [0, 1, 1] * 3),
    "drift": lambda: toy_pictures.drift({"one": range(20), "other": range(20)}),
    "late": lambda: toy_pictures.late(ROWS, 30),
    "places": lambda: toy_pictures.places(ROWS, MAPS),
    "uniform": lambda: toy_pictures.uniform(COUNTS, {n: np.full(n + 1, 1 / n) for n in COUNTS}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_for_every_page_and_names_its_axes(name):
    figure = PICTURES[name]()
    on_every_page(Image.open(io.BytesIO(figure._repr_png_()[0])), name)
    for ax in figure.axes:
        assert ax.get_xlabel() or figure.get_supxlabel(), name
        assert len([spine for spine in ax.spines.values() if spine.get_visible()]) <= 2, "the style has no frame"


def test_the_picture_of_moves_has_the_weight_sets_colours():
    (ax,) = toy_pictures.moves([(None, None, (0, 0, 2)), (1, 1, (0, 1, 2))]).axes
    drawn = [patch.get_facecolor() for patch in ax.patches if patch.get_fill()]
    colours = figures.weight_set_colours(len(figures.COLOURS))
    assert drawn == [colours(j) for j in (0, 0, 2, 0, 1, 2)]


def test_places_show_each_seed():
    *_, ax = toy_pictures.places(ROWS, MAPS).axes
    assert [line.get_xdata().tolist() for line in ax.lines] == (100 * ROWS["Q-network"].places(MAPS)).tolist()
