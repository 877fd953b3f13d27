"""Checks of the exercises to notebook 09: what training keeps in memory, and what tying takes away of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import torch

from dlt_core.blocks import build_gpt2
from dlt_core.learner.accounting import activation_bytes, gpt2_parameters, measured_bytes, training_bytes
from dlt_core.learner.loss import mean_loss
from dlt_core.reproduce.checks.common import NotYet, ask, ask_number, call_of, near, passed, require
from dlt_core.tie_map import TieMap
from dlt_core.tying import tie_layers

PARTS = ("weights", "gradients", "optimizer", "activations")


def check_state_bytes(state_bytes: Callable[[int, int], int]) -> None:
    """state_bytes(parameters, bytes_per_value): weights, gradients and what AdamW keeps."""
    for parameters, size in ((1000, 4), (1000, 2), (12_345, 4)):
        found, call = ask_number(state_bytes, parameters, size), call_of(state_bytes, parameters, size)
        right = training_bytes(parameters, bytes_per_value=size)["total"]
        if found == right:
            continue
        numbers = found / parameters / size
        if size != 4 and found == 4 * right / size:
            raise NotYet(f"{call} gave {found:,.0f}: the size of a value makes no difference in it.")
        require(numbers != 1, f"{call}: these are the weights alone. Training keeps more.")
        require(numbers != 2, f"{call}: weights and gradients. And what does AdamW remember?")
        require(numbers != 3, f"{call}: three numbers for each parameter. AdamW has one more than you think.")
        require(found != right / size, f"{call}: that is a number of values. How many bytes has one?")
        raise NotYet(f"{call} gave {found:,.0f}, or {numbers:g} values for each parameter. List them.")
    passed("16 bytes for each parameter in single precision. This is the part that goes by weight sets.")


@cache
def _measured(sets: int) -> dict[str, int]:
    """Bytes of each part in a tiny GPT-2 of four layers after a step."""
    model = build_gpt2(vocab_size=64, n_positions=16, n_layer=4, n_head=2, n_embd=16, dropout=0.0)
    tie_layers(model, TieMap.pattern("sequence", 4, sets))
    optimizer = torch.optim.AdamW(model.parameters())
    batch = torch.randint(64, (2, 17), generator=torch.Generator().manual_seed(0))
    mean_loss(model, batch).backward()
    optimizer.step()
    return {**measured_bytes(model, optimizer), "activations": activation_bytes(model, batch)}


def check_shrinks(shrinks: Callable[[], Mapping[str, bool]]) -> None:
    """shrinks(): part of the memory -> whether fewer weight sets make it smaller; held against a measurement."""
    answers = ask(shrinks)
    require(isinstance(answers, Mapping), f"You gave {answers!r}; a dictionary is asked for: part -> True or False.")
    require(set(answers) == set(PARTS), f"The parts are {', '.join(PARTS)}.")
    open_ones = [part for part, answer in answers.items() if not isinstance(answer, bool)]
    require(not open_ones, f"True or False is asked for; not yet for {', '.join(open_ones)}.")
    many, one = _measured(4), _measured(1)
    wrong = sum(answers[part] != (one[part] < many[part]) for part in PARTS)
    about = "Ask of each: is there one for each weight set, or one for each layer that computes?"
    require(
        not wrong, f"Measured on a GPT-2 with four weight sets and with one, {wrong} of {len(PARTS)} are wrong. {about}"
    )
    passed("With the shared gradient every use of a weight must be remembered, however often it is the same weight.")


def check_block_activations(block_activations: Callable[[int, int, int, int], int]) -> None:
    """block_activations(batch, length, n_embd, n_head): bytes that one block keeps for the backward pass."""
    for batch, length, d, heads in ((2, 16, 32, 4), (3, 8, 16, 2)):
        found, call = (
            ask_number(block_activations, batch, length, d, heads),
            call_of(block_activations, batch, length, d, heads),
        )
        right = _kept(3, batch, length, d, heads) - _kept(2, batch, length, d, heads)
        off = f"{call} gave {found:,.0f}."
        if found == right:
            continue
        require(4 * found != right, f"{off} That is a number of values. How many bytes has one?")
        require(found * batch != right, f"{off} That is for one text. A batch has several.")
        require(found * batch * length != right, f"{off} That is for one token.")
        if found == 4 * batch * length * 16 * d:
            raise NotYet(f"{off} Nearly: the small tensors are missing, the layer norms' and the one for each head.")
        raise NotYet(
            f"{off} A real block of this shape keeps {'more' if found < right else 'less'}. Which tensors are it?"
        )
    passed("Checked against autograd, to the byte. Tying is nowhere in it.")


def _kept(n_layer: int, batch: int, length: int, d: int, heads: int) -> int:
    model = build_gpt2(vocab_size=64, n_positions=length, n_layer=n_layer, n_head=heads, n_embd=d, dropout=0.0)
    return activation_bytes(model, torch.zeros(batch, length + 1, dtype=torch.long))


def check_largest_saving(largest_saving: Callable[[int, int, int], float]) -> None:
    """largest_saving(embeddings, block, n_layer): how many times smaller the training state is with one weight set."""
    for embeddings, block, n_layer in ((1000, 100, 5), (82_000_000, 30_740_000, 48), (1000, 1, 2)):
        found, call = (
            ask_number(largest_saving, embeddings, block, n_layer),
            call_of(largest_saving, embeddings, block, n_layer),
        )
        right = (embeddings + n_layer * block) / (embeddings + block)
        off = f"{call} gave {found:.3g}."
        if near(found, right):
            continue
        require(not near(found, n_layer), f"{off} Layers are not all that is trained: what cannot be tied?")
        require(not near(found, 1 / right), f"{off} That is which part is left. How many times smaller is it?")
        require(not near(found, 1 - 1 / right), f"{off} That is the share that is saved.")
        require(
            not near(found, embeddings / block + n_layer), f"{off} One set of weights must stay, and the embeddings."
        )
        raise NotYet(f"{off} Write down both sizes, with all weight sets and with one, and divide.")
    said = []
    for name, (layers, width) in {"GPT-2 small": (12, 768), "the paper's large shape": (48, 1600)}.items():
        size = {"vocab_size": 50_257, "n_positions": 1024, "n_embd": width}
        said.append(f"{name} {gpt2_parameters(**size, num_groups=layers) / gpt2_parameters(**size, num_groups=1):.1f}")
    passed(f"The ceiling for the state between steps: {', '.join(said)} times. Activations are not even in it.")
