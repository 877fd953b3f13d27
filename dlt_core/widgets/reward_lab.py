"""The reward lab: Algorithm 1's agent in a world that is a table of losses, thousands of decisions in a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import traitlets

from dlt_core.env import REWARDS
from dlt_core.tie_map import TieMap, all_maps
from dlt_core.widgets.base import Widget, module

CHOICES = {
    "reward": tuple(REWARDS),
    "initial": ("optimistic", "neutral"),
    "table": ("given", "turned"),
    "input": ("plain", "mirrored"),
}
# setting -> (the paper's value or ours, smallest, largest)
RANGES: dict[str, tuple[float, float, float]] = {
    "gamma": (0.99, 0.0, 0.99),
    "learning_rate": (1e-3, 1e-4, 1e-1),
    "epsilon": (1.0, 0.0, 1.0),
    "epsilon_decay": (0.95, 0.9, 1.0),
    "epsilon_min": (0.1, 0.0, 0.5),
    "noise": (0.0, 0.0, 0.5),
    "trend": (0.0, 0.0, 1e-4),
    "steps_per_action": (15, 1, 50),
    "decisions": (3000, 300, 6000),
    "seeds": (10, 2, 20),
}


def settings_of(changes: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of the lab: the paper's, with some changed. Raises ValueError for what the lab does not have."""
    settings: dict[str, Any] = {name: known[0] for name, known in CHOICES.items()}
    settings |= {name: value for name, (value, _, _) in RANGES.items()}
    if unknown := changes.keys() - settings.keys():
        raise ValueError(f"unknown settings {', '.join(sorted(unknown))}; known: {', '.join(settings)}")
    for name, value in changes.items():
        if name in RANGES:
            _, least, most = RANGES[name]
            if not least <= value <= most:
                raise ValueError(f"{name}={value} must lie between {least:g} and {most:g}")
        elif value not in CHOICES[name]:
            raise ValueError(f"{name}={value!r} is none of {', '.join(CHOICES[name])}")
    return settings | dict(changes)


class RewardLab(Widget):
    """What does Q learn from which reward, in a world in which nothing else hinders it?

        RewardLab({m: fmean(losses) for m, losses in truth(records).items()})

    losses: nats per token for every map of so many layers, `studies.diagnosis.truth` or your own. changes: settings
    other than the paper's, such as reward="log_improvement"; see RANGES. The world is that of
    `studies.diagnosis.TableLearner`, the agent that of `agents.QAgent`, both written again in the module's JavaScript.
    `trend` is what each step of training takes off every loss, and a decision is `steps_per_action` steps. `initial`:
    Q starts near 0, above every negative reward ("optimistic"), or at what an average map is worth ("neutral").
    `table="turned"` makes the best map the worst and the worst the best; with `input="mirrored"` the network reads
    L - 1 - s in place of the state s.

    After each computation `summary` has the late regret (mean of the last quarter of the decisions, nats per token),
    the random agent's, their difference with half its 95 % interval over seeds, and the map that was visited most.
    """

    _esm = module("reward_lab", "table_world")
    losses: traitlets.List[Any] = traitlets.List().tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)
    summary = traitlets.Dict().tag(sync=True)

    def __init__(self, losses: Mapping[TieMap, float], **changes: Any) -> None:
        n_layer = len(next(iter(losses), ()))
        if n_layer < 2 or {*losses} != {*all_maps(n_layer)}:
            raise ValueError(f"the lab needs the loss of every map of at least two layers, got {len(losses)} maps")
        table = [[list(tie_map), float(losses[tie_map])] for tie_map in all_maps(n_layer)]
        super().__init__(losses=table, settings=settings_of(changes), summary={})
