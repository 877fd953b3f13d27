"""A stronger Q-agent than the paper's: what deep Q-learning has used since Mnih et al. (2015)."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dlt_core.agents import AGENT, QAgent, State, check_state, check_transition, plain_numbers, q_slice

REPLAY = 1  # the replay's stream, beside the exploration's


class DQNAgent(QAgent):
    """Q-learning with a replay memory and a target network (Mnih et al. 2015), and double Q-learning (van Hasselt et
    al. 2016); otherwise the paper's agent, epsilon and all.

    y = r + γ Q⁻(s', argmax_a' Q(s', a')), a' over the actions of the layer that is decided about *next*: in the paper's
    update it is over the same layer's, which is not the decision that follows. Q⁻ is the target network. The loss is
    Huber's, averaged over a minibatch drawn uniformly from the memory.

    one_hot: the input is s_i as one of i + 1, for each i, instead of the raw numbers, which order the layers.
    normalise: rewards are shifted and scaled to mean 0 and standard deviation 1 over all that were seen so far. Without
    it they are taken as they are: Mnih et al. clip theirs to [-1, 1], which would make minus a perplexity a constant.
    capacity: transitions kept. batch_size: of a learning step. target_every: learning steps between two copies of Q
    to Q⁻; L - 1, a turn over the layers, by default. Other settings as for `QAgent`.
    """

    method = "dqn"

    def __init__(
        self,
        num_layers: int,
        *,
        one_hot: bool = False,
        normalise: bool = False,
        capacity: int = 10_000,
        batch_size: int = 32,
        target_every: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(num_layers, **settings)
        target_every = num_layers - 1 if target_every is None else target_every
        for name, value in {"capacity": capacity, "batch_size": batch_size, "target_every": target_every}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        own = {"one_hot": one_hot, "normalise": normalise, "capacity": capacity, "batch_size": batch_size}
        self.settings |= plain_numbers(**own, target_every=target_every)
        if one_hot:
            self._widen(settings.get("hidden", 128), settings.get("learning_rate", 1e-3))
        self.target_network = copy.deepcopy(self.q_network)
        self.sampler = np.random.default_rng((self.settings["seed"], AGENT, REPLAY))
        self.learned = 0  # transitions seen
        self.memory = {  # the oldest is overwritten
            "state": np.zeros((capacity, num_layers), np.int64),
            "layer": np.zeros(capacity, np.int64),
            "action": np.zeros(capacity, np.int64),
            "reward": np.zeros(capacity),
            "next_state": np.zeros((capacity, num_layers), np.int64),
        }
        self.mean, self.squares = 0.0, 0.0  # of the rewards: running mean, and sum of squared deviations (Welford)

    def _widen(self, hidden: int, learning_rate: float) -> None:
        """Replace the input layer by one for one-hot states."""
        outputs = self.num_layers * (self.num_layers + 1) // 2
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(self.rng.integers(2**32)))
            self.q_network[0] = nn.Linear(outputs, hidden)
        self.optimizer = torch.optim.AdamW(self.q_network.parameters(), lr=learning_rate, weight_decay=0.01)

    def _inputs(self, states: np.ndarray) -> torch.Tensor:
        """(B, L) entries of tie maps to what the network sees: themselves, or (B, L(L+1)/2) zeros and ones."""
        if not self.settings["one_hot"]:
            return torch.from_numpy(np.asarray(states, np.float32))
        starts = np.array([q_slice(i).start for i in range(self.num_layers)])
        one_hot = np.zeros((len(states), self.num_layers * (self.num_layers + 1) // 2), np.float32)
        np.put_along_axis(one_hot, starts + states, 1.0, axis=1)
        return torch.from_numpy(one_hot)

    def _q(self, state: State, layer: int) -> torch.Tensor:
        check_state(self.num_layers, state, layer)
        return self.q_network(self._inputs(np.array([list(state)])))[0][q_slice(layer)]

    def learn(self, state: State, layer: int, action: int, reward: float, next_state: State) -> float:
        """Remember (s, a, r, s') and take one step on a minibatch of what is remembered; returns the loss before it.

        Raises ValueError as `QAgent.learn`.
        """
        check_state(self.num_layers, state, layer)
        check_state(self.num_layers, next_state, layer)
        check_transition(layer, action, reward)
        place = self.learned % self.settings["capacity"]
        for name, value in (("state", list(state)), ("layer", layer), ("action", action), ("reward", reward),
                            ("next_state", list(next_state))):  # fmt: skip
            self.memory[name][place] = value
        self.learned += 1
        shift = reward - self.mean
        self.mean += shift / self.learned
        self.squares += shift * (reward - self.mean)
        held = min(self.learned, self.settings["capacity"])
        drawn = self.sampler.integers(held, size=min(self.settings["batch_size"], held))
        batch = {name: values[drawn] for name, values in self.memory.items()}
        chosen = torch.from_numpy(batch["layer"] * (batch["layer"] + 1) // 2 + batch["action"])[:, None]
        q_values = self.q_network(self._inputs(batch["state"])).gather(1, chosen)[:, 0]
        loss = F.smooth_l1_loss(q_values, self._targets(batch))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.learned % self.settings["target_every"] == 0:
            self.target_network.load_state_dict(self.q_network.state_dict())
        return float(loss.detach())

    @torch.no_grad()
    def _targets(self, batch: dict[str, np.ndarray]) -> torch.Tensor:
        """y for each transition, shape (B,)."""
        rewards = batch["reward"]
        if self.settings["normalise"]:
            deviation = math.sqrt(self.squares / self.learned)
            rewards = (rewards - self.mean) / deviation if deviation > 0 else np.zeros_like(rewards)
        next_layer = batch["layer"] % (self.num_layers - 1) + 1  # after the last, layer 1
        start, index = next_layer * (next_layer + 1) // 2, np.arange(self.num_layers * (self.num_layers + 1) // 2)
        allowed = (index >= start[:, None]) & (index <= (start + next_layer)[:, None])
        inputs = self._inputs(batch["next_state"])
        best = self.q_network(inputs).masked_fill(~torch.from_numpy(allowed), -math.inf).argmax(1, keepdim=True)
        value = self.target_network(inputs).gather(1, best)[:, 0]
        return torch.from_numpy(rewards.astype(np.float32)) + self.gamma * value

    def state_dict(self) -> dict[str, Any]:
        saved = super().state_dict()
        held = min(self.learned, self.settings["capacity"])
        saved["tensors"] |= {f"target.{n}": p.detach().clone() for n, p in self.target_network.named_parameters()}
        saved["tensors"] |= {f"memory.{n}": torch.from_numpy(v[:held].copy()) for n, v in self.memory.items()}
        saved["values"] |= {
            "sampler": self.sampler.bit_generator.state, "learned": self.learned, "mean": self.mean,
            "squares": self.squares,
        }  # fmt: skip
        return saved

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        tensors, values = state["tensors"], state["values"]
        for name, p in self.target_network.named_parameters():
            p.data.copy_(tensors[f"target.{name}"])
        for name, kept in self.memory.items():
            rows = tensors[f"memory.{name}"].numpy()
            kept[: len(rows)] = rows
        self.sampler.bit_generator.state = values["sampler"]
        self.learned, self.mean, self.squares = values["learned"], values["mean"], values["squares"]
