"""The rule's test, from records: the contrasts that were named before the runs, with margin and correction.

The rule is `gradient-2-restart`, all that its search cost on top. Primary: minus the random agent; and minus the best
fixed pattern with two weight sets, picked with hindsight on validation. Beside them stand two plain layers, which have
as many parameters and half the work, and conventional training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import (
    allowed,
    holm,
    log_perplexity,
    mean_interval,
    p_value,
    paired_differences,
    plus_minus,
    within,
)
from dlt_core.studies.gate import informative, key
from dlt_core.studies.tables import grouped, markdown_table
from dlt_core.tie_map import PATTERNS, TieMap

RULE = "gradient-2-restart"
MARGIN = 0.01  # bits per byte; what is less does not matter to us
BESIDE = ("shallow-2", "conventional")


def rule_markdown(records: Sequence[RunRecord]) -> str:
    """The contrasts of each experiment in which the rule was run: bits per byte of the rule minus the other's."""
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    words: dict[tuple[str, str], str] = {}
    gates = informative(records)
    finished = [r for r in records if r.status == "finished" and not r.changes]
    for experiment, runs in grouped(finished, lambda r: r.experiment["name"]).items():
        of = grouped(runs, lambda r: r.method)
        if RULE not in of:
            continue
        pattern = best_pattern(of)
        told = gates[key(of[RULE][0])].can_tell
        for other in filter(None, ("random", pattern, *BESIDE)):
            bits = list(paired_differences(of[RULE], of.get(other, [])).values())
            if len(bits) > 1:
                nats = list(paired_differences(of[RULE], of[other], log_perplexity).values())
                found[experiment, other] = bits, nats
                words[experiment, other] = "" if told else "cannot tell"
                if other == pattern and same_maps(of[RULE], of[other]):
                    words[experiment, other] = "the same map, so the same run"
    differ = holm({name: p_value(bits) for name, (bits, _) in found.items()})
    equal = holm({name: within(bits, -MARGIN, MARGIN) for name, (bits, _) in found.items()})
    return markdown_table(
        [
            {
                "experiment": name[0],
                f"`{RULE}` minus": f"`{name[1]}`",
                "n": str(len(bits)),
                "bits per byte": plus_minus(*mean_interval(bits), 3, "+"),
                "95 % interval": allowed(nats),
                "": words[name] or _conclusion(fmean(bits), differ[name], equal[name]),
            }
            for name, (bits, nats) in found.items()
        ]
    )


def best_pattern(of: Mapping[str, Sequence[RunRecord]]) -> str | None:
    """Of the fixed patterns with two weight sets that were run with every seed of the rule, the best on validation."""
    seeds = {r.seed for r in of[RULE]}
    means = {}
    for name in (f"{pattern}-2" for pattern in PATTERNS):
        losses = {r.seed: min(r.curves["validation"]["loss"]) for r in of.get(name, [])}
        if seeds <= losses.keys():
            means[name] = fmean(losses[seed] for seed in seeds)
    return min(means, key=means.__getitem__) if means else None


def same_maps(ours: Sequence[RunRecord], theirs: Sequence[RunRecord]) -> bool:
    """Whether the runs with one seed have one map, for all seeds that both have."""
    maps, others = ({r.seed: TieMap(r.required(r.final_tie_map)) for r in runs} for runs in (ours, theirs))
    return all(others.get(seed, tie_map) == tie_map for seed, tie_map in maps.items())


def _conclusion(mean: float, differs: float, equals: float) -> str:
    word = ("better" if mean < 0 else "worse") if differs < 0.05 else ""
    same = f"equal within {MARGIN:g}" if equals < 0.05 else ""
    return ", though ".join(filter(None, (word, same))) or "open: neither a difference nor its absence is shown"
