"""What moving ties costs: runs whose ties move, against those that stop moving after a share of the training, and
against maps that never move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import (
    allowed,
    bits_and_nats,
    holm,
    log_perplexity,
    mean_interval,
    p_in_words,
    p_value,
    plus_minus,
    pooled,
)
from dlt_core.studies.claim import later_alone, looked, looked_at, with_later
from dlt_core.studies.diagnosis import is_truth
from dlt_core.studies.gate import Gate, gate_of, informative, of_these_runs
from dlt_core.studies.tables import changes, grouped, markdown_table
from dlt_core.tie_map import all_maps

Pair = tuple[Sequence[RunRecord], Sequence[RunRecord]]
"""Runs, and those that are taken off."""
MOVING = ("dynamic", "random")


def frozen_markdown(records: Sequence[RunRecord]) -> str:
    """For each experiment that has runs with `freeze_after` and nothing else changed: frozen minus moving to the end,
    for the agent and for the random agent; and the agent minus the random agent, both frozen; with Holm's correction
    over all rows, and the gate's mark. Nothing for no pairs."""
    rows, gates = _frozen(records), _gates(records)
    corrected = _corrected(rows)
    table = markdown_table(
        [
            {
                "experiment": f"{experiment}, {change}{gates[experiment].mark}",
                "compared": compared,
                "n": str(len(bits)),
                "bits per byte": plus_minus(*mean_interval(bits), 3, "+"),
                "95 % interval": allowed(nats),
                "p, Holm": f"{corrected[experiment, change, compared]:.2g}",
            }
            for (experiment, change), pairs in rows.items()
            for compared, (bits, nats) in ((name, bits_and_nats(*pair)) for name, pair in pairs.items())
        ]
    )
    for (experiment, change), pairs in rows.items():
        later = {compared: later_alone(*pair) for compared, pair in pairs.items()}
        if any(later.values()):
            when = looked_at(next(iter(pairs.values()))[0])
            table = with_later(table, looked({f"{experiment}, {change}": when}), later)
    return "\n\n".join(filter(None, (table, of_these_runs({name: gates[name] for name, _ in rows}))))


def _frozen(records: Sequence[RunRecord]) -> dict[tuple[str, str], dict[str, Pair]]:
    """(experiment, change) -> what is compared -> its runs, of which there are at least two pairs."""
    found: dict[tuple[str, str], dict[str, Pair]] = {}
    finished = [r for r in records if r.status == "finished"]
    for experiment, runs in grouped(finished, lambda r: r.experiment["name"]).items():
        frozen = [r for r in runs if r.experiment.get("freeze_after") is not None and r.changes.count("=") == 1]
        plain = grouped([r for r in runs if not changes(r)], lambda r: r.method)
        for change, of in grouped(frozen, lambda r: r.changes).items():
            methods = grouped(of, lambda r: r.method)
            pairs: dict[str, Pair] = {}
            for method in methods:
                pairs[f"`{method}`, frozen minus moving"] = methods[method], plain.get(method, [])
            pairs["frozen, `dynamic` minus `random`"] = methods.get("dynamic", []), methods.get("random", [])
            if several := {words: pair for words, pair in pairs.items() if len(bits_and_nats(*pair)[0]) > 1}:
                found[experiment, change] = several
    return found


def _corrected(rows: Mapping[tuple[str, str], Mapping[str, Pair]]) -> dict[tuple[str, str, str], float]:
    return holm(
        {
            (*row, compared): p_value(bits_and_nats(*pair)[0])
            for row, pairs in rows.items()
            for compared, pair in pairs.items()
        }
    )


def _gates(records: Sequence[RunRecord]) -> dict[str, Gate]:
    """experiment -> the gate of its unchanged settings."""
    gates = informative(records)
    presets = {r.experiment["name"]: r.experiment["preset"] for r in records}
    return {name: gate_of(gates, name, preset) for name, preset in presets.items()}


def moving_on_four_layers(records: Sequence[RunRecord]) -> str:
    """The study "truth", of which all maps were trained from scratch: test loss of runs whose ties move minus the
    average over all maps that never move, paired by seed, beside what lies between the best of them and the worst; in
    nats per token, in a sentence. Nothing where a map is missing, or runs of both."""
    runs = grouped([r for r in records if is_truth(r) and r.status == "finished"], lambda r: r.method)
    fixed = {name: _losses(of) for name, of in runs.items() if name.startswith("map-")}
    if not fixed or len(fixed) < len(list(all_maps(next(iter(runs.values()))[0].experiment["n_layer"]))):
        return ""
    average = pooled(fixed.values())
    parts = {}
    for method in MOVING:
        ours = _losses(runs.get(method, []))
        if above := [ours[seed] - average[seed] for seed in ours if seed in average]:
            parts[f"`{method}`"] = f"{plus_minus(*mean_interval(above), 3, '+')} (n = {len(above)})"
    if not parts:
        return ""
    means = [fmean(of[seed] for seed in average) for of in fixed.values()]
    said = " and ".join(f"{name} {values}" for name, values in parts.items())
    mark = _gates(records)["truth"].mark
    return (
        f"**Four layers**, `truth`{mark}. Each of the {len(fixed)} maps was trained from scratch and never moved. The "
        f"test loss of runs that move, minus the average of all these maps, in nats per token, paired by seed: {said}. "
        f"The worst of the maps is {max(means) - fmean(means):.3f} above this average, and "
        f"{max(means) - min(means):.3f} above the best. We read that as the price of moving, though a run that moves "
        "is in some maps more often than in others."
    )


def _losses(runs: Sequence[RunRecord]) -> dict[int, float]:
    return {r.seed: log_perplexity(r) for r in runs}


def frozen_in_words(records: Sequence[RunRecord]) -> str:
    """What `frozen_markdown` shows, in a line for each experiment; nothing for no pairs."""
    rows, gates = _frozen(records), _gates(records)
    corrected = _corrected(rows)
    lines = []
    for (experiment, change), pairs in rows.items():
        one = next(iter(pairs.values()))[0][0].experiment
        parts = []
        for compared, pair in pairs.items():
            bits, _ = bits_and_nats(*pair)
            p = p_in_words(corrected[experiment, change, compared])
            parts.append(f"{compared} {plus_minus(*mean_interval(bits), 3, '+')} (n = {len(bits)}, p {p})")
        lines.append(
            f"**{one['n_layer']} layers**, `{experiment}, {change}`{gates[experiment].mark}. *Frozen*: no tie moves "
            f"after {one['freeze_after']:.0%} of the training. Bits per byte, with p after Holm's correction: "
            f"{'; '.join(parts)}."
        )
    return "\n\n".join(lines)


def price_markdown(records: Sequence[RunRecord]) -> str:
    """The price of moving, in a paragraph for each way to measure it: four layers against all maps, and frozen runs
    against moving ones. records: all of the preset "laptop". Nothing without the runs."""
    return "\n\n".join(filter(None, (moving_on_four_layers(records), frozen_in_words(records))))
