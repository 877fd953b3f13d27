"""The learner: ordinary training when nothing is tied, a function of seed and step, honest about bad sizes."""

import itertools
import math
import random
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch._dynamo.utils import counters
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from dlt_core.agents import RandomAgent
from dlt_core.blocks import ARCHITECTURES, build_gpt2, find_blocks
from dlt_core.corpora.tokenization import Batches
from dlt_core.experiments import build_learner
from dlt_core.learner import training as learner_module
from dlt_core.learner.loss import mean_loss
from dlt_core.learner.training import TRAINING, Learner, TrainingDiverged, state_device
from dlt_core.tie_map import TieMap
from dlt_core.tying import GRADIENTS
from tests.conftest import tie_maps


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


# --- the same for less memory or time ---


TIES_AND_UNTIES = [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 2, 1], [0, 0, 2, 2], [0, 1, 2, 3], [0, 0, 0, 3]]


def train_over_ties(experiment, data) -> tuple[list[float], dict[str, torch.Tensor], list[int]]:
    """Losses, weights, and how many sequences went through a block each time that it ran in training."""
    learner, sizes = build_learner(experiment, data), []
    inside = find_blocks(learner.model)[0].attn.c_attn  # below the block's own forward, which is repeated
    hook = None if experiment.compile_mode else inside.register_forward_hook(lambda _, __, out: sizes.append(len(out)))
    losses = []
    for tie_map in TIES_AND_UNTIES:
        learner.tie(TieMap(tie_map))
        losses += learner.train(2)
    if hook is not None:
        hook.remove()
    return losses, learner.weights(), sizes


def assert_equal_training(losses_and_weights, expected, tolerance: float = 1e-5) -> None:
    losses, weights, *_ = losses_and_weights
    assert losses == pytest.approx(expected[0], abs=tolerance)
    for name, weight in expected[1].items():
        torch.testing.assert_close(weights[name], weight, atol=tolerance, rtol=0)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize(
    ("change", "sizes"),
    [
        ({"gradient_accumulation_steps": 2}, [2, 2]),
        ({"gradient_accumulation_steps": 4}, [1, 1, 1, 1]),
        ({"activation_checkpointing": True}, [4, 4]),
        ({"activation_checkpointing": True, "gradient_accumulation_steps": 2}, [2, 2, 2, 2]),
    ],
)
def test_less_memory_is_the_same_training_over_ties_and_unties(smoke, tiny_data, gradient, change, sizes):
    experiment = smoke.replace(gradient=gradient)
    expected = train_over_ties(experiment, tiny_data)
    found = train_over_ties(experiment.replace(**change), tiny_data)
    assert expected[2] == [4] * 12
    assert found[2] == sizes * 12
    assert_equal_training(found, expected)


@pytest.fixture
def dynamo():
    """torch.compile as if nothing had been compiled, before and after; too many compilations raise an error."""
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield
    torch._dynamo.reset()
    counters.clear()


@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_compiled_blocks_are_the_same_training_over_ties_and_unties(smoke, tiny_data, dynamo, gradient):
    experiment = smoke.replace(gradient=gradient)
    expected = train_over_ties(experiment, tiny_data)
    assert counters["stats"]["unique_graphs"] == 0
    # where a gradient is nearly 0 AdamW divides rounding by rounding: how far a weight may be off depends on the CPU
    assert_equal_training(train_over_ties(experiment.replace(compile_mode="default"), tiny_data), expected, 1e-4)
    assert counters["stats"]["unique_graphs"] == {"shared": 1, "source": 2}[gradient]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_hundred_ties_and_unties_compile_nothing_anew(smoke, tiny_data, monkeypatch, dynamo, gradient, architecture):
    compile_with = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda block, mode: compile_with(block, backend="eager"))
    experiment = smoke.replace(architecture=architecture, gradient=gradient, compile_mode="default")
    learner, dice = build_learner(experiment, tiny_data), random.Random(0)
    tie_map = TieMap.independent(4)

    def use() -> None:
        learner.train(1)
        learner.probe(0)
        learner.evaluate("validation")

    for first in (tie_map, TieMap.all_tied(4), tie_map):
        learner.tie(first)
        use()
    compiled = counters["stats"]["unique_graphs"]
    assert compiled > 0
    seen = []
    with torch._dynamo.config.patch(error_on_recompile=True):
        for n in range(100):
            layer = dice.randrange(1, 4)
            tie_map = tie_map.with_action(layer, dice.randrange(layer + 1))
            learner.tie(tie_map)
            use() if n % 10 == 0 else learner.train(1)
            seen.append(tie_map.num_independent)
    assert {*seen} == {1, 2, 3, 4}
    assert sum(now > then for then, now in itertools.pairwise(seen)) > 10
    assert counters["stats"]["unique_graphs"] == compiled


class Operations(TorchDispatchMode):
    """Names of what is called; not of what the CPU's fused AdamW reads within itself, which CUDA's does not."""

    def __init__(self) -> None:
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def operations_of_four_steps(experiment, data) -> set[str]:
    learner = build_learner(experiment, data)
    learner.tie(TieMap([0, 1, 0, 1]))
    with Operations() as found:
        learner.train(4)
    assert {"embedding", "native_layer_norm_backward", "_fused_adamw_"} <= found.names
    return found.names


WAITING = {"item", "_local_scalar_dense", "is_nonzero"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("change", [{}, {"gradient_accumulation_steps": 2}, {"dropout": 0.1}, {"precision": "bf16"}])
def test_nothing_waits_for_the_device_within_the_steps(smoke, tiny_data, architecture, change):
    experiment = smoke.replace(architecture=architecture, **change)
    assert not operations_of_four_steps(experiment, tiny_data) & WAITING


@pytest.mark.parametrize("look", [float, bool, torch.Tensor.item])
def test_a_look_at_the_loss_is_found_out(smoke, tiny_data, monkeypatch, look):
    def looked_at(*arguments) -> torch.Tensor:
        loss = mean_loss(*arguments)
        look(loss.detach())
        return loss

    monkeypatch.setattr(learner_module, "mean_loss", looked_at)
    assert operations_of_four_steps(smoke, tiny_data) & WAITING


def test_tf32_is_on_within_the_steps_and_off_afterwards(smoke, tiny_data):
    learner = build_learner(smoke.replace(precision="tf32"), tiny_data)
    before = torch.get_float32_matmul_precision()
    assert before != "high"
    found = []

    def note(*_) -> None:
        found.append(torch.get_float32_matmul_precision())

    learner.model.transformer.register_forward_hook(note)
    learner.model.transformer.ln_f.register_full_backward_hook(note)
    losses = [*learner.train(2), learner.probe(0), learner.evaluate("test").loss]
    assert len(found) > 2 * 2 + 1 + 1
    assert {*found} == {"high"}
    assert torch.get_float32_matmul_precision() == before
    exact = build_learner(smoke, tiny_data)
    assert losses == pytest.approx([*exact.train(2), exact.probe(0), exact.evaluate("test").loss], rel=1e-3)
    learner.model.transformer.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        learner.train(1)
    assert torch.get_float32_matmul_precision() == before


def test_bf16_weights_have_bf16_moments_also_after_ties_and_unties(smoke, tiny_data):
    experiment = smoke.replace(precision="bf16-weights")
    learner, exact = build_learner(experiment, tiny_data), build_learner(smoke, tiny_data)
    for tie_map in TIES_AND_UNTIES:
        for each in (learner, exact):
            each.tie(TieMap(tie_map))
        assert learner.train(2) == pytest.approx(exact.train(2), rel=2e-2)
        moments = [state[key] for state in learner.optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]
        tensors = [*learner.model.parameters(), *(p.grad for p in learner.model.parameters()), *moments]
        assert {t.dtype for t in tensors} == {torch.bfloat16}
    saved = learner.state_dict()
    other = build_learner(experiment, tiny_data)
    other.load_state_dict(saved)
    assert other.train(2) == learner.train(2)


def test_parts_that_do_not_make_a_batch_are_refused(smoke, tiny_data):
    with pytest.raises(ValueError, match="batch_size=4 must be a multiple of gradient_accumulation_steps=3"):
        smoke.replace(gradient_accumulation_steps=3)

    def in_three_parts(*arguments, **settings) -> Learner:
        return Learner(*arguments, **settings | {"gradient_accumulation_steps": 3})

    with pytest.raises(ValueError, match=r"batch_size=4 cannot be shared by 1 processes with .*steps=3"):
        build_learner(smoke, tiny_data, factory=in_three_parts)


@pytest.mark.parametrize(
    ("settings", "where"), [({}, "cpu"), ({"fused": True}, "meta"), ({"capturable": True}, "meta")]
)
def test_step_counters_are_on_the_device_only_where_adamw_keeps_them_there(settings, where):
    p = nn.Parameter(torch.zeros(2, device="meta"))
    optimizer = torch.optim.AdamW([p])
    optimizer.defaults |= settings
    assert state_device(optimizer, "step", p).type == where
    assert state_device(optimizer, "exp_avg", p).type == "meta"


def test_a_gradient_on_a_probe_is_no_training(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    weights = learner.weights()
    learner.probe_gradient(0)
    assert all(p.grad.abs().sum() > 0 for p in learner.model.parameters())
    assert all(torch.equal(weights[name], tensor) for name, tensor in learner.weights().items())
    assert learner.step == 0


def test_a_tie_leaves_a_learners_function_alone_only_if_values_were_equal(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    untied = learner.probe(0)
    learner.tie(TieMap.all_tied(4))
    tied = learner.probe(0)
    assert tied != untied
    learner.tie(TieMap.independent(4))
    assert learner.probe(0) == tied
