"""Methods side by side: same weights, batches, number of steps and evaluation for each."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from dlt_core import records
from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.experiments import Experiment, load_data
from dlt_core.records.record import RunRecord
from dlt_core.studies.methods import RELEASED, parse


def compare(
    experiment: Experiment,
    methods: Iterable[str] = ("dynamic", "random", "conventional"),
    *,
    data: TokenizedCorpus | None = None,
    out_dir: str | os.PathLike[str] | None = None,
    recorded: str | os.PathLike[str] | None = None,
    on_decision: Callable[[RunRecord], None] | None = None,
) -> list[RunRecord]:
    """The finished record of each method, in the order asked for.

    methods: names from `methods.REGISTRY`. "sequence-2" is a pattern with 2 weight sets, "shallow-2" a model with 2
    layers, "random-2" the random agent over the maps with 2 weight sets, "halving-8" a search over 8 maps, and
    "map-0-0-2-2" that map from scratch, never moved; "gradient-2-restart" likewise the map with 2 weight sets that
    `gradient_rule` chooses, whose cost comes on top, see the record's budget.
    data: from `load_data`; loaded when it is needed. out_dir: folder for records/ and checkpoints/. A run whose record
    is there already is not run again, and an interrupted one goes on from its checkpoint.
    recorded: folder of records, such as the project's figures/records, that are taken instead of training, whatever
    code made them (their `versions` say). Only what it does not have is run.
    on_decision: called with the record after each decision (or k steps) of a run that is no search.

    Raises ValueError, before anything is run, as `methods.parse`; and at the end if the recorded runs saw another text
    than those run now; TrainingDiverged as in `train_dynamic`.
    """
    asked = [parse(name, experiment) for name in methods]
    first = [parse("dynamic", experiment)] if any(method.recipe.follows for method in asked) else []
    done: dict[str, RunRecord] = {}
    taken = False
    for method in first + asked:
        if method.name in done:
            continue
        record = None if recorded is None else _recorded(Path(recorded), method.name, experiment)
        taken |= record is not None
        if record is None:
            data = data or load_data(experiment)
            record = method.train(experiment, done, data=data, out_dir=out_dir, on_decision=on_decision)
        done[method.name] = record
    # the variants of the released code have a text of their own
    texts = {record.corpus["sha256"] for name, record in done.items() if name not in RELEASED}
    if taken and len(texts) > 1:
        raise ValueError(
            f"the recorded runs of {experiment.name} saw another text than those run now (the embedded corpus "
            "is this Python's documentation): run all of them, with recorded=None"
        )
    return [done[method.name] for method in asked]


def _recorded(folder: Path, method: str, experiment: Experiment) -> RunRecord | None:
    """The finished run of these settings; those that an older record does not know have their default in both."""
    wanted = experiment.to_dict()
    path = folder / f"{records.key(wanted, method, experiment.seed)}.json"
    if not path.exists():
        return None
    record = RunRecord.load(path)
    defaults = {field.name: field.default for field in dataclasses.fields(Experiment) if field.name in wanted}
    return record if record.status == "finished" and defaults | record.experiment == wanted else None
