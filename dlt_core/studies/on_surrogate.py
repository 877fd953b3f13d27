"""Agents side by side on the surrogate, ours and those of stable-baselines3: equal numbers of decisions, many seeds.

What figures/surrogate.json holds is made by `measure`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from dlt_core.algorithm1 import train_dynamic
from dlt_core.experiments import Experiment
from dlt_core.records.statistics import mean_interval, plus_minus
from dlt_core.studies.findings import COMMITTED
from dlt_core.studies.methods import parse
from dlt_core.studies.stable_baselines import MODELS, learn_with, own_randomness
from dlt_core.studies.surrogate import SurrogateTyingEnv, make_env
from dlt_core.studies.table_world import EPSILON_DECAY, judgement, late_maps, percent
from dlt_core.studies.tables import markdown_table
from dlt_core.tie_map import all_maps

METHODS = ("dynamic", "dqn_plus", "thompson", "maskable_ppo", "sb3_ppo", "sb3_dqn")
REWARD = "log_improvement"  # from minus perplexity the paper's agent learns the worst map, see `table_world`


@dataclass(frozen=True)
class Played:
    """What came of one agent on the surrogate with one seed."""

    regret: float
    """Mean loss of the maps at the ends of the last quarter of its turns minus the best map's, nats per token."""
    invalid_actions: float
    """Share of its decisions."""


def play(env: SurrogateTyingEnv, method: str, experiment: Experiment) -> Played:
    """Let the agent of a method make the decisions that the experiment has, in a world of the experiment's seed.

    method: one in which an agent decides, such as "dynamic", "thompson" or "sb3_dqn", see `methods.REGISTRY`.
    Raises ValueError for another.
    """
    recipe = parse(method, experiment)
    if recipe.recipe.train not in (train_dynamic, learn_with):
        raise ValueError(f"{method!r} has no agent that could be let loose on a surrogate")
    given = recipe.recipe.arguments(experiment, *recipe.numbers)
    decisions = experiment.episodes * (experiment.n_layer - 1)
    env.reset(seed=experiment.seed)
    if method in MODELS:
        with own_randomness():
            given["make_model"](env).learn(decisions, callback=lambda *_: len(env.maps) < decisions)
    else:
        take_turns(env, given["agent"], experiment.episodes)
    late = late_maps({"layer": [experiment.n_layer - 1], "tie_map": env.maps}, decisions)
    best = min(env.losses[tie_map] for tie_map in all_maps(experiment.n_layer))
    return Played(fmean(env.losses[tie_map] for tie_map in late) - best, env.invalid_actions / decisions)


def take_turns(env: Any, agent: Any, turns: int) -> None:
    """Algorithm 1 without a record: the agent decides, sees what follows and learns from it, for so many turns."""
    for _ in range(turns):
        end_of_turn = False
        while not end_of_turn:
            state, layer = env.tie_map, env.layer
            action = agent.act(state, layer)
            _, reward, end_of_turn, _, _ = env.step(action)
            agent.learn(state, layer, action, reward, env.tie_map)
        agent.end_episode()


def side_by_side(
    env: SurrogateTyingEnv, experiment: Experiment, methods: Sequence[str], seeds: Sequence[int]
) -> dict[str, list[Played]]:
    """method -> what came of it with each seed. The random agent is among them, to be compared with."""
    return {
        method: [play(env, method, experiment.replace(seed=seed)) for seed in seeds]
        for method in dict.fromkeys([*methods, "random"])
    }


def side_by_side_markdown(played: Mapping[str, Sequence[Played]]) -> str:
    """What `side_by_side` gave, a row for each method."""
    blind = [one.regret for one in played["random"]]
    rows = []
    for method, results in played.items():
        regrets = [one.regret for one in results]
        minus = [ours - theirs for ours, theirs in zip(regrets, blind, strict=True)]
        rows.append(
            {
                "method": f"`{method}`",
                "regret": plus_minus(*mean_interval(regrets), 3),
                "minus the random agent's": judgement(minus, minus),
                "impossible actions": percent([one.invalid_actions for one in results]),
            }
        )
    return markdown_table(rows)


def measure(
    records: Path = COMMITTED,
    *,
    methods: Sequence[str] = METHODS,
    seeds: Sequence[int] = tuple(range(10)),
    decisions: int = 900,
) -> dict[str, Any]:
    """`side_by_side` on the surrogate of the study "truth", four layers: what figures/surrogate.json holds.

    records: folder of its records, see `surrogate.make_env`. Raises ValueError for decisions that are no whole turns.
    """
    experiment = Experiment.preset("truth", "laptop", reward=REWARD, epsilon_decay=EPSILON_DECAY, device="cpu")
    turns, rest = divmod(decisions, experiment.n_layer - 1)
    if rest or not turns:
        raise ValueError(f"{decisions} decisions are not a number of turns over layers 1 to {experiment.n_layer - 1}")
    env = make_env("truth", "laptop", records=records, reward=REWARD)
    assert env.error is not None  # a fit of recorded runs has one
    played = side_by_side(env, experiment.replace(episodes=turns), methods, seeds)
    return {
        "decisions": decisions,
        "seeds": list(seeds),
        "error": dataclasses.asdict(env.error),
        "played": {method: [dataclasses.asdict(one) for one in results] for method, results in played.items()},
    }


def measured_markdown(measured: Mapping[str, Any]) -> str:
    """What `measure` found, and how far the surrogate is from recorded runs."""
    played = {method: [Played(**one) for one in results] for method, results in measured["played"].items()}
    error = measured["error"]
    return (
        f"{side_by_side_markdown(played)}\n\nRegret after {measured['decisions']:,} decisions, nats per token, over "
        f"{len(measured['seeds'])} seeds ± half the width of the 95 % interval; less is better. On seeds that it has "
        f"not seen the surrogate ranks the {error['maps']} maps as training from scratch does, with Spearman's "
        f"{error['rank_correlation']:+.2f}; of the loss of one minibatch it is {error['rms']:.2f} nats off, and the "
        f"trend of training alone {error['rms_of_trend']:.2f}: beside a minibatch's noise the map hardly shows."
    )
