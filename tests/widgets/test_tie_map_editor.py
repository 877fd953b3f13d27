"""Widget 1: its numbers follow the map. What it shows is in tests/browser."""

import pytest

from dlt_core.tie_map import TieMap
from dlt_core.widgets import TieMapEditor
from dlt_core.widgets.shapes import memory, shapes


def test_it_begins_all_tied_or_with_the_given_map():
    assert TieMapEditor("laptop").tie_map == [0] * 6
    assert TieMapEditor("smoke", [0, 1, 1, 0]).tie_map == [0, 1, 1, 0]


def test_numbers_follow_map_batch_and_checkpointing():
    editor = TieMapEditor("paper, GPT-2", TieMap.pattern("cycle", 48, 6))
    shape = shapes()[editor.model]
    assert editor.numbers() == memory(shape, 6, shape["batch_size"], False)
    editor.tie_map = list(TieMap.independent(48))
    editor.batch_size, editor.checkpointing = 2, True
    assert editor.numbers() == memory(shape, 48, 2, True)
    assert editor.numbers()["parameters"] == 1_557_611_200


def test_a_map_of_another_depth_is_refused():
    with pytest.raises(ValueError, match="'laptop: 6 x 96' has 6 layers, the map 4"):
        TieMapEditor("laptop", [0, 0, 0, 0])
    with pytest.raises(ValueError, match="write 0"):
        TieMapEditor("smoke", [0, 0, 1, 0])
