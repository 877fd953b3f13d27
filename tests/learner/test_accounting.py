"""Closed forms equal what is measured; the state goes by weight sets, the activations by layers."""

import gc
import itertools
import math
import tempfile
import weakref

import pytest
import torch
from hypothesis import given, settings
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dlt_core.blocks import build_model, checkpoint_activations
from dlt_core.corpora.tokenization import TokenizedCorpus, bpe_pieces
from dlt_core.experiments import EXPERIMENTS, PRESETS, Experiment, build_learner, load_data
from dlt_core.learner.accounting import (
    activation_bytes,
    bert_parameters,
    block_parameters,
    gpt2_parameters,
    measured_bytes,
    model_activation_bytes,
    model_parameters,
    model_peak_bytes,
    step_flops,
    step_peak_bytes,
    step_timeline,
    training_bytes,
)
from dlt_core.learner.evaluation import token_losses
from dlt_core.learner.training import TrainingDiverged
from dlt_core.tie_map import TieMap
from dlt_core.tying import count_parameters, tie_layers
from tests.conftest import tie_maps

GPT2_VOCABULARY = 50257


def shapes_of_all_presets():
    """(architecture, shape) of every model that some experiment builds at some preset, each once."""
    found = {}
    for name, preset in itertools.product(EXPERIMENTS, PRESETS):
        e = Experiment.preset(name, preset)
        vocab_size = bpe_pieces(e.tokenizer) or GPT2_VOCABULARY
        shape = {"vocab_size": vocab_size, "n_positions": e.n_positions, "n_layer": e.n_layer, "n_head": e.n_head,
                 "n_embd": e.n_embd}  # fmt: skip
        found[e.architecture, *shape.values()] = (e.architecture, shape)
    return found


SHAPES = shapes_of_all_presets()


def test_the_presets_have_the_large_shapes_in_both_architectures():
    assert ("gpt2", GPT2_VOCABULARY, 1024, 48, 25, 1600) in SHAPES
    assert ("bert", GPT2_VOCABULARY, 512, 12, 12, 768) in SHAPES


@pytest.mark.parametrize("key", SHAPES, ids=lambda key: "-".join(map(str, key)))
def test_parameters_in_closed_form_for_the_shapes_of_all_presets(key):
    architecture, shape = SHAPES[key]
    model = build_model(architecture, **shape, dropout=0.0, device="meta")
    n_layer = shape["n_layer"]
    sizes = {name: value for name, value in shape.items() if name not in ("n_layer", "n_head")}
    for groups in (n_layer, math.ceil(n_layer / 2), 1):
        tie_layers(model, TieMap.pattern("cycle", n_layer, groups))
        expected = model_parameters(architecture, **sizes, num_groups=groups)
        assert count_parameters(model) == expected
        assert expected == model_parameters(architecture, **sizes, num_groups=0) + groups * block_parameters(
            shape["n_embd"]
        )


def test_parameters_of_the_published_models():
    """The sizes of the public checkpoints gpt2, gpt2-xl and bert-base-uncased (with its language-model head)."""
    assert gpt2_parameters(vocab_size=50257, n_positions=1024, n_embd=768, num_groups=12) == 124_439_808
    assert gpt2_parameters(vocab_size=50257, n_positions=1024, n_embd=1600, num_groups=48) == 1_557_611_200
    assert bert_parameters(vocab_size=30522, n_positions=512, n_embd=768, num_groups=12) == 109_514_298


def test_an_unknown_architecture_is_refused():
    with pytest.raises(KeyError, match="llama"):
        model_parameters("llama", vocab_size=8, n_positions=8, n_embd=8, num_groups=1)
    with pytest.raises(KeyError, match="llama"):
        model_activation_bytes(
            "llama", batch_size=1, block_size=1, vocab_size=8, n_layer=1, n_head=1, n_embd=8, checkpointing=True
        )


@settings(max_examples=12)
@given(before=tie_maps(4), after=tie_maps(4))
def test_the_state_is_what_the_closed_form_says_for_any_tie_map(smoke, tiny_data, before, after):
    learner = build_learner(smoke, tiny_data)
    for tie_map in (before, after):
        learner.tie(tie_map)
        learner.train(1)
        measured = measured_bytes(learner.model, learner.optimizer)
        shape = {"vocab_size": tiny_data.vocab_size, "n_positions": smoke.n_positions, "n_embd": smoke.n_embd}
        closed = training_bytes(gpt2_parameters(**shape, num_groups=tie_map.num_independent))
        counters = 4 * len(list(learner.model.parameters()))  # AdamW counts the steps of each tensor
        assert measured["weights"] == closed["weights"]
        assert measured["gradients"] == closed["gradients"]
        assert measured["optimizer"] == closed["optimizer"] + counters
        assert measured["total"] == closed["total"] + counters


def test_a_tie_frees_the_state_and_an_untie_brings_it_back(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    learner.train(1)
    block = 4 * block_parameters(smoke.n_embd)
    last = learner.model.transformer.h[3].mlp.c_fc.weight
    watched = [weakref.ref(last), weakref.ref(last.grad), *map(weakref.ref, learner.optimizer.state[last].values())]
    del last
    full = measured_bytes(learner.model, learner.optimizer)
    learner.tie(TieMap([0, 1, 2, 0]))
    tied = measured_bytes(learner.model, learner.optimizer)
    assert [ref() for ref in watched] == [None] * len(watched)
    assert full["weights"] - tied["weights"] == full["gradients"] - tied["gradients"] == block
    assert full["optimizer"] - tied["optimizer"] == 2 * block + 4 * 12
    learner.tie(TieMap.independent(4))
    untied = measured_bytes(learner.model, learner.optimizer)
    assert untied["weights"] == full["weights"]
    assert untied["gradients"] == tied["gradients"]  # the clones get theirs from the next step
    assert untied["optimizer"] == full["optimizer"]


def test_activations_do_not_depend_on_the_ties_but_on_the_gradient(smoke, tiny_data):
    found = {}
    for gradient, tie_map in itertools.product(["shared", "source"], [TieMap.independent(4), TieMap.all_tied(4)]):
        learner = build_learner(smoke.replace(gradient=gradient), tiny_data)
        learner.tie(tie_map)
        found[gradient, tie_map.num_independent] = activation_bytes(learner.model, torch.from_numpy(learner.batches[0]))
    assert found["shared", 1] == found["shared", 4] == found["source", 4]
    assert found["source", 1] < found["shared", 1]  # constants need no input for their gradient


SIZES = [  # B, T, d, L, h, V, positions
    (3, 16, 32, 2, 4, 61, 16),
    (4, 33, 48, 5, 6, 513, 40),
    (2, 7, 24, 1, 1, 100, 64),
    (8, 64, 96, 6, 4, 2048, 64),
]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
@pytest.mark.parametrize("sizes", SIZES)
def test_activations_in_closed_form_to_the_byte_at_once_and_in_chunks(architecture, sizes, checkpointing):
    B, T, d, L, h, V, positions = sizes
    shape = {"vocab_size": V, "n_layer": L, "n_head": h, "n_embd": d}
    model = build_model(architecture, **shape, n_positions=positions, dropout=0.0)
    if checkpointing:
        checkpoint_activations(model)
    batch = torch.randint(V, (B, T + 1), generator=torch.Generator().manual_seed(0))
    shape |= {"batch_size": B, "block_size": T, "checkpointing": checkpointing}
    whole = model_activation_bytes(architecture, **shape)
    assert activation_bytes(model, batch) == whole
    for tokens in (1, 5, B * T - 1):
        closed = model_activation_bytes(architecture, **shape, logits_at_once=tokens * V)
        assert activation_bytes(model, batch, tokens * V) == closed != whole


def test_checkpointing_saves_all_of_a_block_but_its_input(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    batch = torch.from_numpy(learner.batches[0])
    everything = activation_bytes(learner.model, batch)
    checkpoint_activations(learner.model)
    saved = 15 * smoke.n_embd + smoke.n_head + 4
    tokens = smoke.batch_size * smoke.block_size
    assert everything - activation_bytes(learner.model, batch) == 4 * tokens * smoke.n_layer * saved


def test_activations_grow_with_depth_batch_and_dropout(smoke, tiny_data):
    def measure(**changes):
        learner = build_learner(smoke.replace(**changes), tiny_data)
        return activation_bytes(learner.model, torch.from_numpy(learner.batches[0]))

    plain = measure()
    assert measure(n_layer=8) > 1.7 * plain
    assert measure(batch_size=8) == pytest.approx(2 * plain, rel=1e-3)
    assert measure(dropout=0.1) > plain  # its masks, and no fused attention on the CPU


def test_measuring_activations_leaves_no_trace(smoke, tiny_data):
    learner = build_learner(smoke.replace(dropout=0.1), tiny_data)
    batch = torch.from_numpy(learner.batches[0])
    training = activation_bytes(learner.model.train(), batch)
    before = torch.random.get_rng_state()
    assert activation_bytes(learner.model.eval(), batch) == training  # a step is taken in training mode
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not learner.model.training
    assert all(p.grad is None for p in learner.model.parameters())


class Watch(TorchDispatchMode):
    """An independent measurement: every tensor that an operation returns, counted until its storage dies."""

    def __init__(self, known):
        super().__init__()
        self.alive = {t.untyped_storage()._cdata for t in known}
        self.bytes = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and (key := tensor.untyped_storage()._cdata) not in self.alive:
                self.alive.add(key)
                self.bytes += tensor.untyped_storage().nbytes()
                self.peak = max(self.peak, self.bytes)
                weakref.finalize(tensor.untyped_storage(), self.gone, key, tensor.untyped_storage().nbytes())
        return out

    def gone(self, key, size):
        self.alive.discard(key)
        self.bytes -= size


def peak_by_dispatch(learner) -> int:
    learner.optimizer.zero_grad()
    moments = [value for state in learner.optimizer.state.values() for value in state.values()]
    held = measured_bytes(learner.model, learner.optimizer)["total"]
    with Watch([*learner.model.parameters(), *moments]) as watch:
        learner.train(1)
    return held + watch.peak


@pytest.fixture(scope="module")
def laptop() -> tuple[Experiment, TokenizedCorpus]:
    """A larger vocabulary, and the data."""
    experiment = Experiment.preset("gpt2-embedded", "laptop", device="cpu")
    return experiment, load_data(experiment)


def closed_peak(experiment, data, tie_map, checkpointing=False, logits_at_once=None) -> int:
    names = ("n_positions", "batch_size", "block_size", "n_layer", "n_head", "n_embd")
    shape = {name: getattr(experiment, name) for name in names} | {"vocab_size": data.vocab_size}
    how = {"checkpointing": checkpointing, "logits_at_once": logits_at_once}
    return model_peak_bytes(experiment.architecture, **shape, num_groups=tie_map.num_independent, **how)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("tie_map", [TieMap.independent(4), TieMap([0, 1, 0, 1]), TieMap.all_tied(4)])
@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
def test_the_peak_agrees_with_an_independent_count_and_with_the_closed_form(
    smoke, tiny_data, architecture, tie_map, checkpointing
):
    experiment = smoke.replace(architecture=architecture)
    learner = build_learner(experiment, tiny_data)
    learner.tie(tie_map)
    if checkpointing:
        checkpoint_activations(learner.model)
    learner.train(2)
    peak = step_peak_bytes(learner)
    assert peak == pytest.approx(peak_by_dispatch(learner), rel=0.03 if checkpointing else 0.003)
    closed = closed_peak(experiment, tiny_data, tie_map, checkpointing)
    assert peak == pytest.approx(closed, rel=0.04 if checkpointing else 0.005)
    state = measured_bytes(learner.model, learner.optimizer)
    activations = activation_bytes(learner.model, torch.from_numpy(learner.batches[0]))
    assert peak > state["total"] - state["gradients"] + activations
    logits = 4 * tiny_data.vocab_size * experiment.batch_size * experiment.block_size
    assert peak < state["total"] + activations + 2 * logits


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
@pytest.mark.parametrize("sizes", [(2, 32, 2, 64), (6, 96, 8, 64), (4, 96, 2, 16)])  # one for each of the moments
def test_the_peak_in_chunks_is_near_the_closed_form(laptop, architecture, sizes, checkpointing):
    experiment, data = laptop
    L, d, B, T = sizes
    shape = {"n_layer": L, "n_embd": d, "batch_size": B, "block_size": T}
    experiment = experiment.replace(architecture=architecture, activation_checkpointing=checkpointing, **shape)
    for at_once in (2**13, 2**15):
        for tie_map in (TieMap.independent(L), TieMap.all_tied(L)):
            learner = build_learner(experiment, data)
            learner.logits_at_once = at_once
            learner.tie(tie_map)
            learner.train(1)
            closed = closed_peak(experiment, data, tie_map, checkpointing, at_once)
            assert step_peak_bytes(learner) == pytest.approx(closed, rel=0.09 if checkpointing else 0.02)


def test_with_few_tokens_the_peak_is_the_state_and_the_embeddings_gradient(smoke, tiny_data):
    """The other regime: at the end of the backward pass the embedding's gradient is there three times."""
    experiment = smoke.replace(n_embd=128, batch_size=1, block_size=4)
    learner = build_learner(experiment, tiny_data)
    learner.train(1)
    peak = step_peak_bytes(learner)
    assert peak == pytest.approx(closed_peak(experiment, tiny_data, TieMap.independent(4)), rel=0.005)
    state = measured_bytes(learner.model, learner.optimizer)["total"]
    embedding = 4 * tiny_data.vocab_size * experiment.n_embd
    assert peak == pytest.approx(state + 2 * embedding, rel=0.005)
    assert peak == pytest.approx(peak_by_dispatch(learner), rel=0.05)  # which sees some storages die late


def test_with_a_small_vocabulary_and_checkpointing_the_closed_form_is_rough(smoke, tiny_data):
    """V = 4 d: the peak is where a block's activations are computed again."""
    experiment = smoke.replace(n_embd=128, batch_size=32)
    learner = build_learner(experiment, tiny_data)
    learner.tie(TieMap.all_tied(4))
    checkpoint_activations(learner.model)
    learner.train(1)
    closed = closed_peak(experiment, tiny_data, TieMap.all_tied(4), checkpointing=True)
    assert step_peak_bytes(learner) == pytest.approx(closed, rel=0.1)


def test_ties_and_checkpointing_lower_the_peak_each_by_its_part(smoke, tiny_data):
    def measure(tie_map, checkpointing):
        learner = build_learner(smoke, tiny_data)
        learner.tie(tie_map)
        if checkpointing:
            checkpoint_activations(learner.model)
        learner.train(1)
        return step_peak_bytes(learner)

    untied, tied = TieMap.independent(4), TieMap.all_tied(4)
    weight_sets = 3 * 3 * 4 * block_parameters(smoke.n_embd)  # three of four, each as weights and two moments
    assert measure(untied, False) - measure(tied, False) == pytest.approx(weight_sets, rel=0.01)
    assert measure(untied, True) - measure(tied, True) == pytest.approx(weight_sets, rel=0.01)
    assert measure(tied, True) < 0.7 * measure(tied, False)


def test_the_peak_is_the_same_each_time_and_before_the_first_step_too(smoke, tiny_data):
    """Before the first step there are no moments yet: they are made in the step, after the activations are gone."""
    learner = build_learner(smoke, tiny_data)
    first = step_peak_bytes(learner)
    later = [step_peak_bytes(learner) for _ in range(2)]
    assert later[0] == later[1]
    moments = training_bytes(count_parameters(learner.model))["optimizer"]
    assert later[0] - first == pytest.approx(moments, rel=0.01)


def test_what_others_left_behind_is_not_given_back_within_the_step(smoke, tiny_data, monkeypatch):
    learner = build_learner(smoke, tiny_data)
    learner.train(1)
    expected, train = step_peak_bytes(learner), learner.train

    def collected_first(steps):
        gc.collect()
        train(steps)

    gc.disable()  # so that it is the step in which the garbage goes
    try:
        garbage = [build_learner(smoke, tiny_data)]
        step_peak_bytes(garbage[0])  # so that the profiler knows of its gradients
        garbage.append(garbage)  # which only the collector finds
        del garbage
        monkeypatch.setattr(learner, "train", collected_first)
        assert step_peak_bytes(learner) == expected
        assert not gc.isenabled()
    finally:
        gc.enable()
    step_peak_bytes(learner)
    assert gc.isenabled()


def test_the_timeline_of_a_step_begins_without_gradients_and_ends_with_them(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    learner.train(1)
    timeline = step_timeline(learner)
    state = measured_bytes(learner.model, learner.optimizer)
    assert timeline[0] == state["total"] - state["gradients"]
    assert timeline[-1] == pytest.approx(state["total"], rel=1e-3)
    assert min(timeline) == timeline[0]
    assert max(timeline) == step_peak_bytes(learner)


def test_a_timeline_is_refused_on_another_device(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    learner.device = torch.device("meta")
    with pytest.raises(ValueError, match="on meta"):
        step_timeline(learner)


def test_measuring_the_peak_is_silent_leaves_no_file_and_puts_the_counters_back(
    smoke, tiny_data, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    learner = build_learner(smoke.replace(dropout=0.1), tiny_data)
    learner.train(3)
    before = learner.step, learner.seconds, learner.last_loss
    random_state = torch.random.get_rng_state()
    step_peak_bytes(learner)
    assert (learner.step, learner.seconds, learner.last_loss) == before
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert list(tmp_path.iterdir()) == []
    assert tuple(capfd.readouterr()) == ("", "")


def test_a_diverged_learner_says_so_and_keeps_its_counters(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    learner.train(1)
    before = learner.step, learner.seconds, learner.last_loss
    with torch.no_grad():
        learner.model.transformer.ln_f.weight.fill_(math.nan)
    with pytest.raises(TrainingDiverged, match="loss is nan"):
        step_peak_bytes(learner)
    assert (learner.step, learner.seconds, learner.last_loss) == before


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_peak_on_cuda_is_near_the_closed_form(smoke, tiny_data):
    experiment = smoke.replace(device="cuda", n_embd=256, batch_size=32)
    learner = build_learner(experiment, tiny_data)
    learner.train(2)
    closed = closed_peak(experiment, tiny_data, TieMap.independent(4))
    assert step_peak_bytes(learner) == pytest.approx(closed, rel=0.1)
    activations = activation_bytes(learner.model, torch.from_numpy(learner.batches[0]).cuda())
    names = ("batch_size", "block_size", "n_layer", "n_head", "n_embd")
    shape = {name: getattr(experiment, name) for name in names} | {"vocab_size": tiny_data.vocab_size}
    assert activations == pytest.approx(model_activation_bytes("gpt2", **shape), rel=0.02)


@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
@pytest.mark.parametrize("gradient", ["shared", "source"])
@pytest.mark.parametrize("sources", [(0, 1, 2, 3), (0, 0, 2, 2), (0, 0, 0, 0)])
def test_flops_of_a_step_are_what_torch_counts(architecture, gradient, sources):
    shape = {"vocab_size": 97, "n_layer": 4, "n_embd": 8}
    model = build_model(architecture, n_positions=16, n_head=2, dropout=0.0, seed=0, **shape)
    model.set_attn_implementation("eager")  # the counter does not know the CPU's fused attention
    tie_layers(model, TieMap(sources), gradient=gradient)
    with FlopCounterMode(display=False) as counter:
        token_losses(model, torch.randint(0, 97, (3, 17))).mean().backward()
    tied = sum(i != j for i, j in enumerate(sources)) if gradient == "source" else 0
    assert (
        step_flops(architecture, batch_size=3, block_size=16, constant_layers=tied, **shape)
        == counter.get_total_flops()
    )
