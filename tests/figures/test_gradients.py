"""Pictures of gradients: the arrows, colours and points are those that were given."""

import numpy as np
import pytest

from dlt_core import figures
from dlt_core.tie_map import TieMap


def test_arrows_are_the_gradients_and_their_sum_with_both_norms():
    figure = figures.gradient_arrows({"agree": [[1, 2], [2, 1]], "fight": [[1, -2], [-3, 1]]})
    agree, fight = figure.axes
    assert [ax.get_title() for ax in (agree, fight)] == ["agree", "fight"]
    assert agree.get_xlabel() == "apart 6, shared 6"
    assert fight.get_xlabel() == "apart 7, shared 3"
    assert agree.get_xlim() == agree.get_ylim() == fight.get_xlim() == fight.get_ylim() == (-1.35 * 3, 1.35 * 3)
    tips = {text.get_text(): text.xy for text in fight.texts if text.get_text()}
    assert tips == {"layer 0": (1, -2), "layer 1": (-3, 1), "their sum": (-2, -1)}


def test_agreement_has_a_square_for_each_pair_of_layers_on_one_scale():
    values = [[1, -0.5], [-0.5, 1]]
    figure = figures.agreement({"early": values, "late": np.eye(2), "3": values, "4": values, "5": values, "6": values})
    images = [ax.images[0] for ax in figure.axes if ax.images]
    assert [image.get_array().tolist() for image in images] == [values, np.eye(2).tolist(), *[values] * 4]
    assert [image.axes.get_subplotspec().rowspan.start for image in images] == [0, 0, 0, 1, 1, 1]
    assert {(image.norm.vmin, image.norm.vmax) for image in images} == {(-1, 1)}
    red, _, blue, _ = images[0].cmap(images[0].norm(1.0))
    assert blue > red, "agreement is blue, as in the widget"


def test_every_map_is_a_point_of_its_number_of_sets():
    maps = [TieMap([0, 0, 0]), TieMap([0, 1, 1]), TieMap([0, 0, 2])]
    seen, true = dict(zip(maps, (1.0, 2.0, 3.0), strict=True)), dict(zip(maps, (9.0, 8.0, 7.0), strict=True))
    ax = figures.seen_and_true(seen, true, "gain", "loss").axes[0]
    points = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert points == {"1 weight set": [[1, 9]], "2 weight sets": [[2, 8], [3, 7]]}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("gain", "loss")
    with pytest.raises(KeyError):
        figures.seen_and_true({}, true, "gain", "loss")
