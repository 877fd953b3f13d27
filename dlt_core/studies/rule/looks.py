"""Training that stops now and then to look, and ties its layers by what it sees: no agent, few moves, all paid for.

A look may train, compare or measure; afterwards the learner must be where it was, but for its ties. What a look cost
stands in the record's budget, as `search_steps` and `search_passes` (forward and backward, no step), on top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Unpack

from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.experiments import Experiment, build_learner
from dlt_core.learner.training import Learner
from dlt_core.records.record import RunRecord
from dlt_core.records.run import Run, RunKeywords, RunOptions
from dlt_core.tie_map import TieMap


@dataclass(frozen=True)
class Seen:
    """What a look came to."""

    tie_map: TieMap
    """The ties from now on."""
    steps: int = 0
    """Optimiser steps that it took beside the run's own."""
    passes: int = 0
    """Forward and backward passes without a step."""
    why: dict[str, Any] = field(default_factory=dict)
    """For the record's history, JSON-able."""


Look = Callable[[Learner], Seen]


@contextmanager
def put_back(learner: Learner) -> Iterator[Callable[[], None]]:
    """Gives a function that puts the learner back to where it is now, and calls it at the end."""
    state = learner.state_dict()

    def back() -> None:
        learner.load_state_dict(state)

    try:
        yield back
    finally:
        back()


def train_with_looks(
    experiment: Experiment,
    looks: Mapping[int, Look],
    *,
    method: str,
    agent: dict[str, Any],
    data: TokenizedCorpus | None = None,
    **options: Unpack[RunKeywords],
) -> RunRecord:
    """Train from all layers tied, as many steps as every method; before decision n's k steps `looks[n]` is asked.

    agent: for the record, how it decides. The rest as in `train_dynamic`. The history has the ties, and under "seen"
    what a look said, None where there was none.
    """
    run_options = RunOptions(**options)
    learner = build_learner(experiment, data)
    learner.tie(TieMap.all_tied(experiment.n_layer))
    run = Run(experiment, method, learner, run_options)
    run.record.agent = agent
    if run.resume():
        return run.record
    with run:
        for decision in run.decisions():
            why = None
            if (look := looks.get(decision)) is not None:
                with put_back(learner):
                    seen = look(learner)
                learner.tie(seen.tie_map)
                why = seen.why
                for name, cost in (("search_steps", seen.steps), ("search_passes", seen.passes)):
                    if cost:
                        run.record.budget[name] = run.record.budget.get(name, 0) + cost
            ties = learner.tie_map
            run.note(
                fmean(learner.train(experiment.steps_per_action)),
                tie_map=list(ties),
                num_independent=ties.num_independent,
                seen=why,
            )
            if (decision + 1) % (experiment.n_layer - 1) == 0:
                run.validate()
        run.finish()
    return run.record
