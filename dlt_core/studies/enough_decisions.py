"""What table_world.json, many_decisions.json and looks.json of figures/ say of the agent that decides often, and of
what one reward tells it: in a picture and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlt_core import figures
from dlt_core.agents import QAgent, RandomAgent
from dlt_core.studies import many_decisions
from dlt_core.studies.findings import said
from dlt_core.studies.rule.study import needed_by_seed, rounded
from dlt_core.studies.table_world import AT_THE_WORST, LEARNED_FROM, World, ends_at, percent, play
from dlt_core.studies.tables import markdown_table
from dlt_core.tie_map import TieMap

SHOWN = {
    "still": "the world stands still",
    "noise and trend": "the world with noise and trend",
    many_decisions.WORLD: many_decisions.WORLD,
}


def decisions_figure(*measured: Mapping[str, Any]) -> figures.Figure:
    """The agent's regret minus its random twin's against the number of decisions, a line for each reward and a panel
    for each world, with 95 % intervals over the seeds. measured: of `table_world.measure` and
    `many_decisions.measure`."""
    panels: dict[str, dict[str, Any]] = {}
    for found in measured:
        for row in found["rows"]:
            if row["world"] in SHOWN and row["reward"] in LEARNED_FROM:
                values = list(zip(*row["regret_minus_random"].values(), strict=True))
                name = LEARNED_FROM[row["reward"]].replace("`", "")
                panels.setdefault(SHOWN[row["world"]], {})[name] = (found["decisions"], values)
    ylabel = "regret minus the random twin's\n(nats per token; below 0: learned)"
    figure = figures.bands(panels, "decisions", ylabel, zero=True)
    for ax in figure.axes:
        ax.set_xscale("log")
        decisions = measured[0]["decisions"]
        ax.set_xticks(decisions, [f"{n:,}" for n in decisions])
        ax.minorticks_off()
    return figure


def numbers_markdown(measured: Mapping[str, Any], world: str = "still") -> str:
    """What each reward leads to in a world: regret (nats per token) after few and many decisions, how often a turn ends
    at the worst map, what the tested models came to if there were any, and how often Q's own choice is the least-tried
    action, with how often a random agent's is."""
    lines = []
    for row in measured["rows"]:
        if row["world"] == world and row["reward"] in LEARNED_FROM:
            few, *_, many = row["regret_minus_random"].items()
            least, chance = percent(row["least_tried"]), percent(row["least_tried_by_chance"])
            lines.append(
                {
                    "paid by": LEARNED_FROM[row["reward"]],
                    **{f"regret minus the twin's, {int(n):,} decisions": said(v, nats=v) for n, v in (few, many)},
                    AT_THE_WORST: percent(row["at_the_worst_map"]),
                    **({"test bits per byte minus the twin's": tested(row)} if many_decisions.TESTED in row else {}),
                    "picks the least-tried action (random agent)": f"{least} ({chance})",
                }
            )
    lines.append({"paid by": "nothing: the twin", **dict.fromkeys(list(lines[0])[1:], "")})
    lines[-1][AT_THE_WORST] = percent(measured["random_at_the_worst_map"])
    return markdown_table(lines)


def tested(row: Mapping[str, Any]) -> str:
    """The tested model's bits per byte minus those of the twin's, in words, of a row of `many_decisions.measure`."""
    return said(row[many_decisions.TESTED], nats=row[many_decisions.TESTED_NATS])


def ends_all_tied(losses: Mapping[TieMap, float], agents: Sequence[QAgent | RandomAgent], turns: int) -> list[float]:
    """How often a turn of agents, who play with minus perplexity in the still world of these losses (nats per token),
    ends with all layers tied: of each agent the share of the last quarter of the turns."""
    all_tied = TieMap.all_tied(len(next(iter(losses))))
    histories = play(losses, agents, [World()] * len(agents), turns)
    return [ends_at(all_tied, history) for history in histories]


def one_reward(looks: Mapping[str, Any]) -> str:
    """What one reward of the paper's kind tells, in a sentence: signal and noise (nats per token, geometric means over
    the moments of all seeds that have a signal), and how many rewards of each of two actions a test needs. looks: of
    `rule.study.measure`."""
    rows = [row for row in looks["rewards"]["rows"] if row["reward"] == "minus perplexity, its logarithm"]
    rows = [row for row in rows if row["samples"] is not None]
    signal, noise = (float(np.exp(np.mean(np.log([row[name] for row in rows])))) for name in ("signal", "noise"))
    seeds = len({row["seed"] for row in rows})
    needed = rounded(float(np.median([row["samples"] for row in rows])))
    return (
        f"Over {len(rows)} moments of {seeds} seeds the signal is {signal:.2g} nats, the noise {noise:.2g}. To tell "
        f"two actions apart, a test needs {needed} rewards of each (the median over the moments; the geometric mean "
        f"over the seeds, with its 95 % interval: {needed_by_seed(rows)})."
    )


def regret_after(measured: Mapping[str, Any], reward: str, world: str = "still") -> str:
    """The regret minus the twin's after the most decisions, in words."""
    (row,) = (r for r in measured["rows"] if (r["reward"], r["world"]) == (reward, world))
    values = row["regret_minus_random"][str(max(measured["decisions"]))]
    return said(values, nats=values)
