"""Where would sharing help? Long runs, little text, and models in which depth pays: what notebook 13 shows of them.

All is paired by seed with conventional training. The best model on validation is compared with the best one, the last
with the last: a curve that has turned makes the two differ.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from dlt_core import figures
from dlt_core.records.record import RunRecord, load_all
from dlt_core.records.statistics import bits_per_byte, hedged, mean_interval, paired_differences, plus_minus
from dlt_core.studies import findings
from dlt_core.studies.claim import LOOKED, MARGIN, RULE, claim_markdown, gate_markdown, later_alone, looked_at
from dlt_core.studies.findings import Rows, against, difference, said
from dlt_core.studies.gate import in_words, informative, is_a_look, key
from dlt_core.studies.tables import grouped, markdown_table, with_changes

DEPTH = ("conventional", "shallow-2", "shallow-3", "sandwich-2", "random", "dynamic", "gradient-2-restart")
"""The methods of the study "depth"."""
NEEDED = ("conventional", "shallow-2", "sandwich-2", "random", "dynamic")
"""Those without which nothing can be said of it."""
MANY_PASSES: dict[str, Any] = {"dropout": 0.2, "train_bytes": 2**18}
"""Settings of "depth" in which a small text is read again and again. They were chosen by a look at `conventional` and
`shallow-2` alone, with a seed that is in no result: without dropout depth was worth nothing on so little text."""
TO_ITS_END: dict[str, Any] = {**MANY_PASSES, "episodes": 80}
"""The same with twice the steps, until the model hardly improves. Chosen likewise, see `looks_markdown`."""


def regime(
    rows: Rows, name: str, other: str, *, last: bool = False, unit: str = "bits_per_byte"
) -> tuple[list[int], list[list[float]]]:
    """How the difference of two rows moves with the length of training: (steps, validation bits per byte of one minus
    the other's, a list for each seed). Of the best model until then, or of the last one. unit: "loss" for nats per
    token."""
    theirs = {r.seed: _curve(r, last, unit) for r in rows[other]}
    pairs = [(_curve(r, last, unit) - theirs[r.seed]).tolist() for r in rows[name] if r.seed in theirs]
    return rows[name][0].curves["validation"]["step"], pairs


def _curve(record: RunRecord, last: bool, unit: str = "bits_per_byte") -> np.ndarray:
    curve = np.array(record.curves["validation"][unit])
    return curve if last else np.minimum.accumulate(curve)


def regime_panels(rows: Rows, name: str, other: str = "conventional") -> dict[str, dict[str, tuple]]:
    """For `figures.sign_map`: dropout -> how much text -> `regime` of the two rows, best model until then."""
    panels: dict[str, dict[str, tuple]] = {}
    gates = informative(record for runs in rows.values() for record in runs)
    for row, runs in sorted(rows.items(), key=lambda item: -item[1][0].corpus["bytes"]["train"]):
        e = runs[0].experiment
        twin = row.replace(runs[0].method, other, 1)
        if runs[0].method == name and twin in rows:
            text = f"{runs[0].corpus['bytes']['train'] / 1000:,.0f} kB of text{gates[key(runs[0])].mark}"
            panels.setdefault(f"dropout {e['dropout']:g}", {})[text] = regime(rows, row, twin)
    return panels


def at(rows: Rows, name: str, share: float, *, last: bool = False, other: str = "conventional") -> list[float]:
    """`regime` after a share of the training, a difference for each seed."""
    return _at(regime(rows, name, other, last=last), share)


def _at(curve: tuple[list[int], list[list[float]]], share: float) -> list[float]:
    steps, pairs = curve
    return [pair[max(0, round(share * len(steps)) - 1)] for pair in pairs]


def _said(rows: Rows, name: str, share: float, *, last: bool = False, other: str = "conventional") -> str:
    nats = _at(regime(rows, name, other, last=last, unit="loss"), share)
    return said(at(rows, name, share, last=last, other=other), nats=nats)


def end(rows: Rows, name: str, other: str, *, last: bool = False) -> str:
    """Validation bits per byte of a row minus another's at the end of training, best with best or last with last, in
    words, with what the interval allows in percent of perplexity."""
    return _said(rows, name, 1, last=last, other=other)


def head_start(early: str, late: str, *, improving: bool) -> str:
    """Does a row only converge faster? From two words of `hedged`, after a tenth of the training and at its end.

    improving: conventional training still gets better at the end.
    """
    if "one seed" in (early, late):
        return "one seed cannot tell"
    if early == "worse":
        return "no: **behind** from the start" if late == "worse" else "no: behind at first"
    if early == "better":
        if late == "better":
            return "not decided: conventional training still improves" if improving else "no: ahead at both"
        return "a lead at first, not shown at the end"
    if late == "worse":
        return "behind at the end; a lead at first is **open**"
    return "no: ahead only later" if late == "better" else "**open**: no lead shown at first, none excluded"


def head_start_table(rows: Rows) -> str:
    """The rows against conventional training after a tenth of it and at its end, and `head_start`."""
    full = rows["conventional"]
    improving = sum(r.best_at_the_end for r in full)
    lines = []
    for name in rows:
        if name != "conventional":
            words = [hedged(at(rows, name, share)) for share in (0.1, 1)]
            lines.append(
                {
                    "row": f"`{name}`",
                    "after a tenth, best": _said(rows, name, 0.1),
                    "at the end, best": end(rows, name, "conventional"),
                    "at the end, last": end(rows, name, "conventional", last=True),
                    "only converges faster?": head_start(*words, improving=improving > 0),
                }
            )
    return (
        f"{markdown_table(lines)}\n\nValidation bits per byte minus conventional training's, of "
        f"{full[0].budget['optimizer_steps']:,} steps. *Best*: both models as they were best until then. *Last*: both "
        f"as training left them. Conventional training was at its best at the very end in {improving} of {len(full)} "
        "seeds."
    )


def overfitting_table(regimes: Mapping[str, Rows]) -> str:
    """Conventional training in each regime, in nats per token: how often it read its text, the training loss over the
    last tenth, and validation at its best and at the end."""
    lines = []
    for title, rows in regimes.items():
        runs = rows["conventional"]
        losses = {split: [r.curves[split]["loss"] for r in runs] for split in ("train", "validation")}
        tail = -max(1, len(losses["train"][0]) // 10)
        lines.append(
            {
                "regime": title,
                "steps": f"{runs[0].budget['optimizer_steps']:,}",
                "passes over the text": f"{runs[0].passes:.1f}",
                "training, end": f"{fmean(fmean(x[tail:]) for x in losses['train']):.2f}",
                "validation, best": f"{fmean(map(min, losses['validation'])):.2f}",
                "turned up by": plus_minus(*mean_interval([x[-1] - min(x) for x in losses["validation"]]), 2),
            }
        )
    return markdown_table(lines)


def where_table(regimes: Mapping[str, Rows]) -> str:
    """Each row of each regime against conventional training at the end, best with best and last with last, and what is
    left after Holm's correction over all of them; and in a sentence, where sharing is shown to be better."""
    tests = [(title, name, last) for title, rows in regimes.items() for name in rows for last in (False, True)]
    family = {t: at(regimes[t[0]], t[1], 1, last=t[2]) for t in tests if t[1] != "conventional"}
    after = findings.corrected(family)
    lines = [
        {
            "regime": title,
            "row": f"`{name}`",
            "best models": end(regimes[title], name, "conventional"),
            "last models": end(regimes[title], name, "conventional", last=True),
            "after Holm, best and last": f"{after[title, name, False]}, {after[title, name, True]}",
        }
        for title, name, last in family
        if not last
    ]
    counts = {word: sum(found == word for found in after.values()) for word in ("better", "worse", "open")}
    seeds = len(next(iter(regimes.values()))["conventional"])
    return (
        f"{markdown_table(lines)}\n\nOf {len(family)} comparisons with {seeds} seeds each, after Holm's correction: "
        f"sharing shown better in {counts['better']}, shown worse in {counts['worse']}, open in {counts['open']}. Open "
        "means what the interval says, and some of these intervals are wide: a gain may hide in them, or a loss."
    )


def same_map(rows: Rows) -> str:
    """Is the tested model's map the last one, of dynamic runs; like with like: the last models of `dynamic` and
    `retrained`; and in how many seeds the agent's map is the only one of its size."""
    tested = sum(r.tie_map == r.final_tie_map for r in rows["dynamic"])
    n = len(rows["dynamic"])
    only = sum(map(findings.is_the_only_map, rows["dynamic"]))
    return (
        f"In {tested} of {n} dynamic runs the tested model, the best on validation, has the last map. Last with last, "
        f"`dynamic` minus `retrained`, validation: {end(rows, 'dynamic', 'retrained', last=True)}."
    ) + (
        f" In {only} of {n} seeds the agent left all layers tied, or none. No other map has as many sets, so that "
        "`random_map` is the agent's map again: these seeds are left out of its rows."
        if only
        else ""
    )


# --- where depth pays ---


def depth_rows(
    preset: str,
    seeds: Sequence[int],
    *,
    out_dir: str | os.PathLike | None = None,
    recorded: bool | str | os.PathLike = True,
    **changed: Any,
) -> Rows:
    """The runs of DEPTH in the study "depth", with some settings changed, on the seeds that all those NEEDED have.

    recorded: all that the project has committed, or that is in another folder of records, and nothing is trained;
    nothing is returned if that holds no seed with all that is needed. False, or preset "smoke": all is trained for
    `seeds`, see `findings.collect`.
    """
    if preset == "smoke" or not recorded:
        rows = findings.collect("depth", preset, DEPTH, seeds, out_dir=out_dir, recorded=False, **changed)
        return {runs[0].method: runs for runs in rows.values()}
    return depth_of(load_all(findings.COMMITTED if recorded is True else recorded), preset, **changed)


def depth_of(records: Iterable[RunRecord], preset: str = "laptop", **changed: Any) -> Rows:
    """Of the records what `depth_rows` takes."""
    like = (r for r in records if r.experiment["overrides"] == changed)
    return complete({runs[0].method: runs for runs in findings.rows_of(like, "depth", preset).values()})


def complete(rows: Rows, methods: Sequence[str] = DEPTH, needed: Sequence[str] = NEEDED) -> Rows:
    """Of the rows those of `methods`, with the seeds that all of `needed` have; a method without one of these seeds is
    left out. Nothing if there is no such seed."""
    have = {method: {r.seed for r in rows.get(method, [])} for method in methods}
    seeds = set.intersection(*(have[method] for method in needed))
    return {m: [r for r in rows[m] if r.seed in seeds] for m in methods if seeds <= have[m]} if seeds else {}


def last_tenth(runs: Sequence[RunRecord]) -> list[float]:
    """How far the best model's validation loss fell over the last tenth of the steps, nats per token, for each run."""
    curves = runs[0].curves["validation"]["step"], [_curve(r, last=False, unit="loss").tolist() for r in runs]
    return [before - end for before, end in zip(_at(curves, 0.9), _at(curves, 1), strict=True)]


def depth_figure(rows: Rows) -> figures.Figure:
    """Each method against conventional training, best first, with its own mean bits per byte beside its name."""
    mean = {name: fmean(map(bits_per_byte, runs)) for name, runs in rows.items()}
    names = sorted(rows, key=mean.__getitem__)
    values = {f"{name} ({mean[name]:.3f})": against(rows, name, "conventional") for name in names}
    n = len(rows["conventional"])
    label = f"test bits per byte minus conventional training's\n(mean, 95 % interval, n = {n}; in brackets their own)"
    title = f"depth, text read {rows['conventional'][0].passes:.1f} times{findings.gate_of_rows(rows).mark}"
    return figures.differences({title: values}, label)


def depth_markdown(rows: Rows) -> str:
    """Each method against conventional training, the sandwich against two plain layers, by its own interval, the
    gate's row, and whether training had come to its end; if there are no runs, how to have them."""
    if not rows:
        return "These runs are not recorded here. With `recorded = False` they are trained: about 20 minutes each."
    records = [r for runs in rows.values() for r in runs]
    pairs = {f"`{name}`": (name, "conventional") for name in rows if name != "conventional"}
    beside = later_alone(rows["sandwich-2"], rows["shallow-2"])
    when, row = looked_at(rows["conventional"]), with_changes("depth", rows["conventional"][0].changes)
    return "\n\n".join(
        (
            findings.family_table(rows, pairs, "method") + (f"\n\n{LOOKED.format(row, when)}" if when else ""),
            "**Beside as many weights.** `sandwich-2` minus `shallow-2`, by its own interval, which nothing corrects: "
            f"{difference(rows, 'sandwich-2', 'shallow-2')}."
            + (f" The seeds that were run after a first look, alone: {in_words(beside)}." if beside else ""),
            f"**The gate.** {RULE}",
            gate_markdown(records),
            "Over the last tenth of the steps the validation loss of conventional training, of the best model until "
            f"then, fell by {plus_minus(*mean_interval(last_tenth(rows['conventional'])), 3)} nats per token.",
        )
    )


def grown(rows: Rows, before: Rows) -> str:
    """By how much the distances to conventional training grew from fewer steps to more, paired by seed, in words;
    nothing for fewer than two seeds."""
    found = {}
    for name in [name for name in rows if name != "conventional" and name in before]:
        now, then = (paired_differences(of[name], of["conventional"]) for of in (rows, before))
        values = [now[seed] - then[seed] for seed in now if seed in then]
        if len(values) > 1:
            found[name] = f"`{name}` {in_words(values)}"
    return (
        "How the distances to conventional training grew with the steps, in bits per byte, paired by seed (which was "
        f"not named in advance): {', '.join(found.values())}."
        if found
        else ""
    )


def looks_markdown(records: Sequence[RunRecord]) -> str:
    """The looks by which settings of "depth" were sought in which training comes to its end: of each size of text and
    number of steps conventional training beside two plain layers, with LOOK, a seed that counts in no verdict. The
    smallest text first; nothing where there are none."""
    runs = (r for r in records if is_a_look(r) and r.status == "finished")
    rows = grouped(runs, lambda r: f"{r.corpus['bytes']['train']:012d} {r.budget['optimizer_steps']:06d} {r.changes}")
    lines = []
    for _, of in sorted(rows.items()):
        found = {r.method: r for r in of}
        if not {"conventional", "shallow-2"} <= found.keys():
            continue
        full, small = found["conventional"], found["shallow-2"]
        lines.append(
            {
                "training text": f"{full.corpus['bytes']['train'] / 1000:,.0f} kB",
                "steps": f"{full.budget['optimizer_steps']:,}",
                "the text is read": f"{full.passes:.1f} times",
                "best after step": f"{full.required(full.test)['selected_step']:,}",
                "six layers": f"{bits_per_byte(full):.3f}",
                "two layers": f"{bits_per_byte(small):.3f}",
                "six minus two": f"{bits_per_byte(full) - bits_per_byte(small):+.3f}",
            }
        )
    return markdown_table(lines)


def contrasts_markdown(*studies: Rows) -> str:
    """The two primary contrasts with their margin, corrected together over all the studies; nothing for no runs."""
    records = [r for rows in studies for runs in rows.values() for r in runs]
    return (
        f"**The two contrasts named in advance**, with a margin of {MARGIN:g} % of perplexity:\n\n"
        f"{claim_markdown(records)}"
        if records
        else ""
    )


def depth_sentence(rows: Rows) -> str:
    """How often the text is read, and the two primary contrasts, in a sentence."""
    if not rows:
        return "not run."
    sharing, agent = (difference(rows, *pair) for pair in (("sandwich-2", "conventional"), ("dynamic", "random")))
    return (
        f"the text is read {rows['conventional'][0].passes:.1f} times; by the gate it "
        f"{findings.gate_of_rows(rows).word}; sharing, `sandwich-2` minus `conventional`: {sharing}; "
        f"the agent, `dynamic` minus `random`: {agent}."
    )
