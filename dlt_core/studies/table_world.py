"""How many decisions does the agent need in the easiest world? In numbers, over seeds, recorded in figures/.

The world is `diagnosis.TableLearner`'s: four layers, 15 maps whose losses from scratch are known, no training. So each
map shows its full effect at once, and what the agent makes of it is the agent's doing. What is measured is the regret
of the map at the end of each turn (its loss minus the best map's, in nats per token), the mean over the last quarter of
the turns until then, the Q-agent's minus that of the random agent with the same seed.

All runs go side by side, one decision of each at a time, so that a minute is enough for a million decisions. A test
holds them to `QAgent` in `LayerTyingEnv`, decision by decision.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch

from dlt_core.agents import QAgent, RandomAgent, q_slice
from dlt_core.env import BASELINE_RATE, REWARDS
from dlt_core.experiments import Experiment, build_agent, build_learner, load_data
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import allowed, hedged, mean_interval, plus_minus
from dlt_core.studies.diagnosis import is_truth, least_tried, true_losses
from dlt_core.studies.rule.gain import gain, use_gradients
from dlt_core.studies.rule.methods import WARM_UP
from dlt_core.studies.rule.rewards import OPTIMISTIC, VARIANTS
from dlt_core.studies.tables import markdown_table
from dlt_core.tie_map import TieMap, all_maps

DECISIONS = (900, 3_000, 14_100)
SEEDS = tuple(range(10))
EPSILON_DECAY = 0.95  # the paper's; the preset's is for a run of 60 decisions
LOOKS = 5  # seeds of the looks that the table of gains is the mean of
SMOOTH = 15  # decisions that the trend is a mean over
AT_THE_WORST = "turns of the last quarter that end at the worst map"
LEARNED_FROM = {"neg_perplexity": "minus perplexity", "log_improvement": "`log_improvement`"}
WORLDS = {
    "still": "still",
    "noise": "with noise",
    "trend": "with the trend of training",
    "noise and trend": "with noise and trend",
}


@dataclass(frozen=True)
class World:
    """What one run is played in: a reward, the standard deviation of a minibatch's noise, and what is added to the loss
    at each decision, nothing after the last of them. Reward "paired": 100 times the loss before less that after;
    "first_order_gain": what the action brings of a table of gains."""

    reward: str = "neg_perplexity"
    noise: float = 0.0
    trend: Sequence[float] = ()


class Together:
    """Q-networks of several agents, none of which knows of the others, in one set of tensors."""

    def __init__(self, agents: Sequence[QAgent]) -> None:
        self.gamma = torch.tensor([agent.gamma for agent in agents])
        every = zip(*(agent.q_network.parameters() for agent in agents), strict=True)
        self.parameters = [torch.stack([p.detach() for p in of]).requires_grad_() for of in every]
        settings = agents[0].optimizer.param_groups[0]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=settings["lr"], weight_decay=settings["weight_decay"])

    def q(self, states: np.ndarray, layer: int) -> torch.Tensor:
        """States (R, L) of R agents to Q(s, .) of one layer, shape (R, layer + 1)."""
        w1, b1, w2, b2 = self.parameters
        hidden = torch.relu(torch.baddbmm(b1[:, :, None], w1, torch.from_numpy(states).float()[:, :, None]))
        at = q_slice(layer)
        return torch.baddbmm(b2[:, at, None], w2[:, at], hidden)[:, :, 0]

    def learn(self, q: torch.Tensor, actions: np.ndarray, rewards: np.ndarray, following: torch.Tensor) -> None:
        """`QAgent.learn` of all: q is Q(s, .) with its gradient, following is Q(s', .) of the same layer."""
        targets = torch.from_numpy(rewards).float() + self.gamma * following.max(dim=1).values
        loss = ((q.gather(1, torch.from_numpy(actions)[:, None])[:, 0] - targets) ** 2).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def play(
    losses: Mapping[TieMap, float],
    agents: Sequence[QAgent | RandomAgent],
    worlds: Sequence[World],
    turns: int,
    gains: Mapping[TieMap, float] | None = None,
) -> list[dict[str, list[Any]]]:
    """Each agent in its world, the noise drawn with the agent's seed: what a record's `history` says of it, `layer`,
    `action`, `explored` and `tie_map`. gains: of each map, in percent of that of independent layers, for the reward
    "first_order_gain"."""
    maps, n_layer = list(losses), agents[0].num_layers
    numbers = {tie_map: i for i, tie_map in enumerate(maps)}
    after = [[[numbers[m.with_action(i, a)] for a in range(i + 1)] for i in range(n_layer)] for m in maps]
    sources, of_map = np.array([list(m) for m in maps]), np.array([losses[m] for m in maps])
    worth = {"paired": -100 * of_map} | ({"first_order_gain": np.array([gains[m] for m in maps])} if gains else {})
    learning = [agent for agent in agents if isinstance(agent, QAgent)]
    together = Together(learning) if learning else None
    noises = [np.random.default_rng(agent.settings["seed"]) for agent in agents]
    state = np.full(len(agents), numbers[TieMap.all_tied(n_layer)])
    baseline: np.ndarray | None = None
    histories: list[dict[str, list[Any]]] = [
        {name: [] for name in ("layer", "action", "explored", "tie_map")} for _ in agents
    ]
    for n, layer in enumerate(layer for _ in range(turns) for layer in range(1, n_layer)):
        if together:
            q = together.q(sources[state], layer)
            greedy = q.detach().argmax(dim=1).tolist()
            actions = []
            for learner, best in zip(learning, greedy, strict=True):  # as in `QAgent.act`
                learner.explored = bool(learner.rng.random() < learner.epsilon)
                actions.append(int(learner.rng.integers(layer + 1)) if learner.explored else best)
        else:
            actions = [agent.act(maps[m], layer) for agent, m in zip(agents, state, strict=True)]
        before, state = state, np.array([after[m][layer][a] for m, a in zip(state, actions, strict=True)])
        seen = of_map[state] + [
            (world.trend[n] if n < len(world.trend) else 0.0) + world.noise * float(rng.normal())
            for world, rng in zip(worlds, noises, strict=True)
        ]
        baseline = seen if baseline is None else baseline
        if together:
            brought = {reward: (of[state] - of[before]).tolist() for reward, of in worth.items()}
            rewards = [
                brought[w.reward][i] if w.reward in brought else REWARDS[w.reward](x, b)
                for i, (w, x, b) in enumerate(zip(worlds, seen.tolist(), baseline.tolist(), strict=True))
            ]
            with torch.no_grad():
                following = together.q(sources[state], layer)
            together.learn(q, np.array(actions), np.array(rewards), following)
        baseline = baseline + BASELINE_RATE * (seen - baseline)
        for agent, history, action, m in zip(agents, histories, actions, state, strict=True):
            for name, value in zip(history, (layer, action, agent.explored, maps[m]), strict=True):
                history[name].append(value)
        if layer == n_layer - 1:
            for agent in agents:
                agent.end_episode()
    return histories


def late_maps(history: Mapping[str, Sequence[Any]], decisions: int) -> list[TieMap]:
    """The maps at the ends of the turns, in the last quarter of the turns of the first `decisions`."""
    per_turn = max(history["layer"])
    ends = history["tie_map"][:decisions][per_turn - 1 :: per_turn]
    return [TieMap(sources) for sources in ends[-max(1, len(ends) // 4) :]]


def noise_and_trend(runs: Sequence[RunRecord]) -> tuple[float, list[float]]:
    """Of the reward minibatches' losses in recorded runs: the standard deviation of one around its running mean, and
    the running mean itself, over the runs and 15 decisions, above its last value; nats per token.

    The maps differ while the runs go on, so a little of what is called noise is theirs.
    """
    losses = np.array([r.history["loss"] for r in runs])
    padded = np.pad(losses, ((0, 0), (SMOOTH // 2, SMOOTH // 2)), mode="edge")
    smooth = np.lib.stride_tricks.sliding_window_view(padded, SMOOTH, axis=1).mean(axis=2)
    noise = math.sqrt(float(((losses - smooth) ** 2).mean()) * SMOOTH / (SMOOTH - 1))  # a loss is in its own mean
    trend = smooth.mean(axis=0)
    return noise, (trend - trend[-1]).tolist()


def gains_seen(experiment: Experiment, seeds: Sequence[int]) -> dict[TieMap, float]:
    """The gain of each map in percent of that of independent layers, as the rule sees it after its warm-up with all
    layers tied, the mean over seeds."""
    found: dict[TieMap, list[float]] = {}
    for seed in seeds:
        ours = experiment.replace(seed=seed)
        learner = build_learner(ours, load_data(ours))
        learner.tie(TieMap.all_tied(experiment.n_layer))
        learner.train(WARM_UP)
        gradients = use_gradients(learner)
        untied = gain(gradients, TieMap.independent(experiment.n_layer).groups)
        for tie_map in all_maps(experiment.n_layer):
            found.setdefault(tie_map, []).append(100 * gain(gradients, tie_map.groups) / untied)
    return {tie_map: fmean(values) for tie_map, values in found.items()}


def measure(
    records: Sequence[RunRecord], *, decisions: Sequence[int] = DECISIONS, seeds: Sequence[int] = SEEDS
) -> dict[str, Any]:
    """All worlds and rewards: what figures/table_world.json holds.

    records: of the study "truth", preset laptop: its maps from scratch are the table, and its random runs give noise
    and trend, which lasts as long as it did there; then the world stands still. decisions: to look after so many; all
    looks are at one run. The gains of "first_order_gain" are those that the rule sees. Raises ValueError where the maps
    or the random runs are missing.
    """
    experiment = Experiment.preset("truth", "laptop", epsilon_decay=EPSILON_DECAY)
    losses = true_losses(records)
    random_runs = [r for r in records if is_truth(r) and r.method == "random"]
    if not losses or not random_runs:
        raise ValueError("the table needs the records of study truth: its maps from scratch, and its random runs")
    noise, trend = noise_and_trend(random_runs)
    turns = max(decisions) // (experiment.n_layer - 1)
    blind = play(losses, [RandomAgent(experiment.n_layer, seed=s) for s in seeds], [World()] * len(seeds), turns)
    kinds = list(itertools.product(LEARNED_FROM, WORLDS))
    agents = [build_agent(experiment.replace(seed=s)) for _ in kinds for s in seeds]
    worlds = [
        World(reward, noise if "noise" in name else 0.0, trend if "trend" in name else ())
        for reward, name in kinds
        for _ in seeds
    ]

    gains = gains_seen(experiment, seeds[:LOOKS])

    def hearing(reward: str) -> list[QAgent]:
        gamma, first = (
            (0.0 if "gamma=0" in reward else experiment.gamma),
            (OPTIMISTIC if "optimistic" in reward else 0.0),
        )
        factory = functools.partial(QAgent, initial_value=first)
        return [build_agent(experiment.replace(seed=s, gamma=gamma), factory=factory) for s in seeds]

    played = itertools.chain(
        play(losses, agents, worlds, turns),
        *(
            play(losses, hearing(reward), [World(reward.partition(",")[0])] * len(seeds), turns, gains)
            for reward in VARIANTS
        ),
    )
    rows = []
    for reward, name in (*kinds, *((reward, "still") for reward in VARIANTS)):
        found = list(itertools.islice(played, len(seeds)))
        rows.append({"reward": reward, "world": name, **judged(found, blind, losses, decisions)})
    return {
        "seeds": list(seeds),
        "decisions": list(decisions),
        "noise": noise,
        "trend": trend,
        "gains": [[list(tie_map), float(f"{of:.6g}")] for tie_map, of in gains.items()],
        **of_chance(blind, losses),
        "rows": rows,
    }


def judged(
    found: Sequence[Mapping[str, Sequence[Any]]],
    blind: Sequence[Mapping[str, Sequence[Any]]],
    losses: Mapping[TieMap, float],
    decisions: Sequence[int],
) -> dict[str, Any]:
    """What the maps at the ends of the turns are worth by a table of losses (nats per token), a number for each seed:
    after so many decisions the regret minus that of the random twin; and of all decisions the share of the late turns
    that end at the worst map, and the shares of Q's own choices that were least tried, and that would be by chance.

    found, blind: histories of the agents and of their random twins, of `play` or of a record, seed by seed.
    """
    worst = max(losses, key=losses.__getitem__)
    counted = [least_tried(history) for history in found]

    def late(history: Mapping[str, Sequence[Any]], n: int) -> float:
        return fmean(losses[tie_map] for tie_map in late_maps(history, n))

    return {
        "regret_minus_random": {
            str(n): [late(ours, n) - late(theirs, n) for ours, theirs in zip(found, blind, strict=True)]
            for n in decisions
        },
        "at_the_worst_map": [ends_at(worst, history) for history in found],
        "least_tried": [least / max(1, greedy) for greedy, least, _ in counted],
        "least_tried_by_chance": [chance / max(1, greedy) for greedy, _, chance in counted],
    }


def of_chance(blind: Sequence[Mapping[str, Sequence[Any]]], losses: Mapping[TieMap, float]) -> dict[str, Any]:
    """The worst map by a table of losses, and how often the late turns of random agents end there."""
    worst = max(losses, key=losses.__getitem__)
    return {"worst_map": list(worst), "random_at_the_worst_map": [ends_at(worst, history) for history in blind]}


def ends_at(wanted: TieMap, history: Mapping[str, Sequence[Any]]) -> float:
    """The share of the late turns of a history that end at the map that is asked for."""
    return fmean(tie_map == wanted for tie_map in late_maps(history, len(history["layer"])))


def percent(shares: Sequence[float]) -> str:
    """Shares as a mean with its interval, such as "76 ± 1 %"."""
    return f"{plus_minus(*mean_interval([100 * share for share in shares]), 0)} %"


def judgement(differences: Sequence[float], nats: Sequence[float] = ()) -> str:
    """Paired differences as a table has them, such as "+0.013 ± 0.006: worse". nats: the same in log perplexity, to say
    what the interval allows in percent of perplexity where no difference is shown."""
    word = hedged(differences)
    percent = f", {allowed(nats)}" if nats and word in ("not told apart", "borderline") else ""
    return f"{plus_minus(*mean_interval(differences), 3, '+')}: {word}{percent}"


def regrets(row: Mapping[str, Any]) -> dict[str, str]:
    """Of a row of `judged`: "after 900 decisions" -> the regret minus the random twin's."""
    return {f"after {int(n):,} decisions": judgement(v, v) for n, v in row["regret_minus_random"].items()}


def table_world_markdown(measured: Mapping[str, Any]) -> str:
    """What `measure` found, a row for each reward and world, and in words how often the worst map was the last."""

    rows = []
    for row in measured["rows"]:
        rows.append(
            {
                "reward": (LEARNED_FROM | VARIANTS)[row["reward"]],
                "world": WORLDS[row["world"]],
                **regrets(row),
                AT_THE_WORST: percent(row["at_the_worst_map"]),
                "choices of what was tried least": percent(row["least_tried"]),
                "least tried, by chance": percent(row["least_tried_by_chance"]),
            }
        )
    return (
        f"{markdown_table(rows)}\n\nRegret of the Q-agent minus the random agent's, nats per token, over "
        f"{len(measured['seeds'])} seeds ± half the width of the 95 % interval: below zero, it has learned. The worst "
        f"map is {measured['worst_map']}; the random agent ends {percent(measured['random_at_the_worst_map'])} of "
        "these turns there."
    )
