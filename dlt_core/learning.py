"""Does the agent learn anything? Records of the studies in `results.LEARNING` to paired differences, tables, sentences.

Notebooks 12, 13 and 14, the figures and the README take their numbers and their closing sentences from here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from dlt_core.comparison import (
    bits_per_byte,
    bootstrap_interval,
    compare,
    interquartile_mean,
    mean_interval,
    paired_differences,
    plus_minus,
    verdict,
)
from dlt_core.diagnosis import rank_correlation, seen_in_search, truth
from dlt_core.experiments import Experiment
from dlt_core.records import RunRecord
from dlt_core.results import markdown_table, training_flops

Rows = dict[str, list[RunRecord]]
"""label -> the finished runs, by seed"""
COMMITTED = Path(__file__).resolve().parent.parent / "figures" / "records"
# With another k, or less text, as many steps make another number of turns: what goes with it is not said.
_GOES_WITH = ("episodes", "evaluate_every", "epsilon_decay")


def collect(
    study: str,
    preset: str,
    methods: Iterable[str],
    seeds: Iterable[int],
    *,
    out_dir: str | os.PathLike | None = None,
    recorded: bool | str | os.PathLike = True,
    **changed: Any,
) -> Rows:
    """The runs of `methods`, see `comparison.compare`, for each seed, with some settings changed, by `label`.

    recorded: take those that the project has committed in figures/records, or that are in another folder of records,
    and train only the others; False: train all. Without a text to train on raises `corpora.CorpusUnavailable`.
    """
    folder = COMMITTED if recorded is True else recorded or None
    methods = list(methods)
    found: Rows = {}
    for seed in seeds:
        experiment = Experiment.preset(study, preset, seed=seed, **changed)
        for record in compare(experiment, methods, out_dir=out_dir, recorded=folder):
            found.setdefault(label(record), []).append(record)
    return found


def label(record: RunRecord) -> str:
    """A run's method and changed settings, such as "thompson, log_improvement, k=3"."""
    overrides = dict(record.experiment["overrides"])
    if {"steps_per_action", "train_bytes"} & overrides.keys():
        overrides = {name: value for name, value in overrides.items() if name not in _GOES_WITH}
    words = {"reward": "{}", "steps_per_action": "k={}", "price": "price {}"}
    known = [how.format(overrides.pop(name)) for name, how in words.items() if name in overrides]
    return ", ".join([record.method, *known, *(f"{name}={value}" for name, value in sorted(overrides.items()))])


def rows_of(records: Iterable[RunRecord], study: str, preset: str = "laptop") -> Rows:
    """The finished runs of a study by `label`."""
    found: Rows = {}
    for r in sorted(records, key=lambda r: r.seed):
        if r.status == "finished" and (r.experiment["name"], r.experiment["preset"]) == (study, preset):
            found.setdefault(label(r), []).append(r)
    return found


def against(rows: Rows, name: str, other: str) -> list[float]:
    """Test bits per byte of a row minus those of another, for each seed that both have."""
    return list(paired_differences(rows.get(name, []), rows.get(other, [])).values())


def said(values: Sequence[float], digits: int = 3) -> str:
    """A paired difference in words, such as "+0.012 ± 0.004 (worse, n = 10)"."""
    return f"{plus_minus(*mean_interval(values), digits, '+')} ({verdict(values)}, n = {len(values)})"


def table(rows: Rows, names: Sequence[str], other: str) -> str:
    """Rows against another one, best first: mean difference with its interval by Student's t, the bootstrap's, the
    interquartile mean, and what they cost."""
    lines = []
    found = {name: against(rows, name, other) for name in names}
    for name in sorted((n for n in names if found[n]), key=lambda n: fmean(found[n])):
        values, runs = found[name], rows[name]
        ends = "".join(f"{end:+.3f} " for end in bootstrap_interval(values)).strip() if len(values) > 1 else ""
        lines.append(
            {
                "row": f"`{name}`",
                "seeds": str(len(values)),
                "test bits per byte": f"{fmean(map(bits_per_byte, runs)):.3f}",
                f"minus `{other}`": plus_minus(*mean_interval(values), 3, "+"),
                "bootstrap": ends.replace(" ", " to "),
                "IQM": f"{interquartile_mean(values):+.3f}",
                "verdict": verdict(values),
                "parameters": f"{fmean(map(share_of_parameters, runs)):.0%}",
                "FLOPs": f"{fmean(map(training_flops, runs)) / 1e12:.2f}T",
                "time": f"{fmean(r.seconds for r in runs):.0f} s",
            }
        )
    return markdown_table(lines)


def share_of_parameters(record: RunRecord) -> float:
    """Trainable parameters of the tested model, of the conventional one's."""
    return record.parameters["unique"] / record.parameters["conventional"]


def same_text_and_budget(records: Sequence[RunRecord]) -> None:
    """Raises AssertionError unless all runs of a study had one text and one number of steps and tokens, those of a
    search with everything that it tried."""
    for what, values in {
        "text": {r.corpus["sha256"] for r in records},
        "steps": {r.budget["optimizer_steps"] for r in records},
        "tokens": {r.budget["tokens"] for r in records},
    }.items():
        assert len(values) == 1, f"another {what}: {sorted(values)}"


def correlations(records: Sequence[RunRecord], runs: Iterable[RunRecord], window: int | None = None) -> list[float]:
    """For each of `runs` Spearman's correlation between what its rewards said of the maps it visited, and their
    from-scratch test losses in `records`, means over the seeds. window: see `diagnosis.seen_in_search`."""
    true = {tie_map: fmean(losses) for tie_map, losses in truth(records).items()}
    return [rank_correlation(seen_in_search(run, window=window), true) for run in runs]


def regime(rows: Rows, name: str, other: str, *, last: bool = False) -> tuple[list[int], list[list[float]]]:
    """How the difference of two rows moves with the length of training: (steps, validation bits per byte of one minus
    the other's, a list for each seed). Of the best model until then, or of the last one."""
    value: Callable[[RunRecord], np.ndarray] = lambda r: _curve(r, last)  # noqa: E731
    theirs = {r.seed: value(r) for r in rows[other]}
    pairs = [(value(r) - theirs[r.seed]).tolist() for r in rows[name] if r.seed in theirs]
    return rows[name][0].curves["validation"]["step"], pairs


def _curve(record: RunRecord, last: bool) -> np.ndarray:
    curve = np.array(record.curves["validation"]["bits_per_byte"])
    return curve if last else np.minimum.accumulate(curve)


def points(rows: Rows, names: Iterable[str]) -> dict[str, tuple[list[float], list[float]]]:
    """For `charts.front`: name -> share of the parameters and test bits per byte, for each seed."""
    return {
        name: ([share_of_parameters(r) for r in rows[name]], [bits_per_byte(r) for r in rows[name]]) for name in names
    }


def _sentence(parts: Mapping[str, Sequence[float]]) -> str:
    return "; ".join(f"{words} {said(values)}" for words, values in parts.items() if values)
