"""Checks of the exercises to notebook 03: ε, a turn by hand, what is reported, what a replay repeats."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from dlt_core.env import LayerTyingEnv
from dlt_core.records.record import RunRecord
from dlt_core.reproduce.checks.common import NotYet, ask, ask_number, call_of, near, passed, require
from dlt_core.studies.diagnosis import TableLearner
from dlt_core.tie_map import TieMap, all_maps


def check_epsilon(epsilon_after: Callable[[int, float, float, float], float]) -> None:
    """epsilon_after(turns, start, decay, floor): line 8 of the listing."""
    for turns, start, decay, floor in (
        (0, 1.0, 0.95, 0.1),
        (1, 1.0, 0.95, 0.1),
        (10, 1.0, 0.95, 0.1),
        (300, 1.0, 0.95, 0.1),
    ):
        found, call = (
            ask_number(epsilon_after, turns, start, decay, floor),
            call_of(epsilon_after, turns, start, decay, floor),
        )
        right = max(floor, start * decay**turns)
        off = f"{call} gave {found:.4g}."
        if near(found, right):
            continue
        require(turns, f"{off} Before the first turn has ended nothing has been multiplied.")
        require(not near(found, start * decay**turns), f"{off} It has fallen through the floor.")
        require(not near(found, max(floor, start * decay ** (turns + 1))), f"{off} That is one turn too many.")
        require(not near(found, max(floor, start * decay ** (turns - 1))), f"{off} That is one turn too few.")
        linear = max(floor, start - turns * (1 - decay))
        require(not near(found, linear), f"{off} You subtract the same amount each turn; the listing multiplies.")
        require(found <= start, f"{off} ε has grown.")
        raise NotYet(f"{off} Do it by hand for the first two turns.")
    passed("Small steps down, and never below the floor: some actions stay random to the end.")


class _Note:
    """An agent that takes given actions and remembers how it was asked."""

    def __init__(self, actions: Sequence[int]) -> None:
        self.actions, self.asked, self.learned, self.ended = iter(actions), [], [], 0  # type: ignore[var-annotated]

    def act(self, state: TieMap, layer: int) -> int:
        self.asked.append((TieMap(list(state)), int(layer)))
        return next(self.actions, 0)

    def learn(self, state: TieMap, layer: int, action: int, reward: float, next_state: TieMap) -> float:
        self.learned.append((TieMap(list(state)), int(layer), int(action), float(reward), TieMap(list(next_state))))
        return 0.0

    def end_episode(self) -> None:
        self.ended += 1


class _World(LayerTyingEnv):
    """The core's environment on a table of made-up losses; notes what it is told, and ends a loop without end."""

    def __init__(self) -> None:
        super().__init__(TableLearner({m: 1 + 0.1 * n for n, m in enumerate(all_maps(5))}))  # type: ignore[arg-type]
        self.taken: list[int] = []
        self.rewards: list[float] = []

    def step(self, action: int | np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        require(len(self.taken) < 50, "Your turn does not end. What `env.step` gives back says when it is over.")
        self.taken.append(int(action))
        result = super().step(action)
        self.rewards.append(result[1])
        return result


def check_turn(one_turn: Callable[[Any, LayerTyingEnv], Any]) -> None:
    """one_turn(agent, env): lines 2 to 8 of the listing, for one turn."""
    actions = [1, 1, 0, 4]
    agent, env = _Note(actions), _World()
    ask(one_turn, agent, env)
    layers = [layer for _, layer in agent.asked]
    require(layers, "The agent was never asked: `agent.act` was not called.")
    require(
        layers == [1, 2, 3, 4], f"With five layers the agent was asked about the layers {layers}. Which should it be?"
    )
    require(env.taken == actions, f"The agent chose {actions}, the environment was told {env.taken}.")
    states = [TieMap.all_tied(5)]
    for layer, action in zip(layers, actions, strict=True):
        states.append(states[-1].with_action(layer, action))
    require(
        [s for s, _ in agent.asked] == states[:-1], "The agent was shown other states than those of the environment."
    )
    require(agent.learned, "The agent never learns: `agent.learn` was not called.")
    require(len(agent.learned) == 4, f"Four decisions, but the agent learned {len(agent.learned)} times.")
    before, of_layer, of_action, rewards, after = (list(column) for column in zip(*agent.learned, strict=True))
    if before == states[1:]:
        raise NotYet("`learn` gets as its first state the map *after* the action: remember the one before the step.")
    require(before == states[:-1], "`learn` gets states that the agent was not in.")
    require(
        of_layer == layers, f"`learn` gets the layers {of_layer}, decided were {layers}: the environment has moved on."
    )
    require(of_action == actions, f"`learn` gets the actions {of_action}, taken were {actions}.")
    require(np.allclose(rewards, env.rewards), "`learn` gets other rewards than the environment gave.")
    require(after != states[:-1], "`learn` gets as its next state the one before the action.")
    require(after == states[1:], "`learn` gets a wrong next state.")
    require(agent.ended > 0, "The turn is over, but the agent does not know: line 8 is missing.")
    require(agent.ended == 1, f"`end_episode` was called {agent.ended} times in one turn: ε would fall too fast.")
    passed("That is Algorithm 1, but for saving the best model.")


def check_reported(reported: Callable[[Sequence[float], Sequence[float]], float]) -> None:
    """reported(validation, test): the one test perplexity that may be reported, of those at each evaluation."""
    validation, test = [90.0, 40.0, 55.0, 60.0], [80.0, 47.0, 41.0, 44.0]
    found = ask_number(reported, validation, test)
    off = f"For validation {validation} and test {test} you report {found:g}."
    require(found != min(test), f"{off} You chose by looking at the test split: it is not a test any more.")
    require(found != min(validation), f"{off} That is of the validation text, by which the model was chosen.")
    require(found != test[-1], f"{off} That is the model at the end. Line 9 keeps another one.")
    require(found == test[1], f"{off} Which model is kept, and what is its test perplexity?")
    passed("Choose by one text, report on another: then luck in choosing does not look like skill.")


def check_replay(same_columns: Callable[[], Collection[str]], record: RunRecord, replayed: RunRecord) -> None:
    """same_columns(): the columns of the history that a replay of the recorded actions repeats to the last digit."""
    columns, same = set(record.history), ask(same_columns)
    named = isinstance(same, set | list | tuple)
    require(named, f"You gave {same!r}; a set of names of columns is asked for.")
    unknown = set(same) - columns
    require(not unknown, f"There are no columns {sorted(unknown)}; there are {sorted(columns)}.")
    equal = {name for name in columns if record.history[name] == replayed.history[name]}
    too_many, too_few = len(set(same) - equal), len(equal - set(same))
    about = "Ask of each column: does it come from the world, or from the agent?"
    require(not too_many, f"{too_many} of the columns that you name differ between the two runs. {about}")
    require(not too_few, f"{too_few} more columns are equal to the last digit. {about}")
    passed("The world needs only the actions. What the agent thought of them leaves no trace in the model.")
