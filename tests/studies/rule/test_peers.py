"""Layers that are alike, in weights and in work, and the map that ties them."""

import numpy as np
import pytest

from dlt_core.blocks import find_blocks
from dlt_core.experiments import build_learner
from dlt_core.studies.rule import peers
from dlt_core.tie_map import TieMap


def test_layers_that_are_alike_are_merged():
    alike = np.array([[1, 0.1, 0.9, 0.2], [0.1, 1, 0.2, 0.8], [0.9, 0.2, 1, 0.1], [0.2, 0.8, 0.1, 1]])
    assert peers.merged(alike, 2) == TieMap([0, 1, 0, 1])
    assert peers.merged(alike, 3) == TieMap([0, 1, 0, 3])
    assert peers.merged(alike, 1) == TieMap.all_tied(4)
    assert peers.merged(alike, 4) == TieMap.independent(4)
    with pytest.raises(ValueError, match="num_groups must be between 1 and n_layer=4, got 5"):
        peers.merged(alike, 5)


def test_equal_weights_and_equal_work_are_alike(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    blocks = find_blocks(learner.model)
    blocks[2].load_state_dict(blocks[0].state_dict())
    by_weights, by_work = peers.weight_similarity(learner), peers.activation_similarity(learner, 1)
    for found in (by_weights, by_work):
        assert found.shape == (4, 4)
        assert found.diagonal() == pytest.approx(np.ones(4))
        assert found == pytest.approx(found.T)
    assert by_weights[0, 2] == pytest.approx(1)
    assert abs(by_weights[0, 1]) < 0.2
    assert 0 <= by_work.min() <= by_work.max() <= 1 + 1e-9
    assert not [hook for block in blocks for hook in block._forward_hooks]
