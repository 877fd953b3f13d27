"""As many decisions as in the world that is a table, but in a model that trains.

Four layers, one step after each decision, so that a run has 14,100 of both. What its maps are worth is read in the
table of `table_world`, the 15 maps' losses from scratch, so that the numbers can stand beside those of that world.
Recorded in figures/many_decisions.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlt_core.experiments import Experiment, load_data
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import bits_and_nats
from dlt_core.studies.comparison import compare
from dlt_core.studies.diagnosis import true_losses
from dlt_core.studies.table_world import (
    AT_THE_WORST,
    DECISIONS,
    EPSILON_DECAY,
    LEARNED_FROM,
    judged,
    judgement,
    of_chance,
    percent,
    regrets,
)
from dlt_core.studies.tables import markdown_table

SEEDS = tuple(range(5))
WORLD = "a model that trains"
TESTED = "bits_per_byte_minus_random"  # of each seed, in a row of `measure`
TESTED_NATS = "log_perplexity_minus_random"  # likewise
LOOKS = 10  # validations in a run


def experiment(decisions: int, *, preset: str = "laptop") -> Experiment:
    """Study "truth" with one step after each of so many decisions, and the paper's exploration."""
    layers = Experiment.preset("truth", preset).n_layer - 1
    turns = max(1, decisions // layers)
    changed = {"epsilon_decay": EPSILON_DECAY, "evaluate_every": max(1, turns // LOOKS)}
    return Experiment.preset("truth", preset, steps_per_action=1, episodes=turns, **changed)


def measure(
    records: Sequence[RunRecord],
    runs: Path,
    *,
    preset: str = "laptop",
    decisions: Sequence[int] = DECISIONS,
    seeds: Sequence[int] = SEEDS,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Agent and random twin with each reward: what figures/many_decisions.json holds, in the form of `table_world`.

    records: of the study "truth", whose maps from scratch are the table. runs: folder for this study's own records and
    checkpoints, some 3 MB a run; what is there is not run again, even if older code made it. decisions: to look after
    so many, in one run. known: what an earlier call returned: its seeds are taken from there, those that are missing
    are added. Raises ValueError where maps are missing, and where `known` was counted otherwise.
    """
    seeds = [seed for seed in seeds if known is None or seed not in known["seeds"]]
    if known is not None and not seeds:
        return dict(known)
    wanted = experiment(max(decisions), preset=preset)
    losses = true_losses(records, preset)
    if not losses:
        raise ValueError("the records of study truth are needed: its maps from scratch say what a map is worth")
    how: dict[str, Any] = {"data": load_data(wanted), "out_dir": runs, "recorded": runs / "records"}
    blind: list[RunRecord] = []
    found: dict[str, list[RunRecord]] = {reward: [] for reward in LEARNED_FROM}
    for seed in seeds:
        blind += compare(wanted.replace(seed=seed), ["random"], **how)
        for reward, of in found.items():
            of += compare(wanted.replace(seed=seed, reward=reward), ["dynamic"], **how)
    chance = [record.history for record in blind]
    measured = {
        "seeds": list(seeds),
        "decisions": list(decisions),
        **of_chance(chance, losses),
        "rows": [
            {
                "reward": reward,
                "world": WORLD,
                **judged([record.history for record in of], chance, losses, decisions),
                **dict(zip((TESTED, TESTED_NATS), bits_and_nats(of, blind), strict=True)),
            }
            for reward, of in found.items()
        ],
        "seconds": round(sum(record.seconds for of in (blind, *found.values()) for record in of)),
    }
    return measured if known is None else _together(known, measured)


def _together(known: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Two measurements with other seeds as one: each list has a number for each seed."""
    if any(known[name] != measured[name] for name in ("decisions", "worst_map")):
        raise ValueError(f"known has seeds {known['seeds']} after {known['decisions']} decisions, by another table")

    def one(value: Any, other: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: one(value[name], other[name]) for name in value}
        return value + other if isinstance(value, list) else value

    by_seed = {name: known[name] + measured[name] for name in ("seeds", "random_at_the_worst_map", "seconds")}
    rows = [one(row, other) for row, other in zip(known["rows"], measured["rows"], strict=True)]
    return {**known, **by_seed, "rows": rows}


def many_decisions_markdown(measured: Mapping[str, Any]) -> str:
    """What `measure` found, a row for each reward."""
    rows = []
    for row in measured["rows"]:
        rows.append(
            {
                "reward": LEARNED_FROM[row["reward"]],
                **{f"regret {when}": regret for when, regret in regrets(row).items()},
                AT_THE_WORST: percent(row["at_the_worst_map"]),
                "test bits per byte": judgement(row[TESTED], row[TESTED_NATS]),
            }
        )
    return (
        f"{markdown_table(rows)}\n\nRegret and bits per byte of the Q-agent minus the random twin's, over "
        f"{len(measured['seeds'])} seeds ± half the width of the 95 % interval: below zero, the agent is better. The "
        f"random twin ends {percent(measured['random_at_the_worst_map'])} of these turns at {measured['worst_map']}, "
        "the worst map."
    )
