"""The authors' released code beside the paper's description, difference by difference, for notebook 11.

Written afresh from a description of github.com/tamirdh/Dynamic-Layer-Tying at commit f1f1529; no line of it is taken.
The paper's own experiments may have used other code.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import nn

from dlt_core.algorithm1 import train_dynamic
from dlt_core.blocks import find_blocks
from dlt_core.corpora.tokenization import TokenizedCorpus, marked_blocks
from dlt_core.env import LayerTyingEnv
from dlt_core.experiments import Experiment, build_env, build_learner, load_data
from dlt_core.learner.training import Learner
from dlt_core.records.record import RunRecord
from dlt_core.tie_map import TieMap
from dlt_core.tying import weight_sets


@dataclass(frozen=True, kw_only=True)
class ReleasedCode:
    """Which differences are in force: `ReleasedCode(aliased_storage=True)` is the paper as described with one of them,
    `ReleasedCode.all().without("aliased_storage")` the code as released without it. With none it is Algorithm 1, in
    fp32 to the last bit. Numbers: the README's. No switches: length of conventional training, when memory is read."""

    clipped_reward: bool = False
    """1. The reward is cut to [-10, 10]."""
    aliased_storage: bool = False
    """2. A layer that becomes independent is trained in the storage of its former root; otherwise in a copy."""
    source_gradient: bool = False
    """3. A tied position contributes no gradient."""
    frozen_start: bool = False
    """4. Layers keep random weights, untrained, until they are first decided about; otherwise all start tied."""
    stale_pointers: bool = False
    """5. s_i = a even if a is tied, whatever becomes of a; otherwise the root, and a layer's followers move with it."""
    four_steps: bool = False
    """6a. k = 4, in as many turns as make the same number of steps."""
    low_epsilon: bool = False
    """6b. The floor of ε is 0.01."""
    test_selects: bool = False
    """7. The best model is the one that is best on the test split."""
    kept_optimizer_state: bool = False
    """8. A tied layer's moments stay, to be taken up again; otherwise they are freed, and its root's are copied."""
    bf16_weights: bool = False
    """9. The weights themselves are bfloat16, without autocast."""
    marked_blocks: bool = False
    """10. Blank lines are dropped, and each block is BOS, T - 1 tokens, EOS."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the differences, in order."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def all(cls) -> ReleasedCode:
        """The code as released."""
        return cls(**dict.fromkeys(cls.names(), True))

    def without(self, *names: str) -> ReleasedCode:
        """The same with these differences taken out."""
        return replace(self, **dict.fromkeys(names, False))

    @property
    def method(self) -> str:
        """A name for the record: "released", "described", or what is taken out or put in."""
        inside, outside = ([n for n, there in asdict(self).items() if there is value] for value in (True, False))
        if not inside or not outside:
            return "released" if inside else "described"
        return "-".join(["released-without", *outside] if len(outside) < len(inside) else ["described-with", *inside])

    def settings(self, experiment: Experiment) -> Experiment:
        """The experiment with those that are its options. ValueError for no whole turns of k = 4, other `orphans`, and
        `freeze_after`."""
        if experiment.freeze_after is not None:  # a pointer that goes stale moves without a decision
            raise ValueError(f"freeze_after={experiment.freeze_after}: these variants decide to the end, leave it out")
        if experiment.orphans != "follow":
            raise ValueError(f"orphans={experiment.orphans!r}: these variants know only 'follow'")
        options = {
            "reward": self.clipped_reward and "neg_perplexity_clipped",
            "gradient": self.source_gradient and "source",
            "epsilon_min": self.low_epsilon and 0.01,
        }
        changes: dict[str, Any] = {name: value for name, value in options.items() if value}
        if self.four_steps:
            k, turns = experiment.steps_per_action, experiment.episodes
            if turns * k % 4:
                raise ValueError(f"{turns} turns of k = {k} do not make whole turns of k = 4")
            every = max(1, round(experiment.evaluate_every * k / 4))
            changes |= {"steps_per_action": 4, "episodes": turns * k // 4, "evaluate_every": every}
        return experiment.replace(**changes)


class Pointers(TieMap):
    """The released code's state. Need not be canonical: it may say other ties than the weights have."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(map(int, self.sources)))

    def with_action(self, layer: int, action: int, *, orphans: str = "follow") -> Pointers:
        return Pointers((*self.sources[:layer], action, *self.sources[layer + 1 :]))


def apply_action(blocks: Sequence[nn.Module], state: list[int], layer: int, action: int) -> list[int]:
    """What the released code does with an action, on any list of equal modules; returns `state`, changed in place.

    action < layer: each parameter of the layer gets the storage that layer `action` has now, and is not trained.
    action = layer: it is trained; its storage stays where it is. Raises ValueError for an action that it has not.
    """
    if not 0 <= action <= layer < len(blocks):
        raise ValueError(f"layer {layer} of {len(blocks)} has the actions 0..{layer}, got {action}")
    if [p.shape for p in blocks[layer].parameters()] != [p.shape for p in blocks[action].parameters()]:
        raise ValueError(f"layers {layer} and {action} are of unlike shape")
    for mine, theirs in zip(blocks[layer].parameters(), blocks[action].parameters(), strict=True):
        if action != layer:
            mine.data = theirs.data
        mine.requires_grad_(action == layer)
    state[layer] = action
    return state


class ReleasedLearner(Learner):
    """A learner whose layers keep Parameters of their own, which may lie in one storage."""

    def __init__(self, *arguments: Any, released: ReleasedCode, **settings: Any) -> None:
        self.released = released
        if released.bf16_weights:
            settings["precision"] = "bf16-weights"
        super().__init__(*arguments, **settings)

    def restart(self, seed: int) -> None:
        super().restart(seed)
        self.blocks = find_blocks(self.model)
        if self.device.type != "cpu":  # done together, on a GPU, steps in one storage would be lost
            self.optimizer.param_groups[0].update(fused=False, foreach=False)
        self.state = [0] * len(self.blocks)
        self.hooks: list[torch.utils.hooks.RemovableHandle] = []
        for layer in range(1, len(self.blocks)) if not self.released.frozen_start else ():
            apply_action(self.blocks, self.state, layer, 0)
        self.obey(self.state)

    @property
    def tie_map(self) -> TieMap:
        """The layers that have one storage."""
        return weight_sets(self.blocks)

    def tie(self, tie_map: TieMap) -> None:
        """Give the layers these storages, whatever the state says: for weights that are put back."""
        for block, root in zip(self.blocks, tie_map, strict=True):
            for mine, theirs in zip(block.parameters(), self.blocks[root].parameters(), strict=True):
                mine.data = mine.data.clone() if mine is theirs else theirs.data
                mine.requires_grad_(True)

    def act(self, layer: int, state: TieMap | Sequence[int]) -> None:
        """An action on `layer` has led to `state`: move this layer, and those that follow it."""
        for i, pointer in enumerate(state):
            if i == layer or pointer != self.state[i]:
                self._move(i, pointer)
        self.obey(state)

    def _move(self, layer: int, pointer: int) -> None:
        moments, trainer = self.optimizer.state, self._trainer(layer)
        mine = list(self.blocks[layer].parameters())
        begins = pointer == layer != self.state[layer]
        apply_action(self.blocks, self.state, layer, pointer)
        for p, theirs in zip(mine, trainer.parameters() if begins and trainer is not None else mine, strict=True):
            if begins and not self.released.aliased_storage:
                p.data = p.data.clone()
            if not self.released.kept_optimizer_state and pointer != layer:
                moments.pop(p, None)
            elif not self.released.kept_optimizer_state and p is not theirs and theirs in moments:
                moments[p] = {name: value.clone() for name, value in moments[theirs].items()}

    def _trainer(self, layer: int) -> nn.Module | None:
        """The layer that trains this layer's storage: the one it points to, or else the lowest."""
        ties, pointer = self.tie_map, self.state[layer]
        trained = [i for i, s in enumerate(self.state) if s == i and ties[i] == ties[layer]]
        return self.blocks[pointer if pointer in trained else trained[0]] if trained else None

    def obey(self, state: TieMap | Sequence[int]) -> None:
        """Train what `state` calls independent; "shared" gradients of tied positions go to their storage's trainer."""
        self.state = list(state)
        while self.hooks:
            self.hooks.pop().remove()
        for i, block in enumerate(self.blocks):
            trainer = self._trainer(i) if self.gradient == "shared" and self.state[i] != i else None
            block.requires_grad_(self.state[i] == i or trainer is not None)
            for mine, theirs in zip(block.parameters(), trainer.parameters(), strict=True) if trainer else ():
                self.hooks.append(mine.register_post_accumulate_grad_hook(functools.partial(_give, theirs)))


def _give(receiver: nn.Parameter, giver: nn.Parameter) -> None:
    """Add one Parameter's gradient to another's."""
    if giver.grad is not None:
        receiver.grad = giver.grad if receiver.grad is None else receiver.grad + giver.grad
    giver.grad = None


class ReleasedEnv(LayerTyingEnv):
    """Algorithm 1's world with the differences in it. Beside the state it notes how many storages there are."""

    learner: ReleasedLearner

    def tie_all(self) -> TieMap:  # the learner ties its model itself
        return (Pointers if self.learner.released.stale_pointers else TieMap).all_tied(self.n_layer)

    def transition(self, layer: int, action: int) -> TieMap:
        tie_map = self.tie_map.with_action(layer, action)
        self.learner.act(layer, tie_map)
        return tie_map

    @property
    def selection(self) -> str:
        return "test" if self.learner.released.test_selects else "validation"

    @property
    def settings(self) -> dict[str, Any]:
        return {"released_code": asdict(self.learner.released)}

    @property
    def history(self) -> dict[str, Any]:
        return {"state": list(self.tie_map), "weight_sets": self.learner.tie_map.num_independent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.learner.obey(self.tie_map)


def train(
    experiment: Experiment, released: ReleasedCode | None = None, *, data: TokenizedCorpus | None = None, **options: Any
) -> RunRecord:
    """`train_dynamic` with the given differences, all by default, for as many steps, evaluated on as much text. The
    method is `released.method`, with the agent's if one is given. data: from `load_data`. Other options as there.

    The history has two counts for each decision: `num_independent` by the state, `weight_sets` by storage. `tie_map` is
    the ties by storage, `state` the agent's state. If the test split selects, its curve is under `curves["test"]`.
    """
    released = ReleasedCode.all() if released is None else released
    experiment = released.settings(experiment)
    data, changes = data or load_data(experiment), {}
    if released.marked_blocks:
        T, limit = experiment.block_size, experiment.evaluation_tokens
        data, changes["evaluation_tokens"] = marked_blocks(data, T), limit and math.ceil(limit * T / (T - 1))
    learner = build_learner(
        experiment.replace(**changes), data, factory=functools.partial(ReleasedLearner, released=released)
    )
    env = build_env(experiment, learner=learner, factory=ReleasedEnv)
    name = f"{released.method}-{options['agent'].method}" if options.get("agent") else released.method
    return train_dynamic(experiment, **{"env": env, "method": name, "data": data, **options})
