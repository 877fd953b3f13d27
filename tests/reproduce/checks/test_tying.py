"""Wrong ways to tie, untie, count and differentiate, and what is said of them."""

import pytest
import torch
from torch import nn

from dlt_core.reproduce.checks.tying import check_gradients, check_num_parameters, check_tie, check_untie


def put(block, name, parameter):
    path, _, leaf = name.rpartition(".")
    setattr(block.get_submodule(path), leaf, parameter)


def tie(block, root, names=slice(None)):
    for name, parameter in list(root.named_parameters())[names]:
        put(block, name, parameter)


def copy_values(block, root):
    for p, q in zip(block.parameters(), root.parameters(), strict=True):
        p.data.copy_(q)


def share_memory(block, root):
    for p, q in zip(block.parameters(), root.parameters(), strict=True):
        p.data = q.data


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (copy_values, "nothing is shared"),
        (share_memory, "different Parameter objects"),
        (lambda block, root: None, "still has all its own weights"),
        (lambda block, root: tie(root, block), "have changed places"),
        (
            lambda block, root: tie(block, root, slice(3)),
            "3 of 12 parameters are shared; not yet: attn.c_attn.bias",
        ),
        (lambda block, root: block.no_such_name, "stopped with AttributeError"),
    ],
)
def test_tie(told, answer, said):
    assert said in told(check_tie, answer)


def untie(block, make=lambda p: nn.Parameter(p.detach().clone())):
    for name, parameter in list(block.named_parameters()):
        put(block, name, make(parameter))


def frozen(parameter):
    return nn.Parameter(parameter.detach().clone(), requires_grad=False)


def only_the_first(block):
    name, parameter = next(iter(block.named_parameters()))
    put(block, name, nn.Parameter(parameter.detach().clone()))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda block: [p.requires_grad_(True) for p in block.parameters()], "still the root's own objects"),
        (lambda block: untie(block, lambda p: nn.Parameter(p.detach())), "in the old memory"),
        (lambda block: untie(block, lambda p: nn.Parameter(torch.zeros_like(p))), "The values have changed"),
        (lambda block: untie(block, frozen), "do not want a gradient"),
        (only_the_first, "11 of 12 parameters are still"),
    ],
)
def test_untie(told, answer, said):
    assert said in told(check_untie, answer)


def right_count(vocab_size, n_positions, d, groups):
    return (vocab_size + n_positions) * d + 2 * d + groups * (12 * d * d + 13 * d)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda v, p, d, g: right_count(v, p, d, g) - 2 * d, "one layer norm is forgotten"),
        (lambda v, p, d, g: right_count(v, p, d, g) - 13 * d * g, "biases and layer norms"),
        (lambda v, p, d, g: (v + p) * d + g * 12 * d * d, "only matrices are counted"),
        (lambda v, p, d, g: right_count(v, 0, d, g), "positions are learned"),
        (lambda v, p, d, g: right_count(2 * v, p, d, g), "the output matrix is counted"),
        (lambda v, p, d, g: right_count(v, p, d, 4), "all four layers are counted"),
        (lambda v, p, d, g: right_count(v, p, d, 2), "Is a number fixed in it?"),
        (lambda v, p, d, g: 1, "Print the shapes"),
    ],
)
def test_num_parameters(told, answer, said):
    assert said in told(check_num_parameters, answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda w, x: (2 * w * w * x * x, 3 * w * w * x * x), "changed places"),
        (lambda w, x: (w * w * x * x, w * w * x * x), "that of the outer use of w alone"),
        (lambda w, x: (2 * w * w * x * x,) * 2, "leaves out one of the two uses"),
        (lambda w, x: (w, x), "moves y at another rate"),
        (lambda w, x: (3 * w * w * x * x, w * w * x * x), "is that of the *first* layer"),
        (lambda w, x: (3 * w * w * x * x,) * 2, "both are the same"),
        (lambda w, x: (3 * w * w * x * x, 0.1), "the gradient of neither use"),
        (lambda w, x: w, "two numbers"),
    ],
)
def test_gradients(told, answer, said):
    assert said in told(check_gradients, answer)


def test_right_ones(passes):
    passes(check_tie, tie)
    passes(check_untie, untie)
    passes(check_num_parameters, right_count)
    passes(check_gradients, lambda w, x: (3 * w**2 * x**2, 2 * w**2 * x**2))
