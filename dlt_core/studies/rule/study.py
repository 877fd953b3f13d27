"""What the rule sees, when, and what rewards tell: measured over seeds, recorded in figures/looks.json.

Nothing here is trained to its end: all layers tied for a while, a look, and that is it. The 15 maps of four layers
trained from scratch (study "truth") say which maps are good.
"""

from __future__ import annotations

import functools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from dlt_core.agents import RandomAgent
from dlt_core.corpora.files import write_json_atomically
from dlt_core.experiments import Experiment, build_env, build_learner, load_data
from dlt_core.learner.training import Learner
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import mean_interval, plus_minus
from dlt_core.studies.diagnosis import losses_after_actions, rank_correlation, signal_to_noise, true_losses
from dlt_core.studies.rule.gain import (
    balanced,
    best_maps,
    cosines,
    gain,
    gain_by_sets,
    tensor_sizes,
    use_gradients,
    worth_having,
)
from dlt_core.studies.rule.looks import put_back
from dlt_core.studies.tables import grouped, markdown_table
from dlt_core.tie_map import TieMap

SEEDS = tuple(range(5))
WARM_UPS = (0, 10, 30, 60, 150, 300)  # optimiser steps with all layers tied, before a look
MINIBATCHES = (1, 4, 16, 64)
SETS = (2, 3)
# Who is looked at: what a reader calls it -> experiment, and what is changed in its laptop preset.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "GPT-2, 6 layers, width 64, embedded": ("agents-embedded", {}),
    "GPT-2, 6 layers, width 64, WikiText-2": ("agents-wikitext2", {}),
    "GPT-2, 6 layers, width 128, WikiText-2": ("depth", {"n_embd": 128, "learning_rate": 1e-3}),
    "GPT-2, 12 layers, width 64, embedded": ("agents-embedded", {"n_layer": 12}),
    "GPT-2, 48 layers, width 64, embedded": ("agents-embedded", {"n_layer": 48}),
    "BERT, 6 layers, width 64, embedded": ("agents-embedded", {"architecture": "bert"}),
}
MANY = 12  # layers; of more, whose looks take minutes, two seeds must do
TRUTHS = ("truth", "truth-bert")
KINDS: dict[str, dict[str, Any]] = {  # of the gain
    "l1, as Adam steps": {},
    "squared l2, as gradient descent steps": {"norm": "l2_squared"},
    "l1, each tensor with the same say": {"balanced": True},
}
WITHOUT_A_LOOK: dict[str, Callable[[TieMap], float]] = {
    "no look: the more weight sets, the better": lambda m: -m.num_independent,
    "no look: first those with layer 0 alone (picked afterwards), then the same": lambda m: (
        -m.num_independent - len(m) * ((0,) in m.groups)
    ),
}
"""Rankings of maps, best first, that need no gradients."""
STOPS = (15, 30, 45, 60)  # decisions of a random run of four layers after which rewards are looked at
LATE, SHOWN = 30, (0, 60, 300)  # warm-ups that count as late, and that are drawn
DRAWS = 64  # minibatches that a reward's noise is taken over


def measure(
    records: Sequence[RunRecord],
    out: Path,
    *,
    preset: str = "laptop",
    seeds: Sequence[int] = SEEDS,
    warm_ups: Sequence[int] = WARM_UPS,
    minibatches: Sequence[int] = MINIBATCHES,
    models: Mapping[str, tuple[str, dict[str, Any]]] = MODELS,
    stops: Sequence[int] = STOPS,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """All parts, each written to `out` (JSON) as soon as it is there; those that are there already stay.

    records: those of the studies in TRUTHS. Raises ValueError where the maps from scratch of one are missing.
    """
    true = {study: true_losses(records, preset, study) for study in TRUTHS}
    if missing := [study for study, of in true.items() if not of]:
        raise ValueError(f"the maps of study {missing[0]}, preset {preset}, are needed: they say which maps are good")
    measured: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    parts: dict[str, Callable[[], Any]] = {
        **{
            f"maps: {name}": functools.partial(maps_seen, model, preset, seeds, warm_ups, minibatches)
            for name, model in models.items()
        },
        **{study: functools.partial(against_truth, study, true[study], preset, seeds, warm_ups) for study in TRUTHS},
        "rewards": lambda: signals(true["truth"], preset, seeds, stops, draws),
    }
    for name, part in parts.items():
        if name not in measured:
            began = time.process_time()
            measured[name] = {"rows": part(), "cpu_seconds": 0.0}
            measured[name]["cpu_seconds"] = round(time.process_time() - began, 1)
            write_json_atomically(out, measured)
    return measured


def warmed_up(learner: Learner, warm_ups: Iterable[int]) -> Iterable[int]:
    """Train with all layers tied up to each of `warm_ups` steps in turn, yield it, and put the learner back after."""
    learner.tie(TieMap.all_tied(len(learner.tie_map)))
    for steps in warm_ups:
        if steps > learner.step:
            learner.train(steps - learner.step)
        with put_back(learner):
            yield steps


def maps_seen(
    model: tuple[str, dict[str, Any]],
    preset: str,
    seeds: Sequence[int],
    warm_ups: Sequence[int],
    minibatches: Sequence[int],
) -> list[dict[str, Any]]:
    """For each seed and warm-up the map that the rule would choose, by sets and by minibatches; how the gain grows with
    the sets; and how much the layers' gradients agree."""
    rows = []
    first = Experiment.preset(model[0], preset, **model[1])
    for seed in seeds[: 2 if first.n_layer > MANY else None]:
        experiment = first.replace(seed=seed)
        learner = build_learner(experiment, load_data(experiment))
        for steps in warmed_up(learner, warm_ups):
            most = max(minibatches)
            began = time.perf_counter()
            each = [use_gradients(learner, 1, first=i) for i in range(most if steps == 60 else 16)]
            seconds = (time.perf_counter() - began) / len(each)
            sums = {n: torch.stack(each[:n]).mean(0) for n in minibatches if n <= len(each)}
            mean = sums[16] if 16 in sums else torch.stack(each).mean(0)
            row: dict[str, Any] = {
                "seed": seed,
                "warm_up": steps,
                "maps": {str(n): list(best_maps(mean, n, 1)[0][0]) for n in SETS if n <= len(mean)},
                "by_minibatches": {str(n): list(best_maps(g, SETS[0], 1)[0][0]) for n, g in sums.items()},
                "gain_by_sets": [float(f"{g:.4g}") for g in gain_by_sets(mean)],
                "seconds_of_a_pass": float(f"{seconds:.3g}"),
                "bytes": mean.numel() * mean.element_size(),
            }
            if seed == seeds[0] and first.n_layer <= MANY:  # for a picture
                row["cosines"] = [[float(f"{c:.3g}") for c in of] for of in cosines(mean).tolist()]
            rows.append(row)
    return rows


def against_truth(
    study: str, true: Mapping[TieMap, float], preset: str, seeds: Sequence[int], warm_ups: Sequence[int]
) -> list[dict[str, Any]]:
    """For four layers, each seed, warm-up and kind of gain: its rank correlation with the truth over all maps and among
    those with as many sets, and how far its choice is from the best map with as many (nats per token), beside a map
    drawn blindly."""
    rows = []
    for seed in seeds:
        experiment = Experiment.preset(study, preset, seed=seed)
        learner = build_learner(experiment, load_data(experiment))
        sizes = tensor_sizes(learner)
        for steps in warmed_up(learner, warm_ups):
            gradients = use_gradients(learner)
            for kind, how in KINDS.items():
                norm = how.get("norm", "l1")
                seen = balanced(gradients, sizes) if how.get("balanced") else gradients
                gains = {m: -gain(seen, m.groups, norm=norm) for m in true}
                row: dict[str, Any] = {"seed": seed, "warm_up": steps, "gain": kind}
                row["correlation"] = rank_correlation(gains, true)
                for sets in SETS:
                    among = {m: loss for m, loss in true.items() if m.num_independent == sets}
                    if len(among) > 2:
                        chosen = min(among, key=gains.__getitem__)
                        row[f"{sets} sets"] = {
                            "correlation": rank_correlation({m: gains[m] for m in among}, among),
                            "chosen": list(chosen),
                            "regret": among[chosen] - min(among.values()),
                            "blind": fmean(among.values()) - min(among.values()),
                        }
                rows.append(row)
    return rows


def signals(
    true: Mapping[TieMap, float], preset: str, seeds: Sequence[int], stops: Sequence[int], draws: int
) -> list[dict[str, Any]]:
    """Of each reward, in random runs of four layers, after some of their decisions: how far the means of the different
    maps that the last layer's actions lead to are apart (signal), and how much one reward scatters (noise); in the
    reward's own unit, which does not matter for their ratio; and its rank correlation with the truth. Only where three
    or more different maps can be reached."""
    rows = []
    for seed in seeds:
        experiment = Experiment.preset("truth", preset, seed=seed)
        env = build_env(experiment, load_data(experiment))
        agent, layer = RandomAgent(experiment.n_layer, seed=seed), experiment.n_layer - 1
        for decision in range(1, max(stops) + 1):
            env.step(agent.act(env.tie_map, env.layer))
            if decision not in stops:
                continue
            reached: dict[TieMap, int] = {}
            for action in range(layer + 1):
                reached.setdefault(env.tie_map.with_action(layer, action), action)
            if len(reached) < 3:
                continue
            actions = list(reached.values())
            losses = losses_after_actions(
                env.learner, layer, steps=experiment.steps_per_action, minibatches=draws, actions=actions
            )
            with put_back(env.learner):
                each = [use_gradients(env.learner, 1, first=i) for i in range(draws)]
                gains = -np.array([[gain(g, tie_map.groups) for g in each] for tie_map in reached])
            known = {m: true[m] for m in reached}
            for reward, values, paired in (
                ("minus perplexity, its logarithm", losses, False),
                ("paired", losses, True),
                ("first_order_gain", gains, True),
            ):
                found = signal_to_noise(values, paired=paired)
                rows.append(
                    {
                        "seed": seed,
                        "decision": decision,
                        "maps": len(reached),
                        "reward": reward,
                        "signal": found.signal,
                        "noise": found.noise,
                        "samples": None if np.isinf(found.samples) else found.samples,
                        "correlation": rank_correlation(dict(zip(reached, values.mean(1), strict=True)), known),
                    }
                )
    return rows


def maps_markdown(measured: Mapping[str, Any]) -> str:
    """Which map of two and of three sets the rule would choose, in how many of the looks, model by model."""
    rows = []
    for part, found in _of_models(measured):
        for sets in SETS:
            late = [in_short(row["maps"][str(sets)]) for row in found if row["warm_up"] >= LATE]
            early = [in_short(row["maps"][str(sets)]) for row in found if row["warm_up"] == 0]
            rows.append(
                {
                    "model": part,
                    "sets": str(sets),
                    f"chosen after {LATE} steps or more": _counted(late),
                    "at the start": _counted(early),
                }
            )
    return markdown_table(rows)


def in_short(sources: Sequence[int]) -> str:
    """A tie map in a table; of more than MANY layers its groups, such as "0 / 1 to 47"."""
    if len(sources) <= MANY:
        return f"`{list(sources)}`"
    groups = TieMap(sources).groups
    if any(group[-1] - group[0] != len(group) - 1 for group in groups):
        return " / ".join(", ".join(map(str, group)) for group in groups)
    return " / ".join(f"{group[0]} to {group[-1]}" if len(group) > 1 else f"{group[0]}" for group in groups)


def _counted(values: Iterable[object]) -> str:
    """The three that are there most often, with how often, and how many others there are."""
    every = Counter(values)
    shown = every.most_common(3)
    others = every.total() - sum(n for _, n in shown)
    words = [f"{value} ({f'{n} times' if n > 1 else 'once'})" for value, n in shown]
    return "; ".join([*words, f"others ({others})"] if others else words)


def truth_markdown(
    measured: Mapping[str, Any], study: str = "truth", true: Mapping[TieMap, float] | None = None
) -> str:
    """How the gain ranks the 15 maps of a study, by warm-up, for Adam's gain; and for the others after 60 steps. true:
    their losses from scratch, for two rankings that look at no gradient."""
    rows = []
    of = measured[study]["rows"]
    wanted = [(steps, next(iter(KINDS))) for steps in dict.fromkeys(row["warm_up"] for row in of)]
    wanted += [(steps, kind) for kind in list(KINDS)[1:] for steps in (60,)]
    for steps, kind in wanted:
        found = [row for row in of if row["warm_up"] == steps and row["gain"] == kind]
        if not found:
            continue
        row = {"gain": kind, "warm-up": f"{steps} steps"}
        row["all 15 maps"] = _interval([r["correlation"] for r in found])
        for sets in SETS:
            some = [r[f"{sets} sets"] for r in found if f"{sets} sets" in r]
            if some:
                row[f"{sets} sets"] = _interval([s["correlation"] for s in some])
                row[f"choice of {sets} sets"] = (
                    f"{fmean(s['regret'] for s in some):.3f} nats above the best; blind {some[0]['blind']:.3f}"
                )
        rows.append(row)
    true = true or {}
    for words, ranked in WITHOUT_A_LOOK.items() if true else ():
        by_rank = rank_correlation({m: ranked(m) for m in true}, true)
        rows.append(dict.fromkeys(rows[0], "") | {"gain": words, "all 15 maps": f"{by_rank:+.2f}"})
    return markdown_table(rows)


def _interval(values: Sequence[float]) -> str:
    return plus_minus(*mean_interval(values), 2, "+")


def counting(true: Mapping[TieMap, float], moments: Iterable[Mapping[str, Any]]) -> list[float]:
    """How well the bare number of weight sets ranks the maps that could be reached at the moments of `signals`, against
    their losses from scratch: a mean rank correlation for each seed. The random agent's ties are played again, without
    a model."""
    of: dict[int, list[float]] = {}
    for seed, decisions in {(m["seed"], m["decision"]): None for m in moments}:
        n_layer = len(next(iter(true)))
        agent, state = RandomAgent(n_layer, seed=seed), TieMap.all_tied(n_layer)
        for decision in range(decisions):
            layer = 1 + decision % (n_layer - 1)
            state = state.with_action(layer, agent.act(state, layer))
        reached = {state.with_action(n_layer - 1, action) for action in range(n_layer)}
        of.setdefault(seed, []).append(rank_correlation({m: -m.num_independent for m in reached}, true))
    return [fmean(values) for values in of.values()]


def signals_markdown(measured: Mapping[str, Any], true: Mapping[TieMap, float] | None = None) -> str:
    """Signal, noise and what a test needs, reward by reward: geometric means over the moments at which we stopped, and
    of what is needed the median with its range, and `needed_by_seed`; the rank correlation is a mean over the seeds,
    whose moments are not independent. true: the losses of the maps from scratch, for a row about their bare number of
    weight sets."""
    rows = []
    of = measured["rewards"]["rows"]
    for reward in dict.fromkeys(row["reward"] for row in of):
        found = [row for row in of if row["reward"] == reward and row["samples"] is not None]
        silent = sum(row["samples"] is None for row in of if row["reward"] == reward)
        if not found:
            continue
        samples = [row["samples"] for row in found]
        ranks = [fmean(r["correlation"] for r in ours) for ours in grouped(found, lambda r: r["seed"]).values()]
        rows.append(
            {
                "reward": reward,
                "moments": f"{len(found)}" + (f", and {silent} without any signal" if silent else ""),
                "signal": f"{np.exp(np.mean(np.log([row['signal'] for row in found]))):.2g}",
                "noise": f"{np.exp(np.mean(np.log([row['noise'] for row in found]))):.2g}",
                "rewards of each of two actions that a test needs": f"{rounded(np.median(samples))} "
                f"({rounded(min(samples))} to {rounded(max(samples))})",
                "the same, by seed": needed_by_seed(found),
                "rank correlation with the truth": f"{_interval(ranks)} (n = {len(ranks)})",
            }
        )
    if true and of:
        ranks = counting(true, of)
        words = {"reward": "none: the number of weight sets", "moments": rows[0]["moments"]}
        words |= {"rank correlation with the truth": f"{_interval(ranks)} (n = {len(ranks)})"}
        rows.append(dict.fromkeys(rows[0], "") | words)
    return markdown_table(rows)


def needed_by_seed(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many rewards of each of two actions a test needs, over rows of `measure` that have a signal: the geometric
    mean of the seeds', with its 95 % interval, such as "100,000 (58,000 to 170,000; n = 5)"."""
    logs = [float(np.mean(np.log([r["samples"] for r in of]))) for of in grouped(rows, lambda r: r["seed"]).values()]
    mean, half = mean_interval(logs)
    ends = "" if half is None else f"{rounded(np.exp(mean - half))} to {rounded(np.exp(mean + half))}; "
    return f"{rounded(np.exp(mean))} ({ends}n = {len(logs)})"


def rounded(value: float) -> str:
    """A number of rewards to two digits, at least one."""
    return f"{max(1, float(f'{value:.2g}')):,.0f}"


def gain_lines(measured: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For `figures.bands`: model -> {"60 steps": the best gain by the number of weight sets, a line a seed}; not of
    more than MANY layers, since two seeds make no band."""
    panels = {}
    for part, found in _of_models(measured):
        if len(found[0]["gain_by_sets"]) > MANY:
            continue
        rows = {steps: [r["gain_by_sets"] for r in found if r["warm_up"] == steps] for steps in SHOWN}
        sets = range(1, len(found[0]["gain_by_sets"]) + 1)
        panels[part] = {f"{steps} steps": (list(sets), of) for steps, of in rows.items() if of}
    return panels


def sets_markdown(measured: Mapping[str, Any]) -> str:
    """How many weight sets are worth having, by `worth_having`, in how many of the looks after 30 steps or more."""
    rows = []
    for part, found in _of_models(measured):
        late = [row["gain_by_sets"] for row in found if row["warm_up"] >= LATE]
        shares = [100 * fmean((g[n] - g[n - 1]) / (g[-1] - g[0]) for g in late) for n in (1, 2)]
        worth = _counted(worth_having(of) for of in late)
        brings = {f"set {n} brings": f"{share:.0f} %" for n, share in zip((2, 3), shares, strict=True)}
        rows.append({"model": part, "looks": str(len(late)), **brings, "sets worth having": worth})
    return markdown_table(rows)


def minibatches_markdown(measured: Mapping[str, Any]) -> str:
    """In how many looks, after 60 steps, fewer minibatches choose the map of two sets that the most of them choose."""
    rows = []
    for part, found in _of_models(measured):
        looks = [row["by_minibatches"] for row in found if row["warm_up"] == 60]
        if looks:
            *fewer, most = looks[0]
            agree = {f"{n} of {most}": f"{sum(of[n] == of[most] for of in looks)} of {len(looks)}" for n in fewer}
            mib = found[0]["bytes"] / 2**20
            rows.append({"model": part, **agree, "its gradients": f"{mib:.1f} MiB"})
    return markdown_table(rows)


def _of_models(measured: Mapping[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    return [(name.removeprefix("maps: "), found["rows"]) for name, found in measured.items() if name[:5] == "maps:"]
