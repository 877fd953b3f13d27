"""The agents that decide about layer ties. They know layers, actions and rewards, and nothing of transformers.

Each here has `act(state, layer)`, `q_values(state, layer)`, `learn(state, layer, action, reward, next_state)` and
`end_episode()`, and a `state_dict` / `load_state_dict` pair for checkpoints. A `state` is a TieMap, or any sequence of
its L entries. Layer i has the actions 0..i: tie to layer j < i, or (action i) be independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from dlt_core.tie_map import TieMap, as_layer_index, as_tie_map, random_map

State = TieMap | Sequence[int] | np.ndarray
AGENT = 4  # the agent's random stream of a seed; learner/training.py has the others


class Agent(Protocol):
    """What Algorithm 1 asks of an agent. Four attributes go into the record, where it has them: `method`, its name
    (without it that of its class); `settings`, what it was made with, JSON-able; `epsilon` (without it 0); and
    `explored`, whether the last act() was a random one (without it never). For checkpoints it has `state_dict` and
    `load_state_dict`, too: see `records.checkpoints.Saved`."""

    def act(self, state: State, layer: int) -> int: ...
    def q_values(self, state: State, layer: int) -> np.ndarray: ...
    def learn(self, state: State, layer: int, action: int, reward: float, next_state: State) -> float: ...
    def end_episode(self) -> None: ...


def q_slice(layer: int) -> slice:
    """Where the Q-network's L(L+1)/2 outputs hold the i + 1 values of layer i: they start at i(i+1)/2."""
    start = layer * (layer + 1) // 2
    return slice(start, start + layer + 1)


class QAgent:
    """The paper's agent: one-sample Q-learning with a small MLP and epsilon-greedy exploration.

    Q: Linear(L, hidden) - ReLU - Linear(hidden, L(L+1)/2) on the raw state vector; layer i reads its own slice of
    i + 1 values. No replay, no target network. AdamW with weight decay 0.01. Source: the paper's experiment setup for
    the numbers, the authors' released code for the form of the network and the update.

    num_layers: L >= 2. learning_rate: of Q. gamma: discount γ in [0, 1]. epsilon: first exploration probability ε,
    multiplied by epsilon_decay at the end of each turn over the layers, never below epsilon_min.
    seed: of the weights of Q and of the exploration; no global generator is touched.
    initial_value: added to all Q-values at the start. Above the rewards to come it makes the agent optimistic: what it
    has not tried looks best (Sutton and Barto, section 2.6). The paper's rewards are all below 0, so its 0 does.
    Raises ValueError for fewer than 2 layers, and for a number out of its range.

    >>> agent = QAgent(4, seed=0)
    >>> agent.q_values(TieMap.all_tied(4), 2).shape  # of layer 2: tie to 0, tie to 1, be independent
    (3,)
    """

    method = "dynamic"

    def __init__(
        self,
        num_layers: int,
        *,
        hidden: int = 128,
        learning_rate: float = 1e-3,
        gamma: float = 0.99,
        epsilon: float = 1.0,
        epsilon_decay: float = 0.95,
        epsilon_min: float = 0.1,
        initial_value: float = 0.0,
        seed: int,
    ) -> None:
        if num_layers < 2:
            raise ValueError(f"num_layers={num_layers}: with fewer than 2 layers there is nothing to tie")
        for name, value in {"gamma": gamma, "epsilon": epsilon, "epsilon_min": epsilon_min}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value} must lie in [0, 1]")
        if not 0 < epsilon_decay <= 1:
            raise ValueError(f"epsilon_decay={epsilon_decay} must lie in (0, 1]")
        self.num_layers = num_layers
        self.explored = False
        self.settings = plain_numbers(
            hidden=hidden,
            learning_rate=learning_rate,
            gamma=gamma,
            epsilon=epsilon,
            epsilon_decay=epsilon_decay,
            epsilon_min=epsilon_min,
            seed=seed,
            **({"initial_value": initial_value} if initial_value else {}),
        )
        self.gamma: float = self.settings["gamma"]
        self.epsilon: float = self.settings["epsilon"]
        self.epsilon_decay: float = self.settings["epsilon_decay"]
        self.epsilon_min: float = self.settings["epsilon_min"]
        self.rng = np.random.default_rng((seed, AGENT))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(self.rng.integers(2**32)))
            self.q_network = nn.Sequential(
                nn.Linear(num_layers, hidden),
                nn.ReLU(),
                nn.Linear(hidden, num_layers * (num_layers + 1) // 2),
            )
        if initial_value:
            with torch.no_grad():
                list(self.q_network.parameters())[-1].add_(initial_value)
        self.optimizer = torch.optim.AdamW(self.q_network.parameters(), lr=learning_rate, weight_decay=0.01)

    def _q(self, state: State, layer: int) -> torch.Tensor:
        """Q(s, ·) of one layer, shape (layer + 1,), with gradient."""
        check_state(self.num_layers, state, layer)
        q_values: torch.Tensor = self.q_network(torch.tensor([float(j) for j in state]))
        return q_values[q_slice(layer)]

    @torch.no_grad()
    def q_values(self, state: State, layer: int) -> np.ndarray:
        """Q(s, a) for the actions a = 0..layer, shape (layer + 1,)."""
        return self._q(state, layer).numpy()

    def act(self, state: State, layer: int) -> int:
        """Epsilon-greedy: a random action with probability ε, else the one of largest Q (the lowest of equals)."""
        check_state(self.num_layers, state, layer)
        self.explored = bool(self.rng.random() < self.epsilon)
        if self.explored:
            return int(self.rng.integers(layer + 1))
        return int(np.argmax(self.q_values(state, layer)))

    def learn(self, state: State, layer: int, action: int, reward: float, next_state: State) -> float:
        """One temporal-difference step on (s, a, r, s'); returns the loss before the step.

        loss = (Q(s, a) - (r + γ max_a' Q(s', a')))², a' over the same layer's actions, the target held constant.
        Raises ValueError if the reward is not finite or layer i has no such action.
        """
        check_transition(layer, action, reward)
        target = reward + self.gamma * float(self.q_values(next_state, layer).max())
        loss = (self._q(state, layer)[action] - target) ** 2
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.detach())

    def end_episode(self) -> None:
        """After a turn over all layers: ε <- max(ε_min, ε · decay)."""
        self.epsilon = max(self.epsilon_min, self.epsilon * self.epsilon_decay)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the agent's future: {"tensors": name -> tensor, "values": JSON-able}."""
        tensors = {f"q_network.{name}": p.detach().clone() for name, p in self.q_network.named_parameters()}
        for name, p in self.q_network.named_parameters():
            for key, value in self.optimizer.state.get(p, {}).items():
                tensors[f"optimizer.{name}.{key}"] = value.clone()
        return {"tensors": tensors, "values": {"epsilon": self.epsilon, "rng": self.rng.bit_generator.state}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` saved, on an agent made with the same arguments."""
        tensors = state["tensors"]
        self.optimizer.state.clear()
        for name, p in self.q_network.named_parameters():
            p.data.copy_(tensors[f"q_network.{name}"])
            prefix = f"optimizer.{name}."
            moments = {key.removeprefix(prefix): t.clone() for key, t in tensors.items() if key.startswith(prefix)}
            if moments:
                self.optimizer.state[p] = moments
        self.epsilon = state["values"]["epsilon"]
        self.rng.bit_generator.state = state["values"]["rng"]


class _WithoutLearning:
    """The methods that agents without learning share."""

    def q_values(self, state: State, layer: int) -> np.ndarray:
        """NaN for each action: this agent has no opinion."""
        return np.full(layer + 1, np.nan)

    def learn(self, state: State, layer: int, action: int, reward: float, next_state: State) -> float:
        """Nothing is learned; the loss is 0."""
        return 0.0

    def end_episode(self) -> None:
        """Nothing changes between turns."""

    def state_dict(self) -> dict[str, Any]:
        return {"tensors": {}, "values": {}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is nothing to restore."""


class RandomAgent(_WithoutLearning):
    """Picks uniformly among the i + 1 actions of layer i: the baseline that Q must beat.

    num_groups: draw a map with so many weight sets instead, uniformly among all of them, at the start of each turn, and
    take its actions: a baseline with as many parameters as a method that it is compared with.

    >>> RandomAgent(4, seed=0).act(TieMap.all_tied(4), 2) in (0, 1, 2)
    True
    """

    method = "random"
    epsilon = 1.0
    explored = True

    def __init__(self, num_layers: int, *, num_groups: int | None = None, seed: int) -> None:
        self.num_layers = num_layers
        self.settings = plain_numbers(seed=seed) | ({} if num_groups is None else plain_numbers(num_groups=num_groups))
        self.rng = np.random.default_rng((seed, AGENT))
        self.num_groups = num_groups
        self.target: TieMap | None = None  # of this turn
        if num_groups is not None:
            self.end_episode()

    def act(self, state: State, layer: int) -> int:
        """One of 0..layer, each with probability 1 / (layer + 1); with `num_groups` the layer's entry in the map."""
        check_state(self.num_layers, state, layer)
        return int(self.rng.integers(layer + 1)) if self.target is None else self.target[layer]

    def end_episode(self) -> None:
        """With `num_groups`: draw the next turn's map."""
        if self.num_groups is not None:
            self.target = random_map(self.num_layers, self.num_groups, self.rng.random)

    def state_dict(self) -> dict[str, Any]:
        target = {"target": list(self.target)} if self.target else {}
        return {"tensors": {}, "values": {"rng": self.rng.bit_generator.state, **target}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["values"]["rng"]
        if self.num_groups is not None:
            self.target = TieMap(state["values"]["target"])


class CycleAgent(_WithoutLearning):
    """Moves each layer on to the next one that it can be tied to, in turn: a = (s_i + 1) mod (i + 1).

    The policy "cycle" of the authors' released code. Not the pattern `cycle` of the literature, which never moves.
    """

    method = "policy_cycle"
    epsilon = 0.0
    explored = False

    def __init__(self, num_layers: int) -> None:
        self.num_layers = num_layers
        self.settings: dict[str, Any] = {}

    def act(self, state: State, layer: int) -> int:
        """The layer after the one that it uses now."""
        check_state(self.num_layers, state, layer)
        return (int(state[layer]) + 1) % (layer + 1)


class ReplayAgent(_WithoutLearning):
    """Repeats a list of recorded actions in order, whatever the state.

    actions: whole numbers, one for each decision, as `record.history["action"]`. Raises ValueError for others.

    >>> ReplayAgent([1, 0, 3]).act(TieMap.all_tied(4), 1)
    1
    """

    method = "replay"
    epsilon = 0.0
    explored = False

    def __init__(self, actions: Sequence[int]) -> None:
        self.actions = [as_layer_index(a, f"recorded action {n}") for n, a in enumerate(actions)]
        self.settings = {"actions": self.actions}
        self.position = 0

    def act(self, state: State, layer: int) -> int:
        """The next recorded action. Raises ValueError when the list is used up or does not fit the layer."""
        if self.position >= len(self.actions):
            raise ValueError(f"only {len(self.actions)} actions were recorded")
        action = self.actions[self.position]
        if not 0 <= action <= layer:
            raise ValueError(f"recorded action {self.position} is {action}, layer {layer} has 0..{layer}")
        self.position += 1
        return action

    def state_dict(self) -> dict[str, Any]:
        return {"tensors": {}, "values": {"position": self.position}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["values"]["position"]


class FixedAgent(_WithoutLearning):
    """Always asks for the same map: after one turn over the layers the model is tied like `tie_map`.

    tie_map: a TieMap or the list of its sources. Raises ValueError for what is no map.

    >>> FixedAgent([0, 0, 2, 2]).act(TieMap.all_tied(4), 2)
    2
    """

    method = "fixed"
    epsilon = 0.0
    explored = False

    def __init__(self, tie_map: TieMap | Sequence[int]) -> None:
        self.tie_map = as_tie_map(tie_map)
        self.settings = {"tie_map": list(self.tie_map)}

    def act(self, state: State, layer: int) -> int:
        """The map's entry for this layer."""
        check_state(len(self.tie_map), state, layer)
        return self.tie_map[layer]


def plain_numbers(**settings: Any) -> dict[str, Any]:
    """Settings as a record can hold them: NumPy's scalars as Python's own numbers."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in settings.items()}


def check_state(num_layers: int, state: State, layer: int) -> None:
    """Raises ValueError for a state of another number of layers, or a layer that does not exist."""
    if len(state) != num_layers:
        raise ValueError(f"the agent was made for {num_layers} layers, the state has {len(state)}")
    if not 0 <= layer < num_layers:
        raise ValueError(f"layer {layer} does not exist: the agent has layers 0..{num_layers - 1}")


def check_transition(layer: int, action: int, reward: float) -> None:
    """Raises ValueError for what is no action of the layer, or a reward that is not finite."""
    if not 0 <= as_layer_index(action, "action") <= layer:
        raise ValueError(f"layer {layer} has the actions 0..{layer}, got {action}")
    if not math.isfinite(reward):
        raise ValueError(f"the reward for layer {layer} is {reward}: nothing can be learned from it")
