"""Rewards from which an agent can learn, in the paper's world with the paper's agent. Each has its price.

The paper's reward is minus the perplexity of one minibatch: most of it says how far training has come and how hard the
minibatch is. These two say what the *action* did.
"""

from __future__ import annotations

import functools
from typing import Any

from dlt_core.agents import QAgent
from dlt_core.algorithm1 import train_dynamic
from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.env import LayerTyingEnv
from dlt_core.experiments import Experiment, build_agent, build_env
from dlt_core.records.record import RunRecord
from dlt_core.studies.rule.gain import gain, use_gradients
from dlt_core.studies.rule.looks import put_back
from dlt_core.tie_map import TieMap

OPTIMISTIC = 10.0  # what Q starts with where it is to be optimistic, in the rewards' unit: more than one can hope for

# These rewards compare with leaving all as it is: noise and trend are in both and cancel. What an action saves is then
# a difference of two states, and the value of the next state, of which γ times is added, takes it away again
# (potential-based shaping, Ng et al. 1999): with γ = 0.99 a hundredth is left once Q has learned its values. In
# tables, with what is changed in Q:
VARIANTS = {
    f"{reward}{how}": f"`{reward}`{words}"
    for reward in ("paired", "first_order_gain")
    for how, words in {"": "", ", optimistic": ", Q begins optimistic", ", gamma=0": ", γ = 0"}.items()
}


class PricedEnv(LayerTyingEnv):
    """A world whose reward costs more than a look at one minibatch; `cost` counts it."""

    name = ""

    def _begin(self) -> None:
        self.spent: dict[str, int] = {}
        self.before = TieMap.all_tied(self.n_layer)
        super()._begin()

    def spend(self, what: str, number: int) -> None:
        self.spent[what] = self.spent.get(what, 0) + number

    @property
    def cost(self) -> dict[str, int]:
        return dict(self.spent)

    @property
    def settings(self) -> dict[str, Any]:
        return {"reward": self.name}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"spent": self.spent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.spent = dict(state["spent"])


class FirstOrderGain(PricedEnv):
    """Reward: the gain (see `gain`) that the action brings, in percent of that of independent layers, on the gradients
    of one minibatch. Price: one forward and backward pass for each action that moves a layer."""

    name = "first_order_gain"
    brought = 0.0

    def transition(self, layer: int, action: int) -> TieMap:
        before, after = self.tie_map, self.tie_map.with_action(layer, action, orphans=self.orphans)
        self.brought = 0.0
        if after != before:
            with put_back(self.learner):
                gradients = use_gradients(self.learner, 1, first=self.decisions)
            untied = gain(gradients, TieMap.independent(self.n_layer).groups)
            self.brought = 100 * (gain(gradients, after.groups) - gain(gradients, before.groups)) / untied
            self.spend("search_passes", 1)
        self.learner.tie(after)
        return after

    def reward_of(self, loss: float) -> float:
        return self.brought


class Paired(PricedEnv):
    """Reward: by how much the loss is lower than it would be had no layer been moved, in hundredths of a nat (about
    percent of perplexity): the learner is trained k steps both ways on the same batches, and asked on the same
    minibatch. Price: k steps for each action that moves a layer."""

    name = "paired"
    stayed: float | None = None

    def transition(self, layer: int, action: int) -> TieMap:
        after = self.tie_map.with_action(layer, action, orphans=self.orphans)
        self.stayed = None
        if after != self.tie_map:
            with put_back(self.learner):
                self.learner.train(self.steps_per_action)
                self.stayed = self.learner.probe(self.decisions)
            self.spend("search_steps", self.steps_per_action)
        self.learner.tie(after)
        return after

    def reward_of(self, loss: float) -> float:
        return 0.0 if self.stayed is None else 100 * (self.stayed - loss)


WORLDS = {world.name: world for world in (FirstOrderGain, Paired)}


def train(
    experiment: Experiment,
    *,
    reward: str,
    optimistic: bool = False,
    data: TokenizedCorpus | None = None,
    **options: Any,
) -> RunRecord:
    """`train_dynamic` with the paper's agent, rewarded by one of WORLDS; the record's budget says what that cost.

    optimistic: Q begins at OPTIMISTIC for every action instead of about 0, so that what was tried least looks best, as
    it does with the paper's reward.
    """
    env = build_env(experiment, data, factory=WORLDS[reward])
    agent = build_agent(experiment, factory=functools.partial(QAgent, initial_value=OPTIMISTIC if optimistic else 0.0))
    return train_dynamic(experiment, env=env, agent=agent, data=data, **options)
