"""The two small tables of the front page: what came out, in three rows, and how fast and how large the training is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlt_core.experiments import EXPERIMENTS
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import mean_interval, paired_differences, plus_minus, verdict
from dlt_core.studies.tables import MAIN_METHODS, STUDIES, changes, markdown_table, summary

_WORDS = ("better", "worse", "not told apart")


def headline(records: Sequence[RunRecord]) -> str:
    """Parameters, perplexity and the agent against chance, a row each, from the finished runs of unchanged settings.

    Nothing while there are no runs of dynamic tying beside conventional and random ones. Experiments are counted where
    there are several seeds. The last row is about the experiment with the most seeds and says how much its interval
    still allows.
    """
    plain = [r for r in records if r.status == "finished" and not changes(r)]
    pairs = {other: _pairs(plain, other) for other in ("conventional", "random")}
    if not all(pairs.values()):
        return ""
    most = max(pairs["random"], key=lambda name: len(pairs["random"][name]))
    mean, half = mean_interval(pairs["random"][most])
    answers = {
        "Are fewer parameters trained?": f"Yes: {_shares(plain, 'dynamic')} of those of conventional training. "
        f"With random decisions it is {_shares(plain, 'random')}.",
        "Is the text predicted better than by conventional training?": _counted(pairs["conventional"]),
        "Does the agent decide better than chance?": f"{_counted(pairs['random'])} With the most seeds "
        f"({len(pairs['random'][most])}, experiment {most}) the difference in bits per byte is "
        f"{plus_minus(mean, half, 3, '+')}, so the agent may be better by {max(0.0, half - mean):.3f} or worse by "
        f"{max(0.0, half + mean):.3f}.",
    }
    return markdown_table([{"question": question, "our answer so far": answer} for question, answer in answers.items()])


def _pairs(records: Sequence[RunRecord], other: str) -> dict[str, list[float]]:
    """Experiment -> bits per byte of dynamic tying minus those of the other method, where there are several seeds."""
    of: dict[tuple[str, str], list[RunRecord]] = {}
    for r in records:
        of.setdefault((r.experiment["name"], r.method), []).append(r)
    pairs = {
        name: list(paired_differences(of.get((name, "dynamic"), []), of.get((name, other), [])).values())
        for name in EXPERIMENTS
    }
    return {name: differences for name, differences in pairs.items() if len(differences) > 1}


def _counted(pairs: dict[str, list[float]]) -> str:
    verdicts = [verdict(differences) for differences in pairs.values()]
    counts = [f"{word} in {verdicts.count(word)}" for word in _WORDS]
    return f"Of {len(verdicts)} experiments: {', '.join(counts)}."


def _shares(records: Sequence[RunRecord], method: str) -> str:
    """The smallest and the largest share of the conventional parameters, over the experiments that are no studies."""
    shares = [
        row["of_conventional"]
        for row in summary([r for r in records if r.method in MAIN_METHODS])
        if row["method"] == method and row["experiment"] not in STUDIES
    ]
    return f"{min(shares):.0%} to {max(shares):.0%}"


def speed_and_memory(benchmark: dict[str, Any]) -> str:
    """What a benchmark says about a step, a decision and the memory of the deepest model, as ratios."""
    rows = {name: part["rows"] for name, part in benchmark["parts"].items()}
    steps = {row["training"]: row for row in rows.get("steps", [])}
    control = {row["what"]: row for row in rows.get("control", [])}
    table = []
    for name, what in (
        ("plain PyTorch loop", "a step in a plain PyTorch loop, against a step in ours"),
        ("Hugging Face Trainer", "a step in `transformers.Trainer`, against a step in ours"),
        ("all tied, shared", "a step with all layers tied, against one with all layers independent"),
    ):
        if name in steps:
            table.append((what, _times(steps[name], "÷ conventional")))
    if "decision with its k steps" in control:
        k = benchmark["steps_per_action"]
        what = f"{k} steps with the agent's decision, against the same {k} steps alone"
        table.append((what, _times(control["decision with its k steps"], "÷ k steps")))
    if "memory" in rows:
        depth = max(row["layers"] for row in rows["memory"])
        deepest = {row["weight sets"]: row for row in rows["memory"] if row["layers"] == depth}
        few = min(deepest, key=lambda sets: abs(sets - depth / 8))
        for column, what in (
            ("state", "memory for weights, gradients and optimiser"),
            ("peak", "largest memory within a step"),
        ):
            share = deepest[few][column] / deepest[depth][column]
            table.append((f"{what}: {depth} layers with {few} weight sets, against {depth}", f"{share:.2f}"))
    return markdown_table([{"what": what, "times as much": times} for what, times in table])


def _times(row: dict[str, Any], column: str) -> str:
    middle, low, high = (row[name] for name in (column, f"{column}, 25 %", f"{column}, 75 %"))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
