"""Experiments and records: the paper's values, and clear errors for everything that cannot be."""

import json

import pytest

from dlt_core.experiments import EXPERIMENTS, PRESETS, Experiment
from dlt_core.learner.accounting import gpt2_parameters, training_bytes
from dlt_core.records.record import RunRecord, load_all


def test_the_paper_preset_is_the_papers_own_setting():
    paper = Experiment.preset("gpt2-wikitext2", "paper")
    assert (paper.episodes, paper.batch_size, paper.steps_per_action) == (300, 16, 15)
    assert (paper.learning_rate, paper.q_learning_rate, paper.gamma) == (1e-4, 1e-3, 0.99)
    assert (paper.epsilon, paper.epsilon_decay, paper.epsilon_min) == (1.0, 0.95, 0.1)
    assert (paper.n_layer, paper.n_embd, paper.block_size, paper.tokenizer) == (48, 1600, 256, "gpt2")
    shape = {"vocab_size": 50257, "n_positions": paper.n_positions, "n_embd": paper.n_embd}
    assert round(gpt2_parameters(**shape, num_groups=48) / 1e6) == 1558
    assert 264 <= gpt2_parameters(**shape, num_groups=6) / 1e6 <= 267
    state = [training_bytes(gpt2_parameters(**shape, num_groups=m))["total"] for m in (48, 6)]
    assert state[0] / state[1] == pytest.approx(5.85, abs=0.1)


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_made_and_written_down(name, preset):
    experiment = Experiment.preset(name, preset, seed=3)
    fields = experiment.to_dict()
    assert (fields["name"], fields["preset"], fields["seed"]) == (name, preset, 3)
    assert json.loads(json.dumps(fields)) == fields
    assert fields["overrides"] == {}
    assert Experiment.preset(name, preset, gamma=0.5).to_dict()["overrides"] == {"gamma": 0.5}


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match="unknown experiment 'gpt3'; known: gpt2-embedded, gpt2-wikitext2"):
        Experiment.preset("gpt3", "smoke")
    with pytest.raises(ValueError, match="unknown preset 'huge'; known: smoke, laptop, gpu, paper"):
        Experiment.preset("gpt2-embedded", "huge")
    with pytest.raises(ValueError, match=r"unknown fields layers; known: name, .*n_layer"):
        Experiment.preset("gpt2-embedded", "smoke", layers=3)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n_layer", 1, "n_layer must be a whole number of at least 2"),
        ("steps_per_action", 0, "steps_per_action must be a whole number of at least 1"),
        ("episodes", 2.5, "episodes must be a whole number"),
        ("batch_size", 0, "batch_size"),
        ("evaluation_tokens", 1, "evaluation_tokens"),
        ("learning_rate", 0.0, "learning_rate must be positive"),
        ("learning_rate", float("nan"), "learning_rate must be positive"),
        ("weight_decay", -1.0, "weight_decay"),
        ("weight_decay", float("nan"), "weight_decay"),
        ("evaluation_tokens", 1024.0, "evaluation_tokens"),
        ("epsilon_decay", 0.0, "epsilon_decay"),
        ("gamma", 1.5, r"gamma must lie in \[0, 1\]"),
        ("dropout", 1.0, r"dropout must lie in \[0, 1\)"),
        ("n_head", 5, "n_embd=32 must be a multiple of n_head=5"),
        ("block_size", 33, "block_size=33 is longer than n_positions=32"),
        ("corpus", "wiki", "unknown corpus 'wiki'; known: embedded, wikitext-2, wikitext-103, lambada, lm1b"),
        ("architecture", "llama", "unknown architecture 'llama'; known: gpt2, bert"),
        ("train_bytes", 0, "train_bytes must be a whole number of at least 1, or None"),
        ("train_bytes", 1e6, "train_bytes must be a whole number"),
        ("reward", "x", "unknown reward 'x'; known: neg_perplexity"),
        ("orphans", "x", "unknown orphans 'x'; known: follow, promote"),
        ("gradient", "x", "unknown gradient 'x'; known: shared, source"),
        ("precision", "fp8", "unknown precision 'fp8'; known: fp32, tf32, bf16, bf16-weights"),
        ("tokenizer", "words", "unknown tokenizer 'words'; known: gpt2, bpe-N"),
    ],
)
def test_values_that_cannot_be(field, value, message):
    with pytest.raises(ValueError, match=message):
        Experiment.preset("gpt2-embedded", "smoke", **{field: value})


def test_records_round_trip_and_refuse_what_they_do_not_know(tmp_path):
    record = RunRecord({"name": "e", "preset": "smoke"}, "dynamic", 2, {"name": "embedded"})
    record.history = {"reward": [float("-inf"), -1.5]}
    path = record.save(tmp_path)
    assert path.name == "e-smoke-dynamic-seed2.json"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert load_all(tmp_path)[0].history == {"reward": [None, -1.5]}  # JSON has no infinity
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "schema_version": 99}))
    with pytest.raises(ValueError, match="schema version 99"):
        RunRecord.load(path)
    path.write_text(json.dumps({**fields, "colour": "blue"}))
    with pytest.raises(ValueError, match=r"unknown fields \['colour'\]"):
        RunRecord.load(path)


def test_transitions_count_ties_and_unties():
    record = RunRecord({}, "dynamic", 0, {}, history={"tie_map": [[0, 1, 0], [0, 1, 2], [0, 0, 2], [0, 0, 0]]})
    assert record.transitions() == {"ties": 2, "unties": 2}
