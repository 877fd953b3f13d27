"""Search without reinforcement: many fixed maps trained a little, the better ones of them trained on.

Successive halving (Jamieson and Talwalkar 2016; Li et al. 2017). With one round it is random search, which Li and
Talwalkar (2019) and Yu et al. (2019) ask every architecture search to beat at equal budget. Evolution (after Real et
al. 2019, without their aging) changes the best map by one action at a time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from dlt_core import records
from dlt_core.algorithm1 import train_conventional
from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.experiments import Experiment, load_data
from dlt_core.records import checkpoints
from dlt_core.records.record import RunRecord
from dlt_core.tie_map import TieMap, from_actions

STRATEGIES = ("best_of", "halving", "evolution")
SEARCH = 6  # random stream of a seed; learner.py, agents.py and methods.py have the others


def refuse_too_many(n_layer: int, candidates: int, *, strategy: str = "best_of") -> None:
    """Raises ValueError unless so many layers certainly have enough different maps; evolution needs twice as many, for
    the children."""
    number = candidates * (2 if strategy == "evolution" else 1)
    if number > 1 and number > 2 ** (n_layer - 1):  # a lower bound of the Bell numbers
        raise ValueError(f"{number} different maps of {n_layer} layers are too many to draw")


def random_maps(n_layer: int, number: int, seed: int) -> list[TieMap]:
    """Different maps, each what a uniform policy leaves after one turn. Raises ValueError for too many."""
    refuse_too_many(n_layer, number)
    rng = np.random.default_rng((seed, SEARCH))
    drawn: dict[TieMap, None] = {}
    while len(drawn) < number:
        drawn[from_actions(n_layer, [(i, int(rng.integers(i + 1))) for i in range(1, n_layer)])] = None
    return list(drawn)


def rounds(candidates: int, turns: int, *, strategy: str) -> list[tuple[int, int]]:
    """(maps that take part, turns that each of them has been trained in all) for each round; `turns` in all together.

    "best_of": one round. "halving": rounds of equal cost, each with half the maps of the one before, down to one map.
    "evolution": a round of all maps, whose children cost as much again, and one of the best map.
    Raises ValueError if the turns cannot be divided so, `candidates` is no power of two, or the strategy is unknown.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    if candidates < 1 or candidates & (candidates - 1):
        raise ValueError(f"candidates must be a power of two, got {candidates}")
    shares = {"best_of": 1, "halving": candidates.bit_length(), "evolution": 3}[strategy]
    each, rest = divmod(turns, candidates * shares)
    if rest or not each:
        raise ValueError(
            f"{turns} turns cannot be shared by {candidates} maps in {shares} part{'s' * (shares > 1)}: "
            f"a multiple of {candidates * shares} is needed"
        )
    if strategy == "evolution":
        return [(candidates, each), (1, each + each * candidates)]
    sizes = [candidates >> i for i in range(shares)]
    lengths = itertools.accumulate(each * candidates // size for size in sizes)
    return list(zip(sizes, lengths, strict=True))


def mutated(tie_map: TieMap, tried: Collection[TieMap], rng: np.random.Generator) -> TieMap | None:
    """The map after one random action on it, among those that lead to none of `tried`; None if there is no such."""
    layers = range(1, len(tie_map))
    children = {tie_map.with_action(i, a) for i in layers for a in range(i + 1)}.difference(tried)
    return sorted(children, key=tuple)[int(rng.integers(len(children)))] if children else None


def search(
    experiment: Experiment,
    out_dir: str | os.PathLike[str] | None = None,
    *,
    candidates: int = 4,
    strategy: str = "halving",
    maps: Sequence[TieMap] | None = None,
    method: str | None = None,
    data: TokenizedCorpus | None = None,
    checkpoint_seconds: float | None = None,
) -> RunRecord:
    """Train `candidates` maps, random ones unless given, on the experiment's number of steps *in all*, keeping those
    with the lowest validation loss; the finished record of the one that is left.

    The best map is not trained from scratch again: its record is of the model that the search leaves, as for the
    agents. `record.agent` has all maps with their validation losses, round by round. `record.budget` and `seconds` are
    those of the whole search; `steps_of_the_chosen` went into this model, and its curves have only these.

    strategy: one of STRATEGIES. "best_of": all maps are trained alike. "halving": half of them are dropped after each
        round. "evolution": a third of the steps for the maps; a third for as many children, each the best map until
        then with one random action that leads to a new one; a third to train the best of all on.
    method: name in the record, "halving-4" for example by default.
    out_dir: folder for records/, candidates/ and checkpoints/, from which an interrupted search goes on; a temporary
        one by default.
    checkpoint_seconds: of each candidate's training, as in `RunOptions`.
    Raises ValueError as `rounds` and `random_maps`, and for an unknown strategy.
    """
    plan = rounds(candidates, experiment.episodes, strategy=strategy)
    refuse_too_many(experiment.n_layer, candidates, strategy=strategy)
    maps = list(maps) if maps is not None else random_maps(experiment.n_layer, candidates, experiment.seed)
    if len(maps) != candidates:
        raise ValueError(f"{len(maps)} maps for {candidates} candidates")
    if out_dir is None:
        with tempfile.TemporaryDirectory() as folder:
            return search(experiment, folder, candidates=candidates, strategy=strategy, maps=maps, method=method,
                          data=data, checkpoint_seconds=checkpoint_seconds)  # fmt: skip
    data = data or load_data(experiment)
    experiment = experiment.on(data)
    method = method or f"{strategy}-{candidates}"
    out, per_turn = Path(out_dir), experiment.n_layer - 1
    finished = out / "records" / f"{records.key(experiment.to_dict(), method, experiment.seed)}.json"
    if finished.exists():
        record = RunRecord.load(finished)
        if (
            _same(record, data)
            and record.experiment == experiment.to_dict()
            and record.agent["maps"][:candidates] == list(map(list, maps))
        ):
            return record
    alone = experiment.replace(episodes=plan[-1][1], evaluate_every=1)  # what the map that is left is trained for
    runs: dict[int, RunRecord] = {}

    def loss_after(turns: int, i: int) -> float:
        """Validation loss of map i, trained for `turns` turns in all."""
        name = f"{method}-{hashlib.sha256(repr(maps[i]).encode()).hexdigest()[:8]}"
        key = records.key(alone.to_dict(), name, experiment.seed)
        record_path = out / "candidates" / f"{key}.json"
        checkpoint = out / "checkpoints" / f"{key}.safetensors"
        missing = turns * per_turn - _trained(record_path, checkpoint, data)
        if missing > 0:
            train_conventional(alone, tie_map=maps[i], method=name, data=data, record_path=record_path,
                               checkpoint=checkpoint, checkpoint_seconds=checkpoint_seconds,
                               max_decisions=missing)  # fmt: skip
        runs[i] = RunRecord.load(record_path)
        return runs[i].curves["validation"]["loss"][turns - 1]

    history: list[dict[str, float]] = []
    losses = dict.fromkeys(range(candidates), 0.0)
    rng = np.random.default_rng((experiment.seed, SEARCH, 1))
    for size, turns in plan:
        taking_part = sorted(losses, key=losses.__getitem__)[:size]
        losses = {i: loss_after(turns, i) for i in taking_part}
        if strategy == "evolution" and not history:
            for _ in range(candidates):
                # the best map until then, or the next best if all near it were tried
                parents = (maps[i] for i in sorted(losses, key=losses.__getitem__))
                maps.append(next(filter(None, (mutated(parent, maps, rng) for parent in parents))))
                losses[len(maps) - 1] = loss_after(turns, len(maps) - 1)
        history.append({str(i): loss for i, loss in losses.items()})
    best = min(losses, key=losses.__getitem__)
    record = dataclasses.replace(runs[best], experiment=experiment.to_dict(), method=method)
    record.agent = {"class": "search", "maps": [list(m) for m in maps], "rounds": history, "chosen": best}
    steps = experiment.episodes * per_turn * experiment.steps_per_action
    tokens = steps * experiment.batch_size * experiment.block_size
    own = record.budget["optimizer_steps"]
    record.budget = {"optimizer_steps": steps, "tokens": tokens, "steps_of_the_chosen": own}
    record.seconds = sum(run.seconds for run in runs.values())
    record.save(finished)
    return record


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
        checkpoints.remove(checkpoint)
    return checkpoints.load_last(checkpoint)[1]["done"] if checkpoints.exists(checkpoint) else 0
