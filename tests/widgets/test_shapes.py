"""The models of the widgets are those of the presets and of the paper."""

import pytest

from dlt_core.blocks import build_gpt2
from dlt_core.learner import accounting, loss
from dlt_core.tie_map import TieMap
from dlt_core.tying import count_parameters, tie_layers
from dlt_core.widgets.shapes import LOGITS_AT_ONCE, memory, shape_name, shapes


def test_the_papers_models_are_among_them():
    known = shapes()
    assert {"paper, GPT-2: 48 x 1600", "paper, BERT: 12 x 768", "laptop: 6 x 96"} <= known.keys()
    assert known["paper, GPT-2: 48 x 1600"]["vocab_size"] == 50257
    assert LOGITS_AT_ONCE == loss.LOGITS_AT_ONCE


def test_vocabulary_is_the_tokenizers(tiny_data):
    assert shapes()[shape_name("smoke")]["vocab_size"] == tiny_data.vocab_size


def test_memory_is_that_of_the_model_itself():
    shape = shapes()[shape_name("smoke")]
    model = build_gpt2(
        **{name: shape[name] for name in ("vocab_size", "n_positions", "n_layer", "n_head", "n_embd")},
        seed=0,
        dropout=0.0,
    )
    ties = TieMap([0, 0, 2, 0])
    tie_layers(model, ties)
    found = memory(shape, ties, 3, False)
    assert found["parameters"] == count_parameters(model)
    assert found["state"] == accounting.training_bytes(found["parameters"])["total"] == found["optimizer"] * 2
    assert found["total"] == found["state"] + found["activations"]
    assert memory(shape, 2, 3, False) == found
    assert memory(shape, 2, 3, True)["activations"] < found["activations"]


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="no model begins with 'huge'; there are: smoke: 4 x 32"):
        shape_name("huge")
