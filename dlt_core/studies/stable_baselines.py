"""Agents of stable-baselines3 beside ours: same initial weights, batches, number of steps, evaluation and record.

They bring a loop of their own, `model.learn`. So it is not Algorithm 1 that asks the agent, but the agent that steps
through the run: `_RunAsWorld` is what it takes for its environment. Any model with such a `learn` can be let in.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, Unpack

import gymnasium
import numpy as np
import torch

from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.env import LayerTyingEnv
from dlt_core.experiments import Experiment, build_env
from dlt_core.records.record import RunRecord
from dlt_core.records.run import Run, RunKeywords, RunOptions

MODELS = {
    "maskable_ppo": "PPO that leaves impossible actions out (sb3-contrib)",
    "sb3_ppo": "PPO, for which an impossible action leaves the tie as it is (stable-baselines3)",
    "sb3_dqn": "DQN, for which an impossible action leaves the tie as it is (stable-baselines3)",
}
OF_A_MODEL_AT_WORK = {"verbose", "num_timesteps", "start_time", "n_envs", "exploration_rate"}
UPDATES = 30  # of PPO in a run, or one after each two turns where a run is shorter


def refuse(name: str, experiment: Experiment) -> None:
    """Raises ValueError for an unknown model, for one whose package is not installed, and as `refuse_freezing`."""
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    package = "sb3_contrib" if name == "maskable_ppo" else "stable_baselines3"
    if find_spec(package) is None:
        raise ValueError(f'{name} needs the package {package}: pip install -e ".[rl]"')
    refuse_freezing(experiment)


def refuse_freezing(experiment: Experiment) -> None:
    """Raises ValueError for an experiment whose last decisions nobody makes."""
    if experiment.freeze_after is not None:
        raise ValueError(
            f"freeze_after={experiment.freeze_after}: leave it out, a model from outside decides to the end"
        )


def build_model(name: str, experiment: Experiment, env: gymnasium.Env[Any, Any]) -> Any:
    """The model of `MODELS` for an environment, in the sizes that a run of this experiment has room for: by default PPO
    would collect 2,048 decisions before it learns anything. Learning rate and γ are those of the experiment's Q-agent,
    and for DQN the last ε; its first half explores.

    Raises ValueError as `refuse`.
    """
    refuse(name, experiment)
    turn = experiment.n_layer - 1
    decisions = experiment.episodes * turn
    settings: dict[str, Any] = {
        "gamma": experiment.gamma,
        "learning_rate": experiment.q_learning_rate,
        "seed": experiment.seed,
        "device": "cpu",  # networks of a few neurons, also where the transformer is on a GPU
    }
    if name == "sb3_dqn":
        from stable_baselines3 import DQN

        return DQN(
            "MultiInputPolicy", env, buffer_size=decisions, learning_starts=2 * turn, train_freq=1, batch_size=32,
            target_update_interval=5 * turn, exploration_fraction=0.5, exploration_final_eps=experiment.epsilon_min,
            **settings,
        )  # fmt: skip
    collected = 2 * turn * max(1, decisions // (2 * turn * UPDATES))
    # halves, and never a batch of one decision, whose advantage has no standard deviation
    settings |= {"n_steps": collected, "batch_size": max(2, collected // 2)}
    if name == "sb3_ppo":
        from stable_baselines3 import PPO

        return PPO("MultiInputPolicy", env, **settings)
    from sb3_contrib import MaskablePPO

    return MaskablePPO("MultiInputPolicy", env, **settings)


def learn_with(
    experiment: Experiment,
    make_model: Callable[[gymnasium.Env[Any, Any]], Any],
    *,
    method: str,
    data: TokenizedCorpus | None = None,
    **options: Unpack[RunKeywords],
) -> RunRecord:
    """Train the experiment's transformer while a model from outside ties its layers; returns the record.

    make_model: called with the environment; gives what has stable-baselines3's `learn(total_timesteps, callback)`. Its
    networks are its own matter, and so is how it explores: the record has no Q-values, and `explored` is never true. An
    action beyond the layer's leaves the tie as it is and is entered as that; `invalid_actions` of the record's budget
    counts them. method: name in the record. Other arguments, and what it raises: as in `train_dynamic`.

    A run that is interrupted goes on from a checkpoint: the model learns once more from what the record holds, which
    takes no training of the transformer, and then from the world. Raises ValueError for `freeze_after`, where the model
    decides otherwise then, as one without a seed does, and where it makes fewer or more decisions than the run has.
    """
    refuse_freezing(experiment)
    run_options = RunOptions(**options)
    env = build_env(experiment, data)
    with own_randomness():
        agent: Any = _Outside()
        run = Run(experiment, method, env.learner, run_options, agent, env)
        world = _RunAsWorld(run, env)
        agent.model = model = make_model(world)
        run.record.agent = {"class": type(model).__name__, **settings_of(model)}
        if run.resume():
            return run.record
        with run:
            if world.goes_on(run.decisions()):
                model.learn(run.total, callback=lambda *_: not world.over)
            if not world.over:
                raise ValueError(
                    f"the model ended after {world.made} of {run.total} decisions: let it learn to the end"
                )
            run.finish()
    return run.record


def settings_of(model: Any) -> dict[str, Any]:
    """What a model was made with, as far as a record can hold it."""
    own = {name: value for name, value in vars(model).items() if isinstance(value, (int, float, str))}
    return {name: value for name, value in own.items() if name[0] != "_" and name not in OF_A_MODEL_AT_WORK}


class _RunAsWorld(gymnasium.Wrapper[dict[str, Any], Any, dict[str, Any], Any]):
    """The run as an environment that a model steps through from its first decision on. What the record holds already is
    answered from there, so that after an interruption the model gets again to where it was."""

    def __init__(self, run: Run, env: LayerTyingEnv) -> None:
        super().__init__(env)
        self.run, self.world = run, env
        self.made = 0  # decisions
        self.over = False
        self._first = run.record.first_ties(env.n_layer)

    def goes_on(self, decisions: Iterator[int]) -> bool:
        """Before the first decision: begin the run. Whether there is one to make."""
        self.decisions = decisions
        self.over = next(decisions, None) is None
        return not self.over

    @property
    def layer(self) -> int:
        return 1 + self.made % (self.world.n_layer - 1)

    def action_masks(self) -> np.ndarray:
        return np.arange(self.world.n_layer) <= self.layer

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The next turn. The world is the run's, whatever seed the model has."""
        return self._seen()

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        if self.over:
            raise ValueError(
                f"the run ended with decision {self.made}: `learn` has to stop where its callback says False"
            )
        layer, history = self.layer, self.run.record.history
        before = history["tie_map"][self.made - 1] if self.made else self._first
        taken = int(action) if action <= layer else before[layer]
        if self.made == len(history.get("action", ())):
            *_, reward, end_of_turn, _, info = self.world.step(action)
            none = np.full(layer + 1, np.nan)
            self.run.note_decision(layer, taken, none, reward, 0.0, info)
            counted = self.run.record.budget.get("invalid_actions", 0)
            self.run.record.budget["invalid_actions"] = counted + int(info["invalid_action"])
            if end_of_turn:
                self.run.validate()
            self.over = next(self.decisions, None) is None
        elif taken != history["action"][self.made]:
            raise ValueError(
                f"decision {self.made} was {history['action'][self.made]} before the interruption and is {taken} now: "
                "give the model a seed, or delete the checkpoint"
            )
        self.made += 1
        seen, info = self._seen()
        return seen, history["reward"][self.made - 1], self.layer == 1, False, info

    def _seen(self) -> tuple[dict[str, Any], dict[str, Any]]:
        history = self.run.record.history
        tie_map = history["tie_map"][self.made - 1] if self.made else self._first
        mask = self.action_masks().astype(np.int8)
        return {"tie_map": np.array(list(tie_map), dtype=np.int64), "layer": self.layer}, {"action_mask": mask}


class _Outside:
    """What a record says of the agent; all that it has learned is in the record's history."""

    explored = False
    settings: dict[str, Any] = {}  # noqa: RUF012 - entered once the model is made
    model: Any = None

    @property
    def epsilon(self) -> float:
        return float(getattr(self.model, "exploration_rate", 0.0))

    def state_dict(self) -> dict[str, Any]:
        return {"tensors": {}, "values": {}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing: the model learns from the history again."""


@contextlib.contextmanager
def own_randomness() -> Iterator[None]:
    """Leave the global generators as they were: stable-baselines3 seeds and uses those of Python, NumPy and PyTorch."""
    pythons, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)
