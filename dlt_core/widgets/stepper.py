"""Widget 2: Algorithm 1 line by line through a recorded run."""

from __future__ import annotations

import math
from typing import Any

import traitlets

from dlt_core.records.record import RunRecord
from dlt_core.tie_map import TieMap
from dlt_core.widgets.base import Widget, module

_AGENT = ("hidden", "learning_rate", "gamma", "epsilon", "epsilon_decay", "epsilon_min", "seed")


class Stepper(Widget):
    """Play, stop, step and scrub through the decisions of a run with an agent.

    Raises ValueError for a record without decisions.
    """

    _esm = module("stepper")

    lines = traitlets.List(traitlets.Unicode()).tag(sync=True)
    run = traitlets.Dict().tag(sync=True)
    frames: traitlets.List[list[int]] = traitlets.List().tag(sync=True)
    position = traitlets.Int(0).tag(sync=True)

    def __init__(self, record: RunRecord, **traits: Any) -> None:
        super().__init__(lines=lines(), run=run_of(record), frames=frames(record), **traits)


def lines() -> list[str]:
    """The lines of Algorithm 1, without the other columns of `algorithm1.LISTING`; an em space indents."""
    from dlt_core.algorithm1 import LISTING  # late: it loads PyTorch

    return [row.split("|")[2].strip().replace("&emsp;", "\u2003") for row in LISTING.splitlines()[2:]]


def frames(record: RunRecord) -> list[list[int]]:
    """What a step of the widget shows, one after the other: [number of the decision, line of the algorithm].

    Line 8 comes after a turn, line 9 where the run was validated. Raises ValueError for a record without decisions.
    """
    _check(record)
    history = record.history
    validated = {*record.curves["validation"]["step"]}
    found = [[0, 1]]
    for t, (episode, step) in enumerate(zip(history["episode"], record.curves["train"]["step"], strict=True)):
        found += [[t, line] for line in range(2, 8)]
        if t + 1 == len(history["episode"]) or history["episode"][t + 1] != episode:
            found.append([t, 8])
        if step in validated:
            found.append([t, 9])
    return found


def run_of(record: RunRecord) -> dict[str, Any]:
    """Title, sizes, `decisions` and `validation` points of a run, as the widget reads them."""
    settings = record.experiment
    validation = record.curves["validation"]
    return {
        "title": f"{settings['name']}, {record.method}, seed {record.seed}",
        "n_layer": settings["n_layer"],
        "gamma": record.agent.get("gamma"),
        "steps_per_action": settings.get("steps_per_action"),
        "reward": settings.get("reward", "reward"),
        "decisions": decisions(record),
        "validation": [list(point) for point in zip(validation["step"], validation["loss"], strict=True)],
    }


def decisions(record: RunRecord) -> list[dict[str, Any]]:
    """A dictionary for each decision of a run; what the record does not tell is None.

    turn, layer, before and after (the maps), action, explored, epsilon, greedy (the action of largest Q), q_values, q
    (of the action), step, train_loss, reward, td_loss, target, bootstrap (γ max Q(s', a')), error (target - q).
    A record has the squared error, but not the target. It is known where `replayed_targets` can find it.
    Raises ValueError for a record without decisions.
    """
    _check(record)
    history, train = record.history, record.curves["train"]
    maps = history.get("state") or history["tie_map"]
    targets = replayed_targets(record)
    found = []
    for t, after in enumerate(maps):
        before = maps[t - 1] if t else record.first_ties(len(after))
        q_values = history["q_values"][t] if "q_values" in history else None
        action, reward = history["action"][t], history["reward"][t]
        q = q_values[action] if q_values else None
        target = targets[t] if targets else None
        found.append(
            {
                "turn": history["episode"][t],
                "layer": history["layer"][t],
                "before": list(before),
                "after": list(after),
                "action": action,
                "explored": history["explored"][t],
                "epsilon": history["epsilon"][t],
                "q_values": q_values,
                "q": q,
                "greedy": None if q_values is None else greedy(q_values),
                "step": train["step"][t],
                "train_loss": _finite(train["loss"][t]),
                "reward": _finite(reward),
                "td_loss": _finite(history["td_loss"][t]),
                "target": target,
                "bootstrap": None if target is None else target - reward,
                "error": None if target is None or q is None else target - q,
            }
        )
    return found


def greedy(q_values: list[float | None]) -> int | None:
    """The action of largest value, the lowest of equals; None where a value is missing."""
    values = [q for q in q_values if q is not None]
    return values.index(max(values)) if values and len(values) == len(q_values) else None


def replayed_targets(record: RunRecord) -> list[float] | None:
    """The TD targets r + γ max Q(s', a') of the paper's agent, found by teaching a new agent the recorded decisions.

    Its seed is in the record, so its network starts and learns as the recorded one did. That is checked at each
    decision against the recorded Q-values and squared error. None for another agent, or where a check fails, as it may
    on another machine or with another PyTorch.
    """
    history = record.history
    if record.agent.get("class") != "QAgent" or "state" in history or any(name not in record.agent for name in _AGENT):
        return None
    import numpy as np

    from dlt_core.agents import QAgent

    agent = QAgent(record.experiment["n_layer"], **{name: record.agent[name] for name in _AGENT})
    before, targets = TieMap(record.first_ties(record.experiment["n_layer"])), []
    columns = (history[name] for name in ("layer", "action", "reward", "tie_map", "q_values", "td_loss"))
    for layer, action, reward, tie_map, q_values, td_loss in zip(*columns, strict=True):
        after = TieMap(tie_map)
        if _finite(reward) is None or _finite(td_loss) is None or q_values is None or None in q_values:
            return None
        if not np.allclose(agent.q_values(before, layer), q_values, rtol=1e-3, atol=1e-3):
            return None
        targets.append(reward + agent.gamma * float(agent.q_values(after, layer).max()))
        if not math.isclose(agent.learn(before, layer, action, reward, after), td_loss, rel_tol=1e-3, abs_tol=1e-6):
            return None
        before = after
    return targets


def _check(record: RunRecord) -> None:
    if not record.history.get("action"):
        raise ValueError(f"{record.key} has no decisions to step through")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
