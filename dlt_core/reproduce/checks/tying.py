"""Checks of the exercises to notebook 01: tie, untie, count, differentiate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dlt_core.blocks import build_gpt2, find_blocks
from dlt_core.learner.accounting import block_parameters, gpt2_parameters
from dlt_core.reproduce.checks.common import NotYet, ask, ask_number, ask_pair, call_of, near, passed, require
from dlt_core.tie_map import TieMap
from dlt_core.tying import count_parameters, tie_layers

_SHAPE: dict[str, Any] = {"vocab_size": 61, "n_positions": 16, "n_head": 2, "n_embd": 16, "dropout": 0.0}


def _memory(parameter: nn.Parameter) -> int:
    return parameter.untyped_storage().data_ptr()


def check_tie(tie: Callable[[nn.Module, nn.Module], Any]) -> None:
    """tie(block, root): let a block of a GPT-2 use the weights of another one."""
    model = build_gpt2(**_SHAPE, n_layer=3)
    root, block, other = find_blocks(model)
    before, of_other = dict(root.named_parameters()), list(other.parameters())
    ask(tie, block, root)
    now = list(model.transformer.h)
    require(now[0] is root and now[1] is block, "A block was replaced. Both stay; what they hold is to be the same.")
    unchanged = all(p is before[name] for name, p in root.named_parameters())
    require(unchanged, "The root has lost its own weights: block and root have changed places.")
    require(all(p is q for p, q in zip(other.parameters(), of_other, strict=True)), "A third block was changed, too.")
    mine = dict(block.named_parameters())
    apart = [name for name, parameter in before.items() if mine[name] is not parameter]
    if len(apart) == len(before):
        if all(_memory(mine[name]) == _memory(before[name]) for name in apart):
            raise NotYet(
                "The memory is shared, but the two blocks hold different Parameter objects: the parameters are still "
                "counted twice, and an optimiser would step the one memory twice."
            )
        if all(torch.equal(mine[name], before[name]) for name in apart):
            raise NotYet("The values are equal now, but the next training step drives them apart: nothing is shared.")
        raise NotYet("The block still has all its own weights. Did you change the module, or only a local name?")
    if apart:
        raise NotYet(f"{len(before) - len(apart)} of {len(before)} parameters are shared; not yet: {apart[0]}.")
    require(count_parameters(model) == gpt2_parameters(**_sizes(), num_groups=2), "The count of parameters is wrong.")
    passed(f"{block_parameters(_SHAPE['n_embd']):,} parameters fewer, and the forward pass computes as much as before.")


def check_untie(untie: Callable[[nn.Module], Any]) -> None:
    """untie(block): let a tied block train on its own from now on."""
    model = build_gpt2(**_SHAPE, n_layer=3)
    tie_layers(model, TieMap.all_tied(3))
    root, block, other = find_blocks(model)
    values = {name: parameter.detach().clone() for name, parameter in root.named_parameters()}
    ask(untie, block)
    mine, theirs = dict(block.named_parameters()), dict(root.named_parameters())
    require(list(mine) == list(values), "The names of the block's parameters have changed: put the new ones in place.")
    same = [name for name in values if mine[name] is theirs[name]]
    require(not same, f"{len(same)} of {len(values)} parameters are still the root's own objects, such as {same[:1]}.")
    shared = [name for name in values if _memory(mine[name]) == _memory(theirs[name])]
    if shared:
        raise NotYet("New objects, but in the old memory: what one block learns still changes the other.")
    moved = [name for name in values if not torch.equal(mine[name], values[name])]
    require(not moved, f"The values have changed ({moved[:1]}): a layer starts from those that it used last.")
    require(
        all(p.requires_grad for p in mine.values()), "The new weights do not want a gradient, so nothing trains them."
    )
    together = all(p is q for p, q in zip(root.parameters(), other.parameters(), strict=True))
    require(together, "Blocks 0 and 2 were tied, too, and are not any more. Only one block was to leave.")
    passed("The function of the model is the same at this moment; from the next step on it need not be.")


def check_num_parameters(num_parameters: Callable[[int, int, int, int], int]) -> None:
    """num_parameters(vocab_size, n_positions, n_embd, num_groups): of a GPT-2, in closed form."""
    vocab_size, n_positions, d, groups = 61, 16, 16, 2
    model = build_gpt2(**_SHAPE, n_layer=4)
    tie_layers(model, TieMap([0, 0, 2, 2]))
    right, found = count_parameters(model), ask_number(num_parameters, vocab_size, n_positions, d, groups)
    missing = right - found
    known = {
        2 * d: "one layer norm is forgotten: not all of them lie in the blocks",
        13 * d * groups: "the blocks have more than their matrices: biases and layer norms",
        2 * d + 13 * d * groups: "only matrices are counted: biases and layer norms are parameters, too",
        n_positions * d: "positions are learned, too",
        vocab_size * d: "tokens have a table of their own",
        -vocab_size * d: "the output matrix is counted, but GPT-2 ties it to a table that you have counted",
        block_parameters(d): "a weight set is missing",
        -2 * block_parameters(d): "all four layers are counted, but they have two weight sets",
    }
    call = call_of(num_parameters, vocab_size, n_positions, d, groups)
    for difference, message in known.items():
        require(missing != difference, f"{call} is off by {abs(missing):g}: {message}.")
    require(missing == 0, f"{call} gave {found:,.0f}. Print the shapes in `build_gpt2(...).named_parameters()`.")
    for sizes in ((100, 8, 32, 1), (50_257, 1024, 1600, 48)):
        names = ("vocab_size", "n_positions", "n_embd", "num_groups")
        again = ask_number(num_parameters, *sizes)
        agrees = again == gpt2_parameters(**dict(zip(names, sizes, strict=True)))
        require(agrees, f"Right for one shape, but not {call_of(num_parameters, *sizes)}. Is a number fixed in it?")
    passed("The number of layers is not in it at all: only the number of weight sets.")


def check_gradients(gradients: Callable[[float, float], tuple[float, float]]) -> None:
    """gradients(w, x): of y = w (w x)², shared and from the root's use alone."""
    h = 1e-5
    for w, x in ((3.0, 1.0), (0.5, 2.0), (-1.0, 3.0)):
        shared, source = ask_pair(gradients, w, x)
        slope = ((w + h) * ((w + h) * x) ** 2 - (w - h) * ((w - h) * x) ** 2) / (2 * h)
        first = w * ((w + h) * x) ** 2 - w * ((w - h) * x) ** 2
        first, second = first / (2 * h), (w * x) ** 2
        at = f"At w = {w:g}, x = {x:g}:"
        require(not (near(shared, first, 1e-4) and near(source, slope, 1e-4)), f"{at} the two have changed places.")
        if near(shared, second, 1e-4):
            raise NotYet(f"{at} your shared gradient is that of the outer use of w alone. The weight is used twice.")
        require(not near(shared, first, 1e-4), f"{at} your shared gradient leaves out one of the two uses of w.")
        if not near(shared, slope, 1e-4):
            raise NotYet(f"{at} your shared gradient is {shared:g}, but nudging w moves y at another rate.")
        if near(source, second, 1e-4):
            raise NotYet(f"{at} the root's use is that of the *first* layer, the inner w; you took the other one.")
        require(not near(source, slope, 1e-4), f'{at} both are the same. With "source" one use is held constant.')
        require(near(source, first, 1e-4), f"{at} the second number, {source:g}, is the gradient of neither use.")
    passed("The released code trains with the second number. The loss falls along the first.")


def _sizes() -> dict[str, int]:
    return {name: _SHAPE[name] for name in ("vocab_size", "n_positions", "n_embd")}
