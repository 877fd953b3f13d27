"""What a constant reward teaches an agent, for notebook 11: no transformer is needed to see it.

The code as released cuts the reward to [-10, 10], so above perplexity 10 every decision is answered with -10. Where
Q = r + γ max Q everywhere, Q is r / (1 - γ), for every state and action alike. On the way there the value of an action
falls whenever it is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlt_core.tie_map import TieMap


class TableAgent:
    """Q-learning with an entry for each layer and action, whatever the state. Always greedy."""

    explored = False

    def __init__(self, n_layer: int, *, gamma: float = 0.99, learning_rate: float = 0.1) -> None:
        self.q = [np.zeros(i + 1) for i in range(n_layer)]
        self.gamma, self.learning_rate = gamma, learning_rate

    def q_values(self, state: Sequence[int], layer: int) -> np.ndarray:
        """Of the layer + 1 actions."""
        return self.q[layer].copy()

    def act(self, state: Sequence[int], layer: int) -> int:
        return int(self.q[layer].argmax())

    def learn(self, state: Sequence[int], layer: int, action: int, reward: float, next_state: Sequence[int]) -> float:
        """One step towards r + γ max Q; returns the TD error."""
        error = float(reward + self.gamma * self.q[layer].max() - self.q[layer][action])
        self.q[layer][action] += self.learning_rate * error
        return error

    def end_episode(self) -> None:
        """Nothing decays."""


@dataclass(frozen=True)
class Answers:
    """What an agent did while it was asked.

    mean_q: of all layers and actions, after each decision. ranks: of each greedy choice (of every choice, for an agent
    that has none) the share of the layer's other actions that had been tried less often: 0 is "tried least".
    as_at_first: whether the agent would have made that choice before it had learned anything.
    """

    mean_q: list[float]
    ranks: list[float]
    as_at_first: list[bool]


def ask(
    agent: Any, n_layer: int, decisions: int, *, reward: float = -10.0, every_choice: bool = False, learns: bool = True
) -> Answers:
    """Ask an agent for layer after layer, and answer each decision with the same reward.

    every_choice: rank random choices, too. learns: False keeps the agent's answers from it.
    """
    state, untaught, found = TieMap.all_tied(n_layer), deepcopy(agent), Answers([], [], [])
    tried = [np.zeros(i + 1) for i in range(n_layer)]
    for n in range(decisions):
        layer = 1 + n % (n_layer - 1)
        action, counts = agent.act(state, layer), tried[layer]
        if every_choice or not agent.explored:
            found.ranks.append(float((np.delete(counts, action) < counts[action]).mean()))
            found.as_at_first.append(int(np.argmax(untaught.q_values(state, layer))) == action)
        counts[action] += 1
        next_state = state.with_action(layer, action)
        if learns:
            agent.learn(state, layer, action, reward, next_state)
        state = next_state
        found.mean_q.append(float(np.mean([agent.q_values(state, i).mean() for i in range(1, n_layer)])))
        if layer == n_layer - 1:
            agent.end_episode()
    return found
