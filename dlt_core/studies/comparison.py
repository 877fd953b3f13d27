"""The methods that are laid side by side, and how: same weights, batches, number of steps and evaluation for each.

`compare` runs methods by name; `mean_interval`, `paired_differences` and `verdict` say what several seeds allow to say.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from dlt_core import records
from dlt_core.agents import CycleAgent, FixedAgent, RandomAgent
from dlt_core.algorithm1 import train_conventional, train_dynamic
from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.experiments import Experiment, build_agent, build_learner, load_data
from dlt_core.records.record import RunRecord
from dlt_core.studies import gradient_rule, released_code, search
from dlt_core.studies.bandits import ThompsonAgent
from dlt_core.studies.dqn import DQNAgent
from dlt_core.studies.released_code import ReleasedCode
from dlt_core.tie_map import PATTERNS, TieMap, random_map

PERMUTATION, RANDOM_MAP = 5, 7  # random streams of a seed; learner.py, agents.py and search.py have the others
METHODS = {
    "dynamic": "Algorithm 1 with its Q-agent",
    "random": "Algorithm 1 with a die instead of the agent",
    "conventional": "all layers independent",
    "all_tied": "one weight set for all layers",
    **{name: f"the fixed pattern {name}, with half as many weight sets as layers" for name in PATTERNS},
    "policy_cycle": "Algorithm 1, each layer moving on to its next source in turn (released code)",
    "policy_pairs": "Algorithm 1, odd layers copying the one before (released code)",
    "policy_mirror": "Algorithm 1, the second half copying the first in reverse (released code)",
    "replay": "the ties of the dynamic run again, decision by decision",
    "permuted": "the same with the layers renamed",
    "retrained": "the dynamic run's last map from scratch, never moved",
    "random_map": "a random map with as many weight sets as the dynamic run's last, from scratch, never moved",
    "shallow": "half as many layers, all independent, with as many parameters as a pattern",
    "dqn": "Algorithm 1 with a DQN: replay, target network, double Q",
    "dqn_plus": "the same with one-hot states and standardised rewards",
    "thompson": "Algorithm 1 with a bandit for each layer",
}
# "halving-8" is a search over 8 maps instead of 4. It needs episodes that can be shared by them, see `search.rounds`.
SEARCHES = {
    "best_of": "fixed maps drawn at random, the steps shared by them, and the best of them",
    "halving": "the same, but half of them are dropped after each round, and the others trained on",
    "evolution": "the same, then as many children of the best, one action away from it, and the best trained on",
}
GRADIENT = re.compile(r"gradient-(\d+)-restart")  # the map that `gradient_rule` chooses, from scratch, never moved
AGENTS = ("dynamic", "random", "policy_cycle", "policy_pairs", "policy_mirror", "dqn", "dqn_plus", "thompson")
FOLLOWING = {"replay", "permuted", "retrained", "random_map"}  # what needs the dynamic run first
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
RELEASED["released-random"] = ReleasedCode.all()  # with a die instead of the agent


def compare(
    experiment: Experiment,
    methods: Iterable[str] = ("dynamic", "random", "conventional"),
    *,
    data: TokenizedCorpus | None = None,
    out_dir: str | os.PathLike | None = None,
    recorded: str | os.PathLike | None = None,
    on_decision: Callable[[RunRecord], None] | None = None,
) -> list[RunRecord]:
    """The finished record of each method, in the order asked for.

    methods: names from METHODS, SEARCHES or RELEASED. "sequence-2" is a pattern with 2 weight sets, "shallow-2" a model
    with 2 layers, "random-2" a die over the maps with 2 weight sets, "halving-8" a search over 8 maps, and
    "map-0-0-2-2" that map from scratch, never moved, "gradient-2-restart" the map with 2 weight sets that
    `gradient_rule` chooses, likewise; what the choice costs comes on top, see the record's budget.
    data: from `load_data`; loaded when it is needed. out_dir: folder for records/ and checkpoints/. A run whose record
    is there already is not run again, and an interrupted one goes on from its checkpoint.
    recorded: folder of records, such as the project's figures/records, that are taken instead of training, whatever
    code made them (their `versions` say). Only what it does not have is run.
    on_decision: called with the record after each decision (or k steps) of a run that is no search.

    Raises ValueError, before anything is run, for an unknown method (listing the known ones), an impossible number of
    weight sets, or settings that a variant of the released code does not have, and at the end if the recorded runs saw
    another text than those run now; TrainingDiverged as in `train_dynamic`.
    """
    methods = list(methods)
    for method in methods:
        pattern, _, groups = method.partition("-")
        if pattern in PATTERNS and (groups.isdecimal() or method == pattern):
            _pattern(method, experiment.n_layer)  # refuses an impossible number of weight sets
        elif pattern in SEARCHES and (groups.isdecimal() or method == pattern):
            search.rounds(int(groups or 4), experiment.episodes, strategy=pattern)  # refuses odd shares
            search.refuse_too_many(experiment.n_layer, int(groups or 4), strategy=pattern)
        elif pattern == "shallow" and (groups.isdecimal() or method == pattern):
            experiment.replace(n_layer=_number(method, experiment.n_layer))  # at least two layers
        elif pattern == "random" and groups.isdecimal():
            RandomAgent(experiment.n_layer, num_groups=int(groups), seed=experiment.seed)  # refuses impossible ones
        elif pattern == "map" and groups and all(map(str.isdecimal, method.split("-")[1:])):
            _given(method, experiment.n_layer)
        elif match := GRADIENT.fullmatch(method):
            TieMap.pattern("sequence", experiment.n_layer, int(match[1]))  # refuses an impossible number
        elif method in RELEASED:
            RELEASED[method].settings(experiment)  # refuses what makes no whole turns
        elif method not in METHODS:
            raise ValueError(
                f"unknown method {method!r}; known: {', '.join([*METHODS, *SEARCHES])}, patterns as in sequence-2, "
                "and the variants of the released code in comparison.RELEASED, such as described-with-frozen_start"
            )
    done: dict[str, RunRecord] = {}
    taken: set[str] = set()
    for method in (["dynamic"] if FOLLOWING & {*methods} else []) + methods:
        if method not in done:
            key = records.key(experiment.to_dict(), method, experiment.seed)
            if recorded is not None and (found := _recorded(Path(recorded) / f"{key}.json", experiment)):
                done[method] = found
                taken.add(method)
                continue
            data = data or load_data(experiment)
            places = {}
            if out_dir is not None:
                checkpoint = Path(out_dir) / "checkpoints" / f"{key}.safetensors"
                places = {"record_path": Path(out_dir) / "records", "checkpoint": checkpoint}
            name, _, number = method.partition("-")
            if name in SEARCHES:
                how = {"candidates": int(number or 4), "strategy": name, "method": method}
                with tempfile.TemporaryDirectory() as folder:
                    done[method] = search.search(experiment, out_dir or folder, data=data, **how)
                continue
            done[method] = _run(experiment, method, done, data=data, on_decision=on_decision, **places)
    plain = {method: record.corpus["sha256"] for method, record in done.items() if method not in RELEASED}
    if taken and len({*plain.values()}) > 1:  # the variants of the released code have a text of their own
        raise ValueError(
            f"the recorded runs of {experiment.name} saw another text than those run now (the embedded corpus "
            "is this Python's documentation): run all of them, with recorded=None"
        )
    return [done[method] for method in methods]


def _recorded(path: Path, experiment: Experiment) -> RunRecord | None:
    """The finished run of these settings; those that an older record does not know have their default in both."""
    if not path.exists():
        return None
    found, wanted = RunRecord.load(path), experiment.to_dict()
    defaults = {field.name: field.default for field in dataclasses.fields(Experiment) if field.name in wanted}
    return found if found.status == "finished" and defaults | found.experiment == wanted else None


def _run(experiment: Experiment, method: str, done: dict[str, RunRecord], **arguments: object) -> RunRecord:
    n_layer = experiment.n_layer
    if method == "conventional":
        return train_conventional(experiment, **arguments)
    if method.startswith("shallow"):
        return train_conventional(experiment, depth=_number(method, n_layer), method=method, **arguments)
    if method in AGENTS or method.startswith("random-"):
        groups = int(method.partition("-")[2] or 0) or None
        agent = {
            "dynamic": lambda: None,
            "dqn": lambda: build_agent(experiment, factory=DQNAgent),
            "dqn_plus": lambda: build_agent(
                experiment, factory=functools.partial(DQNAgent, one_hot=True, normalise=True)
            ),
            "thompson": lambda: ThompsonAgent(n_layer, seed=experiment.seed),
            "random": lambda: RandomAgent(n_layer, num_groups=groups, seed=experiment.seed),
            "policy_cycle": lambda: CycleAgent(n_layer),
            "policy_pairs": lambda: FixedAgent(TieMap.pattern("pairs", n_layer)),
            "policy_mirror": lambda: FixedAgent(TieMap.pattern("mirror", n_layer)),
        }[method.partition("-")[0]]()
        return train_dynamic(experiment, agent=agent, method=method, **arguments)
    if method in RELEASED:
        die = RandomAgent(n_layer, seed=experiment.seed) if method == "released-random" else None
        return released_code.train(experiment, RELEASED[method], agent=die, method=method, **arguments)
    chosen = {}
    if match := GRADIENT.fullmatch(method):
        maps, by = gradient_rule.choose_map(build_learner(experiment, arguments["data"]), int(match[1]))
        chosen = {"chosen_by": by}
    elif method in ("replay", "permuted"):
        maps = [TieMap(m) for m in done["dynamic"].history["tie_map"]]
        if method == "permuted":
            order = permutation(n_layer, experiment.seed)
            maps = [permuted(tie_map, order) for tie_map in maps]
    elif method == "retrained":
        maps = TieMap(done["dynamic"].final_tie_map)
    elif method == "random_map":
        groups = TieMap(done["dynamic"].final_tie_map).num_independent
        maps = random_map(n_layer, groups, np.random.default_rng((experiment.seed, RANDOM_MAP)).random)
    elif method.startswith("map-"):
        maps = _given(method, n_layer)
    elif method == "all_tied":
        maps = TieMap.all_tied(n_layer)
    else:
        maps = _pattern(method, n_layer)
    return train_conventional(experiment, tie_map=maps, method=method, **chosen, **arguments)


def _given(method: str, n_layer: int) -> TieMap:
    """The map of "map-0-0-2-2". Raises ValueError for another number of layers, or what is no map."""
    found = TieMap([int(source) for source in method.split("-")[1:]])
    if len(found) != n_layer:
        raise ValueError(f"{method!r} has {len(found)} layers, the experiment has {n_layer}")
    return found


def _pattern(method: str, n_layer: int) -> TieMap:
    """The map of "sequence", with half as many weight sets as layers, or of "sequence-2"."""
    return TieMap.pattern(method.partition("-")[0], n_layer, _number(method, n_layer))


def _number(method: str, n_layer: int) -> int:
    """The 2 of "sequence-2"; half of the layers if nothing is said."""
    number = method.partition("-")[2]
    return int(number) if number else math.ceil(n_layer / 2)


def permutation(n_layer: int, seed: int) -> list[int]:
    """A new order of the layers, drawn from the seed; never the old one. Layer i becomes layer order[i]."""
    rng = np.random.default_rng((seed, PERMUTATION))
    while True:
        order = rng.permutation(n_layer).tolist()
        if order != sorted(order):
            return order


def permuted(tie_map: TieMap, order: Sequence[int]) -> TieMap:
    """The map with layer i renamed order[i]: as many weight sets of the same sizes, in other places."""
    labels = [0] * len(tie_map)
    for i, source in enumerate(tie_map):
        labels[order[i]] = source
    return TieMap.from_labels(labels)
