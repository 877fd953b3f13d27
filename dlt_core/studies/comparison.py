"""Methods side by side: same weights, batches, number of steps and evaluation for each."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from dlt_core import records
from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.experiments import Experiment, load_data
from dlt_core.records import shown
from dlt_core.records.record import RunRecord
from dlt_core.studies.methods import RELEASED, Method, parse


class Comparison(list[RunRecord]):
    """The records of several methods: a list like any other, which notebooks show as a table."""

    def _repr_html_(self) -> str:
        return shown.records_html(self)


def compare(
    experiment: Experiment,
    methods: Iterable[str] = ("dynamic", "random", "conventional"),
    *,
    data: TokenizedCorpus | None = None,
    out_dir: str | os.PathLike[str] | None = None,
    recorded: str | os.PathLike[str] | None = None,
    on_decision: Callable[[RunRecord], None] | None = None,
    checkpoint_seconds: float | None = None,
    jobs: int = 1,
) -> Comparison:
    """The finished record of each method, in the order asked for.

    methods: names from `methods.REGISTRY`. "sequence-2" is a pattern with 2 weight sets, "shallow-2" a model with 2
    layers, "random-2" the random agent over the maps with 2 weight sets, "halving-8" a search over 8 maps, and
    "map-0-0-2-2" that map from scratch, never moved; "gradient-2-restart" likewise the map with 2 weight sets that
    the rule in `rule.methods` chooses, whose cost comes on top, see the record's budget.
    data: from `load_data`, or of another text: the records say which; loaded when it is needed. out_dir: folder for
    records/ and checkpoints/. A run whose record is there already is not run again, and an interrupted one goes on from
    its checkpoint.
    recorded: folder of records, such as the project's figures/records, that are taken instead of training, whatever
    code made them (their `versions` say). Only what it does not have is run; a warning says if that is on another
    device. With `device="cpu"` runs count that "auto" put on a CPU, and with "cuda" likewise. A variant of the released
    code is known by the settings that it changes; whether it saw the others' text is not looked at, since some have
    marks in theirs.
    on_decision: called with the record after each decision (or k steps) of a run that is no search.
    checkpoint_seconds: time between two checkpoints of a run, as in `train_dynamic`.
    jobs: so many runs at a time, in processes that stay alive for the next one; on one GPU three fill the gaps that one
    leaves. Results are those of jobs=1. A script that asks for it needs the guard `if __name__ == "__main__":`. A run
    that fails does not stop the others, whose records are in `out_dir`; its error is raised at the end.

    Raises ValueError, before anything is run, as `methods.parse`, and for jobs with on_decision; at the end if the
    recorded runs saw another text than `data` or those run now; TrainingDiverged as in `train_dynamic`.

    >>> experiment = Experiment.preset("gpt2-embedded", "smoke", n_layer=2, episodes=1)
    >>> [record.final_tie_map for record in compare(experiment, ["conventional", "all_tied"])]
    [[0, 1], [0, 0]]
    """
    if jobs < 1 or (jobs > 1 and on_decision is not None):
        raise ValueError(f"jobs={jobs}: at least 1, and without on_decision, which would be called in other processes")
    experiment, given = experiment if data is None else experiment.on(data), data
    asked = [parse(name, experiment) for name in methods]
    first = [parse("dynamic", experiment)] if any(method.recipe.follows for method in asked) else []
    done: dict[str, RunRecord] = {}
    taken = False
    for methods_now in (first, asked):
        to_train: dict[str, Method] = {}
        for method in methods_now:
            if method.name in done:
                continue
            record = None if recorded is None else _recorded(Path(recorded), method, experiment)
            if record is not None:
                taken, done[method.name] = True, record
            else:
                to_train[method.name] = method
        if not to_train:
            continue
        data = data or load_data(experiment)
        how: dict[str, Any] = {"data": data, "out_dir": out_dir, "checkpoint_seconds": checkpoint_seconds}
        if jobs > 1 and len(to_train) > 1:
            done |= _at_a_time(jobs, list(to_train.values()), experiment, done, **how)
            continue
        for name, method in to_train.items():
            done[name] = method.train(experiment, done, on_decision=on_decision, **how)
    # the variants of the released code have a text of their own
    texts = {record.corpus["sha256"] for name, record in done.items() if name not in RELEASED}
    if given is not None:
        texts.add(given.corpus.sha256)
    if taken and len(texts) > 1:
        raise ValueError(
            f"the recorded runs of {experiment.name} saw another text than the one given, or those run now (the "
            "embedded corpus is this Python's documentation): run all of them, with recorded=None"
        )
    devices = sorted({str(record.hardware.get("device")) for record in done.values()})
    if taken and len(devices) > 1:
        warnings.warn(
            f"these runs of {experiment.name}, recorded or run now, were on {' and '.join(devices)}: paired by seed "
            "they also differ by rounding and, with dropout, in what is dropped. device=... names one kind for all",
            stacklevel=2,
        )
    return Comparison(done[method.name] for method in asked)


def _recorded(folder: Path, method: Method, experiment: Experiment) -> RunRecord | None:
    """The finished run of these settings; those that an older record does not know have their default in both. Where a
    device is named, also the run that "auto" put on such a device."""
    for device in dict.fromkeys((experiment.device, "auto")):
        wanted = method.settings(experiment.replace(device=device)).to_dict()
        path = folder / f"{records.key(wanted, method.name, experiment.seed)}.json"
        if not path.exists():
            continue
        record = RunRecord.load(path)
        defaults = {field.name: field.default for field in dataclasses.fields(Experiment) if field.name in wanted}
        ran = record.hardware.get("device")
        there = device == experiment.device or experiment.device.partition(":")[0] == (
            ran if ran in ("cpu", "mps", "xpu") else "cuda"  # of which the record has the name, such as "NVIDIA H200"
        )
        if there and record.status == "finished" and defaults | record.experiment == wanted:
            return record
    return None


def _at_a_time(
    jobs: int, methods: Sequence[Method], experiment: Experiment, done: Mapping[str, RunRecord], **shared: object
) -> dict[str, RunRecord]:
    """The finished records, `jobs` runs at a time, each with as many threads as one alone would have."""
    context, threads = multiprocessing.get_context("spawn"), torch.get_num_threads()
    with ProcessPoolExecutor(
        min(jobs, len(methods)),
        mp_context=context,
        initializer=_begin,
        initargs=(threads, experiment, dict(done), shared),
    ) as pool:
        futures = {pool.submit(_train, method.name): method.name for method in methods}
        try:
            for future in as_completed(futures):
                future.exception()  # the others go on, whatever became of it
        except KeyboardInterrupt:  # those that run stop at a checkpoint; what waits is not begun
            pool.shutdown(cancel_futures=True)
            raise
    return {name: future.result() for future, name in futures.items()}


def _begin(threads: int, *given: object) -> None:
    """In a process that has just started."""
    torch.set_num_threads(threads)
    _given.extend(given)


_given: list[object] = []  # in such a process: experiment, records that are there, data and folder


def _train(name: str) -> RunRecord:
    experiment, done, shared = _given
    return parse(name, experiment).train(experiment, done, **shared)  # type: ignore[arg-type]
