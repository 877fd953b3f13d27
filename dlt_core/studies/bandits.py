"""A bandit for each layer: no state, no network, only which action was followed by how much."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlt_core.agents import AGENT, State, check_state, check_transition, plain_numbers


class ThompsonAgent:
    """Thompson sampling with Gaussian rewards (Thompson 1933; Agrawal and Goyal 2013), an independent bandit for each
    layer, made to forget so that it can follow a world in training (discounting as in Garivier and Moulines 2011).

    For each layer and action: n, the discounted number of tries, and m, the discounted mean of their rewards. An action
    is chosen by the largest sample of N(m, σ²/n), σ the standard deviation of the layer's rewards; untried ones come
    first. Made for the reward "log_improvement", from which the trend of training is taken out.

    discount: what a try counts after the layer's next one, in (0, 1]. seed: of the sampling.
    """

    method = "thompson"
    epsilon = 0.0
    explored = False

    def __init__(self, num_layers: int, *, discount: float = 0.95, seed: int) -> None:
        if num_layers < 2:
            raise ValueError(f"num_layers={num_layers}: with fewer than 2 layers there is nothing to tie")
        if not 0 < discount <= 1:
            raise ValueError(f"discount={discount} must lie in (0, 1]")
        self.num_layers = num_layers
        self.discount = discount
        self.settings = plain_numbers(discount=discount, seed=seed)
        self.rng = np.random.default_rng((seed, AGENT))
        shape = (num_layers, num_layers)  # row i has the actions 0..i
        self.tries, self.sums, self.squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def q_values(self, state: State, layer: int) -> np.ndarray:
        """Mean reward of each action, shape (layer + 1,); NaN for untried ones."""
        check_state(self.num_layers, state, layer)
        tries, sums = self.tries[layer, : layer + 1], self.sums[layer, : layer + 1]
        return np.divide(sums, tries, out=np.full(layer + 1, np.nan), where=tries > 0)

    def act(self, state: State, layer: int) -> int:
        """The action with the largest sample; a random one of the untried as long as there are any."""
        means = self.q_values(state, layer)
        untried = np.flatnonzero(np.isnan(means))
        if len(untried):
            return int(self.rng.choice(untried))
        total = self.tries[layer].sum()
        variance = self.squares[layer].sum() / total - (self.sums[layer].sum() / total) ** 2
        deviations = np.sqrt(max(variance, 0.0) / self.tries[layer, : layer + 1])
        return int(np.argmax(self.rng.normal(means, deviations)))

    def learn(self, state: State, layer: int, action: int, reward: float, next_state: State) -> float:
        """Count the reward; returns its squared distance from the action's mean before. Raises as `QAgent.learn`."""
        check_transition(layer, action, reward)
        before = self.q_values(state, layer)[action]
        for kept in (self.tries, self.sums, self.squares):
            kept[layer] *= self.discount
        self.tries[layer, action] += 1
        self.sums[layer, action] += reward
        self.squares[layer, action] += reward**2
        return 0.0 if math.isnan(before) else float((reward - before) ** 2)

    def end_episode(self) -> None:
        """Nothing changes between turns."""

    def state_dict(self) -> dict[str, Any]:
        kept = {"tries": self.tries, "sums": self.sums, "squares": self.squares}
        values = {name: value.tolist() for name, value in kept.items()}
        return {"tensors": {}, "values": {"rng": self.rng.bit_generator.state, **values}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        values = state["values"]
        self.tries, self.sums, self.squares = (np.array(values[name]) for name in ("tries", "sums", "squares"))
        self.rng.bit_generator.state = values["rng"]
