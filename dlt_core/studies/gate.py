"""Could this experiment have told anything? A gate that each row of the results has to pass before it counts.

The rule, set down before any look at dynamic tying in the runs that it was made for. The paper says that layers can
share weights and the model loses nothing by it. That can show only where layers are worth having, and where sharing
them badly costs something. So a row *can tell* if

1. depth is worth something: conventional training of all layers is better than each model of fewer layers (`shallow-M`)
   that was run, with as many steps and tokens: the 95 % interval of the paired differences lies below 0. Rows that can
   tell are run against two layers, and against half as many as the model has (for four layers that is the same);
2. there is a dynamic range: ties moved by chance (`random`) and conventional training differ, in whatever direction:
   the 95 % interval of the paired differences excludes 0.

In all other cases, also where one of the methods was not run or has one seed, it *cannot tell*. Dynamic tying has no
part in the rule. What cannot tell is shown and marked, and counts in no verdict and in nothing that is pooled. A method
goes by its plain name, see `by_plain_name`: a fixed map that has all layers independent is conventional training.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import mean_interval, paired_differences, plus_minus, told_apart, verdict
from dlt_core.tie_map import TieMap

Key = tuple[str, str, str]
"""Experiment, preset and changed settings, as in `RunRecord.changes`."""
NOT_MEASURED = "not measured"
LOOK = 90
"""The seed of looks at settings of the study "depth"."""


@dataclass(frozen=True)
class Gate:
    """What the rule says of one row of the results."""

    depth: Mapping[str, Sequence[float]]
    """shallow-M -> test bits per byte of conventional training minus its own, for each seed that both have."""
    dynamic_range: Sequence[float]
    """Those of the random agent minus those of conventional training."""

    @property
    def reason(self) -> str:
        """Why it cannot tell, with the numbers; nothing if it can."""
        if not self.depth:
            return f"what depth is worth is {NOT_MEASURED}"
        for name, values in self.depth.items():
            if verdict(values) != "better":
                return f"conventional minus {name} {in_words(values)}: depth is not shown to be worth anything"
        if not self.dynamic_range:
            return f"what random ties cost is {NOT_MEASURED}"
        if not told_apart(self.dynamic_range):
            return f"random minus conventional {in_words(self.dynamic_range)}: ties are not shown to matter"
        return ""

    @property
    def can_tell(self) -> bool:
        return not self.reason

    @property
    def word(self) -> str:
        return "can tell" if self.can_tell else "cannot tell"

    def verdict(self, differences: Sequence[float]) -> str:
        """That of the differences in bits per byte, or that the row cannot tell."""
        return verdict(differences) if self.can_tell else self.word

    @property
    def mark(self) -> str:
        """What stands behind the name of a row that cannot tell, in tables and figures."""
        return "" if self.can_tell else " (cannot tell)"


def in_words(values: Sequence[float]) -> str:
    """Paired differences in bits per byte, such as "-0.012 ± 0.004 (n = 5)"."""
    return f"{plus_minus(*mean_interval(values), 3, '+')} (n = {len(values)})" if values else NOT_MEASURED


def informative(records: Iterable[RunRecord]) -> dict[Key, Gate]:
    """The gate of each experiment, preset and change of settings of which there are finished runs, by the rule above.
    Looks do not count.

    A pair has one seed, and as many tokens in training; a model as deep as the conventional one is not shallow.
    """
    rows: dict[Key, list[RunRecord]] = {}
    for record in records:
        if record.status == "finished" and not is_a_look(record):
            rows.setdefault(key(record), []).append(record)
    return {name: _gate(by_plain_name(runs)) for name, runs in rows.items()}


def by_plain_name(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """The finished runs of one row of the results by method, without looks. A fixed map such as `map-0-1-1-1` goes by
    its plain name, `conventional` or `sandwich-M` with 1 < M < L, if it has one that no run of the row has."""
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        if run.status == "finished" and not is_a_look(run):
            found.setdefault(run.method, []).append(run)
    for name in [name for name in found if re.fullmatch(r"map(-\d+)+", name)]:
        if (plain := plain_name(name)) not in found:
            found[plain] = found.pop(name)
    return found


def plain_name(method: str) -> str:
    """The name under which the map of a method such as `map-0-1-1-1` is known; that of the method if there is none."""
    tie_map = TieMap([int(source) for source in method.split("-")[1:]])
    n_layer = len(tie_map)
    names = {TieMap.pattern("sandwich", n_layer, sets): f"sandwich-{sets}" for sets in range(2, n_layer)}
    return {**names, TieMap.independent(n_layer): "conventional"}.get(tie_map, method)


def is_a_look(record: RunRecord) -> bool:
    """Was this run made to choose the settings of others? Then it counts in no verdict beside them."""
    return record.experiment["name"] == "depth" and record.seed == LOOK


def key(record: RunRecord) -> Key:
    """Which row of the results a run belongs to."""
    return record.experiment["name"], record.experiment["preset"], record.changes


def of_these_runs(gates: Mapping[str, Gate]) -> str:
    """For below a table with verdicts, experiment -> its gate: what they speak of where an experiment cannot tell;
    nothing if all can."""
    names = [f"`{name}`" for name, gate in gates.items() if not gate.can_tell]
    return (
        f"By the gate {' and '.join(names)} cannot tell what sharing is worth. So what is said here speaks of these "
        "runs alone, and counts in no verdict on the paper's claim."
        if names
        else ""
    )


def gate_of(gates: Mapping[Key, Gate], experiment: str, preset: str = "laptop", changes: str = "") -> Gate:
    """A row's gate; of one without runs that nothing was measured."""
    return gates.get((experiment, preset, changes), Gate({}, []))


def _gate(methods: Mapping[str, Sequence[RunRecord]]) -> Gate:
    conventional = methods.get("conventional", [])
    shallow = [name for name in methods if re.fullmatch(r"shallow(-\d+)?", name)]
    depth = {name: _pairs(conventional, methods[name]) for name in sorted(shallow) if not _full(methods[name])}
    return Gate(
        {name: values for name, values in depth.items() if values}, _pairs(methods.get("random", []), conventional)
    )


def _full(runs: Sequence[RunRecord]) -> bool:
    return len(runs[0].required(runs[0].tie_map)) >= runs[0].experiment["n_layer"]


def _pairs(runs: Sequence[RunRecord], baseline: Sequence[RunRecord]) -> list[float]:
    tokens = {r.seed: r.budget["tokens"] for r in runs}
    fair = [r for r in baseline if tokens.get(r.seed) == r.budget["tokens"]]
    return list(paired_differences(runs, fair).values())
