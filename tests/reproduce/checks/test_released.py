"""Wrong readings of the released code, and what is said of them."""

import pytest
import torch

from dlt_core.reproduce.checks.released import (
    check_in_memory,
    check_leak,
    check_num_rewards,
    check_roots,
    seeing_bert,
)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda p: len(set(p)), "how many perplexities"),
        (lambda p: len({x for x in p if x < 10}), "is still a reward"),
        (lambda p: len({min(10.0, x) for x in p}) + (len(p) == 2), "Equal rewards count once"),
        (lambda p: 7, "Write down the reward of each"),
    ],
)
def test_num_rewards(told, answer, said):
    assert said in told(check_num_rewards, answer)


def in_place(pointers):
    for i, j in enumerate(pointers):
        pointers[i] = pointers[j]
    return pointers


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (in_place, "changes the list"),
        (lambda p: 0, "a list is asked for"),
        (list, "that one points on"),
        (lambda p: [p[j] for j in p], "that one points on"),
        (lambda p: [0] * len(p), "with a finger"),
    ],
)
def test_roots(told, answer, said):
    assert said in told(check_roots, answer)


def places(n, actions, *, alone=False, tied=False, state=False):
    place = [0] * n if tied else list(range(n))
    for fresh, (layer, action) in enumerate(actions, start=n):
        if action == layer:
            place[layer] = fresh if alone else layer if state else place[layer]
        else:
            place[layer] = action if state else place[action]
    return len(set(place))


def says_the_state(n, actions):
    return places(n, actions, state=True, tied=True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda n, a: places(n, a, alone=True), 'What does "independent" do to the storage'),
        (lambda n, a: places(n, a, tied=True), "You count what the state says"),
        (says_the_state, "You count what the state says"),
        (lambda n, a: 0, "each layer has its own"),
        (lambda n, a: n, "one by one"),
    ],
)
def test_in_memory(told, answer, said):
    assert said in told(check_in_memory, answer)


@torch.no_grad()
def moves(model, tokens, *, mode=True, where=slice(0, -1), change=-1):
    if mode:
        model.eval()
    other = tokens.clone()
    other[0, change] = (tokens[0, change] + 1) % model.config.vocab_size
    return bool((model(tokens).logits[0, where] - model(other).logits[0, where]).abs().max() > 1e-5)


def spoils(model, tokens):
    tokens[0, -1] = 0
    return False


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (spoils, "You changed the tokens"),
        (lambda model, tokens: 1.0, "True or False is asked for"),
        (lambda model, tokens: moves(model, tokens, where=slice(None)), "may well depend on its own token"),
        (lambda model, tokens: moves(model, tokens, change=0, where=slice(1, None)), "and earlier ones"),
        (lambda model, tokens: False, "but it does. Change a *late* token"),
        (lambda model, tokens: moves(model, tokens, mode=False), "Do two passes over the *same* tokens agree"),
    ],
)
def test_leak(told, answer, said):
    assert said in told(check_leak, answer)


def test_right_ones(passes):
    passes(check_num_rewards, lambda p: len({min(10.0, x) for x in p}))
    passes(check_roots, lambda p: in_place(list(p)))
    passes(check_in_memory, places)
    passes(check_leak, moves)


def test_the_seeing_bert_is_silent_and_leaves_the_generator_alone(capfd):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    shape = {"vocab_size": 16, "n_positions": 8, "n_layer": 1, "n_head": 1, "n_embd": 8}
    one, other = seeing_bert(**shape), seeing_bert(**shape)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))
    assert "is_decoder" not in "".join(capfd.readouterr())
