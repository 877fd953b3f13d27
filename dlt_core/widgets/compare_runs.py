"""Compare runs: curves with intervals over seeds, maps side by side, and the paired difference of any two."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import traitlets

from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import bits_per_byte, mean_interval, paired_differences, verdict
from dlt_core.widgets.base import Widget, module

MEASURES = ("bits_per_byte", "perplexity")


def by_method(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The records of each method, with the settings that differ from the preset's in its name."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(", ".join(filter(None, (record.method, record.changes))), []).append(record)
    return groups


def curve(runs: Sequence[RunRecord], measure: str) -> dict[str, list[Any]]:
    """Mean over the seeds of the validation curve, at the steps that all have, with half its 95 % interval (None for
    one seed). Measures that are not finite, null in a record, are left out with their step."""
    seeds = []
    for record in runs:
        validation = record.curves["validation"]
        values = zip(validation["step"], validation[measure], strict=True)
        seeds.append({step: value for step, value in values if value is not None and abs(value) < float("inf")})
    steps = sorted(set.intersection(*map(set, seeds)))
    means = [mean_interval([of[step] for of in seeds]) for step in steps]
    return {"step": steps, "mean": [mean for mean, _ in means], "half": [half for _, half in means]}


def difference(runs: Sequence[RunRecord], baseline: Sequence[RunRecord]) -> dict[str, Any] | None:
    """Test bits per byte of the runs minus the baseline's, seed by seed: the values, their mean with half its interval,
    and the verdict. None without a seed in common."""
    values = paired_differences(runs, baseline)
    if not values:
        return None
    mean, half = mean_interval(list(values.values()))
    return {"seeds": list(values), "values": list(values.values()), "mean": mean, "half": half,
            "verdict": verdict(list(values.values()))}  # fmt: skip


def comparison(groups: Mapping[str, Sequence[RunRecord]]) -> dict[str, Any]:
    """All numbers that the widget shows, as JSON has them.

    Raises ValueError for no groups, an empty one, a run that is not finished, two runs of one seed in a group, or runs
    on different texts, which must not be compared.
    """
    if not groups:
        raise ValueError("there are no runs to compare")
    texts = set()
    for name, runs in groups.items():
        if not runs:
            raise ValueError(f"{name!r} has no runs")
        if unfinished := [record.key for record in runs if record.status != "finished"]:
            raise ValueError(f"{unfinished[0]} is not finished")
        if len({record.seed for record in runs}) < len(runs):
            raise ValueError(f"{name!r} has two runs of one seed: give them names of their own")
        texts |= {(record.corpus["name"], record.corpus.get("sha256")) for record in runs}
    if len(texts) > 1:
        raise ValueError(f"runs on different texts cannot be compared: {', '.join(sorted(name for name, _ in texts))}")
    every = [record for runs in groups.values() for record in runs]
    return {
        "unit": every[0].unit,
        "corpus": every[0].corpus["name"] + every[0].sample_mark,
        "groups": [_group(name, sorted(runs, key=lambda r: r.seed)) for name, runs in groups.items()],
        "differences": {
            f"{a} minus {b}": difference(groups[a], groups[b]) for a, b in itertools.permutations(groups, 2)
        },
    }


def _group(name: str, runs: Sequence[RunRecord]) -> dict[str, Any]:
    mean, half = mean_interval([bits_per_byte(record) for record in runs])
    return {
        "name": name,
        "seeds": [record.seed for record in runs],
        "maps": [list(record.required(record.tie_map)) for record in runs],
        "curves": {measure: curve(runs, measure) for measure in MEASURES},
        "test": {"mean": mean, "half": half},
        "parameters": [record.required(record.parameters)["unique"] for record in runs],
    }


class CompareRuns(Widget):
    """Choose two groups of runs and see how they differ, seed by seed.

    runs: records of one text, grouped by method, or a dict of names and records. The first two groups, or `first` and
    `second`, are chosen at the start; the page can choose others, and shows the verdict of `records.statistics`.
    """

    _esm = module("compare_runs")
    runs = traitlets.Dict().tag(sync=True)
    first = traitlets.Unicode().tag(sync=True)
    second = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        runs: Mapping[str, Sequence[RunRecord]] | Sequence[RunRecord],
        *,
        first: str | None = None,
        second: str | None = None,
    ) -> None:
        groups = dict(runs) if isinstance(runs, Mapping) else by_method(runs)
        names = list(groups)
        for name in filter(None, (first, second)):
            if name not in groups:
                raise ValueError(f"no runs are called {name!r}; known: {', '.join(names)}")
        compared = comparison(groups)
        first = first or next((name for name in names if name != second), names[0])
        second = second or next((name for name in names if name != first), first)
        super().__init__(runs=compared, first=first, second=second)
