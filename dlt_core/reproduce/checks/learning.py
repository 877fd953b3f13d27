"""Checks of the exercises to notebook 12: a paired interval, regret, a reward that teaches, an agent of one's own.

The last two are played in a world whose truth is known: the losses that the project has recorded for all maps of four
layers, trained from scratch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from statistics import fmean, pstdev, stdev
from typing import Any

from scipy import stats

from dlt_core.agents import QAgent, RandomAgent
from dlt_core.algorithm1 import train_dynamic
from dlt_core.env import BASELINE_RATE, REWARDS
from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import mean_interval, plus_minus
from dlt_core.reproduce.checks.common import NotYet, ask, ask_number, ask_pair, near, passed, require
from dlt_core.studies.diagnosis import TableLearner, truth
from dlt_core.studies.findings import COMMITTED
from dlt_core.tie_map import TieMap

TURNS, SEEDS, LAYERS = 150, range(5), 4
Reward = Callable[[float, float], float]


@cache
def true_losses() -> dict[TieMap, float]:
    """map -> its test loss in nats per token, trained from scratch, mean over the recorded seeds."""
    paths = sorted(COMMITTED.glob("truth-laptop-map-*.json"))
    if not paths:
        raise ValueError(f"there are no records of the study `truth` in {COMMITTED}: run this from a checkout")
    return {tie_map: fmean(losses) for tie_map, losses in truth([RunRecord.load(path) for path in paths]).items()}


def check_paired_interval(paired_interval: Callable[[Mapping, Mapping], tuple[float, float]]) -> None:
    """paired_interval(ours, theirs): mean difference over common seeds, and half of its 95 % interval."""
    ours = {0: 2.01, 1: 2.33, 2: 1.84, 3: 2.20, 7: 2.05}
    theirs = {7: 2.10, 3: 2.26, 2: 1.88, 1: 2.36, 0: 2.09}
    mean, half = ask_pair(paired_interval, ours, theirs)
    pairs = [ours[seed] - theirs[seed] for seed in ours]
    unsorted = [a - b for a, b in zip(ours.values(), theirs.values(), strict=True)]
    n, t = len(pairs), float(stats.t.ppf(0.975, len(pairs) - 1))
    require(not near(mean, -fmean(pairs)), "The sign is turned round: below zero should mean that `ours` is lower.")
    require(near(mean, fmean(pairs)), f"The mean difference is not {mean:.4f}.")
    error = stdev(pairs) / math.sqrt(n)
    apart = math.sqrt((stdev(ours.values()) ** 2 + stdev(theirs.values()) ** 2) / n)
    wrong = {
        t
        * stdev(unsorted)
        / math.sqrt(n): "Runs were paired by their place in the dictionary. What do they have in common?",
        t * apart: "You treat the two groups as strangers. Subtract seed by seed first: then what both share cancels.",
        1.96
        * apart: "You treat the two groups as strangers. Subtract seed by seed first: then what both share cancels.",
        1.96 * error: "1.96 is for very many runs. With five you do not know the spread that well.",
        2 * error: "2 is for very many runs. With five you do not know the spread that well.",
        error: "That is the standard error, which covers the truth only two times out of three.",
        t * stdev(pairs): "This is where a single difference lies; the mean of five is known better.",
        stdev(pairs): "That is how the differences scatter, not how well their mean is known.",
        t * pstdev(pairs) / math.sqrt(n): "The spread was divided by n: the mean was estimated from the same numbers.",
        2 * t * error: "That is the whole width. Half of it is asked for.",
        float(stats.t.ppf(0.95, n - 1)) * error: "That quantile leaves 5 % on *each* side.",
        float(stats.t.ppf(0.975, n)) * error: "The degrees of freedom are one too many.",
    }
    for value, message in wrong.items():
        require(not near(half, value), f"The mean is right, half the width is not. {message}")
    require(near(half, t * error), f"The mean is right; half the width is not {half:.4f}.")
    fewer = ask_pair(paired_interval, {**ours, 9: 9.0}, theirs)
    require(near(fewer[0], mean), "A seed that only one of the two has makes no pair, but it changes your result.")
    passed("Pairs saw the same weights and the same batches: what is common to both cancels.")


def check_regret(regret: Callable[[Mapping, TieMap, int, int], float]) -> None:
    """regret(losses, state, layer, action): what an action costs against the best one that there was."""
    losses = true_losses()
    for state in (TieMap([0, 0, 0, 0]), TieMap([0, 1, 2, 1]), TieMap([0, 1, 0, 3])):
        for layer in range(1, LAYERS):
            reached = [losses[state.with_action(layer, a)] for a in range(layer + 1)]
            for action, loss in enumerate(reached):
                found = ask_number(regret, losses, state, layer, action)
                at = f"In state {list(state)}, action {action} for layer {layer}:"
                if near(found, loss - min(reached)):
                    continue
                require(found >= 0, f"{at} your regret is below zero: better than the best?")
                if near(found, loss - min(losses.values())):
                    raise NotYet(f"{at} you compare with the best map of all. Could one action have led there?")
                require(not near(found, loss), f"{at} that is the loss itself. Against what is it a loss?")
                if near(found, max(0.0, loss - losses[state])) or near(found, loss - losses[state]):
                    raise NotYet(f"{at} you compare with the map before. Compare with what the agent could have done.")
                raise NotYet(f"{at} {found:.4f} nats is not it. List the maps that the layer's actions lead to.")
    passed("Regret asks only for what was possible. Now it can be summed over a run, and held against chance.")


def play(agent: Any, reward: Reward, *, seed: int = 0, noise: float = 0.0, turns: int = TURNS) -> float:
    """Let an agent tie four layers in the world of `true_losses`; the mean regret of the last quarter of its turns."""
    losses = true_losses()
    world, state, baseline, regrets = (
        TableLearner(losses, noise=noise, seed=seed),
        TieMap.all_tied(LAYERS),
        math.nan,
        [],
    )
    for turn in range(turns):
        for layer in range(1, LAYERS):
            action = ask(agent.act, state, layer)
            valid = not isinstance(action, bool) and action in range(layer + 1)
            require(valid, f"Layer {layer} has the actions 0 to {layer}; the agent took {action!r}.")
            world.tie(state.with_action(layer, int(action)))
            loss = world.probe(turn * (LAYERS - 1) + layer - 1)
            baseline = loss if math.isnan(baseline) else baseline
            paid = ask_number(reward, loss, baseline)
            require(
                math.isfinite(paid), f"For the loss {loss:.3f} the reward is {paid}: nothing can be learned from it."
            )
            baseline += BASELINE_RATE * (loss - baseline)
            ask(agent.learn, state, layer, int(action), paid, world.tie_map)
            state = world.tie_map
        ask(agent.end_episode)
        regrets.append(losses[state] - min(losses.values()))
    return fmean(regrets[-turns // 4 :])


def against_chance(make_agent: Callable[[int], Any], reward: Reward, *, noise: float = 0.0) -> list[float]:
    """Late regret of the agent minus that of a random one, in nats, for each seed: below zero is better."""
    blind = [play(RandomAgent(LAYERS, seed=seed), reward, seed=seed, noise=noise) for seed in SEEDS]
    return [play(make_agent(s), reward, seed=s, noise=noise) - b for s, b in zip(SEEDS, blind, strict=True)]


def check_reward(reward: Reward) -> None:
    """reward(loss, baseline): one that lets the paper's Q-agent beat the random agent, five seeds, 150 turns."""
    low, high = ask_number(reward, 4.9, 5.0), ask_number(reward, 5.1, 5.0)
    require(low != high, "Two maps with different losses get one reward: there is nothing to choose by.")
    require(low > high, "The lower loss gets the lower reward. The agent would look for the worst map.")
    differences = against_chance(lambda seed: QAgent(LAYERS, seed=seed), reward)
    mean, half = mean_interval(differences)
    assert half is not None
    said = (
        f"Regret minus the random agent's: {plus_minus(mean, half, 3, '+')} nats (95 % interval, {len(SEEDS)} seeds)."
    )
    if mean + half >= 0:
        about = "far below zero" if high < -1 else "far above zero" if low > 1 else "near zero, but very small"
        raise NotYet(
            f"{said} The interval is not below zero. Your rewards lie {about}, and Q starts near zero: look there."
        )
    passed(f"{said} The paper's network, with another reward.")


def check_agent(make_agent: Callable[[int, int], Any]) -> None:
    """make_agent(num_layers, seed): your agent, entered against the random one; then it ties a real GPT-2."""
    agent = ask(make_agent, LAYERS, 0)
    names = ("act", "q_values", "learn", "end_episode", "method", "settings", "epsilon", "explored")
    missing = [name for name in names if not hasattr(agent, name)]
    require(not missing, f"An agent also has {', '.join(missing)}; `dlt_core.agents.Agent` says what for.")
    differences = against_chance(lambda seed: ask(make_agent, LAYERS, seed), REWARDS["log_improvement"], noise=0.02)
    mean, half = mean_interval(differences)
    assert half is not None
    said = (
        f"Regret minus the random agent's: {plus_minus(mean, half, 3, '+')} nats (95 % interval, {len(SEEDS)} seeds)."
    )
    require(mean + half < 0, f"{said} The interval is not below zero. What does your agent remember of a reward?")
    experiment = Experiment.preset("gpt2-embedded", "smoke")
    record = train_dynamic(experiment, agent=ask(make_agent, experiment.n_layer, 0))
    test = record.required(record.test)
    passed(
        f"{said} And in a transformer, at the smallest size, test perplexity {test['perplexity']:.1f} {record.unit}."
    )
