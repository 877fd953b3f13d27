"""Search without reinforcement: many fixed maps trained a little, the better half of them trained on.

Successive halving (Jamieson and Talwalkar 2016; Li et al. 2017). With one round it is random search, which Li and
Talwalkar (2019) and Yu et al. (2019) ask every architecture search to beat at equal budget.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlt_core import records
from dlt_core.algorithm1 import load_data, train_conventional
from dlt_core.experiments import Experiment
from dlt_core.records import RunRecord
from dlt_core.tie_map import TieMap, from_actions
from dlt_core.tokenization import TokenizedCorpus

SEARCH = 6  # random stream of a seed; learner.py, agents.py and comparison.py have the others


def random_maps(n_layer: int, number: int, seed: int) -> list[TieMap]:
    """So many different maps, each what a uniform policy leaves after one turn. Raises ValueError for too many."""
    if number > 1 and number > 2 ** (n_layer - 1):  # a lower bound of the Bell numbers
        raise ValueError(f"{number} different maps of {n_layer} layers are too many to draw")
    rng = np.random.default_rng((seed, SEARCH))
    found: dict[TieMap, None] = {}
    while len(found) < number:
        found[from_actions(n_layer, [(i, int(rng.integers(i + 1))) for i in range(1, n_layer)])] = None
    return list(found)


def rounds(candidates: int, turns: int, *, halving: bool) -> list[tuple[int, int]]:
    """(maps that take part, turns that each of them has been trained in all) for each round; `turns` in all together.

    halving: rounds of equal cost, each with half the maps of the one before, down to one map. Otherwise one round.
    Raises ValueError if the turns cannot be divided so, or `candidates` is no power of two.
    """
    if candidates < 1 or candidates & (candidates - 1):
        raise ValueError(f"candidates must be a power of two, got {candidates}")
    sizes = [candidates >> i for i in range(candidates.bit_length())] if halving else [candidates]
    each, rest = divmod(turns, candidates * len(sizes))
    if rest or not each:
        raise ValueError(
            f"{turns} turns cannot be shared by {candidates} maps in {len(sizes)} round{'s' * (len(sizes) > 1)}: "
            f"a multiple of {candidates * len(sizes)} is needed"
        )
    lengths = itertools.accumulate(each * candidates // size for size in sizes)
    return list(zip(sizes, lengths, strict=True))


def search(
    experiment: Experiment,
    out_dir: str | os.PathLike,
    *,
    candidates: int = 4,
    halving: bool = True,
    maps: Sequence[TieMap] | None = None,
    method: str | None = None,
    data: TokenizedCorpus | None = None,
) -> RunRecord:
    """Train `candidates` maps, random ones unless given, on the experiment's number of steps *in all*, keeping those
    with the lowest validation loss for the next round; the finished record of the one that is left.

    The best map is not trained from scratch again: its record is of the model that the search leaves, as for the
    agents. `record.agent` has all maps with their validation losses, round by round, and `record.budget` has the steps
    of the whole search, `search_steps`, beside those that went into this model.

    method: name in the record, "halving-4" or "best_of-4" by default.
    out_dir: folder for records/, candidates/ and checkpoints/; an interrupted search goes on from there.
    Raises ValueError as `rounds` and `random_maps`.
    """
    plan = rounds(candidates, experiment.episodes, halving=halving)
    maps = list(maps) if maps is not None else random_maps(experiment.n_layer, candidates, experiment.seed)
    if len(maps) != candidates:
        raise ValueError(f"{len(maps)} maps for {candidates} candidates")
    data = data or load_data(experiment)
    method = method or f"{'halving' if halving else 'best_of'}-{candidates}"
    per_turn = experiment.n_layer - 1
    alone = experiment.replace(episodes=plan[-1][1], evaluate_every=1)  # what the map that is left is trained for
    out, losses = Path(out_dir), dict.fromkeys(range(candidates), 0.0)
    history: list[dict[str, float]] = []
    paths: dict[int, Path] = {}
    for size, turns in plan:
        taking_part = sorted(losses, key=losses.__getitem__)[:size]
        losses = {}
        for i in taking_part:
            name = f"{method}-candidate{i}"
            key = records.key(alone.to_dict(), name, experiment.seed)
            path = paths[i] = out / "candidates" / f"{key}.json"
            places = {"record_path": path, "checkpoint": out / "checkpoints" / f"{key}.safetensors"}
            trained = len(RunRecord.load(path).curves["train"]["step"]) if path.exists() else 0
            if (missing := turns * per_turn - trained) > 0:
                train_conventional(alone, tie_map=maps[i], method=name, data=data, **places, max_decisions=missing)
            losses[i] = RunRecord.load(path).curves["validation"]["loss"][turns - 1]
        history.append({str(i): loss for i, loss in losses.items()})
    best = min(losses, key=losses.__getitem__)
    found = RunRecord.load(paths[best])
    found.method = method
    found.agent = {"class": "search", "maps": [list(m) for m in maps], "rounds": history, "chosen": best}
    found.budget["search_steps"] = experiment.episodes * per_turn * experiment.steps_per_action
    found.save(out / "records")
    return found
