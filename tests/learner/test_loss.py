"""The loss in chunks equals the plain one, in value and gradients, and the logits of a whole batch are never there."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dlt_core.blocks import ARCHITECTURES, build_model
from dlt_core.experiments import build_learner
from dlt_core.learner import loss
from dlt_core.learner.accounting import step_peak_bytes
from dlt_core.learner.loss import logits_at, mean_loss, token_losses

B, T, V, D = 3, 7, 50, 16  # 21 tokens
CHUNKS = [1, 4, 7, 20]


def tiny(architecture: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """With large weights, and biases that are not zero, so that no part of a gradient is noise."""
    shape = {"vocab_size": V, "n_positions": 8, "n_layer": 2, "n_head": 2, "n_embd": D, "dropout": 0.0}
    model = build_model(architecture, **shape)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator), alpha=0.2)
    return model.to(dtype)


def some_batch(seed: int = 0) -> torch.Tensor:
    return torch.randint(V, (B, T + 1), generator=torch.Generator().manual_seed(seed))


def plain(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """The losses of all tokens as the library's logits give them."""
    logits = model(batch[:, :-1]).logits.float()
    return F.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none")


def gradients(model: nn.Module, value: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    value.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], rel: float) -> None:
    """Up to a share of the largest entry over all parameters: the key biases' gradient is rounding noise."""
    assert found.keys() == expected.keys()
    largest = max(g.abs().max() for g in expected.values())
    for name, gradient in expected.items():
        assert found[name].dtype == gradient.dtype
        assert (found[name] - gradient).abs().max() <= rel * largest, name


@pytest.fixture
def in_chunks(monkeypatch):
    """Sets how many tokens' logits are there at once."""
    return lambda tokens: monkeypatch.setattr(loss, "LOGITS_AT_ONCE", tokens * V + V // 2)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_losses_and_gradients_equal_the_plain_ones(in_chunks, architecture, chunk):
    model, batch = tiny(architecture), some_batch()
    expected = plain(model, batch)
    expected_gradients = gradients(model, expected.mean())
    in_chunks(chunk)
    assert loss.chunk_size(B * T, V) == chunk
    found = mean_loss(model, batch)
    assert found.item() == pytest.approx(expected.mean().item(), abs=1e-6)
    assert_close(gradients(model, found), expected_gradients, 1e-5)
    assert_close(gradients(model, token_losses(model, batch).mean()), expected_gradients, 1e-5)
    with torch.no_grad():
        torch.testing.assert_close(token_losses(model, batch), expected, atol=1e-6, rtol=1e-6)
        assert mean_loss(model, batch).item() == pytest.approx(expected.mean().item(), abs=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_enough_room_for_all_logits_makes_one_chunk(in_chunks, monkeypatch, architecture):
    monkeypatch.setattr(loss._ChunkedMeanLoss, "apply", None)  # not called
    model, batch = tiny(architecture), some_batch()
    in_chunks(B * T)
    assert loss.chunk_size(B * T, V) == B * T
    torch.testing.assert_close(token_losses(model, batch), plain(model, batch), atol=1e-6, rtol=1e-6)
    assert mean_loss(model, batch).item() == pytest.approx(plain(model, batch).mean().item(), abs=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_in_bf16_they_agree_to_its_three_digits(in_chunks, architecture, how):
    model, batch = tiny(architecture, torch.bfloat16 if how == "weights" else torch.float32), some_batch()
    precision = torch.autocast("cpu", dtype=torch.bfloat16) if how == "autocast" else contextlib.nullcontext()
    with precision:
        expected = plain(model, batch).mean()
    in_chunks(4)
    with precision:
        found = mean_loss(model, batch)
    assert found.dtype == expected.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    with precision, torch.no_grad():
        each = token_losses(model, batch)
        torch.testing.assert_close(each, plain(model, batch), atol=1e-4, rtol=1e-2)
    assert each.mean().item() == pytest.approx(expected.item(), rel=1e-4)
    exact = gradients(model, expected)
    assert_close(gradients(model, found), exact, 1e-2)
    assert {g.dtype for g in exact.values()} == {next(model.parameters()).dtype}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_factor_on_the_loss_is_one_on_the_gradients(in_chunks, architecture):
    model, batch = tiny(architecture), some_batch()
    expected = gradients(model, plain(model, batch).mean() / 3)
    in_chunks(4)
    assert_close(gradients(model, mean_loss(model, batch) / 3), expected, 1e-5)


def test_gradients_of_two_batches_add_up(in_chunks):
    model = tiny("gpt2")
    expected = gradients(model, sum(plain(model, some_batch(seed)).mean() for seed in (0, 1)))
    in_chunks(4)
    assert_close(gradients(model, sum(mean_loss(model, some_batch(seed)) for seed in (0, 1))), expected, 1e-5)


@pytest.mark.parametrize(("retain", "message"), [(False, "second time"), (True, "modified by an inplace operation")])
def test_a_second_backward_raises(retain, message):
    """The gradients are made once, and given away."""
    hidden, weight = torch.randn(B * T, D, requires_grad=True), torch.randn(V, D, requires_grad=True)
    found = loss._ChunkedMeanLoss.apply(hidden, weight, None, some_batch()[:, 1:].flatten(), 4)
    found.backward(retain_graph=retain)
    with pytest.raises(RuntimeError, match=message):
        found.backward()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_at_some_places_are_those_of_all(architecture):
    model, inputs = tiny(architecture), some_batch()[:, :-1]
    place = torch.tensor([[0, 6], [3, 3], [5, 1]])
    expected = torch.stack([logits[at] for logits, at in zip(model(inputs).logits, place, strict=True)])
    found = logits_at(model, inputs, place)
    assert found.shape == (B, 2, V)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    half = logits_at(model.bfloat16(), inputs, place)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected, atol=0.1, rtol=0.1)


class OfNobody(nn.Module):
    """A model that is not of transformers: all that it has is `.logits`."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(V, V, generator=torch.Generator().manual_seed(0)))

    def forward(self, input_ids: torch.Tensor, **_) -> SimpleNamespace:
        return SimpleNamespace(logits=self.table[input_ids])


def test_a_model_that_is_not_of_transformers_has_all_its_logits_at_once(in_chunks):
    model, batch = OfNobody(), some_batch()
    expected = plain(model, batch)
    in_chunks(4)
    torch.testing.assert_close(token_losses(model, batch), expected)
    found = mean_loss(model, batch)
    torch.testing.assert_close(found, expected.mean())
    assert_close(gradients(model, found), gradients(model, expected.mean()), 1e-6)
    place = torch.tensor([[0], [2], [6]])
    torch.testing.assert_close(logits_at(model, batch[:, :-1], place)[2, 0], model.table[batch[2, 6]])


# --- what is in memory ---


class Largest(TorchDispatchMode):
    """How many elements the largest tensor has that an operation returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [t.numel() for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return out


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("what", ["training", "probing", "evaluation"])
def test_the_logits_of_a_whole_batch_are_never_there(smoke, tiny_data, architecture, what):
    def largest(at_once: int | None = None) -> int:
        learner = build_learner(smoke.replace(architecture=architecture, batch_size=16), tiny_data)
        learner.logits_at_once = at_once
        learner.evaluation_tokens = 16 * 32 + 1
        with Largest() as found:
            if what == "training":
                learner.train(2)
            elif what == "probing":
                learner.probe(0)
            else:
                learner.evaluate("test")
        return found.elements

    logits = 16 * 32 * tiny_data.vocab_size
    assert largest() == logits
    widest = max(16 * 32 * 4 * smoke.n_embd, tiny_data.vocab_size * smoke.n_embd)  # in the perceptron, and embeddings
    assert 60 * tiny_data.vocab_size <= largest(60 * tiny_data.vocab_size) <= widest < logits / 3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_step_in_chunks_has_a_lower_peak(smoke, tiny_data, architecture):
    def peak(at_once: int | None = None) -> int:
        learner = build_learner(smoke.replace(architecture=architecture, batch_size=16), tiny_data)
        learner.logits_at_once = at_once
        learner.train(1)
        return step_peak_bytes(learner)

    saved = 4 * 3 * 16 * 32 * tiny_data.vocab_size  # the logits three times, see `model_peak_bytes`
    assert peak() - peak(60 * tiny_data.vocab_size) > 0.6 * saved


def test_a_gpu_gets_the_logits_of_the_papers_batch_as_a_whole():
    assert loss.chunk_size(16 * 256, 50257, device="cuda") == 16 * 256
    assert loss.chunk_size(16 * 256, 50257) == loss.chunk_size(16 * 256, 50257, device="cpu") == 667
    assert loss.chunk_size(2**15, 50257, device="cuda") == 5341
