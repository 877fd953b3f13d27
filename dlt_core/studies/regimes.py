"""Where would sharing help? Long runs, little text, and models in which depth pays: what notebook 13 shows of them.

All is paired by seed with conventional training. The best model on validation is compared with the best one, the last
with the last: a curve that has turned makes the two differ.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from dlt_core import corpora, figures
from dlt_core.records.record import RunRecord, load_all
from dlt_core.records.statistics import (
    allowed,
    bits_per_byte,
    hedged,
    mean_interval,
    paired_differences,
    plus_minus,
    range_in_words,
    told_apart,
)
from dlt_core.studies import findings
from dlt_core.studies.claim import (
    MARGIN,
    Contrast,
    average_in_words,
    claim_markdown,
    later_alone,
    looked_at,
    of_pair,
    over_rows,
    primary,
    shown_again,
)
from dlt_core.studies.findings import Rows, against, difference, said
from dlt_core.studies.gate import in_words, informative, is_a_look, key
from dlt_core.studies.tables import NOT_RUN, grouped, markdown_table, tokens_tested, with_changes

DEPTH = ("conventional", "shallow-2", "shallow-3", "sandwich-2", "random", "dynamic")
"""Of the methods of the study "depth" those that say what sharing is worth, and what the agent adds."""
NEEDED = ("conventional", "shallow-2", "sandwich-2", "random")
"""Those without which nothing can be said of what sharing is worth."""
SHARING, AGENT = ("sandwich-2", "conventional"), ("dynamic", "random")
"""The two contrasts that were named in advance, see `claim`: a row, and the one that is taken off."""
REGIME = frozenset({"dropout", "train_bytes", "episodes"})
"""The settings that make a regime of the study "regime"; with others changed it is another question."""
SMALL_STEPS: dict[str, Any] = {"train_bytes": 18425, "episodes": 20, "learning_rate": 1e-4, "evaluate_every": 1}
"""Settings of "regime" with the smallest text, a tenth of the learning rate and twice as many evaluations, so that the
best validation need not come at the first one."""
MANY_PASSES: dict[str, Any] = {"dropout": 0.2, "train_bytes": 2**18}
"""Settings of "depth" in which a small text is read again and again. They were chosen by a look at `conventional` and
`shallow-2` alone, with a seed that is in no result: without dropout depth was worth nothing on so little text."""
TO_ITS_END: dict[str, Any] = {**MANY_PASSES, "episodes": 80}
"""The same with twice the steps, until the model hardly improves. Chosen likewise, see `looks_markdown`."""
TO_ITS_END_TWICE: dict[str, Any] = {**MANY_PASSES, "episodes": 160}
"""And with twice as many again: in a look early stopping would have ended conventional training there, and six layers
were still better than two. Named before more was run: SHARING, with the gate's two questions, and three seeds; a run
takes twice as long, so AGENT came after them."""
FEW_PASSES: dict[str, Any] = {"dropout": 0.2, "train_bytes": 846_000}
"""Settings of "depth" between all the text and MANY_PASSES: about 400,000 tokens, read between seven and eight times.
Named before they were run, and without a look: five seeds, all of DEPTH, SHARING and AGENT, and the gate's two
questions. The question beside these: does the distance of SHARING lie between those of the other two texts?"""
PARTS_OF_THE_TEXT = (FEW_PASSES, MANY_PASSES, TO_ITS_END, TO_ITS_END_TWICE)
"""All settings of "depth" with a part of the text, by how often it is read."""
PATIENCE = 5
"""Evaluations without an improvement, after which early stopping would end a run, see `patience_markdown`."""


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
    """For `figures.sign_map`: dropout -> how much text -> `regime` of the two rows, best model until then. A row in
    which another setting than those of REGIME was changed has no part in it."""
    panels: dict[str, dict[str, tuple]] = {}
    rows = {row: runs for row, runs in rows.items() if runs[0].experiment["overrides"].keys() <= REGIME}
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
    return said(at(rows, name, share, last=last, other=other), nats=_nats(rows, name, share, last, other))


def _nats(rows: Rows, name: str, share: float, last: bool, other: str) -> list[float]:
    """`at` in nats per token, which are log perplexity."""
    return _at(regime(rows, name, other, last=last, unit="loss"), share)


def end(rows: Rows, name: str, other: str, *, last: bool = False) -> str:
    """Validation bits per byte of a row minus another's at the end of training, best with best or last with last, in
    words, with what the interval allows in percent of perplexity."""
    return _said(rows, name, 1, last=last, other=other)


def numbers(bits: Sequence[float], nats: Sequence[float]) -> str:
    """Differences in bits per byte, and what they allow in percent of perplexity, without a verdict, such as
    "+0.046 ± 0.006 (n = 10; perplexity +6.0 to +7.9 %)". nats: the same in log perplexity."""
    return f"{in_words(bits)[:-1]}; {allowed(nats)})"


def _end(rows: Rows, name: str, other: str, *, last: bool) -> str:
    """`end` without its verdict, where another test has it, or none is to be had."""
    return numbers(at(rows, name, 1, last=last, other=other), _nats(rows, name, 1, last, other))


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


def head_starts(rows: Rows) -> dict[str, str]:
    """Row -> `head_start`, of all but conventional training."""
    improving = any(r.best_at_the_end for r in rows["conventional"])
    return {
        name: head_start(*(hedged(at(rows, name, share)) for share in (0.1, 1)), improving=improving)
        for name in rows
        if name != "conventional"
    }


def head_start_table(rows: Rows) -> str:
    """The rows against conventional training after a tenth of it and at its end, and `head_start`."""
    full = rows["conventional"]
    lines = [
        {
            "row": f"`{name}`",
            "after a tenth, best": _said(rows, name, 0.1),
            "at the end, best": end(rows, name, "conventional"),
            "at the end, last": end(rows, name, "conventional", last=True),
            "only converges faster?": words,
        }
        for name, words in head_starts(rows).items()
    ]
    return (
        f"{markdown_table(lines)}\n\nValidation bits per byte minus conventional training's, of "
        f"{full[0].budget['optimizer_steps']:,} steps. *Best*: each by its best model so far. *Last*: both "
        "as training left them. Conventional training was at its best at the very end in "
        f"{sum(r.best_at_the_end for r in full)} of {len(full)} seeds."
    )


def overfitting_table(regimes: Mapping[str, Rows]) -> str:
    """Conventional training in each regime, in nats per token: how often it read its text, the training loss over the
    last tenth, and validation at its best, with the step, and at the end."""
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
                "best after step": _when_best(runs),
                "turned up by": plus_minus(*mean_interval([x[-1] - min(x) for x in losses["validation"]]), 2),
            }
        )
    return markdown_table(lines)


def _when_best(runs: Sequence[RunRecord]) -> str:
    """The steps after which validation was best, and whether that was the first evaluation in all runs."""
    steps, first = [r.required(r.test)["selected_step"] for r in runs], runs[0].curves["validation"]["step"][0]
    return f"{first:,}, the first evaluation" if set(steps) == {first} else _span(steps, ",")


def _span(values: Sequence[float], how: str) -> str:
    """From the smallest value to the largest; one of them if both are written alike."""
    low, high = (format(end, how) for end in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def small_steps_markdown(rows: Rows) -> str:
    """Runs with SMALL_STEPS: after which step each method's validation is best, what it has then and at the end against
    conventional training, and whether this study can tell; for no rows that they were not run."""
    if not rows:
        return "With a smaller learning rate and more evaluations: not run."
    full = rows["conventional"]
    steps = full[0].curves["validation"]["step"]
    lines = []
    for name, runs in rows.items():
        plain = name == "conventional"
        read = [r.passes * r.required(r.test)["selected_step"] / r.budget["optimizer_steps"] for r in runs]
        lines.append(
            {
                "row": f"`{name}`",
                "best after step": _when_best(runs),
                "the text was read until then": f"{_span(read, '.1f')} times",
                "best models": "" if plain else _end(rows, name, "conventional", last=False),
                "last models": "" if plain else _end(rows, name, "conventional", last=True),
            }
        )
    inside = sum(steps[0] < r.required(r.test)["selected_step"] < steps[-1] for r in full)
    gate = findings.gate_of_rows(rows)
    return (
        f"{markdown_table(lines)}\n\nLearning rate {full[0].experiment['learning_rate']:g}, dropout "
        f"{full[0].experiment['dropout']:g}, {steps[-1]:,} steps, an evaluation every {steps[0]:,}. Validation bits "
        f"per byte minus conventional training's; nothing corrects the intervals. In {inside} of {len(full)} "
        f"conventional runs the best validation came after the first evaluation and before the last. By the gate, "
        f"which asks the test text, these runs {gate.word}"
        f"{f': {gate.reason}' if gate.reason else ''}."
    )


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
            "best models": _brief(regimes[title], name, last=False),
            "last models": _brief(regimes[title], name, last=True),
            "after Holm, best and last": f"{after[title, name, False]}, {after[title, name, True]}",
        }
        for title, name, last in family
        if not last
    ]
    counts = {word: sum(found == word for found in after.values()) for word in ("better", "worse", "open")}
    seeds = len(next(iter(regimes.values()))["conventional"])
    return (
        f"{markdown_table(lines)}\n\nValidation bits per byte minus conventional training's, with 95 % intervals that "
        f"nothing corrects. Of {len(family)} comparisons with {seeds} seeds each, after Holm's correction: sharing "
        f"shown better in {counts['better']}, shown worse in {counts['worse']}, open in {counts['open']}. Open "
        "means what the interval says, and some of these intervals are wide: a gain may hide in them, or a loss."
    )


def _brief(rows: Rows, name: str, *, last: bool) -> str:
    """`end` against conventional training, without its verdict and the number of seeds."""
    bits, nats = at(rows, name, 1, last=last), _nats(rows, name, 1, last, "conventional")
    return f"{plus_minus(*mean_interval(bits), 3, '+')} ({allowed(nats)})"


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
    `seeds`, see `findings.collect`; nothing is returned where there is no text to train on.
    """
    if preset == "smoke" or not recorded:
        try:
            rows = findings.collect("depth", preset, DEPTH, seeds, out_dir=out_dir, recorded=False, **changed)
        except corpora.CorpusUnavailable:
            return {}
        return {runs[0].method: runs for runs in rows.values()}
    return depth_of(load_all(findings.COMMITTED if recorded is True else recorded), preset, **changed)


def depth_of(records: Iterable[RunRecord], preset: str = "laptop", *, study: str = "depth", **changed: Any) -> Rows:
    """Of the records what `depth_rows` takes: those of a study in which exactly these settings were changed. study:
    another one that was run with the same methods."""
    like = (r for r in records if r.experiment["overrides"] == changed)
    return complete({runs[0].method: runs for runs in findings.rows_of(like, study, preset).values()})


def complete(rows: Rows, methods: Sequence[str] = DEPTH, needed: Sequence[str] = NEEDED) -> Rows:
    """Of the rows those of `methods`, with the seeds that all of `needed` have; a method without one of these seeds is
    left out. Nothing if there is no such seed."""
    have = {method: {r.seed for r in rows.get(method, [])} for method in methods}
    seeds = set.intersection(*(have[method] for method in needed))
    return {m: [r for r in rows[m] if r.seed in seeds] for m in methods if seeds <= have[m]} if seeds else {}


def patience_markdown(records: Iterable[RunRecord]) -> str:
    """What early stopping would have done, in words: how many of the finished runs a patience of PATIENCE evaluations
    would have ended, of which experiments these are, and in how many the model that we test is the one that it would
    have chosen. Looks do not count; nothing for no runs."""
    runs = [r for r in records if r.status == "finished" and not is_a_look(r)]
    ends = {r.key: end for r in runs if (end := r.stopped_by(PATIENCE))}
    lead = f"**Early stopping, after the fact.** Looks aside, a patience of {PATIENCE} evaluations would have ended"
    if not ends:
        return f"{lead} 0 of {len(runs):,} runs before their last evaluation." if runs else ""
    of = Counter(r.experiment["name"] for r in runs if r.key in ends)
    where = ", ".join(f"{n} of `{name}`" for name, n in of.most_common())
    worse = sum(later for _, later in ends.values())
    return (
        f"{lead} {len(ends):,} of {len(runs):,} runs before their last evaluation ({where}). In {len(ends) - worse:,} "
        f"it would have chosen the model that we test, in {worse:,} an earlier one that is worse on validation."
    )


def last_tenth(runs: Sequence[RunRecord]) -> list[float]:
    """How far the best model's validation loss fell over the last tenth of the steps, nats per token, for each run."""
    curves = runs[0].curves["validation"]["step"], [_curve(r, last=False, unit="loss").tolist() for r in runs]
    return [before - end for before, end in zip(_at(curves, 0.9), _at(curves, 1), strict=True)]


def study_name(rows: Rows) -> str:
    """What a reader calls a study of `depth_of`: its own name, or "262 kB of text, read 25 times"."""
    first = rows["conventional"][0]
    name = first.experiment["name"]
    if not first.changes:
        return name
    size = f"{(first.experiment['train_bytes'] or first.corpus['bytes']['train']) / 1000:,.0f} kB of text"
    return f"{'' if name == 'depth' else f'{name}, '}{size}, read {first.passes:.0f} times"


def _readable(text: str, *studies: Rows) -> str:
    """The text with `study_name` in place of the names and changed settings of the studies."""
    for rows in filter(None, studies):
        first = rows["conventional"][0]
        text = text.replace(with_changes(first.experiment["name"], first.changes), study_name(rows))
    return text


def _records(*studies: Rows) -> list[RunRecord]:
    return [r for rows in studies for runs in rows.values() for r in runs]


def family(*studies: Rows, others: Iterable[RunRecord] = ()) -> list[RunRecord]:
    """The runs over which the contrasts named in advance are corrected together: those of the studies, and after them
    those of `others` that belong to another row of the results."""
    ours = _records(*studies)
    rows = set(map(key, ours))
    return ours + [r for r in others if key(r) not in rows]


def contrast(rows: Rows, pair: tuple[str, str], among: Sequence[RunRecord]) -> Contrast | None:
    """SHARING or AGENT of a study, with p corrected over all rows of a `family` that can tell; None for a study that
    cannot tell, or has fewer than two pairs of runs."""
    return primary(among).get((key(rows["conventional"][0]), *pair))


def depth_figure(rows: Rows) -> figures.Figure:
    """Each method against conventional training, best first, with its own mean bits per byte beside its name."""
    mean = {name: fmean(map(bits_per_byte, runs)) for name, runs in rows.items()}
    names = sorted(rows, key=mean.__getitem__)
    values = {f"{name} ({mean[name]:.3f})": against(rows, name, "conventional") for name in names}
    n = len(rows["conventional"])
    below = f"(mean, 95 % interval, n = {n}; in brackets: the mean itself)"
    label = f"test bits per byte minus conventional training's\n{below}"
    return figures.differences({f"{study_name(rows)}{findings.gate_of_rows(rows).mark}": values}, label)


def depth_markdown(rows: Rows, among: Sequence[RunRecord] = ()) -> str:
    """What is shown of the two contrasts that were named in advance, the sandwich against two plain layers by its own
    interval, whether training had come to its end, and the setting; if there are no runs, how to have them. among: the
    `family` of the two contrasts; this study alone if nothing is said."""
    if not rows:
        return "These runs are not recorded here. With `recorded = False` they are trained: about 20 minutes each."
    full, pair = rows["conventional"], (rows["sandwich-2"], rows["shallow-2"])
    beside, again = later_alone(*pair), "" if shown_again(*pair) else " So it is not shown again."
    return "\n\n".join(
        (
            f"**In short.** {depth_sentence(rows, among)}",
            "**Beside as many weights.** `sandwich-2` minus `shallow-2`, by its own interval, which nothing corrects: "
            f"{difference(rows, 'sandwich-2', 'shallow-2')}."
            + (f" The seeds that were run after a first look, alone: {in_words(beside)}.{again}" if beside else ""),
            "**Had training come to its end?** In "
            f"{sum(r.best_at_the_end for r in full)} of {len(full)} conventional runs the last model was the best; "
            f"a patience of {PATIENCE} evaluations would have ended {sum(bool(r.stopped_by(PATIENCE)) for r in full)}. "
            "Over the last tenth of their steps the best validation loss so far fell by "
            f"{plus_minus(*mean_interval(last_tenth(full)), 3)} nats per token.",
            _setting(full[0]),
        )
    )


def methods_markdown(*studies: Rows, among: Sequence[RunRecord] = ()) -> str:
    """The studies side by side, a column each: how often the text is read, in how many conventional runs the last model
    was the best, each method against conventional training in test bits per byte, with what is left after Holm's
    correction, and what the gate says; nothing for no runs. among: the `family` of SHARING, these studies if nothing is
    said; the other methods are corrected over those of their study, without it."""
    if not (studies := tuple(filter(None, studies))):
        return ""
    columns: dict[str, dict[str, str]] = {}
    for rows in studies:
        full, gate = rows["conventional"], findings.gate_of_rows(rows)
        others = {
            name: against(rows, name, "conventional") for name in DEPTH if name in rows and name != "conventional"
        }
        words = findings.corrected({name: values for name, values in others.items() if name != SHARING[0]})
        named = contrast(rows, SHARING, among or _records(*studies))
        words[SHARING[0]] = named.conclusion.partition(":")[0] if named else gate.word
        columns[f"{study_name(rows)} (n = {len(full)})"] = {
            "the text is read": f"{full[0].passes:.3g} times",
            "the last model was the best": f"{sum(r.best_at_the_end for r in full)} of {len(full)}",
            **{f"`{m}`": f"{plus_minus(*mean_interval(of), 3, '+')}: {words[m]}" for m, of in others.items()},
            "by the gate": gate.word,
        }
    lines = ["the text is read", "the last model was the best", *map("`{}`".format, DEPTH), "by the gate"]
    table = markdown_table(
        [
            {"": line, **{title: column.get(line, NOT_RUN) for title, column in columns.items()}}
            for line in lines
            if any(line in column for column in columns.values())
        ]
    )
    return (
        "**Each method minus conventional training**, test bits per byte, and what is left after Holm's correction (of "
        f"`{SHARING[0]}` over all rows that can tell, of the others over one column):\n\n{table}"
    )


def _setting(run: RunRecord) -> str:
    """How large the runs of a study are, in a sentence."""
    e, steps, tested = run.experiment, run.budget["optimizer_steps"], tokens_tested(run)
    return (
        f"Each run: {e['n_layer']} layers of width {e['n_embd']}; {steps:,} steps of {e['batch_size']} x "
        f"{e['block_size']} tokens of `{e['tokenizer']}`, learning rate {e['learning_rate']:g}; an agent decides "
        f"{steps // e['steps_per_action']:,} times, every {e['steps_per_action']} steps. "
        f"{'All test text counts.' if tested == 'all' else f'{tested} tokens of the test text count.'}"
    )


def growth(rows: Rows, before: Rows, name: str) -> list[float]:
    """By how much the distance of a method to conventional training, in bits per byte, grew from one study to another:
    for each seed that both have."""
    now, then = (paired_differences(of[name], of["conventional"]) for of in (rows, before))
    return [now[seed] - then[seed] for seed in now if seed in then]


def grown(rows: Rows, before: Rows, how: str = "with the steps (which was not named in advance)") -> str:
    """`growth` of all methods in words; nothing for fewer than two seeds. how: what changed between the two."""
    found = {}
    for name in [name for name in rows if name != "conventional" and name in before]:
        values = growth(rows, before, name)
        if len(values) > 1:
            found[name] = f"`{name}` {in_words(values)}"
    return (
        f"How the distances to conventional training grew {how}, in bits per byte, paired by seed: "
        f"{', '.join(found.values())}."
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
                "dropout": f"{full.experiment['dropout']:g}",
                "steps": f"{full.budget['optimizer_steps']:,}",
                "the text is read": f"{full.passes:.1f} times",
                "best after step": f"{full.required(full.test)['selected_step']:,}",
                "six layers": f"{bits_per_byte(full):.3f}",
                "two layers": f"{bits_per_byte(small):.3f}",
                "six minus two": f"{bits_per_byte(full) - bits_per_byte(small):+.3f}",
            }
        )
    return markdown_table(lines)


def contrasts_markdown(*studies: Rows, among: Sequence[RunRecord] = ()) -> str:
    """The two primary contrasts with their margin, corrected together over all rows of a `family` that can tell, which
    is that of the studies if nothing is said; nothing for no runs."""
    if not any(studies):
        return ""
    runs = among or _records(*studies)
    added = any(row[0] == "truth-bert" and other != "random" for row, _, other in primary(runs))
    later = " (of `truth-bert` only the agent's was; sharing was added later)" if added else ""
    return (
        f"**The two contrasts named in advance**{later}, in all rows that can tell, with a margin of {MARGIN:g} % of "
        f"perplexity:\n\n{_readable(claim_markdown(runs), *studies)}"
    )


def ends_markdown(*studies: Rows) -> str:
    """The two primary contrasts by the best models on validation and by the last ones, validation bits per byte, of the
    studies that can tell; nothing for none."""
    lines = []
    for rows in filter(None, studies):
        pairs = (SHARING, AGENT) if findings.gate_of_rows(rows).can_tell else ()
        for one, other in [pair for pair in pairs if set(pair) <= rows.keys()]:
            lines.append(
                {
                    "experiment": study_name(rows),
                    "contrast": f"`{one}` minus `{other}`",
                    "best models": _end(rows, one, other, last=False),
                    "last models": _end(rows, one, other, last=True),
                }
            )
    return (
        "**The best models and the last ones**, in validation bits per byte, with intervals that nothing corrects:\n\n"
        f"{markdown_table(lines)}"
        if lines
        else ""
    )


def depth_sentence(rows: Rows, among: Sequence[RunRecord] = ()) -> str:
    """How often the text is read, and what is shown of the two primary contrasts, in a sentence; of a study that cannot
    tell, why. among: their `family`; this study alone if nothing is said."""
    if not rows:
        return "Not run."
    passes, gate = rows["conventional"][0].passes, findings.gate_of_rows(rows)
    lead = f"With the text read {passes:.{0 if passes >= 1 else 1}f} times,"
    sharing, agent = (contrast(rows, pair, among or _records(rows)) for pair in (SHARING, AGENT))
    if not sharing:
        return f"{lead} it {gate.word}{f': {gate.reason}' if gate.reason else ''}."
    told = _shown(agent, *CHANCE) if agent else "the agent was not run"
    return f"{lead} {_shown(sharing, *NO_TIES)}; {told}."


NO_TIES = f"tying by `{SHARING[0]}`", "no ties"
CHANCE = "the agent", "chance"


def _shown(found: Contrast, one: str, other: str) -> str:
    """What is shown of a contrast, such as "the agent costs 3.1 to 7.1 % of perplexity against chance"; the percent are
    those of the 95 % interval of the mean. one, other: its two sides."""
    nats = list(found.nats.values())
    word, within, ends = found.conclusion, f"within {MARGIN:g} %", range_in_words(nats)
    if word.startswith(("worse", "better")):
        also = f", though equality {within} is shown" if "equal" in word else ""
        costs = "costs" if fmean(nats) > 0 else "saves"
        return f"{one} {costs} {ends.rpartition(' ')[0]} of perplexity against {other}{also}"
    if word.startswith("open"):
        corrected = " after correction" if told_apart(nats) else ""
        return (
            f"{one} is not told apart from {other}{corrected}: its perplexity is {ends}, and equality {within} is not "
            "shown either"
        )
    return f"{one} is equal to {other} {within}: its perplexity is {ends}"


def quote(*studies: Rows, among: Sequence[RunRecord] = ()) -> str:
    """Both primary contrasts over all rows of a `family` that can tell (that of the studies if nothing is said), in
    words that can be quoted, and what is shown row by row; nothing where one of them was not run."""
    runs = among or _records(*filter(None, studies))
    every = primary(runs)
    sharing, agent = (of_pair(every, *pair) for pair in (SHARING, AGENT))
    if not sharing or not agent:
        return ""
    of_rows = [[r for r in runs if key(r) == row] for row in dict.fromkeys(row for row, *_ in every)]
    layers, widths = (
        " and ".join(map(str, sorted({r.experiment[name] for of_row in of_rows for r in of_row})))
        for name in ("n_layer", "n_embd")
    )
    told = (
        f"In models of {layers} layers and width {widths}, where all layers with weights of their own are better than "
        f"fewer layers, {_shown(over_rows(sharing) if len(sharing) > 1 else sharing[0], *NO_TIES)}; "
    )
    if len(agent) > 1:
        apart, equal = sum(c.p_differ < 0.05 for c in agent), sum(c.p_equal < 0.05 for c in agent)
        told += (
            f"the agent is told apart from chance in {apart} of {len(agent)} settings, and shown to be equal to it "
            f"within {MARGIN:g} % in {equal}; on average over them its perplexity is "
            f"{average_in_words(agent)}."
        )
    else:
        told += f"{_shown(agent[0], *CHANCE)}."
    if len(of_rows) > 1:
        by_row = Counter(c.conclusion.partition(":")[0] for c in sharing)
        told += (
            f" (Percent are 95 % intervals, of means over {_settings(len(sharing), len(agent))} that pass the gate, by "
            "tests that nothing corrects, thought of when most runs were known. Setting by setting, after Holm's "
            f"correction, sharing is {' and '.join(f'{word} in {n}' for word, n in by_row.items())}.)"
        )
    looks = sum(bool(looked_at(of_row)) for of_row in of_rows)
    return told + (f" In {looks} of {len(of_rows)} settings some seeds were run after a look." if looks else "")


def _settings(sharing: int, agent: int) -> str:
    return f"{sharing} settings" if sharing == agent else f"{sharing} settings, for the agent {agent},"


def core_hours(runs: Iterable[RunRecord]) -> float:
    """How long the runs took, in hours, times the threads of each."""
    return sum(r.seconds * r.hardware["threads"] for r in runs) / 3600
