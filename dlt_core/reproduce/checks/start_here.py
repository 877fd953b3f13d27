"""Checks of the exercises to notebook 00: reading a tie map, perplexity, bits per byte."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

from dlt_core.reproduce.checks.common import NotYet, ask, ask_number, call_of, near, passed, require
from dlt_core.tie_map import TieMap


def check_weight_sets(weight_sets: Callable[[Sequence[int]], int]) -> None:
    """weight_sets(tie_map): how many sets of weights a map keeps."""
    for tie_map in ([0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 2, 2, 0, 2], [0, 0, 2, 2, 2, 5], [0, 1, 0, 1], [0, 1, 1, 3, 1]):
        found, right = ask_number(weight_sets, list(tie_map)), len(set(tie_map))
        call = f"{call_of(weight_sets, tie_map)} gave {found:g}."
        if found == right:
            continue
        if found == len(tie_map):
            raise NotYet(f"{call} That is the number of layers. Do all of them keep weights of their own?")
        if found == len(tie_map) - right:
            raise NotYet(f"{call} You count the layers that use another one's weights; asked are the sets in use.")
        if found in (max(tie_map), max(tie_map) + 1):
            raise NotYet(f"{call} The largest entry is the name of a layer, not a count.")
        raise NotYet(f"{call} Draw it: one colour for all layers with the same entry. How many colours are there?")
    passed("What is saved is counted in weight sets, however they lie in the stack.")


def check_cycle(cycle: Callable[[int, int], Sequence[int]]) -> None:
    """cycle(n_layer, num_groups): the map in which layers take turns."""
    for n_layer, groups in ((6, 2), (7, 3), (4, 1), (4, 4), (12, 5)):
        found = ask(cycle, n_layer, groups)
        call = call_of(cycle, n_layer, groups)
        require(isinstance(found, Sequence), f"{call} gave {found!r}; a list is asked for.")
        require(len(found) == n_layer, f"{call} has {len(found)} entries. A map has one for each layer.")
        try:
            mine = TieMap(found)
        except ValueError as error:
            raise NotYet(f"{call} gave {list(found)}, which is no tie map: {error}.") from None
        if mine == TieMap.pattern("cycle", n_layer, groups):
            continue
        if mine == TieMap.pattern("sequence", n_layer, groups):
            raise NotYet(f"{call}: neighbours share here, one run after the other. Asked are layers that take turns.")
        if mine.num_independent != groups:
            raise NotYet(f"{call} has {mine.num_independent} weight sets. How many were asked for?")
        raise NotYet(f"{call} gave {list(found)}. Which layers should have the same colour as layer 0?")
    passed("So few numbers are a whole architecture. Notebook 13 trains this one and its rivals.")


def check_perplexity(perplexity: Callable[[Sequence[float]], float]) -> None:
    """perplexity(losses): from the losses of the tokens in nats."""
    even, uneven = [math.log(4)] * 3, [0.5, 2.0, 3.5]
    found = ask_number(perplexity, even)
    about = "For three tokens, each with the loss ln 4 (a guess among 4 tokens),"
    require(not near(found, math.log(4)), f"{about} you give the mean loss itself. Perplexity is a number of tokens.")
    require(not near(found, 4**3), f"{about} you give {found:g}: a longer text would have a larger perplexity.")
    require(not near(found, 2 ** math.log(4)), f"{about} you give {found:.2f}. In which unit is the loss?")
    require(found >= 1, f"{about} you give {found:.2f}: below 1, better than knowing each token. Mind the sign.")
    require(near(found, 4), f"{about} you give {found:.3g}. Among how many tokens was the guess?")
    found = ask_number(perplexity, uneven)
    if near(found, fmean(map(math.exp, uneven))):
        raise NotYet(
            "You average perplexities, so one bad token outweighs the rest. What can be averaged, token by token?"
        )
    require(
        near(found, math.exp(fmean(uneven))), f"For the losses {uneven} {found:.3g} is not it, though equal ones are."
    )
    passed("Losses add up, perplexities do not: the mean comes first.")


def check_bits_per_byte(bits_per_byte: Callable[[float, int, int], float]) -> None:
    """bits_per_byte(loss, tokens, num_bytes): from the mean loss in nats per token."""
    loss, tokens, num_bytes = 2.0, 300, 1200
    found, right = ask_number(bits_per_byte, loss, tokens, num_bytes), loss * tokens / math.log(2) / num_bytes
    call = f"{call_of(bits_per_byte, loss, tokens, num_bytes)} gave {found:.4g}."
    wrong = {
        loss * tokens / num_bytes: "It is still in nats. How many bits is a nat?",
        loss * tokens * math.log(2) / num_bytes: "A nat is more than a bit, not less.",
        loss / math.log(2): "That is bits per token; a byte is asked for.",
        loss
        * num_bytes
        / tokens
        / math.log(2): "Tokens and bytes have changed places: is a token shorter than a byte?",
        loss * tokens / math.log(2): "That is the number of bits of the whole text.",
        loss / num_bytes / math.log(2): "The loss is of one token; the text has many.",
    }
    for value, message in wrong.items():
        require(not near(found, value), f"{call} {message}")
    require(
        near(found, right), f"{call} First: how many nats has the whole text? Then the bits, then each byte's part."
    )
    require(near(ask_number(bits_per_byte, 1.0, 5, 5), 1 / math.log(2)), "Right for one text, not for another one.")
    passed("It does not depend on how the text was cut into tokens, so it can be compared.")
