"""The tables in the README files, made from the committed records and written between marks such as

<!-- headline: begin -->
<!-- headline: end -->
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlt_core.corpora.files import write_text_atomically
from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord, load_all
from dlt_core.records.statistics import (
    allowed,
    bits_and_nats,
    equivalence,
    mean_interval,
    paired_differences,
    range_in_words,
    told_apart,
    verdict,
)
from dlt_core.reproduce import notebook_tables
from dlt_core.studies import (
    claim,
    contrasts,
    findings,
    gate,
    images,
    layer_zero,
    many_decisions,
    moving,
    on_surrogate,
    regimes,
    table_world,
    tables,
)
from dlt_core.studies.diagnosis import true_losses
from dlt_core.studies.rule import report, study


def write_marked_tables(root: Path) -> list[Path]:
    """Put each table between its marks; returns the files' paths.

    Raises ValueError, before anything is written, if a file lacks a mark."""
    texts = {}
    for name, tables_of_file in marked_tables(root).items():
        text = (root / name).read_text(encoding="utf-8")
        for mark, table in tables_of_file.items():
            head, begin, rest = text.partition(f"<!-- {mark}: begin -->\n")
            _, end, tail = rest.partition(f"<!-- {mark}: end -->")
            if not end:
                raise ValueError(f"{root / name} lacks the marks of its table {mark!r}")
            text = f"{head}{begin}{table}\n{end}{tail}"
        texts[root / name] = text
    for path, text in texts.items():
        write_text_atomically(path, text)
    return list(texts)


def marked_tables(root: Path) -> dict[str, dict[str, str]]:
    """File -> mark -> the table between them, made from what is committed under `root`."""
    everything = load_all(root / "figures" / "records")
    records = [r for r in everything if r.experiment["preset"] == "laptop"]
    looks, true = _measured(root, "looks"), true_losses(records)
    measured = [json.loads(p.read_text(encoding="utf-8")) for p in sorted((root / "figures/benchmark").glob("*.json"))]
    return {
        "README.md": {
            "result": in_words(records, measured),
            "headline": headline(records),
            "notebooks": notebook_tables.times(root),
            **({"benchmark": benchmark(measured)} if measured else {}),
        },
        "figures/README.md": {
            "results": tables.markdown_table(tables.main_table(tables.summary(records))),
            "hours": hours(records),
            "gate": claim.gate_markdown(records),
            "claim": claim.claim_markdown(records),
            "patience": regimes.patience_markdown(everything),
            "depth_looks": regimes.looks_markdown(records),
            "agent": claim.agent_markdown(records),
            "learning": findings.findings(records),
            "layer_zero": layer_zero.in_a_sentence(records),
            "registered": layer_zero.registered_markdown(records),
            "frozen": moving.frozen_markdown(records),
            "table_world": table_world.table_world_markdown(_measured(root, "table_world")),
            "many_decisions": many_decisions.many_decisions_markdown(_measured(root, "many_decisions")),
            "surrogate": on_surrogate.measured_markdown(_measured(root, "surrogate")),
            "looks_maps": study.maps_markdown(looks),
            "looks_truth": study.truth_markdown(looks, true=true),
            "looks_bert": study.truth_markdown(looks, "truth-bert", true_losses(records, study="truth-bert")),
            "looks_sets": report.sets_markdown(records),
            "looks_two_sets": report.two_sets_markdown(records, looks),
            "looks_rewards": study.signals_markdown(looks, true),
            "rule": report.rule_markdown(records),
            "rule_changed": report.rule_markdown(records, changed=True),
            "elsewhere": report.elsewhere_markdown(records, looks),
            "still": report.still_markdown(records),
            "charged": report.charged_markdown(records),
            "patterns": report.patterns_markdown(records),
            "more_sets": report.more_sets_markdown(records),
            "deeper": report.deeper_markdown(records),
            "habits": report.habits_markdown(records),
            "regime_gpu": regime_gpu(everything),
            "images": images.images_markdown(_measured(root, "images")),
        },
        "notebooks/README.md": {"routes": notebook_tables.routes(root), "needs": notebook_tables.needs(root)},
        "dlt_core/README.md": {"released": contrasts.singles_markdown(records)},
    }


def _measured(root: Path, name: str) -> dict[str, Any]:
    """What a study has left in figures/NAME.json."""
    found: dict[str, Any] = json.loads((root / "figures" / f"{name}.json").read_text(encoding="utf-8"))
    return found


HEADLINE = {
    "What does the paper's method give?": (
        "dynamic",
        "conventional",
        "six layers tied by the Q-agent minus six independent ones",
    ),
    "What does its agent add?": ("dynamic", "random", "the Q-agent minus the random agent"),
    "What does sharing weights give?": (
        "sandwich-2",
        "conventional",
        "six layers with two sets of weights, `sandwich-2`, minus six independent ones",
    ),
    "And beside a smaller model?": ("sandwich-2", "shallow-2", "the same minus two plain layers: as many weights"),
    "What works better?": (
        "gradient-2-restart",
        "random",
        "a look at the gradients, then a fixed map, minus the random agent",
    ),
}
"""Question -> two methods of the study "depth", whose gate is open, and what is compared."""

PATTERN = "And without a look?"
"""The question of the last row: the rule minus the best fixed pattern that is another map."""


def headline(records: Sequence[RunRecord]) -> str:
    """What sharing weights gives, what the agent adds, what would work: a row for each that was run."""
    gates = gate.informative(records)
    rows = []
    of = findings.rows_of(records, "depth")
    for question, (one, other, words) in HEADLINE.items():
        rows += _difference(question, words, of.get(one, []), of.get(other, []), gates)
    if pattern := _other_pattern(of):
        words = f"the same minus the best other fixed pattern with two sets (on validation), `{pattern}`"
        rows += _difference(PATTERN, words, of[report.RULE], of[pattern], gates)
    return tables.markdown_table(rows) + _not_shown_later(of)


def _not_shown_later(of: Mapping[str, Sequence[RunRecord]]) -> str:
    """Which rows of `headline` the repetitions that were added after a look do not show alone; nothing if there are
    none of them."""
    pairs = [(one, other) for one, other, _ in HEADLINE.values()]
    if pattern := _other_pattern(of):
        pairs.append((report.RULE, pattern))
    later = {}
    for one, other in pairs:
        pair = of.get(one, []), of.get(other, [])
        bits, _ = bits_and_nats(*pair)
        alone = claim.later_alone(*pair)
        if alone and told_apart(bits):
            later[f"`{one}` minus `{other}` {gate.in_words(alone)}"] = claim.shown_again(*pair)
    if not later:
        return ""
    not_shown = [pair for pair, again in later.items() if not again]
    said = f"do not show {' and '.join(not_shown)}" if not_shown else "show the same"
    when = claim.looked_at(of.get("conventional", []))
    return f"\n\nWe looked at the repetitions {when}, and then ran more. The later ones alone {said}."


def _other_pattern(of: Mapping[str, Sequence[RunRecord]]) -> str | None:
    """The best fixed pattern, on validation, that is not the rule's choice."""
    plain = {name: runs for name, runs in of.items() if not tables.changes(runs[0])}
    return report.best_pattern(plain, others=True) if report.RULE in plain else None


FIRST: dict[str, tuple[tuple[str, str], ...]] = {
    "**What sharing gives.** Where the first of six layers has weights of its own, the other five share one set, and "
    "all stays in place, perplexity is {} than without ties": (("sandwich-2", "conventional"),),
    "**What the agent adds.** Where the paper's agent decides which layers share, perplexity is {} than where chance "
    "decides, and {} than without ties": (("dynamic", "random"), ("dynamic", "conventional")),
    "**What works better: ties that stay in place.** A rule of ours ties the layers once, by their gradients, and "
    "never moves the ties again. Its perplexity is {} than where chance decides, and {} than without ties": (
        (report.RULE, "random"),
        (report.RULE, "conventional"),
    ),
}
"""A sentence with gaps for how methods of the study "depth" compare -> the two methods of each gap."""
MORE: dict[str, tuple[tuple[str, str], ...]] = {
    "**Another reward.** If the paper's agent is rewarded for what its action changes (`paired`), perplexity is {} "
    "than where chance decides, and still {} than without ties": (
        ("dynamic_paired", "random"),
        ("dynamic_paired", "conventional"),
    ),
}
"""The same, below the first ones."""
SMALLER = " A model of only two layers, without ties, has as many weights: beside it perplexity is {}."
"""After the first sentence."""
THE_RULE_AND_TWO = " Beside the model of only two layers it is {}."
"""After the third."""
NO_LOOK = (
    " The best other fixed pattern of two sets (picked afterwards) needs no gradients, and is {} than where chance "
    "decides."
)
"""After that."""
BESIDE_A_PATTERN = (
    "**Is it the rule?** {}Its perplexity is {} than with that other pattern. But it has to look at the gradients, "
    "which takes more steps{}"
)
"""Whether it chose the sets of the first sentence; the rule minus the pattern."""
READ_OFTEN: dict[tuple[str, str], str] = {
    regimes.SHARING: "two sets of weights minus a set each",
    ("sandwich-2", "shallow-2"): "minus only two layers",
    regimes.AGENT: "the agent minus chance",
}
"""Two methods that are compared where a part of the text is read again and again, and how a reader calls that."""
NOT_SHOWN = " (no difference is shown)"
"""After a range that leaves open on which side the difference lies."""
FOLDED = "More: the rule beside a fixed pattern, another reward, a text that is read many times, and memory"


def in_words(records: Sequence[RunRecord], measured: Sequence[Mapping[str, Any]] = ()) -> str:
    """The headline in plain sentences, a bullet each, and what their ranges are; nothing for fewer than two pairs. All
    but the first three are folded; the last are about a text that is read many times, and about memory. measured: what
    `benchmark` is made of."""
    of = findings.rows_of(records, "depth")
    numbers = set()

    def said(one: Sequence[RunRecord], other: Sequence[RunRecord]) -> str:
        bits, nats = bits_and_nats(one, other)
        if len(bits) < 2:
            return ""
        numbers.add(len(bits))
        if not told_apart(nats):
            return f"{range_in_words(nats)}{NOT_SHOWN}"
        not_again = "" if claim.shown_again(one, other) else " (the later repetitions alone do not show it)"
        return range_in_words(nats) + not_again

    def one_more(words: str, one: str, other: str) -> str:
        found = said(of.get(one, []), of.get(other, []))
        return words.format(found) if found else ""

    pattern = _other_pattern(of)
    after = {
        ("sandwich-2", "conventional"): lambda: one_more(SMALLER, "sandwich-2", "shallow-2"),
        ("dynamic", "random"): lambda: _over_all_settings(records),
        (report.RULE, "random"): lambda: (
            one_more(THE_RULE_AND_TWO, report.RULE, "shallow-2") + one_more(NO_LOOK, pattern or "", "random")
        ),
        ("dynamic_paired", "random"): lambda: _price(of),
    }

    def sentences(templates: Mapping[str, Sequence[tuple[str, str]]]) -> list[str]:
        found = []
        for words, pairs in templates.items():
            if all(ranges := [said(of.get(one, []), of.get(other, [])) for one, other in pairs]):
                found.append(f"- {words.format(*ranges)}.{after.get(pairs[0], str)()}")
        return found

    first, more = sentences(FIRST), sentences(MORE)
    if pattern and (beside := said(of[report.RULE], of[pattern])):
        paid = _paid(of[report.RULE], of[pattern], "with the pattern")
        more.insert(0, f"- {BESIDE_A_PATTERN.format(_same_ties(of), beside, paid)}.")
    parts = [regimes.depth_of(records, **settings) for settings in regimes.PARTS_OF_THE_TEXT]
    small_texts = [rows for rows in parts if {"dynamic", *regimes.NEEDED} <= rows.keys() and len(rows["random"]) > 1]
    if small_texts:
        numbers |= {len(rows["random"]) for rows in small_texts}
        more.append(f"- {_read_again(small_texts)}")
    if not first + more:
        return ""
    if shares := next(filter(None, map(_memory, reversed(measured))), None):
        state, peak = (f"{100 * share:.0f} %" for share in shares.values())
        more.append(
            f"- **Memory.** At the paper's size, 6 sets of weights in place of 48 need {state} of the memory for "
            f"weights, gradients and optimiser, and {peak} at the peak of a training step, measured on a GPU in bf16."
        )
    n = " to ".join(str(number) for number in sorted({min(numbers), max(numbers)}))
    gates = gate.informative(records)
    rows = {
        gate.key(r) for study in (of, *small_texts) for name in ("conventional", "dynamic") for r in study.get(name, [])
    }
    counted = [
        r
        for r in records
        if not gate.is_a_look(r) and (gate.key(r) in rows or gate.gate_of(gates, *gate.key(r)).can_tell)
    ]
    full = [r for r in counted if r.method == "conventional"]
    deciding = [r for r in counted if r.method == "dynamic"]
    legend = (
        f"Each range is a 95 % interval of its own, over {n} repetitions that differ in chance alone{_looked(full)}."
    )
    folded = ["", f"<details><summary>{FOLDED}</summary>", "", *more, "", "</details>"] if more else []
    return "\n".join([*first, *folded, "", f"{legend}{_decisions(deciding)}{_still_improving(full)}"])


def _read_again(studies: Sequence[findings.Rows]) -> str:
    """What is shown of READ_OFTEN in each of these studies, a line of Markdown for each, and above in how many of them
    that is a difference."""
    nats = [[bits_and_nats(rows[one], rows[other])[1] for one, other in READ_OFTEN] for rows in studies]
    shown = [sum(map(told_apart, values)) for values in zip(*nats, strict=True)]
    compared = [
        f"{words} (a difference is shown in {n or 'none'})" for words, n in zip(READ_OFTEN.values(), shown, strict=True)
    ]
    lines = []
    for rows, values in zip(studies, nats, strict=True):
        full = rows["conventional"]
        ranges = "; ".join(allowed(of).removeprefix("perplexity ").removesuffix(" %") for of in values)
        steps = full[0].budget["optimizer_steps"]
        lines.append(f"<br>{regimes.study_name(rows)}, {steps:,} steps, {len(full)} repetitions: {ranges}")
    lead = "**Where a part of the text is read again and again.** Percent of perplexity:"
    return f"{lead} {'; '.join(compared)}.{''.join(lines)}"


SO_MANY = {1: "one setting", 2: "two settings", 3: "three settings"}


def _looked(runs: Sequence[RunRecord]) -> str:
    """When settings, a run of each for each seed, were looked at before all their seeds were run."""
    found: dict[int, list[str]] = {}
    for full in tables.grouped(runs, gate.key).values():
        if when := claim.looked_at(full):
            found.setdefault(len(full), []).append(when)
    said = []
    for n, times in sorted(found.items(), reverse=True):
        settings = Counter(times).most_common()
        each = [f"{when} in {SO_MANY.get(count, f'{count} settings')}" for when, count in settings]
        each = each if len(settings) > 1 else times[:1]
        said.append(f"of the {n} {' and '.join(each)}")
    return f" (we looked at them before all were run: {'; '.join(said)})" if said else ""


def _over_all_settings(records: Sequence[RunRecord]) -> str:
    """The agent's contrast over all rows that can tell, as one test; nothing for fewer than two of them."""
    rows = claim.of_pair(claim.primary(records), "dynamic", "random")
    if len(rows) < 2:
        return ""
    alone = sum(equivalence(list(row.nats.values()), claim.MARGIN) < 0.05 for row in rows)
    corrected = sum(row.p_equal < 0.05 for row in rows)
    return (
        f" On average over the {len(rows)} [settings that can tell](figures/README.md#what-could-have-told-anything) "
        "(more layers are better than fewer, and moving ties by chance makes a difference), beside where chance "
        f"decides it is {claim.average_in_words(rows, 'repetitions')}. We worked this test out when most runs were "
        f"known. Each setting alone, {alone or 'none'} are equal within {claim.MARGIN:g} %, and "
        f"{corrected or 'none'} after correction."
    )


def _price(of: Mapping[str, Sequence[RunRecord]]) -> str:
    """What the lead of the agent with the reward `paired` is paid with, and whether a fixed pattern does better."""
    ours, chance = report.habits(of["dynamic_paired"]), report.habits(of["random"])
    more = mean_interval([r.budget["search_steps"] / r.budget["optimizer_steps"] for r in of["dynamic_paired"]])[0]
    bits, _ = bits_and_nats(of.get("sandwich-2", []), of["dynamic_paired"])
    better = ". Two sets that stay in place do better" if len(bits) > 1 and verdict(bits) == "better" else ""
    return (
        f" In the second half of its decisions it moves ties in {100 * ours.moved:.0f} % of them and keeps "
        f"{ours.sets:.1f} sets of weights (chance: {100 * chance.moved:.0f} %, {chance.sets:.1f}). Its rewards take "
        f"{100 * more:.0f} % more steps{_paid(of['dynamic_paired'], of['random'], 'where chance decides')}{better}."
    )


def _paid(runs: Sequence[RunRecord], others: Sequence[RunRecord], than: str) -> str:
    """What is left if the search is paid out of as many steps as the others' training has."""
    _, nats = report.charged(runs, others, "loss")
    if len(nats) < 2:
        return ""
    shown = "" if told_apart(nats) else NOT_SHOWN
    found = f"{range_in_words(nats)}{shown}"
    return f". With a training shorter by as many, its validation perplexity is {found} than {than}"


def _decisions(runs: Sequence[RunRecord]) -> str:
    """How often the agent decides in these runs, and in the paper's setting."""
    if not runs:
        return ""
    paper = Experiment.preset("gpt2-wikitext2", "paper")
    here = sorted({r.experiment["episodes"] * (r.experiment["n_layer"] - 1) for r in runs})
    there = paper.episodes * (paper.n_layer - 1)
    *first, last = (f"{n:,}" for n in here)
    times = f"{', '.join(first)} or {last}" if first else last
    return f" The agent decides {times} times in each; in the paper's setting {there:,} times."


def _still_improving(runs: Sequence[RunRecord]) -> str:
    """How many of these runs may not have come to their end; nothing if all had."""
    if not (still := sum(r.best_at_the_end for r in runs)):
        return ""
    return (
        f" Without ties, the last model was the best in {still} of {len(runs)} runs: these might have gone on "
        "improving."
    )


def _same_ties(of: Mapping[str, Sequence[RunRecord]]) -> str:
    same = "sandwich-2" in of and report.same_maps(of[report.RULE], of["sandwich-2"])
    return "It chose the two sets of *What sharing gives*. " if same else ""


def _memory(one: Mapping[str, Any]) -> dict[str, float]:
    """What 6 sets of weights need of the memory of 48, at the paper's size, by one measurement; nothing if it did not
    measure that."""
    rows = one["parts"].get("paper", {"rows": []})["rows"]
    shape = {row["weight_sets"]: row for row in rows if isinstance(row["peak_gb"], float)}
    if not {6, 48} <= shape.keys():
        return {}
    names = {"training state": "state_gb", "the peak of a step": "peak_gb"}
    return {what: shape[6][column] / shape[48][column] for what, column in names.items()}


def _difference(
    question: str,
    words: str,
    runs: Sequence[RunRecord],
    baseline: Sequence[RunRecord],
    gates: Mapping[gate.Key, gate.Gate],
) -> list[dict[str, str]]:
    """A row of `headline` about pairs of runs with one seed; none for no pairs."""
    if not (n := len(paired_differences(runs, baseline))):
        return []
    return [
        {
            "question": question,
            "compared": f"{words}, n = {n}",
            "trained parameters": _parameters(runs, baseline),
            "test bits per byte": claim.difference(runs, baseline, gates[gate.key(runs[0])]),
        }
    ]


def _parameters(*groups: Sequence[RunRecord]) -> str:
    """Mean number of trained parameters of each group of runs."""
    counts = ([r.parameters["unique"] for r in runs if r.parameters] for runs in groups)
    return " and ".join(f"{mean_interval(of_group)[0] / 1e6:.2f}M" for of_group in counts)


def hours(records: Sequence[RunRecord]) -> str:
    """How long the runs took, in core-hours, and those of the studies with an hour or more; the longest first."""
    studies = tables.grouped(records, lambda r: r.experiment["name"])
    of = {name: regimes.core_hours(runs) for name, runs in studies.items()}
    each = [f"`{name}` {n:.1f}" for name, n in sorted(of.items(), key=lambda item: -item[1]) if n >= 1]
    return (
        f"The {len(records):,} recorded runs of preset `laptop` took {sum(of.values()):.0f} core-hours: "
        f"{', '.join(each)}, each other study less than one. The cores were shared with other work; "
        "alone the runs would take less."
    )


def benchmark(measured: Sequence[dict[str, Any]]) -> str:
    """What takes how long in comparison, a column for each device: medians, with their quartiles."""
    rows: dict[str, dict[str, str]] = {}
    for one in measured:
        device, parts = one["hardware"]["device"], {name: part["rows"] for name, part in one["parts"].items()}
        steps, k = {row["training"]: row for row in parts.get("steps", [])}, one["steps_per_action"]
        decision, compiled = (next(iter(parts.get(name, [])), None) for name in ("control", "compiled"))
        step = "ratio_to_conventional"
        ratios = {
            "a step in a plain PyTorch loop / one in ours": (steps.get("plain PyTorch loop"), step),
            "a step in `transformers.Trainer` / one in ours": (steps.get("Hugging Face Trainer"), step),
            "a step with all layers tied / with all independent": (steps.get("all tied, shared"), step),
            f"a decision and its {k} steps / these steps alone": (decision, "ratio_to_k_steps"),
            "a step with compiled blocks / without": (compiled, "ratio_to_eager"),
        }
        for what, (row, column) in ratios.items():
            if row and isinstance(row.get(column), float) and math.isfinite(row[column]):
                shown = f"{row[column]:.2f} ({row[f'{column}_q25']:.2f} to {row[f'{column}_q75']:.2f})"
                rows.setdefault(what, {"time": what})[device] = shown
        for what, share in _memory(one).items():
            what = f"{what} with 6 sets of weights / with 48, at the paper's size"
            rows.setdefault(what, {"time": what})[device] = f"{share:.3f}"
    devices = [one["hardware"]["device"] for one in measured]
    return tables.markdown_table(
        [{"A / B": row["time"], **{d: row.get(d, "not measured") for d in devices}} for row in rows.values()]
    )


def regime_gpu(records: Sequence[RunRecord]) -> str:
    """The runs of the study regime-gpu on a GPU, method by method: the model that validation chose, and the last."""
    rows = []
    runs = [r for r in records if (r.experiment["name"], r.experiment["preset"]) == ("regime-gpu", "gpu")]
    for method in dict.fromkeys(r.method for r in sorted(runs, key=_best_validation)):
        of = [r for r in runs if r.method == method]
        rows.append(
            {
                "method": f"`{method}`",
                "n": str(len(of)),
                "trained parameters": _parameters(of),
                "test perplexity": _each(of, lambda r: r.headline()["perplexity"]),
                "best validation": _each(of, _best_validation),
                "at step": _each(of, lambda r: (r.test or {})["selected_step"], 0),
                "validation at the last step": _each(of, lambda r: r.curves["validation"]["perplexity"][-1]),
            }
        )
    if not rows:
        return ""
    said = {f"{found.word}{found.reason and ', since ' + found.reason}" for found in gate.informative(runs).values()}
    steps = " or ".join(f"{n:,}" for n in sorted({r.budget["optimizer_steps"] for r in runs}))
    curves = [r.curves["validation"]["perplexity"] for r in runs]
    best = sorted({curve.index(min(curve)) + 1 for curve in curves})
    evaluations = " or ".join(str(n) for n in sorted({len(curve) for curve in curves}))
    return (
        f"{tables.markdown_table(rows)}\n\nBy the gate this {'; '.join(sorted(said))}. Each run took {steps} steps. "
        f"Of its {evaluations} evaluations number {' or '.join(map(str, best))} was the best."
        f"{_decisions([r for r in runs if r.method == 'dynamic'])}"
    )


def _best_validation(record: RunRecord) -> float:
    return min(record.curves["validation"]["perplexity"])


def _each(runs: Sequence[RunRecord], value: Callable[[RunRecord], float], digits: int = 1) -> str:
    """The value of each run, by seed."""
    return ", ".join(f"{value(r):.{digits}f}" for r in sorted(runs, key=lambda r: r.seed))
