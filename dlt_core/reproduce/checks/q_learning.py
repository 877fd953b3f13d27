"""Checks of the exercises to notebook 02: the transition, the target, exploring, and what chance leaves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from dlt_core.reproduce.checks.common import NotYet, ask, ask_number, call_of, near, passed, require
from dlt_core.tie_map import TieMap, all_maps, expected_independent


def check_transition(transition: Callable[[Sequence[int], int, int], Sequence[int]]) -> None:
    """transition(state, layer, action): the next state, in the paper's rule, for every map of four layers."""
    for tie_map, layer in itertools.product(all_maps(4), range(1, 4)):
        for action in range(layer + 1):
            state = list(tie_map)
            found = ask(transition, state, layer, action)
            call = call_of(transition, list(tie_map), layer, action)
            require(state == list(tie_map), f"{call} changes the state that it is given. Make a new one.")
            a_state = isinstance(found, Sequence | np.ndarray | TieMap) and len(found) == 4
            require(a_state, f"{call} gave {found!r}; a state with an entry for each layer is asked for.")
            _compare(tie_map, layer, action, [int(j) for j in found], call)
    passed("Every map of four layers, every action: the same as the core's `TieMap.with_action`.")


def _compare(tie_map: TieMap, layer: int, action: int, found: list[int], call: str) -> None:
    expected, call = list(tie_map.with_action(layer, action)), f"{call} gave {found}."
    if found == expected:
        return
    if found[layer] != expected[layer]:
        if action == layer:
            raise NotYet(f"{call} Action {action} for layer {layer} means independent. What is its entry then?")
        if found[layer] == action:
            raise NotYet(f"{call} Layer {action} is itself tied: it has no weights of its own. Whose does it use?")
        raise NotYet(f"{call} Look at entry {layer}: whose weights did layer {layer} ask for?")
    wrong = next(i for i in range(4) if found[i] != expected[i])
    if tie_map[wrong] == layer:
        raise NotYet(f"{call} Layer {wrong} used the weights of layer {layer}, which has moved. Where is it now?")
    raise NotYet(f"{call} Layer {wrong} was not asked, and did not use layer {layer}'s weights, and yet it has moved.")


def check_target(target: Callable[[float, float, np.ndarray], float]) -> None:
    """target(reward, gamma, next_values): what Q(s, a) should have said."""
    reward, gamma, values = -12.0, 0.5, np.array([-8.0, -3.0, -6.0])
    found = ask_number(target, reward, gamma, values)
    call = f"{call_of(target, reward, gamma, values)} gave {found:g}."
    wrong = {
        reward + gamma * values.min(): "The agent would take the worst next action. Rewards below zero are rewards.",
        reward + gamma * values.mean(): "The next action is not drawn blindly: what will the agent do in s'?",
        reward + gamma * values.sum(): "Only one of the next actions will be taken.",
        reward + values.max(): "What comes later counts a little less: where is the discount?",
        gamma * values.max(): "The reward of this action is left out.",
        reward: "That is the reward alone. What is the next state worth?",
        gamma * (reward + values.max()): "The reward comes now: it is not discounted.",
        reward - gamma * values.max(): "The future is added, not subtracted.",
    }
    for value, message in wrong.items():
        require(not near(found, float(value)), f"{call} {message}")
    right = reward + gamma * float(values.max())
    require(near(found, right), f"{call} It should be the reward now and the discounted worth of what follows.")
    again = near(ask_number(target, 1.0, 0.0, np.array([5.0])), 1.0)
    require(again, "With γ = 0 only the reward of now should count.")
    passed("One line, and the only place where the future enters.")


def check_choose(choose: Callable[[np.ndarray, float, np.random.Generator], int]) -> None:
    """choose(q_values, epsilon, rng): epsilon-greedy."""
    values, rng, draws = np.array([-5.0, -1.0, -3.0]), np.random.default_rng(0), 4000

    def shares(epsilon: float, n: int) -> np.ndarray:
        chosen = [ask(choose, values, epsilon, rng) for _ in range(n)]
        strange = next((a for a in chosen if a not in (0, 1, 2)), None)
        require(strange is None, f"An action is one of 0, 1, 2; you gave {strange!r}.")
        return np.bincount(np.array(chosen, int), minlength=3) / n

    greedy = shares(0.0, 50)
    require(greedy.max() == 1, "With ε = 0 nothing is random, but your choice is.")
    require(greedy[1] == 1, f"With ε = 0 and Q = {list(values)} you take action {greedy.argmax()}: not the best one.")
    blind = shares(1.0, draws)
    require(blind[1] < 0.99, "With ε = 1 you still take the best action each time. Who would try the others?")
    if blind[1] < 0.01:
        raise NotYet("With ε = 1 the best action is never drawn. A random action is any of them, the best one, too.")
    require(abs(blind - 1 / 3).max() < 0.04, f"With ε = 1 the shares are {blind.round(2)}: not even.")
    some = shares(0.3, draws)
    require(
        not abs(some[1] - 0.53) < 0.03, "With ε = 0.3 you explore 70 % of the time: ε and 1 - ε have changed places."
    )
    require(abs(some[1] - 0.8) < 0.03, f"With ε = 0.3 the best of three is taken {some[1]:.0%} of the time. Too odd.")
    passed("Note that with three actions the best one is taken more often than 1 - ε of the time.")


def check_uniform(probability: Callable[[int], float], expected: Callable[[int], float]) -> None:
    """probability(layer) that the uniform policy leaves it independent; expected(n_layer): how many it leaves."""
    require(near(ask_number(probability, 0), 1), "Layer 0 has nobody to copy. How often is it independent?")
    found = ask_number(probability, 1)
    require(found <= 1, f"probability(1) gave {found:g}, which is no probability.")
    require(not near(found, 1), "Layer 1 has two actions, and only one of them makes it independent.")
    for layer in (1, 2, 7, 47):
        found = ask_number(probability, layer)
        require(not near(found, 1 / layer) or layer == 1, f"Layer {layer} has one action more than you think.")
        require(
            near(found, 1 / (layer + 1)), f"probability({layer}) is not {found:.3g}. Which actions has layer {layer}?"
        )
    for n_layer in (1, 2, 12, 48):
        found, right = ask_number(expected, n_layer), expected_independent(n_layer)
        off = f"expected({n_layer}) gave {found:.3f}."
        require(not near(found, right - 1), f"{off} Layer 0 counts, too.")
        require(not near(found, right + 1 / (n_layer + 1)), f"{off} That is one layer too many: they are 0 to L - 1.")
        require(near(found, right), f"{off} The mean of a sum is the sum of the means, whatever depends on what.")
    passed(f"Of 48 layers chance leaves {expected_independent(48):.2f}. No learning was needed for that saving.")


def check_policy(chance_for: Callable[[float, int], float]) -> None:
    """chance_for(mean, n_layer): the probability of "independent" that leaves so many layers independent on average."""
    for mean, n_layer in ((8.5, 48), (1.0, 6), (6.0, 6), (3.0, 12)):
        found, call = ask_number(chance_for, mean, n_layer), call_of(chance_for, mean, n_layer)
        right = (mean - 1) / (n_layer - 1)
        require(0 <= found <= 1, f"{call} gave {found:.3f}, which is no probability.")
        require(not near(found, mean / n_layer) or mean == n_layer, f"{call}: does layer 0 have the choice?")
        if not near(found, right):
            left = 1 + (n_layer - 1) * found
            raise NotYet(
                f"{call} gave {found:.3f}. Such a policy would leave {left:.2f} layers independent on average."
            )
    passed("A baseline with as many weight sets as the paper's agent: the fairer rival.")
