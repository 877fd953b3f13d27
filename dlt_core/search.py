"""Search without reinforcement: many fixed maps trained a little, the better half of them trained on.

Successive halving (Jamieson and Talwalkar 2016; Li et al. 2017). With one round it is random search, which Li and
Talwalkar (2019) and Yu et al. (2019) ask every architecture search to beat at equal budget.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlt_core import checkpoints, records
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
    agents. `record.agent` has all maps with their validation losses, round by round. `record.budget` and `seconds` are
    those of the whole search; `steps_of_the_chosen` went into this model, and its curves have only these.

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
    out, per_turn = Path(out_dir), experiment.n_layer - 1
    finished = out / "records" / f"{records.key(experiment.to_dict(), method, experiment.seed)}.json"
    if finished.exists():
        found = RunRecord.load(finished)
        if (
            _same(found, data)
            and found.experiment == experiment.to_dict()
            and found.agent["maps"] == list(map(list, maps))
        ):
            return found
    alone = experiment.replace(episodes=plan[-1][1], evaluate_every=1)  # what the map that is left is trained for
    losses = dict.fromkeys(range(candidates), 0.0)
    history: list[dict[str, float]] = []
    runs: dict[int, RunRecord] = {}
    for size, turns in plan:
        taking_part = sorted(losses, key=losses.__getitem__)[:size]
        for i in taking_part:
            name = f"{method}-{hashlib.sha256(repr(maps[i]).encode()).hexdigest()[:8]}"
            key = records.key(alone.to_dict(), name, experiment.seed)
            places = {
                "record_path": out / "candidates" / f"{key}.json",
                "checkpoint": out / "checkpoints" / f"{key}.safetensors",
            }
            missing = turns * per_turn - _trained(*places.values(), data)
            if missing > 0:
                train_conventional(alone, tie_map=maps[i], method=name, data=data, **places, max_decisions=missing)
            runs[i] = RunRecord.load(places["record_path"])
        losses = {i: runs[i].curves["validation"]["loss"][turns - 1] for i in taking_part}
        history.append({str(i): loss for i, loss in losses.items()})
    best = min(losses, key=losses.__getitem__)
    found = dataclasses.replace(runs[best], experiment=experiment.to_dict(), method=method)
    found.agent = {"class": "search", "maps": [list(m) for m in maps], "rounds": history, "chosen": best}
    steps = experiment.episodes * per_turn * experiment.steps_per_action
    tokens = steps * experiment.batch_size * experiment.block_size
    own = found.budget["optimizer_steps"]
    found.budget = {"optimizer_steps": steps, "tokens": tokens, "steps_of_the_chosen": own}
    found.seconds = sum(run.seconds for run in runs.values())
    found.save(finished)
    return found


def _same(record: RunRecord, data: TokenizedCorpus) -> bool:
    """Whether it was made by this code, on this text."""
    return record.versions == records.versions() and record.corpus["sha256"] == data.corpus.sha256


def _trained(record_path: Path, checkpoint: Path, data: TokenizedCorpus) -> int:
    """Decisions that a candidate has been trained for; what other code made, or on another text, is removed."""
    record = RunRecord.load(record_path) if record_path.exists() else None
    if record is not None and _same(record, data):
        if record.status == "finished":
            return len(record.curves["train"]["step"])
    elif record is not None:
        record_path.unlink()
        checkpoint.unlink(missing_ok=True)
    return checkpoints.load(checkpoint)[1]["done"] if checkpoint.exists() else 0
