"""Checks of the exercises to notebook 11: the cut reward, stale pointers, shared storage, a look into the future."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertLMHeadModel
from transformers.utils import logging

from dlt_core.blocks import build_bert, build_gpt2
from dlt_core.reproduce.checks.common import NotYet, ask, ask_number, call_of, passed, require
from dlt_core.studies.released_code import apply_action
from dlt_core.tying import weight_sets

_SHAPE: dict[str, Any] = {"vocab_size": 64, "n_positions": 16, "n_layer": 2, "n_head": 2, "n_embd": 32}


def check_num_rewards(num_rewards: Callable[[Sequence[float]], int]) -> None:
    """num_rewards(perplexities): how many different rewards the released code makes of them."""
    cases = {
        (1900.0, 240.0, 11.0): 1,
        (1900.0, 9.0, 8.0): 3,
        (50.0, 10.0, 10.5): 1,
        (3.0, 3.0): 1,
        (2.0, 4.0, 400.0): 3,
    }
    for perplexities, right in cases.items():
        found, call = ask_number(num_rewards, list(perplexities)), call_of(num_rewards, list(perplexities))
        off = f"{call} gave {found:g}."
        if found == right:
            continue
        if found == len(set(perplexities)):
            raise NotYet(f"{off} That is how many perplexities there are. What is left of each after the cut?")
        if found == len({min(10.0, p) for p in perplexities}) - 1 or found == 0:
            raise NotYet(f"{off} What is cut is still a reward: it has the value at which it was cut.")
        if len(perplexities) == 2:
            raise NotYet(f"{off} Equal rewards count once.")
        raise NotYet(f"{off} Write down the reward of each: minus perplexity, then cut to [-10, 10].")
    passed("Above perplexity 10 every map is worth the same to this agent. When does a language model come below it?")


def check_roots(roots: Callable[[Sequence[int]], Sequence[int]]) -> None:
    """roots(pointers): where each layer's chain of pointers ends."""
    for pointers in ([0, 0, 1], [0, 1, 1, 2], [0, 0, 1, 2, 3, 4], [0, 1, 2], [0, 0, 2, 2, 3, 0]):
        given = list(pointers)
        found = ask(roots, given)
        call = call_of(roots, pointers)
        require(given == pointers, f"{call} changes the list that it is given. Make a new one.")
        require(
            isinstance(found, Sequence) and len(found) == len(pointers), f"{call} gave {found!r}; a list is asked for."
        )
        ends: list[int] = []
        for layer, pointer in enumerate(pointers):
            ends.append(layer if pointer == layer else ends[pointer])
        if list(found) == ends:
            continue
        once = [pointers[j] for j in pointers]
        wrong = next(i for i, (mine, end) in enumerate(zip(found, ends, strict=True)) if mine != end)
        if list(found) in (pointers, once):
            raise NotYet(
                f"{call}: layer {wrong} points to layer {found[wrong]}, and that one points on. Follow it to its end."
            )
        raise NotYet(f"{call} gave {list(found)}: follow the pointers of layer {wrong} with a finger.")
    passed("One of the authors' plotting scripts holds such a list, of 48 pointers.")


def check_in_memory(in_memory: Callable[[int, Sequence[tuple[int, int]]], int]) -> None:
    """in_memory(n_layer, actions): how many different storages there are after (layer, action) pairs."""
    rng = random.Random(0)
    cases = [(3, [(1, 0)]), (3, [(1, 0), (1, 1)]), (3, [(2, 1), (1, 0)]), (4, [(3, 3), (2, 2)])]
    cases += [(6, [(i, rng.randint(0, i)) for i in range(1, 6)] * 2) for _ in range(10)]
    for n_layer, actions in cases:
        found, call = ask_number(in_memory, n_layer, list(actions)), call_of(in_memory, n_layer, actions)
        blocks, state = [nn.Linear(1, 1) for _ in range(n_layer)], [0] * n_layer
        for layer, action in actions:
            apply_action(blocks, state, layer, action)
        right, said = weight_sets(blocks).num_independent, len(set(state))
        off = f"{call} gave {found:g}, but the program has {right} storage{'s' * (right != 1)} then."
        if found == right:
            continue
        if found == said:
            raise NotYet(f"{off} You count what the state says. Keep a list of the places in memory beside it.")
        if (layer, action) == (1, 1):
            raise NotYet(f'{off} What does "independent" do to the storage?')
        require(found > right or actions[0][1] == actions[0][0], f"{off} At the start each layer has its own.")
        raise NotYet(f"{off} Go through the actions one by one: whose place does a layer take?")
    passed("The number never grows. However many layers the state calls independent, in the end there is one.")


def seeing_bert(
    *, vocab_size: int, n_positions: int, n_layer: int, n_head: int, n_embd: int, seed: int = 0
) -> nn.Module:
    """A BERT as the transformers library makes it if nobody says that it is a decoder; large initial weights, so that
    what it does shows before any training."""
    said = logging.get_verbosity()
    logging.set_verbosity_error()  # the library's warning would name the leak
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=vocab_size, max_position_embeddings=n_positions, num_hidden_layers=n_layer, hidden_size=n_embd,
            num_attention_heads=n_head, intermediate_size=4 * n_embd, initializer_range=0.2, is_decoder=False,
        )  # fmt: skip
        model = BertLMHeadModel(config)
    logging.set_verbosity(said)
    return model


def check_leak(sees_the_future: Callable[[nn.Module, torch.Tensor], bool]) -> None:
    """sees_the_future(model, tokens): whether an output depends on a later token."""
    tokens = torch.randint(_SHAPE["vocab_size"], (1, 12), generator=torch.Generator().manual_seed(1))
    models = {
        "a GPT-2": (build_gpt2(**_SHAPE, dropout=0.0), False),
        "a BERT with is_decoder=True": (build_bert(**_SHAPE, dropout=0.0), False),
        "a BERT without it": (seeing_bert(**_SHAPE).eval(), True),
        "a GPT-2 with dropout, as in training": (build_gpt2(**_SHAPE, dropout=0.5).train(), False),
    }
    for name, (model, leaks) in models.items():
        before = tokens.clone()
        found = ask(sees_the_future, model, tokens)
        require(torch.equal(tokens, before), "You changed the tokens that you were given. Clone them first.")
        require(isinstance(found, bool), f"For {name} you gave {found!r}; True or False is asked for.")
        if found == leaks:
            continue
        if leaks:
            raise NotYet(
                f"You say that {name} does not see the future, but it does. Change a *late* token, look *before* it."
            )
        if model.training:
            raise NotYet(
                f"You say that {name} sees the future. Do two passes over the *same* tokens agree in this model?"
            )
        raise NotYet(
            f"You say that {name} sees the future. An output may well depend on its own token and earlier ones."
        )
    passed(
        "The leak is one missing flag. The library only warns, and a perplexity too good to be true looks like success."
    )
