"""The rule's test, from records: the contrasts that were named before the runs, with margin and correction.

The rule is `gradient-2-restart`, all that its search cost on top. Primary: minus the random agent; and minus the best
fixed pattern or map with two weight sets, picked with hindsight on validation. Beside them stand two plain layers,
which have as many parameters and less work, and conventional training.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np
from scipy import stats

from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import (
    allowed,
    bits_and_nats,
    bits_per_byte,
    holm,
    mean_interval,
    p_in_words,
    p_value,
    paired_differences,
    plus_minus,
    within,
)
from dlt_core.studies.claim import conclusion, later_alone, looked, looked_at, with_later
from dlt_core.studies.diagnosis import is_truth, rank_correlation, regrets, true_losses, truth
from dlt_core.studies.gate import in_words as with_interval
from dlt_core.studies.gate import informative, is_a_look, key
from dlt_core.studies.rule.gain import worth_having
from dlt_core.studies.rule.methods import WARM_UP
from dlt_core.studies.rule.rewards import VARIANTS
from dlt_core.studies.rule.study import LATE, MODELS, TRUTHS, rounded
from dlt_core.studies.tables import grouped, markdown_table, with_changes
from dlt_core.tie_map import PATTERNS, TieMap, number_of_maps

RULE = "gradient-2-restart"
MARGIN = 0.01  # bits per byte; what is less does not matter to us
BESIDE = ("shallow-2", "conventional")
TWO_SETS = tuple(f"{name}-2" for name in PATTERNS)
OF_AGENTS = (
    "We looked at the seeds of `depth` twice: after five, which left both rewards open against `random`, and after "
    "nine, which left `first_order_gain` open (p 0.061; the rows that cannot tell were then corrected with these, "
    "without them it was 0.013). Then we ran the tenth. So these p are too small. Over all eight rows the largest of "
    "the four would be 0.026."
)
OF_PATTERNS = (
    "Ten seeds of each pattern were planned. We looked after five, which left the rule against each open. So these p "
    "are too small."
)
OF_MORE_SETS = "We looked after two seeds, and then ran three more. So these p are too small."
THREE_MORE = range(102, 105)  # the seeds of these


def rule_markdown(records: Sequence[RunRecord], *, changed: bool = False) -> str:
    """The contrasts of each experiment in which the rule was run: bits per byte of the rule minus the other's; and
    those of the seeds that were added after a first look. changed: of the experiments with changed settings, such as
    deeper models, which are a family of their own; and the maps that the rule chose there."""
    found: Differences = {}
    words: dict[tuple[str, str], str] = {}
    looks: list[tuple[str, dict[str, list[float]]]] = []
    chosen: list[str] = []
    for experiment, of, told in _experiments(records, changed=changed):
        later: dict[str, list[float]] = {}
        pattern = best_pattern(of) if RULE in of else None
        for other in filter(None, ("random", pattern, *BESIDE)) if RULE in of else ():
            name = experiment, f"`{other}`"
            found[name] = bits_and_nats(of[RULE], of.get(other, []))
            words[name] = "" if told else "cannot tell"
            if other == pattern and same_maps(of[RULE], of[other]):
                words[name] = f"the same map, so the same run{' but for rounding' if any(found[name][0]) else ''}"
            elif alone := later_alone(of[RULE], of.get(other, [])):
                later[f"minus `{other}`"] = alone
        if later:
            looks.append((looked({experiment: looked_at(of[RULE])}), later))
        if changed and len(of.get(RULE, [])) > 1:
            chosen.append(f"In `{experiment}` {_chosen(RULE, of[RULE])}")
    table = _table(found, words)
    for when, later in looks:
        table = with_later(table, when, later)
    return "\n\n".join([table, *chosen]) if table else ""


def _chosen(name: str, runs: Sequence[RunRecord]) -> str:
    """The maps that the runs of a method ended with, in a sentence."""
    maps = Counter(str(r.required(r.final_tie_map)) for r in runs).most_common()
    return f"`{name}` chose {'; '.join(f'`{m}` ({n} of {len(runs)} seeds)' for m, n in maps)}."


def patterns_markdown(records: Sequence[RunRecord]) -> str:
    """Each named pattern with two weight sets that is not the rule's choice minus the random agent, which is what ties
    that stand still are worth without a look; and the rule minus it, which is what the look is worth. Below, each minus
    two plain layers, and the seeds that were added after a look. Only experiments that can tell; nothing where no such
    pattern was run."""
    found: Differences = {}
    beside: dict[str, list[float]] = {}
    later: dict[str, list[float]] = {}
    for experiment, of, told in _experiments(records):
        for other in other_patterns(of) if told and RULE in of else ():
            its_map = of[other][0].required(of[other][0].final_tie_map)
            by_chance = experiment, f"`{other}`, {its_map}, minus `random`"
            found[by_chance] = bits_and_nats(of[other], of.get("random", []))
            found[experiment, f"`{RULE}` minus `{other}`"] = bits_and_nats(of[RULE], of[other])
            beside[f"`{other}`"] = bits_and_nats(of[other], of.get("shallow-2", []))[0]
            if alone := later_alone(of[RULE], of[other]):
                later[f"`{RULE}` minus `{other}`"] = alone
    table = _table(found, {}, "compared")
    if any(beside.values()):
        said = "; ".join(f"{name} {with_interval(bits)}" for name, bits in beside.items())
        table += f"\n\nMinus two plain layers, `shallow-2`: {said}."
    return with_later(table, OF_PATTERNS, later)


def more_sets_markdown(records: Sequence[RunRecord]) -> str:
    """The rule with another number of weight sets than two, minus the random agent, itself with two sets, two plain
    layers, as many as it has sets, and conventional training; and the maps that it chose. Only experiments that can
    tell; nothing where it was not run, or with one seed."""
    found: Differences = {}
    later: dict[str, list[float]] = {}
    chosen: list[str] = []
    for experiment, of, told in _experiments(records):
        for name, runs in of.items() if told else ():
            if name == RULE or not (sets := re.fullmatch(r"gradient-(\d+)-restart", name)):
                continue
            if len(runs) < 2:
                continue
            for other in dict.fromkeys(("random", RULE, "shallow-2", f"shallow-{sets[1]}", "conventional")):
                found[experiment, f"`{name}` minus `{other}`"] = bits_and_nats(runs, of.get(other, []))
                if experiment == "depth" and (alone := later_alone(runs, of.get(other, []), THREE_MORE)):
                    later[f"minus `{other}`"] = alone
            chosen.append(_chosen(name, runs))
    table = with_later(_table(found, {}, "compared"), OF_MORE_SETS, later)
    return "\n\n".join(filter(None, (table, *chosen)))


Differences = dict[tuple[str, str], tuple[list[float], list[float]]]
"""(experiment, what is taken off) -> of each seed in bits per byte and in log perplexity."""


def _experiments(
    records: Sequence[RunRecord], *, changed: bool = False
) -> Iterator[tuple[str, dict[str, list[RunRecord]], bool]]:
    """Each experiment with unchanged settings: its name, method -> finished runs, and whether it can tell, by the
    gate. changed: those with changed settings instead, which their name has, too."""
    ours = [r for r in records if r.status == "finished" and bool(r.changes) == changed and not is_a_look(r)]
    gates = informative(ours)
    for experiment, runs in grouped(ours, lambda r: with_changes(r.experiment["name"], r.changes)).items():
        yield experiment, grouped(runs, lambda r: r.method), gates[key(runs[0])].can_tell


def _table(found: Differences, words: Mapping[tuple[str, str], str], compared: str = f"`{RULE}` minus") -> str:
    """A row for each contrast of at least two pairs. words: what is said of one that can show nothing, because it
    cannot tell or is one run twice; the others are tests, and corrected over all of them."""
    found = {name: differences for name, differences in found.items() if len(differences[0]) > 1}
    tests = {name: bits for name, (bits, _) in found.items() if not words.get(name)}
    differ = holm({name: p_value(bits) for name, bits in tests.items()})
    equal = holm({name: within(bits, -MARGIN, MARGIN) for name, bits in tests.items()})
    return markdown_table(
        [
            {
                "experiment": name[0],
                compared: name[1],
                "n": str(len(bits)),
                "bits per byte": plus_minus(*mean_interval(bits), 3, "+"),
                "95 % interval": allowed(nats),
                "p, Holm": p_in_words(differ[name]) if name in differ else "",
                "": words.get(name) or conclusion(fmean(bits), differ[name], equal[name], f"{MARGIN:g} bits per byte"),
            }
            for name, (bits, nats) in found.items()
        ]
    )


def best_pattern(of: Mapping[str, Sequence[RunRecord]], *, others: bool = False) -> str | None:
    """Of the fixed patterns and maps with two weight sets that were run with every seed of the rule, the best on
    validation. others: of those that are not the rule's own choice, on the seeds that all of them share with it."""
    seeds = {r.seed for r in of[RULE]}
    losses = {
        name: {r.seed: min(r.curves["validation"]["loss"]) for r in runs}
        for name, runs in of.items()
        if _has_two_sets(name) and not (others and same_maps(of[RULE], runs))
    }
    if others:
        seeds = seeds.intersection(*losses.values())
    means = {name: fmean(by[seed] for seed in seeds) for name, by in losses.items() if seeds and seeds <= by.keys()}
    return min(means, key=means.__getitem__) if means else None


def other_patterns(of: Mapping[str, Sequence[RunRecord]]) -> list[str]:
    """The named patterns with two weight sets that were run and are not the rule's own choice."""
    return [name for name in TWO_SETS if name in of and not same_maps(of[RULE], of[name])]


def _has_two_sets(method: str) -> bool:
    kind, *numbers = method.split("-")
    if kind == "map":
        return TieMap([int(number) for number in numbers]).num_independent == 2
    return kind in PATTERNS and numbers == ["2"]


def same_maps(ours: Sequence[RunRecord], theirs: Sequence[RunRecord]) -> bool:
    """Whether the runs with one seed have one map, for all seeds that both have."""
    maps, others = ({r.seed: TieMap(r.required(r.final_tie_map)) for r in runs} for runs in (ours, theirs))
    return all(others.get(seed, tie_map) == tie_map for seed, tie_map in maps.items())


def peers_markdown(four: Mapping[str, Sequence[RunRecord]], true: Mapping[TieMap, float]) -> str:
    """Runs of a model whose maps all have a known loss from scratch: what each method came to, minus the random agent's
    run with its seed; how far its last map is from the best with as many sets; and what its search cost."""
    rows = []
    for name, runs in four.items():
        bits = list(paired_differences(runs, four["random"]).values())
        maps = [TieMap(r.required(r.final_tie_map)) for r in runs]
        apart = [true[m] - min(x for o, x in true.items() if o.num_independent == m.num_independent) for m in maps]
        rows.append(
            {
                "method": f"`{name}`",
                "n": str(len(runs)),
                "bits per byte": plus_minus(*mean_interval(list(map(bits_per_byte, runs))), 3),
                "minus `random`": "" if name == "random" else plus_minus(*mean_interval(bits), 3, "+"),
                "weight sets": f"{fmean(m.num_independent for m in maps):.1f}",
                "its map from scratch, above the best with as many sets": f"{fmean(apart):.3f} nats",
                "search, on top": _search(runs),
            }
        )
    return markdown_table(rows)


COSTS = {"search_steps": "steps", "search_passes": "backward passes"}


def _search(runs: Sequence[RunRecord]) -> str:
    """What a method's search cost on top of its training, on average."""
    found = []
    for name, what in COSTS.items():
        if cost := fmean(r.budget.get(name, 0) for r in runs):
            share = 100 * cost / fmean(r.budget["optimizer_steps"] for r in runs)
            found.append(f"{cost:.0f} {what}" + (f" ({share:.0f} % more)" if what == "steps" else ""))
    return ", ".join(found) or "none"


def agents_markdown(
    runs: Mapping[str, Sequence[RunRecord]], baseline: str, true: Mapping[TieMap, float] | None = None
) -> str:
    """Agents by what they are rewarded with, against the baseline: bits per byte; and, where the maps' losses from
    scratch are known, the regret of Q's choices against this truth, over the second half of the decisions, minus that
    of blind choices (below 0: Q knows something), and what it would be for one who unties each layer it comes to."""
    rows = []
    for name, of in runs.items():
        if name == baseline:
            continue
        row = {"agent": f"`{name}`", "n": str(len(of))}
        if true is not None:
            found = (late_regret(of, true, always_untie=always) for always in (False, True))
            ours, untied = (plus_minus(*mean_interval(values), 3, "+") for values in found)
            row |= {"regret of its choices minus blind ones (nats)": ours, "had it always untied": untied}
        bits, nats = bits_and_nats(of, runs[baseline])
        row[f"bits per byte minus `{baseline}`"] = plus_minus(*mean_interval(bits), 3, "+")
        row["95 % interval"] = allowed(nats)
        rows.append(row)
    return markdown_table(rows)


def late_regret(runs: Sequence[RunRecord], true: Mapping[TieMap, float], *, always_untie: bool = False) -> list[float]:
    """Of each run, over the second half of its decisions, the mean regret of Q's choices minus that of blind ones, in
    nats per token; or of always untying the layer in the same states."""
    found = (regrets(r, true, always_untie=always_untie) for r in runs)
    return [float((ours - blind)[len(ours) // 2 :].mean()) for ours, blind in found]


def deeper_markdown(records: Sequence[RunRecord]) -> str:
    """The paper's agent with a reward of the rule, in each experiment whose maps cannot all be trained: test bits per
    byte minus those of its random twin, and of the agent with the paper's reward; and those of the seeds that were
    added after a first look. Nothing for no such runs."""
    found: Differences = {}
    words: dict[tuple[str, str], str] = {}
    later: dict[str, list[float]] = {}
    for experiment, of, told in _experiments(records):
        for agent in _rewarded(of) if experiment not in TRUTHS else ():
            if alone := later_alone(of[agent], of.get("random", [])):
                later[f"`{agent}` minus `random`"] = alone
            for other in ("random", "dynamic"):
                name = experiment, f"`{agent}` minus `{other}`"
                found[name] = bits_and_nats(of[agent], of.get(other, []))
                words[name] = "" if told else "cannot tell"
    return with_later(_table(found, words, "compared"), OF_AGENTS, later)


def search_by_step(record: RunRecord) -> np.ndarray:
    """What the search of a run had cost when each of its evaluations was made, in optimiser steps, of which a backward
    pass counts as one; shape (evaluations,). A map that is found before the training is paid first; an agent with a
    reward of the rule pays for each decision that moves a tie, before the steps of that decision."""
    steps = np.array(record.curves["validation"]["step"])
    whole = sum(record.budget.get(cost, 0) for cost in COSTS)
    if not (maps := record.history.get("tie_map")) or not whole:
        return np.full(len(steps), whole)
    before = [record.first_ties(record.experiment["n_layer"]), *maps[:-1]]
    moved = np.cumsum([list(old) != list(new) for old, new in zip(before, maps, strict=True)])
    paid = whole * moved / max(moved[-1], 1)
    decisions = np.ceil(steps / record.experiment["steps_per_action"]).astype(int).clip(1, len(maps))
    return np.array(paid[decisions - 1])


def best_within(record: RunRecord, steps: int, unit: str = "bits_per_byte") -> float:
    """The lowest validation bits per byte by the time that training and search together have taken so many optimiser
    steps; between two evaluations on the straight line. unit: "loss" for nats per token."""
    best = np.minimum.accumulate(record.curves["validation"][unit])
    return float(np.interp(steps, record.curves["validation"]["step"] + search_by_step(record), best))


def charged(
    runs: Sequence[RunRecord], others: Sequence[RunRecord], unit: str = "bits_per_byte"
) -> tuple[list[float], list[float]]:
    """Validation bits per byte of runs minus those of others with their seeds, the best until the end of training:
    with the search on top, and with the search paid out of as many steps as the others' training has. unit: "loss" for
    nats per token."""
    theirs = {r.seed: r for r in others}
    free, paid = [], []
    for run in (r for r in runs if r.seed in theirs):
        other, steps = theirs[run.seed], theirs[run.seed].budget["optimizer_steps"]
        free.append(min(run.curves["validation"][unit]) - min(other.curves["validation"][unit]))
        paid.append(best_within(run, steps, unit) - best_within(other, steps, unit))
    return free, paid


def charged_markdown(records: Sequence[RunRecord]) -> str:
    """What is left of a lead if the search is paid out of the same steps: the rule and the agents with its rewards,
    in each experiment that can tell, minus the random agent; the rule also minus each pattern with two sets that was
    run under its name, and two plain layers. On validation, since only its curve says what a shorter training had come
    to."""
    rows = []
    for experiment, of, told in _experiments(records):
        others = [name for name in (*TWO_SETS, "shallow-2") if name in of]
        for name in [RULE, *_rewarded(of)] if told else ():
            for other in ["random", *(others if name == RULE else [])]:
                free, paid = charged(of.get(name, []), of.get(other, []))
                if len(free) > 1:
                    rows.append(
                        {
                            "experiment": experiment,
                            "compared": f"`{name}` minus `{other}`",
                            "search": _search(of[name]),
                            "search on top": with_interval(free),
                            "search paid out of the same steps": with_interval(paid),
                        }
                    )
    return markdown_table(rows)


def _rewarded(methods: Iterable[str]) -> list[str]:
    """Those in which the paper's agent has a reward of the rule."""
    return [method for method in methods if method.startswith("dynamic_")]


@dataclass(frozen=True)
class Habits:
    """What an agent does in the second half of its decisions, on average over its runs."""

    moved: float
    """Share of the decisions that move a tie."""
    sets: float
    """Weight sets."""
    alone: float
    """How often layer 0 is alone ..."""
    alone_by_chance: float
    """... and how often it would be in maps drawn blindly with as many weight sets."""


def habits(runs: Sequence[RunRecord]) -> Habits:
    """Those of an agent's runs. Raises KeyError for runs without decisions, ValueError for fewer than three of them."""
    if any(len(r.history["tie_map"]) < 3 for r in runs):
        raise ValueError("a run with fewer than three decisions has no habits")
    late = [[TieMap(m) for m in r.history["tie_map"][len(r.history["tie_map"]) // 2 :]] for r in runs]
    every = [m for maps in late for m in maps]
    counts = Counter((len(m), m.num_independent) for m in every)
    return Habits(
        moved=fmean(fmean(before != after for before, after in pairwise(maps)) for maps in late),
        sets=fmean(m.num_independent for m in every),
        alone=fmean((0,) in m.groups for m in every),
        alone_by_chance=sum(n * alone_by_chance(*shape) for shape, n in counts.items()) / len(every),
    )


def alone_by_chance(n_layer: int, sets: int) -> float:
    """Of all maps with so many weight sets the share in which layer 0 shares with nobody: the others have one set less.

    S(n, k) maps of n layers have k sets (Stirling numbers of the second kind)."""
    return number_of_maps(n_layer - 1, sets - 1) / number_of_maps(n_layer, sets)


def habits_markdown(records: Sequence[RunRecord]) -> str:
    """What the agents of the study "depth" with a reward of the rule do, beside the paper's and the random one, in the
    second half of their decisions: how often a decision moves a tie, how many weight sets there are, how often layer 0
    is alone, and how often it would be in maps drawn blindly with as many weight sets; how many parameters the tested
    model has, what the search costs on top, and the bits per byte beside two plain layers. Nothing for no such runs."""
    of = next((of for experiment, of, _ in _experiments(records) if experiment == "depth"), {})
    agents = _rewarded(of)
    rows = []
    for name in [n for n in ("random", "dynamic") if n in of] + agents if agents else ():
        found = habits(of[name])
        rows.append(
            {
                "agent": f"`{name}`",
                "n": str(len(of[name])),
                "decisions that move a tie": f"{found.moved:.0%}",
                "weight sets": f"{found.sets:.1f}",
                "layer 0 alone": f"{found.alone:.0%}",
                "by chance, with as many sets": f"{found.alone_by_chance:.0%}",
                "parameters of the tested model": (
                    f"{fmean(r.required(r.parameters)['unique'] for r in of[name]) / 1e6:.2f}M"
                ),
                "search, on top": _search(of[name]),
                "bits per byte minus `shallow-2`": with_interval(bits_and_nats(of[name], of.get("shallow-2", []))[0]),
            }
        )
    when = looked_at(of[agents[0]]) if agents else ""
    return markdown_table(rows) + (f"\n\nWe looked at the seeds {when}." if when else "")


def sets_markdown(records: Sequence[RunRecord]) -> str:
    """What each further weight set brings of what untying all layers would: by the gain that the rule saw in its runs,
    and by the losses from scratch of the best map with as many sets; and how many sets each of them calls worth having,
    by `worth_having`. A row for each model whose maps all have losses from scratch and in which the rule was run."""
    rows = []
    for study in TRUTHS:
        best: dict[int, float] = {}
        for tie_map, loss in true_losses(records, study=study).items():
            best[tie_map.num_independent] = min(best.get(tie_map.num_independent, math.inf), loss)
        runs = [r for r in records if r.experiment["name"] == study and r.method == RULE and r.status == "finished"]
        if not best or not runs:
            continue
        gains = [r.agent["gain_by_sets"] for r in runs]
        lowest = [-best[sets] for sets in sorted(best)]
        shares = [[_brought(of)[n] for of in gains] for n in range(len(best) - 1)]
        worth = Counter(str(worth_having(of)) for of in gains).most_common()
        row = {"study": study, "n": str(len(runs))}
        for n, (seen, true) in enumerate(zip(shares, _brought(lowest), strict=True), start=2):
            ends = dict.fromkeys(f"{end:.0f}" for end in (min(seen), max(seen)))
            row[f"set {n}: by the gain"] = f"{' to '.join(ends)} %"
            row[f"set {n}: by the truth"] = f"{true:.0f} %"
        row["worth having, by the gain"] = "; ".join(f"{n} ({times} of {len(runs)})" for n, times in worth)
        rows.append(row | {"worth having, by the truth": str(worth_having(lowest))})
    return markdown_table(rows)


def _brought(by_sets: Sequence[float]) -> list[float]:
    """What the second set, the third and so on bring of what all of them bring, in percent."""
    return [100 * (after - before) / (by_sets[-1] - by_sets[0]) for before, after in pairwise(by_sets)]


def still_markdown(records: Sequence[RunRecord]) -> str:
    """What ties that never move are worth without a choice: test bits per byte minus the random agent's, of the mean
    over all maps with as many weight sets where all were trained from scratch, beside the map that the rule chose most
    often; and of a random map with as many sets as the agent's last one, where that was run."""
    rows = []
    for experiment, of, told in _experiments(records):
        chance = of.get("random", [])
        maps = ((r, TieMap(r.required(r.final_tie_map))) for r in of.get("random_map", []))
        drawn = [r for r, m in maps if number_of_maps(len(m), m.num_independent) > 1]  # it could have been another
        found = {"`random_map`": bits_and_nats(drawn, chance)[0]}
        by_sets: dict[int, dict[str, dict[int, float]]] = {}
        for runs in of.values() if RULE in of else ():
            if is_truth(runs[0], study=experiment) and runs[0].method.startswith("map-"):
                tie_map = TieMap(runs[0].required(runs[0].final_tie_map))
                by_sets.setdefault(tie_map.num_independent, {})[str(list(tie_map))] = paired_differences(runs, chance)
        for sets, of_maps in sorted(by_sets.items()):
            seeds = sorted(set.intersection(*map(set, of_maps.values())))
            kind = f"the mean of the {len(of_maps)} maps" if len(of_maps) > 1 else "the map"
            mean = [fmean(of_map[seed] for of_map in of_maps.values()) for seed in seeds]
            found[f"{kind} with {sets} set{'s' if sets > 1 else ''}"] = mean
            chosen = Counter(str(r.final_tie_map) for r in of[RULE]).most_common(1)[0][0]
            if chosen in of_maps:
                found[f"of these, the rule's, {chosen}"] = list(of_maps[chosen].values())
        for words, differences in found.items():
            if len(differences) > 1:
                row = {"experiment": experiment, "ties that never move": words}
                rows.append(row | {"minus `random`": with_interval(differences), "": "" if told else "cannot tell"})
    return markdown_table(rows)


def elsewhere_markdown(records: Sequence[RunRecord], looks: Mapping[str, Any]) -> str:
    """What the rule's map comes to in the studies in which the rule itself was not run, but its looks were: where all
    looks after some steps chose the map of `sandwich-2`, the runs of that pattern are its runs, without the search.
    Bits per byte minus the random agent's, two plain layers' and conventional training's. By the gate these cannot tell
    whether sharing is worth anything; nothing where none were run."""
    rows = []
    for experiment, of, told in _experiments(records):
        ours = of.get("sandwich-2", [])
        chosen = [
            row["maps"]["2"]
            for part, found in looks.items()
            if part.startswith("maps: ") and MODELS.get(part.removeprefix("maps: ")) == (experiment, {})
            for row in found["rows"]
            if row["warm_up"] >= LATE
        ]
        same = ours and chosen and all(TieMap(m) == TieMap(ours[0].required(ours[0].final_tie_map)) for m in chosen)
        if same and RULE not in of:
            row = {
                "experiment": experiment,
                f"looks after {LATE} steps or more": str(len(chosen)),
                "its map": f"`{chosen[0]}`",
            }
            for other in ("random", *BESIDE):
                row[f"minus `{other}`"] = with_interval(bits_and_nats(ours, of.get(other, []))[0])
            rows.append(row | {"": "" if told else "cannot tell"})
    return markdown_table(rows)


def two_sets_markdown(records: Sequence[RunRecord], looks: Mapping[str, Any]) -> str:
    """Among the maps with two weight sets, a row for each model whose maps all have losses from scratch: how far apart
    they are, whether the seeds agree on their order (p of Friedman's test, small where they do), and how good the
    rule's choice is."""
    rows = []
    for study in TRUTHS:
        every = truth([r for r in records if is_truth(r, study=study)])
        losses = {m: of for m, of in every.items() if m.num_independent == 2}
        if not losses:
            continue
        mean = {m: fmean(of) for m, of in losses.items()}
        best = min(mean, key=mean.__getitem__)
        adam = [r for r in looks[study]["rows"] if r["warm_up"] >= LATE and "Adam" in r["gain"]]
        chosen = Counter(str(r["2 sets"]["chosen"]) for r in adam).most_common()
        rows.append(
            {
                "study": study,
                "maps": f"the {len(mean)} of two sets, of {len(best)} layers; {len(losses[best])} seeds",
                "from best to worst": f"{max(mean.values()) - mean[best]:.3f} nats",
                "Friedman's p": f"{stats.friedmanchisquare(*losses.values()).pvalue:.2g}",
                "best": f"`{list(best)}`",
                f"the rule's choice, {LATE} steps or more": "; ".join(
                    f"`{m}` ({n} of {len(adam)} looks)" for m, n in chosen
                ),
                "above the best": f"{fmean(r['2 sets']['regret'] for r in adam):.3f} nats",
                "a map drawn blindly": f"{fmean(mean.values()) - mean[best]:.3f} nats",
            }
        )
    return markdown_table(rows)


REWARDED = {"neg_perplexity": "minus perplexity"} | {
    reward: words for reward, words in VARIANTS.items() if reward != "first_order_gain, optimistic"
}
"""Rewards that are named in the closing sentences."""


def in_words(looks: Mapping[str, Any], records: Sequence[RunRecord], table_world: Mapping[str, Any]) -> str:
    """What notebook 15 shows, in sentences made of the measurements: the contrasts that were named in advance first,
    where they were run."""
    known = []
    for model, study in {"GPT-2": "truth", "BERT": "truth-bert"}.items():
        rows = [r for r in looks[study]["rows"] if r["warm_up"] == WARM_UP and "Adam" in r["gain"]]
        both = [[r["correlation"] for r in rows], [r["2 sets"]["correlation"] for r in rows]]
        words = " and ".join(plus_minus(*mean_interval(values), 2, "+") for values in both)
        true = true_losses(records, study=study)
        count = rank_correlation({m: -m.num_independent for m in true}, true) if true else None
        known.append(f"{model} {words}" + (f" (the bare number of sets: {count:+.2f} over all)" if true else ""))
    samples = {
        reward: np.median([r["samples"] for r in looks["rewards"]["rows"] if r["reward"] == reward and r["samples"]])
        for reward in dict.fromkeys(r["reward"] for r in looks["rewards"]["rows"])
    }
    needed = "; ".join(f"{reward} {rounded(n)}" for reward, n in samples.items())
    learned = {
        row["reward"]: [plus_minus(*mean_interval(v), 3, "+") for v in row["regret_minus_random"].values()]
        for row in table_world["rows"]
        if row["world"] == "still"
    }
    few, *_, many = table_world["decisions"]
    lines = [
        *_tests_in_words(records),
        f"- A look after {WARM_UP} steps, and the losses of the maps of four layers from scratch: rank correlation "
        f"over all maps, and among those with two sets: {'; '.join(known)}.",
        f"- Rewards that a test of two actions needs, of each, the median over the moments: {needed}.",
        "- In the table world, the agent's regret minus its random twin's, in nats per token "
        "(below zero, it has learned):",
        *(
            f"  - {REWARDED[name]}: {values[0]} after {few:,} decisions, {values[-1]} after {many:,}"
            for name, values in learned.items()
            if name in REWARDED
        ),
    ]
    return "\n".join(lines)


def _tests_in_words(records: Sequence[RunRecord]) -> list[str]:
    """The rule's test in each experiment that can tell, with what fixed patterns come to without a look, and what is
    left if the search is paid out of the same steps."""
    lines = []
    for experiment, of, told in _experiments(records):
        if not told or len(of.get(RULE, [])) < 2:
            continue
        bits = {o: bits_and_nats(of[RULE], of.get(o, []))[0] for o in ("random", *BESIDE)}
        said = "; ".join(f"`{other}` {with_interval(values)}" for other, values in bits.items())
        lines.append(f"- **`{experiment}`, the test.** The rule's bits per byte minus those of {said}.")
        if patterns := other_patterns(of):
            still = [bits_and_nats(of[name], of["random"])[0] for name in patterns]
            named = "; ".join(f"`{n}` {with_interval(v)}" for n, v in zip(patterns, still, strict=True))
            lines.append(f"- **`{experiment}`, ties that stand still, without a look,** minus `random`: {named}.")
        paid = {name: charged(of[name], of["random"])[1] for name in [RULE, *_rewarded(of)]}
        named = "; ".join(f"`{name}` {with_interval(values)}" for name, values in paid.items() if len(values) > 1)
        lines.append(
            f"- **`{experiment}`, the search paid out of the same steps,** minus `random`, validation: {named}."
        )
    return lines
