"""The rivals of the paper's agent, notebook 14: what a search spends, what it found, and which of all to recommend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from dlt_core import figures
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import hedged, mean_interval, plus_minus
from dlt_core.studies import findings
from dlt_core.studies.findings import Rows, difference, said
from dlt_core.studies.tables import markdown_table, training_flops
from dlt_core.tie_map import TieMap, expected_independent


def probe_figure(wrong: Mapping[str, Sequence[Sequence[float]]], turns: Sequence[int]) -> figures.Figure:
    """Layers tied otherwise than in the target, agent -> seeds -> turns, means of ten turns; a dotted line after each
    of `turns`."""
    played = len(next(iter(wrong.values()))[0])
    tens = np.arange(5, played, 10).tolist()
    lines = {n: (tens, np.reshape(w, (len(w), -1, 10)).mean(axis=2).tolist()) for n, w in wrong.items()}
    figure = figures.bands({"": lines}, "turn (means of ten turns)", "layers tied otherwise")
    for turn in turns:
        figure.axes[0].axvline(turn, color=figures.INK, linewidth=1, linestyle=":")
        figure.axes[0].text(turn + 1, 0.1, f"{turn} turns", fontsize=8)
    figure.axes[0].set_ylim(0, None)
    return figure


def probe_table(wrong: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], last: int) -> str:
    """Layers tied otherwise, settings -> agent -> seeds -> turns: a line for each settings, with the means of the last
    turns, over the seeds with their 95 % interval."""
    return markdown_table(
        [
            {"settings": title}
            | {
                f"`{name}`": plus_minus(*mean_interval([fmean(run[-last:]) for run in runs]), 2)
                for name, runs in found.items()
            }
            for title, found in wrong.items()
        ]
    )


def spent_table(rows: Rows, searches: Sequence[str]) -> str:
    """How each search divides its steps."""
    lines = []
    for name in searches:
        record = rows[name][0]
        own, steps = record.budget["steps_of_the_chosen"], record.budget["optimizer_steps"]
        lines.append(
            {
                "search": f"`{name}`",
                "maps tried": f"{len(record.agent['maps'])}",
                "left after each round": " → ".join(f"{len(found)}" for found in record.agent["rounds"]),
                "steps in all": f"{steps:,}",
                "of these in the map it chose": f"{own:,} ({own / steps:.0%})",
            }
        )
    return markdown_table(lines)


def at_step(record: RunRecord, step: int, unit: str = "bits_per_byte") -> float:
    """Validation bits per byte after so many steps; unit "loss": nats per token. Raises ValueError if it was not
    evaluated there."""
    curve = record.curves["validation"]
    if step not in curve["step"]:
        raise ValueError(f"{record.key} was evaluated after the steps {curve['step']}, not after {step}")
    return float(curve[unit][curve["step"].index(step)])


def gained(runs: Sequence[RunRecord], before: int, after: int) -> str:
    """What the steps between two evaluations are worth, in validation bits per byte, in words."""
    bits, nats = ([at_step(r, after, u) - at_step(r, before, u) for r in runs] for u in ("bits_per_byte", "loss"))
    return said(bits, nats=nats)


def at_own_steps(rows: Rows, name: str, plain: str, unit: str = "bits_per_byte") -> list[float]:
    """Validation bits per byte of the map that a search chose minus those of a plain row after as many steps as the
    chosen map had of its own, for each seed that both have. (Training has no schedule: the first steps of a long run
    are a short run.)"""
    theirs = {r.seed: r for r in rows[plain]}
    pairs = [(r, r.budget["steps_of_the_chosen"], theirs[r.seed]) for r in rows[name] if r.seed in theirs]
    return [at_step(ours, own, unit) - at_step(other, own, unit) for ours, own, other in pairs]


def own_steps_table(rows: Rows, searches: Sequence[str], plain: Sequence[str]) -> str:
    """Searched maps against plain ones: after as many steps of their own, and after all steps."""
    lines = []
    for name in searches:
        own = {r.budget["steps_of_the_chosen"] for r in rows[name]}
        cells = {
            f"minus `{other}`, as many steps": said(
                at_own_steps(rows, name, other), nats=at_own_steps(rows, name, other, "loss")
            )
            for other in plain
        }
        last = {f"test, minus `{plain[0]}` with all steps": difference(rows, name, plain[0])}
        lines.append({"search": f"`{name}`", "own steps": ", ".join(f"{n:,}" for n in sorted(own)), **cells, **last})
    return markdown_table(lines)


def moves(record: RunRecord) -> float:
    """Share of the decisions in the last third of a run that change the map."""
    maps = record.history["tie_map"]
    return fmean(maps[i] != maps[i - 1] for i in range(len(maps) - len(maps) // 3, len(maps)))


def oftener_table(rows: Rows, names: Sequence[str], other: str) -> str:
    """Agents that decide more often, against another one that decides as often, and how much they still move."""
    return markdown_table(
        [
            {
                "row": f"`{name}`",
                f"minus `{other}`": difference(rows, name, other) if name != other else "",
                "late decisions that change the map": f"{plus_minus(*mean_interval([100 * m for m in late]), 0)} %",
            }
            for name in (*names, other)
            if (late := [moves(r) for r in rows[name]])
        ]
    )


def price_figure(priced: Mapping[float, Sequence[RunRecord]]) -> figures.Figure:
    """Price of an independent layer -> runs: how many layers they leave independent, with 95 % intervals."""
    n_layer = next(iter(priced.values()))[0].experiment["n_layer"]
    figure, ax = figures.new_axes(6.2, 3.2)
    kinds = {"while training,\nlast third": _late_sets, "in the model\nthat is tested": _tested_sets}
    width, lines = max(priced) - min(priced), {}
    for colour, shift, (words, count) in zip(figures.COLOURS, (-0.008, 0.008), kinds.items(), strict=False):
        middle, half = zip(*(mean_interval([count(r) for r in runs]) for runs in priced.values()), strict=True)
        at = [price + shift * width for price in priced]
        bars = ax.errorbar(at, middle, yerr=np.array(half, dtype=float), fmt="o-", capsize=3, color=colour)
        lines[words] = bars.lines[0]
    uniform = expected_independent(n_layer)
    lines["mean of a\nuniform policy"] = ax.axhline(uniform, color=figures.INK, linestyle=(0, (1, 2)))
    ax.set_xticks(list(priced), [str(price) for price in priced])
    ax.set_xlabel("price of an independent layer, nats per token", fontsize=9)
    ax.set_ylabel(f"independent layers of {n_layer}", fontsize=9)
    ax.set_ylim(0.8, None)
    figures.name_lines(ax, lines)
    return figure


def late_sets(runs: Sequence[RunRecord]) -> str:
    """Weight sets while training, over the last third of the decisions: the mean over the runs, in words."""
    return plus_minus(*mean_interval(list(map(_late_sets, runs))), 2)


def _late_sets(record: RunRecord) -> float:
    counts = record.history["num_independent"]
    return fmean(counts[-(len(counts) // 3) :])


def _tested_sets(record: RunRecord) -> float:
    return float(TieMap(record.required(record.tie_map)).num_independent)


EVIDENCE = {
    "better": "better in these runs",
    "worse": "worse in these runs",
    "borderline": "borderline: it depends on how the interval is made",
    "not told apart": "not told apart; the interval says what is still possible",
    "one seed": "one seed is no evidence",
    "exactly equal": "they do the same",
}
"""What a word of `records.statistics.hedged` is worth."""


def recommended(rows: Rows, groups: Mapping[str, Sequence[str]], other: str = "random") -> tuple[dict[str, str], str]:
    """Words for a group of rows -> the one of it that validation chose; and a table of their tests against `other`."""
    picked = {words: findings.chosen(rows, names, other) for words, names in groups.items()}
    full = fmean(map(training_flops, rows["conventional"]))
    lines = [
        {
            "if it may be": words,
            "validation chose": f"`{name}`",
            f"its test minus `{other}`": difference(rows, name, other),
            "so": EVIDENCE[hedged(findings.against(rows, name, other))],
            "parameters": f"{fmean(map(findings.share_of_parameters, rows[name])):.0%}",
            "FLOPs": f"{fmean(map(training_flops, rows[name])) / full:.0%}",
        }
        for words, name in picked.items()
    ]
    return picked, markdown_table(lines)
