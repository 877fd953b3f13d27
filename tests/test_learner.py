"""The learner: ordinary training when nothing is tied, a function of seed and step, honest about bad sizes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dlt_core.agents import RandomAgent
from dlt_core.algorithm1 import build_learner
from dlt_core.blocks import build_gpt2
from dlt_core.learner import TRAINING, TrainingDiverged
from dlt_core.tie_map import TieMap
from dlt_core.tokenization import Batches

from .conftest import tie_maps


def test_untied_training_equals_a_plain_pytorch_loop(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    losses = learner.train(20)

    model = build_gpt2(
        vocab_size=tiny_data.vocab_size, n_positions=smoke.n_positions, n_layer=smoke.n_layer, n_head=smoke.n_head,
        n_embd=smoke.n_embd, dropout=smoke.dropout, seed=smoke.seed,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=smoke.learning_rate, weight_decay=smoke.weight_decay, fused=True
    )
    batches = Batches(
        tiny_data.tokens["train"],
        batch_size=smoke.batch_size,
        block_size=smoke.block_size,
        seed=smoke.seed,
        stream=TRAINING,
    )
    expected = []
    for i in range(20):
        x = torch.from_numpy(batches[i])
        logits = model(x[:, :-1]).logits
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), x[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), smoke.grad_clip)
        optimizer.step()
        expected.append(loss.item())
    assert losses == pytest.approx(expected, abs=1e-6)
    for ours, theirs in zip(learner.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_seed_decides_everything_and_leaves_the_global_generator_alone(smoke, tiny_data):
    noisy = smoke.replace(dropout=0.2)
    before = torch.random.get_rng_state()
    first = build_learner(noisy, tiny_data).train(4)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert build_learner(noisy, tiny_data).train(4) == first
    split = build_learner(noisy, tiny_data)
    assert split.train(1) + split.train(3) == first  # dropout is a function of the step, not of the calls
    assert build_learner(noisy.replace(seed=1), tiny_data).train(4) != first
    assert build_learner(noisy.replace(dropout=0.0), tiny_data).train(4) != first


@given(before=tie_maps(4), after=tie_maps(4), gradient=st.sampled_from(["shared", "source"]))
def test_optimizer_follows_the_ties_while_training(smoke, tiny_data, before, after, gradient):
    learner = build_learner(smoke.replace(gradient=gradient), tiny_data)
    for tie_map in (before, after):
        learner.tie(tie_map)
        learner.train(1)
        held = [p for group in learner.optimizer.param_groups for p in group["params"]]
        assert {id(p) for p in held} == {id(p) for p in learner.model.parameters()}
        assert len(held) == len({id(p) for p in held})
        assert {id(p) for p in learner.optimizer.state} <= {id(p) for p in held}
    assert learner.tie_map == after


def test_state_dict_goes_on_to_the_bit(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    for tie_map in ([0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 2, 1]):  # clones have changed the optimiser's order
        learner.tie(TieMap(tie_map))
        learner.train(2)
    saved = learner.state_dict()
    expected = learner.train(3)
    other = build_learner(smoke.replace(seed=5), tiny_data)
    other.load_state_dict(saved)
    assert other.tie_map == TieMap([0, 1, 2, 1])
    assert other.train(3) == expected
    for ours, theirs in zip(other.model.parameters(), learner.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_weights_of_another_map_are_refused(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    weights = learner.weights()
    with pytest.raises(ValueError, match="do not fit"):
        learner.load_weights(TieMap.all_tied(4), weights)


def test_probe_is_no_training_and_repeats(smoke, tiny_data):
    learner = build_learner(smoke.replace(dropout=0.5), tiny_data)
    weights = learner.weights()
    assert learner.probe(3) == learner.probe(3)
    assert learner.probe(3) != learner.probe(4)
    assert all(torch.equal(weights[name], p) for name, p in learner.model.named_parameters())


def test_bf16_autocast_keeps_fp32_weights(smoke, tiny_data):
    learner = build_learner(smoke.replace(precision="bf16"), tiny_data)
    rounded = learner.train(2)
    exact = build_learner(smoke, tiny_data).train(2)
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=1e-2)
    assert {p.dtype for p in learner.model.parameters()} == {torch.float32}


def test_divergence_names_step_map_and_last_finite_loss(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    learner.tie(TieMap([0, 0, 2, 2]))
    last = learner.train(3)[-1]
    with torch.no_grad():
        next(learner.model.parameters()).fill_(math.inf)
    with pytest.raises(TrainingDiverged, match=rf"step 4 with TieMap\(\[0, 0, 2, 2\]\).*{last:.4f}"):
        learner.train(2)
    with pytest.raises(TrainingDiverged, match="probe 0"):
        learner.probe(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 10_000}, "too few for one"),
        ({"n_positions": 8192, "block_size": 8192}, "validation split .* too few"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_training(smoke, tiny_data, changes, message):
    with pytest.raises(ValueError, match=message):
        build_learner(smoke.replace(**changes), tiny_data)


def test_sequence_longer_than_the_models_positions_is_refused(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    learner.block_size = smoke.n_positions + 1
    with pytest.raises(ValueError, match="longer than the model's 32 positions"):
        learner.restart(0)


def test_evaluation_tokens_limit_the_evaluation(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    assert learner.evaluate("validation").tokens == smoke.evaluation_tokens - 1
    whole = build_learner(smoke.replace(evaluation_tokens=None), tiny_data).evaluate("test")
    assert whole.tokens == len(tiny_data.tokens["test"]) - 1
    assert whole.bytes == int(np.sum(tiny_data.token_bytes[tiny_data.tokens["test"][1:]]))


def test_dropout_is_drawn_anew_at_each_step(smoke, tiny_data):
    learner = build_learner(smoke.replace(dropout=0.5, learning_rate=1e-12), tiny_data)
    one_batch = learner.batches[0]
    learner.batches = [one_batch] * 3
    assert len(set(learner.train(3))) == 3


def test_the_random_streams_of_a_seed_are_independent(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    assert not np.array_equal(learner.batches[0], learner.probes[0])
    dice = {"batches": np.random.default_rng((*learner.batches.entropy, 0)), "agent": RandomAgent(4, seed=0).rng}
    dice["probes"] = np.random.default_rng((*learner.probes.entropy, 0))
    assert len({rng.integers(2**63) for rng in dice.values()}) == 3
