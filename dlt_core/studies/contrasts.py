"""The studies of many short runs: records to paired differences, tables and figures.

Ablations: one change a row, against conventional training (notebook 10). Differences: the code as released, and what
lies between it and the paper as described, against Algorithm 1 as described (notebook 11).
"""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from dlt_core import figures
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import (
    allowed,
    bits_per_byte,
    hedged,
    log_perplexity,
    mean_interval,
    paired_differences,
    plus_minus,
)
from dlt_core.studies import findings
from dlt_core.studies.gate import gate_of, informative, key
from dlt_core.studies.methods import LADDER, PUT_IN, TAKEN_OUT_IN_TURN
from dlt_core.studies.released_code import ReleasedCode
from dlt_core.studies.tables import DIFFERENCES, changes, grouped, markdown_table, row_name

Value = Callable[[RunRecord], float]
OTHER_TEXT = ("marked_blocks", "as released")  # without blank lines: bits per byte of it are not judged
# The differences' numbers, in the README and in notebook 11; the sixth is two.
NUMBERS = dict(zip(ReleasedCode.names(), ("1", "2", "3", "4", "5", "6a", "6b", "7", "8", "9", "10"), strict=True))


def ablation_differences(records: Sequence[RunRecord]) -> dict[str, dict[int, float]]:
    """For each method and changed setting, seed -> bits per byte minus conventional training's with that seed.

    The conventional run is the one of the unchanged preset; changes of k keep the number of steps.
    """
    conventional = [r for r in records if r.method == "conventional" and not changes(r)]
    groups = grouped((r for r in records if r.method != "conventional"), row_name)
    return _that_exist({name: paired_differences(group, conventional) for name, group in groups.items()})


def rows_table(rows: findings.Rows, names: Sequence[str], other: str) -> str:
    """Rows against another one, best first: their own bits per byte, the paired difference with what it allows, what is
    shown after Holm's correction over these rows, and their share of the parameters."""
    family = {name: findings.against(rows, name, other) for name in names}
    after = findings.corrected({name: values for name, values in family.items() if any(values)})
    return markdown_table(
        [
            {
                "row": name,
                "bits per byte": plus_minus(*mean_interval([bits_per_byte(r) for r in rows[name]]), 3),
                f"minus {other}": findings.difference(rows, name, other),
                "after Holm": after.get(name, ""),
                "of the parameters": f"{fmean(map(findings.share_of_parameters, rows[name])):.0%}",
            }
            for name in sorted(names, key=lambda name: fmean(family[name]))
        ]
    )


def other_actions(rows: findings.Rows, names: Sequence[str], other: str = "dynamic") -> dict[str, float]:
    """Share of the actions of each row that are other ones than in another row's run of the same seed; of rows with as
    many decisions."""
    theirs = {r.seed: r.history["action"] for r in rows[other]}
    return {
        name: fmean(a != b for r in rows[name] for a, b in zip(r.history["action"], theirs[r.seed], strict=True))
        for name in names
    }


def _that_exist(rows: dict[str, Any]) -> dict[str, Any]:
    return {name: pairs for name, pairs in rows.items() if pairs}


def ablation_figure(records: Sequence[RunRecord]) -> figures.Figure:
    """The paired differences to conventional training, best first."""
    pairs = ablation_differences(records)
    order = sorted(pairs, key=lambda name: fmean(pairs[name].values()))
    values = {textwrap.fill(name, 40): list(pairs[name].values()) for name in order}
    experiment, preset, _ = key(records[0])
    title = experiment + gate_of(informative(records), experiment, preset).mark
    return _differences({title: values}, "conventional training's")


def _differences(panels: Mapping[str, Mapping[str, Sequence[float]]], whose: str) -> figures.Figure:
    counts = sorted({len(differences) for rows in panels.values() for differences in rows.values()})
    seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    label = f"test bits per byte minus {whose}\n(mean, 95 % interval; seeds: {seeds})"
    return figures.differences(panels, label, own_scale=True)


def ladder(records: Sequence[RunRecord], value: Value = bits_per_byte) -> dict[str, dict[int, float]]:
    """The rungs from the code as released to the paper as described: label -> seed -> bits per byte, or another value,
    minus those of Algorithm 1, the last rung, with that seed. Without rungs that were not run. The first is about the
    text of the marked blocks, without blank lines; all others are about the same text."""
    labels = ["as released", *(f"... and without {name}" for name in TAKEN_OUT_IN_TURN[:-1]), "as described"]
    return _against_dynamic(records, dict(zip(labels, LADDER, strict=True)), value)


def put_in(records: Sequence[RunRecord], value: Value = bits_per_byte) -> dict[str, dict[int, float]]:
    """The same for each difference alone, put into the paper as described."""
    return _against_dynamic(records, PUT_IN, value)


def _against_dynamic(
    records: Sequence[RunRecord], variants: dict[str, ReleasedCode], value: Value
) -> dict[str, dict[int, float]]:
    runs = grouped((r for r in records if not changes(r)), lambda r: r.method)
    dynamic = runs.get("dynamic", [])
    runs = {"described": dynamic} | runs  # equal to the last bit
    pairs = {name: paired_differences(runs.get(v.method, []), dynamic, value) for name, v in variants.items()}
    return _that_exist(pairs)


def differences_figure(panels: dict[str, dict[str, dict[int, float]]]) -> figures.Figure:
    """Panels, by title, of what `ladder` or `put_in` returns."""
    values = {title: {name: list(pairs.values()) for name, pairs in groups.items()} for title, groups in panels.items()}
    return _differences(values, "those of Algorithm 1 as described")


def by_study(
    records: Sequence[RunRecord], rows: Callable[[Sequence[RunRecord]], dict[str, dict[int, float]]]
) -> dict[str, dict[str, dict[int, float]]]:
    """`ladder` or `put_in` of the laptop preset's runs, for each of DIFFERENCES that has any, marked if it cannot tell
    what sharing is worth."""
    laptop = [r for r in records if r.status == "finished" and r.experiment["preset"] == "laptop"]
    gates = informative(laptop)
    of = {study: [r for r in laptop if r.experiment["name"] == study] for study in DIFFERENCES}
    return _that_exist({study + gate_of(gates, study).mark: rows(runs) for study, runs in of.items()})


def singles_markdown(records: Sequence[RunRecord]) -> str:
    """Each difference alone, put into the paper as described, in all studies; nothing without records."""
    return _differences_markdown(records, put_in, "difference")


def ladder_markdown(records: Sequence[RunRecord]) -> str:
    """The ladder in all studies; nothing without records."""
    return _differences_markdown(records, ladder, "rung")


def _differences_markdown(
    records: Sequence[RunRecord], of: Callable[..., dict[str, dict[int, float]]], heading: str
) -> str:
    """A row for each difference, a column for each study; and what is shown of each after Holm's correction over all
    of this table that are of one text, in the order of the studies."""
    studies, nats = by_study(records, of), by_study(records, functools.partial(of, value=log_perplexity))
    family = {
        (study, name): list(pairs.values())
        for study, rows_of in studies.items()
        for name, pairs in rows_of.items()
        if name not in OTHER_TEXT
    }
    after = findings.corrected(family)
    rows = []
    for name in dict.fromkeys(name for pairs in studies.values() for name in pairs):
        number = {"": NUMBERS[name]} if name in NUMBERS else {}
        cells = {study: _cell(name, pairs.get(name, {}), nats[study].get(name, {})) for study, pairs in studies.items()}
        left = "" if name in OTHER_TEXT else ", ".join(after.get((study, name), "not run") for study in studies)
        rows.append({**number, heading: f"`{name}`" if number else name, **cells, "after Holm": left})
    return markdown_table(rows)


def _cell(name: str, bits: Mapping[int, float], nats: Mapping[int, float]) -> str:
    if not bits:
        return "not run"
    values = list(bits.values())
    word = "other text" if name in OTHER_TEXT else f"{hedged(values)}, {allowed(list(nats.values()))}"
    return f"{plus_minus(*mean_interval(values), 3, '+')}: {word} (n = {len(values)})"
