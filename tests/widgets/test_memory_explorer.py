"""Widget 6: the paper's claim in closed form."""

import pytest

from dlt_core.widgets import MemoryExplorer
from dlt_core.widgets.shapes import memory, shapes


def test_numbers_are_those_of_the_chosen_weight_sets():
    explorer = MemoryExplorer("paper, GPT-2", 7, batch_size=4, checkpointing=True)
    assert explorer.numbers() == memory(shapes()[explorer.model], 7, 4, True)


def test_tenfold_is_the_last_number_of_sets_with_a_tenth():
    explorer = MemoryExplorer("paper, GPT-2")
    shape = shapes()[explorer.model]
    for part in ("state", "peak"):
        sets = explorer.tenfold(part)
        whole = memory(shape, 48, 16, False)[part]
        assert sets == 0 or 10 * memory(shape, sets, 16, False)[part] <= whole
        assert 10 * memory(shape, sets + 1, 16, False)[part] > whole
    assert explorer.tenfold("state") == 2
    assert explorer.tenfold("peak") == 0, "the claim is about what is held between steps"


def test_an_impossible_number_of_sets_is_refused():
    assert MemoryExplorer("smoke").groups == 4
    with pytest.raises(ValueError, match="has 1 to 4 weight sets, got 5"):
        MemoryExplorer("smoke", 5)
