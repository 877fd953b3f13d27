"""The registry of methods: by what name each goes, what it trains and how, and what it refuses.

A new method is one more entry of `REGISTRY`, for example

    "greedy": decided("Algorithm 1 with an agent that never explores", lambda e: GreedyAgent(e.n_layer, seed=e.seed)),
"""

from __future__ import annotations

import functools
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlt_core import records
from dlt_core.agents import CycleAgent, FixedAgent, RandomAgent
from dlt_core.algorithm1 import train_conventional, train_dynamic
from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.experiments import Experiment, build_agent
from dlt_core.records.record import RunRecord
from dlt_core.studies import released_code, search, stable_baselines
from dlt_core.studies.bandits import ThompsonAgent
from dlt_core.studies.dqn import DQNAgent
from dlt_core.studies.released_code import ReleasedCode
from dlt_core.studies.rule import methods as rule
from dlt_core.studies.rule import rewards
from dlt_core.tie_map import PATTERNS, TieMap, random_map

MOST_LAYERS = 12  # for a method that tries every action
PERMUTATION, RANDOM_MAP = 5, 7  # random streams of a seed; learner.py, agents.py and search.py have the others


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An entry of the registry: what a method is, and how it is trained."""

    about: str
    """In a few words."""
    train: Callable[..., RunRecord]
    """Called with the experiment, `data`, `method`, where to write, and `arguments`."""
    arguments: Callable[..., dict[str, Any]]
    """(experiment, *numbers of the name) -> more arguments for `train`; ValueError for what cannot be trained."""
    numbers: range = range(1)
    """How many numbers may follow the name, as the 2 of "sequence-2"."""
    follows: bool = False
    """It follows the dynamic run: `arguments` gets that run's record instead of numbers."""
    alone: bool = False
    """Several processes cannot share its run."""


FROM_A_CHECKPOINT = (train_dynamic, train_conventional, stable_baselines.learn_with)  # where `init_from` has a meaning


@dataclass(frozen=True)
class Method:
    """A method by its name, see `parse`."""

    name: str
    recipe: Recipe
    numbers: tuple[int, ...] = ()

    @property
    def in_one_process(self) -> bool:
        """Whether several processes cannot share its run."""
        return self.recipe.alone

    def settings(self, experiment: Experiment) -> Experiment:
        """Those that its record has: the experiment's, unless it is a variant of the released code with some of its
        own."""
        released = RELEASED.get(self.name)
        return experiment if released is None else released.settings(experiment)

    def train(
        self,
        experiment: Experiment,
        done: Mapping[str, RunRecord],
        *,
        data: TokenizedCorpus,
        out_dir: str | os.PathLike[str] | None = None,
        on_decision: Callable[[RunRecord], None] | None = None,
        checkpoint_seconds: float | None = None,
    ) -> RunRecord:
        """The finished record of this method.

        done: records by method, with that of "dynamic" for a method that follows it. out_dir: folder for records/ and
        checkpoints/; an interrupted run goes on from there. on_decision, checkpoint_seconds: as in `train_dynamic`; the
        first not for a search.
        """
        arguments = self.recipe.arguments(experiment, *([done["dynamic"]] if self.recipe.follows else self.numbers))
        arguments["checkpoint_seconds"] = checkpoint_seconds
        if self.recipe.train is search.search:  # its candidates have records and checkpoints, too
            arguments["out_dir"] = out_dir
            return search.search(experiment, method=self.name, data=data, **arguments)
        if out_dir is not None:
            key = records.key(experiment.to_dict(), self.name, experiment.seed)
            arguments["record_path"] = Path(out_dir) / "records"
            arguments["checkpoint"] = Path(out_dir) / "checkpoints" / f"{key}.safetensors"
        return self.recipe.train(experiment, method=self.name, data=data, on_decision=on_decision, **arguments)


def parse(name: str, experiment: Experiment) -> Method:
    """The method of this name. Raises ValueError for an unknown one, listing what is known, and for what the experiment
    cannot have: an impossible number of weight sets or layers, budgets that a search cannot divide, settings that a
    variant of the released code does not know, a method with a beginning of its own after `init_from`."""
    base = base_name(name)
    numbers = [] if base == name else re.findall(r"-(\d+)(?=-|$)", name)
    recipe = REGISTRY.get(base)
    if recipe is None or len(numbers) not in recipe.numbers:
        raise ValueError(
            f"unknown method {name!r}; known: {', '.join(known())}, with a number of weight sets as in sequence-2 and "
            "gradient-2-restart, and the variants of the released code in methods.RELEASED, such as "
            "described-with-frozen_start"
        )
    method = Method(name, recipe, tuple(map(int, numbers)))
    if experiment.init_from is not None and recipe.train not in FROM_A_CHECKPOINT:
        raise ValueError(f"{name} begins in its own way: leave init_from out, or take an agent or a fixed map")
    if not recipe.follows:
        recipe.arguments(experiment, *method.numbers)
    return method


def known() -> list[str]:
    """The names in the registry, without the variants of the released code."""
    return [name for name in REGISTRY if name not in RELEASED]


def base_name(name: str) -> str:
    """A method's name in the registry: "sequence" for "sequence-2", "gradient-restart" for "gradient-2-restart"."""
    return name if name in REGISTRY else re.sub(r"-\d+(?=-|$)", "", name, flags=re.ASCII)


def decided(about: str, agent: Callable[..., Any], numbers: range = range(1)) -> Recipe:
    """Algorithm 1 with the agent that `agent(experiment, *numbers)` makes."""
    return Recipe(about=about, train=train_dynamic, arguments=lambda *given: {"agent": agent(*given)}, numbers=numbers)


def fixed(about: str, ties: Callable[..., TieMap | None], numbers: range = range(1)) -> Recipe:
    """Training with the ties of `ties(experiment, *numbers)`, which never move; None: all layers independent."""
    return Recipe(
        about=about, train=train_conventional, arguments=lambda *given: {"tie_map": ties(*given)}, numbers=numbers
    )


def following(about: str, ties: Callable[[Experiment, RunRecord], TieMap | list[TieMap]]) -> Recipe:
    """Training with ties that `ties(experiment, record)` takes from the dynamic run: one map, or one a decision."""
    return Recipe(
        about=about, train=train_conventional, arguments=lambda *given: {"tie_map": ties(*given)}, follows=True
    )


def restarted(by: str, about: str, numbers: range = range(1, 2)) -> Recipe:
    """A map that is found first, with as many weight sets as the name says, and trained from scratch."""
    train = functools.partial(rule.train_restarted, chosen_by=rule.CHOSEN_BY[by])
    return Recipe(about=about, train=train, arguments=_num_groups, numbers=numbers, alone=by == "cka")


def searched(strategy: str, about: str) -> Recipe:
    """A search over 4 maps, or as many as the name says."""

    def arguments(experiment: Experiment, candidates: int = 4) -> dict[str, Any]:
        search.rounds(candidates, experiment.episodes, strategy=strategy)  # refuses turns that cannot be divided
        search.refuse_too_many(experiment.n_layer, candidates, strategy=strategy)
        return {"candidates": candidates, "strategy": strategy}

    return Recipe(about=about, train=search.search, arguments=arguments, numbers=range(2), alone=True)


def released(variant: ReleasedCode, about: str, agent: Callable[[Experiment], Any] = lambda e: None) -> Recipe:
    """A variant of the released code, with the paper's agent unless `agent(experiment)` is another."""

    def arguments(experiment: Experiment) -> dict[str, Any]:
        variant.settings(experiment)  # refuses what makes no whole turns
        return {"released": variant, "agent": agent(experiment)}

    return Recipe(about=about, train=released_code.train, arguments=arguments, alone=True)


def outside(name: str, about: str) -> Recipe:
    """A model of `stable_baselines.MODELS`, in whose hands the run is."""

    def arguments(experiment: Experiment) -> dict[str, Any]:
        stable_baselines.refuse(name, experiment)
        return {"make_model": functools.partial(stable_baselines.build_model, name, experiment)}

    return Recipe(about=about, train=stable_baselines.learn_with, arguments=arguments, alone=True)


def _random_agent(experiment: Experiment, num_groups: int | None = None) -> RandomAgent:
    return RandomAgent(experiment.n_layer, num_groups=num_groups, seed=experiment.seed)


def _pattern(name: str, experiment: Experiment, num_groups: int | None = None) -> TieMap:
    """The map of "sequence", with half as many weight sets as layers, or of "sequence-2"."""
    n_layer = experiment.n_layer
    return TieMap.pattern(name, n_layer, math.ceil(n_layer / 2) if num_groups is None else num_groups)


def _shallow(experiment: Experiment, depth: int | None = None) -> dict[str, Any]:
    depth = math.ceil(experiment.n_layer / 2) if depth is None else depth
    experiment.replace(n_layer=depth)  # refuses fewer than two layers
    return {"depth": depth}


def _num_groups(experiment: Experiment, num_groups: int | None = None) -> dict[str, Any]:
    if num_groups is not None:
        TieMap.pattern("sequence", experiment.n_layer, num_groups)  # refuses an impossible number
    return {"num_groups": num_groups}


def _few_layers(experiment: Experiment) -> dict[str, Any]:
    if experiment.n_layer > MOST_LAYERS:
        raise ValueError(f"fork_commit_freeze tries all actions: {experiment.n_layer} layers have too many, at most "
                         f"{MOST_LAYERS} are possible")  # fmt: skip
    return {}


def _given(experiment: Experiment, *sources: int) -> TieMap:
    """The map of "map-0-0-2-2". Raises ValueError for another number of layers, or what is no map."""
    tie_map = TieMap(sources)
    if len(tie_map) != experiment.n_layer:
        name = "-".join(map(str, ("map", *sources)))
        raise ValueError(f"{name!r} has {len(tie_map)} layers, the experiment has {experiment.n_layer}")
    return tie_map


def _replayed(experiment: Experiment, dynamic: RunRecord) -> list[TieMap]:
    return [TieMap(tie_map) for tie_map in dynamic.history["tie_map"]]


def _permuted(experiment: Experiment, dynamic: RunRecord) -> list[TieMap]:
    order = permutation(experiment.n_layer, experiment.seed)
    return [permuted(tie_map, order) for tie_map in _replayed(experiment, dynamic)]


def _last_map(experiment: Experiment, dynamic: RunRecord) -> TieMap:
    return TieMap(dynamic.required(dynamic.final_tie_map))


def _random_map(experiment: Experiment, dynamic: RunRecord) -> TieMap:
    rng = np.random.default_rng((experiment.seed, RANDOM_MAP))
    return random_map(experiment.n_layer, _last_map(experiment, dynamic).num_independent, rng.random)


def permutation(n_layer: int, seed: int) -> list[int]:
    """A new order of the layers, drawn from the seed; never the old one. Layer i becomes layer order[i]."""
    rng = np.random.default_rng((seed, PERMUTATION))
    while True:
        order: list[int] = rng.permutation(n_layer).tolist()
        if order != sorted(order):
            return order


def permuted(tie_map: TieMap, order: Sequence[int]) -> TieMap:
    """The map with layer i renamed order[i]: as many weight sets of the same sizes, in other places."""
    labels = [0] * len(tie_map)
    for i, source in enumerate(tie_map):
        labels[order[i]] = source
    return TieMap.from_labels(labels)


_PLAIN = {
    "dynamic": decided("Algorithm 1 with its Q-agent", build_agent),
    "random": decided("Algorithm 1 with the random agent", _random_agent, range(2)),
    "conventional": fixed("all layers independent", lambda e: None),
    "all_tied": fixed("one weight set for all layers", lambda e: TieMap.all_tied(e.n_layer)),
    **{
        name: fixed(
            f"the fixed pattern {name}, with half as many weight sets as layers",
            functools.partial(_pattern, name),
            range(2),
        )
        for name in PATTERNS
    },
    "policy_cycle": decided(
        "Algorithm 1, each layer moving on to the next one that it can be tied to (released code)",
        lambda e: CycleAgent(e.n_layer),
    ),
    "policy_pairs": decided(
        "Algorithm 1, odd layers copying the one before (released code)",
        lambda e: FixedAgent(TieMap.pattern("pairs", e.n_layer)),
    ),
    "policy_mirror": decided(
        "Algorithm 1, the second half copying the first in reverse (released code)",
        lambda e: FixedAgent(TieMap.pattern("mirror", e.n_layer)),
    ),
    "replay": following("the ties of the dynamic run again, decision by decision", _replayed),
    "permuted": following("the same with the layers renamed", _permuted),
    "retrained": following("the dynamic run's last map from scratch, never moved", _last_map),
    "random_map": following(
        "a random map with as many weight sets as the dynamic run's last, from scratch, never moved", _random_map
    ),
    "shallow": Recipe(
        about="half as many layers, all independent, with as many parameters as a pattern",
        train=train_conventional,
        arguments=_shallow,
        numbers=range(2),
    ),
    "dqn": decided(
        "Algorithm 1 with a DQN: replay, target network, double Q", lambda e: build_agent(e, factory=DQNAgent)
    ),
    "dqn_plus": decided(
        "the same with one-hot states and standardised rewards",
        lambda e: build_agent(e, factory=functools.partial(DQNAgent, one_hot=True, normalise=True)),
    ),
    "thompson": decided("Algorithm 1 with a bandit for each layer", lambda e: ThompsonAgent(e.n_layer, seed=e.seed)),
}
METHODS = {name: recipe.about for name, recipe in _PLAIN.items()}
# "halving-8" is a search over 8 maps instead of 4. It needs episodes that can be shared by them, see `search.rounds`.
SEARCHES = {
    "best_of": "fixed maps drawn at random, the steps shared by them, and the best of them",
    "halving": "the same, but half of them are dropped after each round, and the others trained on",
    "evolution": "the same, then as many children of the best, one action away from it, and the best trained on",
}
# From the code as released to the paper as described, one difference less each time; the marked blocks first, since the
# text is another with them ...
_NAMES = ReleasedCode.names()
TAKEN_OUT_IN_TURN = ("marked_blocks", *_NAMES[:-1])
LADDER = [ReleasedCode.all().without(*TAKEN_OUT_IN_TURN[:i]) for i in range(len(_NAMES) + 1)]
# ... each difference alone put into the one, and taken out of the other ...
PUT_IN = {name: ReleasedCode(**{name: True}) for name in _NAMES}
TAKEN_OUT = {name: ReleasedCode.all().without(name) for name in _NAMES}
# ... and all weights in one storage that gets one position's gradient, with nothing else from the released code.
COLLAPSE = ReleasedCode(aliased_storage=True, source_gradient=True)
RELEASED = {variant.method: variant for variant in [*LADDER, *PUT_IN.values(), *TAKEN_OUT.values(), COLLAPSE]}
RELEASED["released-random"] = ReleasedCode.all()  # with the random agent

REGISTRY: dict[str, Recipe] = {
    **_PLAIN,
    "gradient": Recipe(
        about="all layers tied, then untied once where gradients disagree most; gradient-2 into 2 weight sets",
        train=rule.train_on,
        arguments=_num_groups,
        numbers=range(2),
    ),
    "gradient-restart": restarted("gradient", "the map that this finds, from scratch, never moved", range(2)),
    "weights-restart": restarted("weights", "layers tied whose weights are alike after a short training"),
    "cka-restart": restarted("cka", "layers tied whose outputs are alike (CKA) after a short training"),
    "share_unshare": Recipe(
        about="all layers tied at first, then all independent (Yang et al. 2021)",
        train=rule.train_shared_then_unshared,
        arguments=lambda e: {},
    ),
    "fork_commit_freeze": Recipe(
        about="three decisions, each after trials of all maps one action away, then none",
        train=rule.train_forking,
        arguments=_few_layers,
    ),
    **{
        f"dynamic_{reward}{optimism}": Recipe(
            about=f"Algorithm 1 with its Q-agent and the reward {reward}{', optimistic' if optimism else ''}",
            train=functools.partial(rewards.train, reward=reward, optimistic=bool(optimism)),
            arguments=lambda e: {},
        )
        for reward in rewards.WORLDS
        for optimism in ("", "_optimistic")
    },
    **{name: outside(name, about) for name, about in stable_baselines.MODELS.items()},
    "map": fixed("the map with these entries, as in map-0-0-2-2, never moved", _given, range(1, sys.maxsize)),
    **{strategy: searched(strategy, about) for strategy, about in SEARCHES.items()},
    **{name: released(variant, "a variant of the released code") for name, variant in RELEASED.items()},
    "released-random": released(ReleasedCode.all(), "the released code with the random agent", _random_agent),
}
