"""Experiments: the paper's values, and clear errors for everything that cannot be."""

import copy
import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dlt_core import CHECKOUT
from dlt_core.blocks import ARCHITECTURES
from dlt_core.corpora import CORPORA, from_text, tokenize
from dlt_core.corpora.sources import HUB
from dlt_core.corpora.tokenization import bpe_pieces
from dlt_core.env import REWARDS
from dlt_core.experiments import EXPERIMENTS, PRESETS, CorpusName, Experiment, load_data, name_of
from dlt_core.learner import COMPILE_MODES, PRECISIONS
from dlt_core.learner.accounting import gpt2_parameters, training_bytes
from dlt_core.records import key
from dlt_core.records.record import load_all
from dlt_core.tie_map import ORPHANS
from dlt_core.tying import GRADIENTS

FIELDS = [field.name for field in dataclasses.fields(Experiment)]


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
        ("n_layer", 1, "n_layer must be greater than or equal to 2, got 1"),
        ("steps_per_action", 0, "steps_per_action must be greater than or equal to 1"),
        ("episodes", 2.5, "episodes must be a valid integer, got 2.5"),
        ("episodes", True, "episodes must be a valid integer, got True"),
        ("seed", "0", "seed must be a valid integer, got '0'"),
        ("seed", -1, "seed must be greater than or equal to 0"),
        ("seed", np.int64(3), "seed must be a valid integer"),
        ("batch_size", 0, "batch_size"),
        ("evaluation_tokens", 1, "evaluation_tokens"),
        ("learning_rate", 0.0, "learning_rate must be greater than 0, got 0.0"),
        ("learning_rate", float("nan"), "learning_rate must be a finite number, got nan"),
        ("learning_rate", float("inf"), "learning_rate must be a finite number, got inf"),
        ("learning_rate", True, "learning_rate must be a valid number, got True"),
        ("learning_rate", np.float32(0.5), "learning_rate must be a number"),
        ("learning_rate", "1e-3", "learning_rate must be a number, got '1e-3'"),
        ("weight_decay", -1.0, "weight_decay"),
        ("weight_decay", float("nan"), "weight_decay"),
        ("price", float("-inf"), "price must be a finite number"),
        ("evaluation_tokens", 1024.0, "evaluation_tokens"),
        ("epsilon_decay", 0.0, "epsilon_decay must be greater than 0"),
        ("gamma", 1.5, "gamma must be less than or equal to 1, got 1.5"),
        ("dropout", 1.0, "dropout must be less than 1"),
        ("n_head", 5, "n_embd=32 must be a multiple of n_head=5"),
        ("block_size", 33, "block_size=33 is longer than n_positions=32"),
        ("gradient_accumulation_steps", 3, "batch_size=4 must be a multiple of gradient_accumulation_steps=3"),
        ("corpus", "wiki", "corpus must be 'embedded', 'wikitext-2', 'wikitext-103', 'lambada' or 'lm1b', got 'wiki'"),
        ("architecture", "llama", "architecture must be 'gpt2' or 'bert', got 'llama'"),
        ("train_bytes", 0, "train_bytes must be greater than or equal to 1"),
        ("train_bytes", 1e6, "train_bytes must be a valid integer"),
        ("reward", "x", "reward must be 'neg_perplexity', .*, got 'x'"),
        ("orphans", "x", "orphans must be 'follow' or 'promote', got 'x'"),
        ("freeze_after", 1, "freeze_after must be less than 1, got 1"),
        ("freeze_after", 0.0, "freeze_after must be greater than 0, got 0"),
        ("gradient", "x", "gradient must be 'shared' or 'source', got 'x'"),
        ("precision", "fp8", "precision must be 'fp32', 'tf32', 'bf16' or 'bf16-weights', got 'fp8'"),
        ("compile_mode", "fast", "compile_mode must be 'default', "),
        ("activation_checkpointing", 1, "activation_checkpointing must be a valid boolean"),
        ("device", "banana", "device must match .*auto.*cuda.*got 'banana'"),
        ("preset_name", "../../x", "preset_name must match .*got '../../x'"),
        ("preset_name", "", "preset_name must match"),
    ],
)
def test_values_that_cannot_be(field, value, message):
    with pytest.raises(ValueError, match=message) as refused:
        Experiment.preset("gpt2-embedded", "smoke", **{field: value})
    assert "\n" not in str(refused.value)
    assert "pydantic" not in str(refused.value)


@pytest.mark.parametrize("tokenizer", ["words", "bpe-", "bpe-x", "bpe--1", "gpt2\n", "xbpe-3", "", "gpt2", "bpe-512"])
def test_a_tokenizer_is_what_the_corpora_know(tokenizer):
    try:
        bpe_pieces(tokenizer)
    except ValueError:
        with pytest.raises(ValueError, match=r"tokenizer must match .*gpt2.*bpe-"):
            Experiment.preset("gpt2-embedded", "smoke", tokenizer=tokenizer)
    else:
        assert Experiment.preset("gpt2-embedded", "smoke", tokenizer=tokenizer).tokenizer == tokenizer


def test_several_wrong_fields_missing_and_unknown_ones():
    with pytest.raises(ValueError, match=r"^n_layer must be .*, got 1; gamma must be .*, got 2; and 1 more$"):
        Experiment.preset("gpt2-embedded", "smoke", n_layer=1, gamma=2, epsilon=3)
    with pytest.raises(ValueError, match="name is missing; corpus is missing"):
        Experiment()
    with pytest.raises(ValueError, match="layers is not a known field"):
        Experiment(name="mine", corpus="embedded").replace(layers=3)
    with pytest.raises(ValueError, match="name must match"):
        Experiment(name="../mine", corpus="embedded")


def test_what_is_said_twice_is_the_same():
    """The values stand in `experiments` so that it needs no PyTorch; who uses them has them too."""
    hints = get_type_hints(Experiment)
    for field, known in {
        "architecture": ARCHITECTURES, "reward": REWARDS, "precision": PRECISIONS,
        "orphans": ORPHANS, "gradient": GRADIENTS,
    }.items():  # fmt: skip
        assert get_args(hints[field]) == tuple(known), field
    assert get_args(get_args(hints["compile_mode"])[0]) == tuple(COMPILE_MODES)
    assert get_args(CorpusName) == CORPORA == ("embedded", *HUB)


def test_an_int_for_a_float_stays_one_and_names_the_same_file_as_ever():
    experiment = Experiment.preset("ablations", "laptop", price=1, gamma=np.float64(0.5))
    fields = json.loads(json.dumps(experiment.to_dict()))
    assert repr(experiment.price) == "1"
    assert fields["overrides"] == {"gamma": 0.5, "price": 1}
    assert key(fields, "dynamic", 0) == "ablations-laptop-747f08d4-dynamic-seed0"


def test_a_text_of_ones_own_is_known_by_its_name_wherever_it_lies(tmp_path, monkeypatch):
    text = "".join(f"line {number} of a text\n" for number in range(999))
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "my.txt").write_text(text)
    monkeypatch.chdir(tmp_path / "here")
    given = ("my.txt", Path("my.txt"), tmp_path / "there" / "my.txt", str(tmp_path / "here" / ".." / "here" / "my.txt"))
    made = [Experiment.preset("gpt2-embedded", "smoke", corpus=corpus, tokenizer="characters") for corpus in given]
    for experiment in made:
        fields = experiment.to_dict()
        assert fields["overrides"] == {"corpus": "my.txt", "tokenizer": "characters"}
        assert str(tmp_path) not in json.dumps(fields)
        assert experiment.on(load_data(experiment)) is experiment
    with pytest.raises(ValueError, match=r"got 'your.txt', and there is no file or folder of this name"):
        Experiment.preset("gpt2-embedded", "smoke", corpus="your.txt")
    with pytest.raises(ValueError, match=r"unknown corpus 'your.txt'; known: embedded, .* there is no file or folder"):
        load_data(made[0].replace(corpus="your.txt"))


def test_an_experiment_on_other_data_says_what_it_is_on():
    data = tokenize(from_text("abc " * 99, name="letters"), "characters")
    given = Experiment.preset("gpt2-wikitext103", "smoke", gamma=0.5)
    there = given.on(data)
    assert there.to_dict()["overrides"] == {
        "corpus": "letters", "gamma": 0.5, "tokenizer": "characters", "train_bytes": None
    }  # fmt: skip
    assert there.on(data) is there
    assert there.replace(n_layer=2).corpus == "letters"


def test_an_experiment_is_a_frozen_value():
    experiment = Experiment.preset("truth", "gpu")
    assert pickle.loads(pickle.dumps(experiment)) == copy.deepcopy(experiment) == experiment
    assert dataclasses.replace(experiment, seed=1) == experiment.replace(seed=1) != experiment
    assert len({experiment, copy.copy(experiment), experiment.replace(seed=1)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.seed = 1


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=9), anything, max_size=4))
@example({"gamma": 10**400})
@example({"device": "\ud800"})
def test_any_overrides_make_an_experiment_or_a_refusal_that_names_a_field(overrides):
    try:
        experiment = Experiment.preset("gpt2-embedded", "smoke", **overrides)
    except (TypeError, ValueError) as error:
        assert any(name in str(error) for name in (*overrides, "unknown fields"))  # noqa: PT017 - allowed, not demanded
    else:
        assert json.loads(json.dumps(experiment.to_dict(), allow_nan=False)) == experiment.to_dict()
        assert {name: getattr(experiment, name) for name in overrides} == overrides


def test_experiments_of_an_architecture_on_a_corpus_are_named():
    assert {name_of(a, c) for a in ARCHITECTURES for c in CORPORA} <= set(EXPERIMENTS)
    with pytest.raises(ValueError, match="no experiment trains 'llama' on 'lm1b'; known: gpt2, bert on embedded, "):
        name_of("llama", "lm1b")


def test_experiments_are_described_without_pytorch():
    program = "import sys; from dlt_core import Experiment; Experiment.preset('truth', 'gpu'); print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    loaded = set(run.stdout.split())
    assert "dlt_core.experiments" in loaded
    assert not loaded & {"torch", "transformers", "gymnasium", "datasets", "pandas", "scipy"}


def test_the_recorded_runs_have_todays_settings():
    """A record without a field that came later has its default; on which device `auto` put a run is the machine's."""
    defaults = {field.name: field.default for field in dataclasses.fields(Experiment)}
    for r in load_all(CHECKOUT / "figures" / "records"):
        e = r.experiment
        today = Experiment.preset(e["name"], e["preset"], seed=r.seed, **e["overrides"]).to_dict()
        recorded = {**{name: defaults.get(name) for name in today}, **e}
        assert e.keys() <= today.keys(), r.key
        assert {name for name in today if recorded[name] != today[name]} <= {"device"}, r.key
