"""Does the agent learn anything? Records of the studies in `tables.LEARNING` to paired differences, tables, sentences.

Notebooks 12, 13 and 14, the figures and the README take their numbers and their closing sentences from here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np

from dlt_core import CHECKOUT
from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import (
    FEW,
    Key,
    allowed,
    bits_per_byte,
    bootstrap_interval,
    equivalence,
    hedged,
    holm,
    interquartile_mean,
    log_perplexity,
    mean_interval,
    p_value,
    paired_differences,
    plus_minus,
)
from dlt_core.studies.claim import MARGIN
from dlt_core.studies.comparison import compare
from dlt_core.studies.diagnosis import rank_correlation, regrets, seen_in_search, truth
from dlt_core.studies.gate import Gate, gate_of, informative, key
from dlt_core.studies.methods import SEARCHES, base_name
from dlt_core.studies.tables import LEARNING, NOT_RUN, grouped, markdown_table, training_flops
from dlt_core.tie_map import PATTERNS, TieMap, expected_independent

Rows = dict[str, list[RunRecord]]
"""label -> the finished runs, by seed"""
LEARNERS = ("dynamic", "dqn", "dqn_plus", "thompson")  # methods
WINDOW = 15  # decisions over which the trend of rewards is taken
COMMITTED = CHECKOUT / "figures" / "records"
# With another k as many steps make another number of turns: what goes with it is not said.
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
    experiments = (Experiment.preset(study, preset, seed=seed, **changed) for seed in seeds)
    runs = [r for e in experiments for r in compare(e, methods, out_dir=out_dir, recorded=folder)]
    return grouped(runs, label)


def more_decisions(experiment: Experiment) -> dict[str, Any]:
    """Settings of five times as many decisions in as many steps (of twice as many if five does not divide k): more
    turns with a smaller k, a validation as often, and ε as it was after as many steps."""
    parts = 5 if experiment.steps_per_action % 5 == 0 else 2
    return {
        "steps_per_action": experiment.steps_per_action // parts,
        "episodes": experiment.episodes * parts,
        "evaluate_every": experiment.evaluate_every * parts,
        "epsilon_decay": round(experiment.epsilon_decay ** (1 / parts), 2),
    }


def label(record: RunRecord) -> str:
    """A run's method and changed settings, such as "thompson, log_improvement, k=3"."""
    overrides = dict(record.experiment["overrides"])
    if "steps_per_action" in overrides:
        overrides = {name: value for name, value in overrides.items() if name not in _GOES_WITH}
    words = {"reward": "{}", "steps_per_action": "k={}", "price": "price {}"}
    known = [how.format(overrides.pop(name)) for name, how in words.items() if name in overrides]
    return ", ".join([record.method, *known, *(f"{name}={value}" for name, value in sorted(overrides.items()))])


def rows_of(records: Iterable[RunRecord], study: str, preset: str = "laptop") -> Rows:
    """The finished runs of a study by `label`."""
    runs = (r for r in records if (r.experiment["name"], r.experiment["preset"]) == (study, preset))
    return grouped(sorted((r for r in runs if r.status == "finished"), key=lambda r: r.seed), label)


def against(rows: Rows, name: str, other: str) -> list[float]:
    """Test bits per byte of a row minus those of another, for each seed that both have."""
    return list(paired_differences(rows.get(name, []), rows.get(other, [])).values())


def said(values: Sequence[float], digits: int = 3, nats: Sequence[float] = ()) -> str:
    """A paired difference in words, such as "+0.012 ± 0.004 (worse, n = 10)". nats: the same in log perplexity, to say
    what the interval allows in percent of perplexity."""
    percent = f"; {allowed(nats)}" if nats else ""
    return f"{plus_minus(*mean_interval(values), digits, '+')} ({hedged(values)}, n = {len(values)}{percent})"


def difference(rows: Rows, name: str, other: str) -> str:
    """`against` in words, with what the interval allows in percent of perplexity; "not run" for no pairs. The verdict
    is about these runs; whether they say anything of the paper's claim is the gate's, see `compared`."""
    values = against(rows, name, other)
    return said(values, nats=_nats(rows, name, other)) if values else NOT_RUN


def _nats(rows: Rows, name: str, other: str) -> list[float]:
    return list(paired_differences(rows.get(name, []), rows.get(other, []), log_perplexity).values())


def corrected(family: Mapping[Key, Sequence[float]]) -> dict[Key, str]:
    """What is shown of each of a family of differences after Holm's correction for how many they are: "better" or
    "worse" with p below 0.05, "exactly equal", or "open". Raises ValueError for a difference without values."""
    tested = holm({name: p_value(values) for name, values in family.items() if len(values) > 1 and any(values)})
    words = {}
    for name, values in family.items():
        word = "worse" if mean_interval(values)[0] > 0 else "better"
        words[name] = "exactly equal" if not any(values) else word if tested.get(name, 1.0) < 0.05 else "open"
    return words


def family_table(rows: Rows, pairs: Mapping[str, tuple[str, str]], heading: str = "") -> str:
    """A family of differences, words -> (row, the row that is taken off), with what is shown of each after Holm's
    correction for all that were run."""
    family = {words: values for words, pair in pairs.items() if (values := against(rows, *pair))}
    after = corrected(family)
    return markdown_table(
        [
            {
                heading: words,
                "difference": " minus ".join(f"`{name}`" for name in pairs[words]),
                "test bits per byte": difference(rows, *pairs[words]),
                "after Holm": after[words],
            }
            for words in family
        ]
    )


def gate_of_rows(rows: Rows) -> Gate:
    """Whether the study that these rows are of can tell: with the settings that all of them share or, where these
    differ, at its unchanged ones; see `gate`."""
    records = [record for runs in rows.values() for record in runs]
    experiment, preset, changes = key(records[0])
    alike = all(record.changes == changes for record in records)
    return gate_of(informative(records), experiment, preset, changes if alike else "")


def compared(rows: Rows, name: str, other: str, gate: Gate | None = None) -> str:
    """`against` in words: with the verdict, or that the study cannot tell, and what the interval allows in percent of
    perplexity. gate: the study's, where `rows` are only a part of it. Nothing for no pairs."""
    if not (values := against(rows, name, other)):
        return ""
    gate = gate or gate_of_rows(rows)
    if gate.can_tell:
        return difference(rows, name, other)
    nats = _nats(rows, name, other)
    return f"{plus_minus(*mean_interval(values), 3, '+')} ({gate.word}, n = {len(values)}; {allowed(nats)})"


def twins_table(panels: Mapping[str, Rows], name: str, other: str) -> str:
    """A row against another, a line for each title: three ways to look at the paired differences, the verdict, what is
    allowed, and p of equivalence within the margin of the primary contrasts."""
    lines = []
    for title, rows in panels.items():
        bits, nats = against(rows, name, other), _nats(rows, name, other)
        lines.append(
            {
                "corpus": title,
                "seeds": f"{len(bits)}",
                "mean, Student's t": plus_minus(*mean_interval(bits), 3, "+"),
                "bootstrap": _bootstrap(bits),
                "IQM": f"{interquartile_mean(bits):+.3f}",
                "verdict": hedged(bits),
                "allowed": allowed(nats),
                f"p of equal within {MARGIN:g} %": f"{equivalence(nats, MARGIN):.3f}" if len(nats) > 1 else "",
            }
        )
    return markdown_table(lines)


def _bootstrap(values: Sequence[float]) -> str:
    """The ends of the bootstrap's interval; nothing for FEW values, of which it is too narrow."""
    return " to ".join(f"{end:+.3f}" for end in bootstrap_interval(values)) if len(values) >= FEW else ""


def table(rows: Rows, names: Sequence[str], other: str, *, verdicts: bool = True) -> str:
    """Rows against another one, best first: mean difference with its interval by Student's t, the bootstrap's where
    there are seeds enough for it, the interquartile mean, the verdict or that the study cannot tell, what the first
    interval allows, and the costs. verdicts: False where the page says of all rows that the study cannot tell."""
    lines = []
    differences = {name: values for name in names if (values := against(rows, name, other))}
    gate = gate_of_rows(rows) if differences else None
    for name, values in sorted(differences.items(), key=lambda item: fmean(item[1])):
        runs = [r for r in rows[name] if r.seed in {theirs.seed for theirs in rows[other]}]
        word = hedged(values) if gate and gate.can_tell else gate.word if gate else ""
        lines.append(
            {
                "row": f"`{name}`",
                "seeds": str(len(values)),
                "test bits per byte": f"{fmean(map(bits_per_byte, runs)):.3f}",
                f"minus `{other}`": plus_minus(*mean_interval(values), 3, "+"),
                "bootstrap": _bootstrap(values),
                "IQM": f"{interquartile_mean(values):+.3f}",
                **({"verdict": word} if verdicts else {}),
                "allowed": allowed(list(paired_differences(runs, rows[other], log_perplexity).values())),
                "parameters": f"{fmean(map(share_of_parameters, runs)):.0%}",
                "FLOPs": f"{fmean(map(training_flops, runs)) / 1e12:.2f}T",
                "time": f"{fmean(r.seconds for r in runs):.0f} s",
            }
        )
    return markdown_table(lines)


def share_of_parameters(record: RunRecord) -> float:
    """Trainable parameters of the tested model, of the conventional one's."""
    return record.required(record.parameters)["unique"] / record.required(record.parameters)["conventional"]


def same_text_and_budget(records: Sequence[RunRecord]) -> None:
    """Raises AssertionError unless all runs of a study had one text and one number of steps and tokens, those of a
    search with everything that it tried."""
    for what, values in {
        "text": {r.corpus["sha256"] for r in records},
        "steps": {r.budget["optimizer_steps"] for r in records},
        "tokens": {r.budget["tokens"] for r in records},
    }.items():
        assert len(values) == 1, f"another {what}: {sorted(values)}"


def rand_index(one: Sequence[int], other: Sequence[int]) -> float:
    """The share of the pairs of layers on which two tie maps agree: both tie the pair, or both keep it apart. 1 for
    equal maps. Raises ValueError for maps of different lengths, or of fewer than two layers."""
    same = ([a == b for a, b in combinations(tie_map, 2)] for tie_map in (one, other))
    return fmean(a == b for a, b in zip(*same, strict=True))


def agreement(runs: Sequence[RunRecord]) -> float:
    """The mean `rand_index` of the runs' last maps over all pairs of runs; 1 for one run."""
    maps = [run.required(run.final_tie_map) for run in runs]
    return fmean([rand_index(*pair) for pair in combinations(maps, 2)] or [1.0])


def regret_over_time(record: RunRecord, losses: Mapping[TieMap, float], parts: int = 8) -> list[float]:
    """The regret of Q's choice minus that of a random one, see `diagnosis.regrets`, in the unit of `losses`: the mean
    of each of so many parts of the run, in their order."""
    ours, chance = regrets(record, losses)
    return [float(part.mean()) for part in np.array_split(ours - chance, parts)]


def correlations(records: Sequence[RunRecord], runs: Iterable[RunRecord], window: int | None = None) -> list[float]:
    """For each of `runs` Spearman's correlation between what its rewards said of the maps it visited, and their
    from-scratch test losses in `records`, means over the seeds. window: see `diagnosis.seen_in_search`."""
    true = {tie_map: fmean(losses) for tie_map, losses in truth(records).items()}
    return [rank_correlation(seen_in_search(run, window=window), true) for run in runs]


def correlations_table(records: Sequence[RunRecord], rows: Rows, window: int) -> str:
    """`correlations` of each row, as the rewards are and less their trend over `window` decisions."""
    lines = []
    for name, runs in rows.items():
        for words, width in (("as they are", None), ("less the trend", window)):
            rho = correlations(records, runs, window=width)
            lines.append(
                {
                    "rewards of": f"`{name}`",
                    "": words,
                    "runs": f"{len(rho)}",
                    "Spearman's ρ with the truth": plus_minus(*mean_interval(rho), 2, "+"),
                    "smallest to largest": f"{min(rho):+.2f} to {max(rho):+.2f}",
                }
            )
    return markdown_table(lines)


def points(rows: Rows, names: Iterable[str]) -> dict[str, tuple[list[float], list[float]]]:
    """For `figures.front`: name -> share of the parameters and test bits per byte, for each seed."""
    return {
        name: ([share_of_parameters(r) for r in rows[name]], [bits_per_byte(r) for r in rows[name]]) for name in names
    }


def chosen(rows: Rows, names: Iterable[str], other: str = "random") -> str:
    """The row with the lowest validation bits per byte at its best, in the mean over the seeds that it shares with
    `other`, whose own are taken off seed by seed, so that rows with other seeds can be compared. The test has no part
    in it. Raises ValueError if no row has a seed in common with `other`."""
    differences = {name: paired_differences(rows[name], rows[other], best_validation) for name in names}
    means = {name: fmean(pairs.values()) for name, pairs in differences.items() if pairs}
    if not means:
        raise ValueError(f"no row has a seed in common with {other!r}")
    return min(means, key=means.__getitem__)


def best_validation(record: RunRecord) -> float:
    """Validation bits per byte of the model that was tested, the best of the run."""
    return min(record.curves["validation"]["bits_per_byte"])


def better_agents(rows: Rows) -> str:
    """The closing sentence of notebook 14: of the agents that learn and the searches, which one did validation choose,
    and what is its test against the random agent and against the best fixed pattern, also chosen by validation, with as
    many weight sets as the random agent leaves on average. Nothing where one of them was not run."""
    if not (random := rows.get("random")):
        return ""
    n_layer = random[0].experiment["n_layer"]
    groups = round(expected_independent(n_layer))
    # ties that stop moving are another question, see `moving`
    names = [
        name
        for name, (first, *_) in rows.items()
        if base_name(first.method) in (*LEARNERS, *SEARCHES) and first.experiment.get("freeze_after") is None
    ]
    fixed = [f"{pattern}-{groups}" for pattern in PATTERNS if f"{pattern}-{groups}" in rows]
    if not names or not fixed:
        return ""
    best, pattern = chosen(rows, names), chosen(rows, fixed)
    parts = {
        "those of the random agent": compared(rows, best, "random"),
        f"those of `{pattern}`, chosen likewise from {len(fixed)} fixed patterns": compared(rows, best, pattern),
    }
    return (
        f"Of {len(names)} agents and searches, each with {random[0].budget['optimizer_steps']:,} steps for a model of "
        f"{n_layer} layers on the text `{random[0].corpus['name']}`, validation chose `{best}`. Its test bits per byte "
        f"{_sentence(parts)}."
    )


def with_choice(rows: Rows) -> Rows:
    """The rows, of `random_map` only the runs whose map could have been another one. With one weight set, or one for
    each layer, there is one map only: the run is that of the agent's map again, and says nothing about it."""
    drawn = [r for r in rows.get("random_map", []) if not is_the_only_map(r)]
    others = {name: runs for name, runs in rows.items() if name != "random_map"}
    return {**others, **({"random_map": drawn} if drawn else {})}


def is_the_only_map(run: RunRecord) -> bool:
    """Whether no other map has as many weight sets as the run's last."""
    return TieMap(run.required(run.final_tie_map)).num_independent in (1, run.experiment["n_layer"])


def is_the_map_good(rows: Rows) -> str:
    """The closing sentence of notebook 13: the dynamic run's last map trained from scratch, against a random map of its
    size and against the best fixed pattern, chosen by validation, with as many weight sets as the random agent leaves
    on average. Of rows of one study; nothing if the map was not retrained."""
    if not (runs := rows.get("retrained")):
        return ""
    n_layer = runs[0].experiment["n_layer"]
    groups = round(expected_independent(n_layer))
    words = "those of a random map with as many weight sets"
    parts = {words: compared(with_choice(rows), "retrained", "random_map")}
    if fixed := [f"{pattern}-{groups}" for pattern in PATTERNS if f"{pattern}-{groups}" in rows]:
        best = chosen(rows, fixed, "retrained")
        picked = f"the best on validation of {len(fixed)} fixed patterns" if len(fixed) > 1 else "a fixed pattern"
        afterwards = " (picked afterwards)" if len(fixed) > 1 else ""
        words = f"those of `{best}`, {picked} with {groups} weight sets{afterwards}"
        parts[words] = compared(rows, "retrained", best)
    return (
        f"The agent's last map, trained from scratch ({n_layer} layers, {runs[0].budget['optimizer_steps']:,} steps, "
        f"the text `{runs[0].corpus['name']}`): test bits per byte {_sentence(parts)}."
    )


def _sentence(parts: Mapping[str, str]) -> str:
    return "; ".join(f"minus {words}: {found}" for words, found in parts.items() if found)


def is_the_agent_learning(embedded: Rows, wikitext: Rows, truth_runs: Rows, scratch: Sequence[RunRecord]) -> str:
    """Notebook 12 in a sentence: the agent against its random twin, and its rewards against the truth.

    embedded, wikitext: rows of the agents' studies; the second may be empty. truth_runs: rows of "truth" with
    decisions; scratch: its maps from scratch.
    """
    parts = [f"{compared(embedded, 'dynamic', 'random')} on the embedded corpus"]
    if wikitext:
        parts.append(f"{compared(wikitext, 'dynamic', 'random')} on WikiText-2")
    as_seen, cleaned = (correlations(scratch, truth_runs["dynamic"], window) for window in (None, WINDOW))
    mean, half = mean_interval(cleaned)
    shown = "" if half is not None and mean > half else "not "
    return (
        f"The Q-agent's test bits per byte minus those of the random agent in its place are {' and '.join(parts)}; the "
        f"rewards that it sees are {shown}shown to rank the maps like their losses from scratch: Spearman's "
        f"correlation is {plus_minus(mean, half, 2, '+')} without the trend of the training, "
        f"{plus_minus(*mean_interval(as_seen), 2, '+')} with it (n = {len(cleaned)})."
    )


def findings(records: Sequence[RunRecord], preset: str = "laptop") -> str:
    """The closing sentences of notebooks 12, 13 and 14, a list item each; nothing for what was not run."""
    embedded, wikitext, small = (rows_of(records, study, preset) for study in LEARNING[:3])
    scratch = [r for name, group in small.items() if name.startswith("map-") for r in group]
    sentences = {
        "12": is_the_agent_learning(embedded, wikitext, small, scratch) if "dynamic" in embedded and scratch else "",
        "13": is_the_map_good(embedded),
        "14": better_agents(embedded),
    }
    return "\n".join(f"- Notebook {number}: {sentence}" for number, sentence in sentences.items() if sentence)
