"""Notebook 11 in tables and sentences: the code as released against the paper as described, difference by difference.

Rows are `tables.grouped(records, row_name)` of one study: name -> its runs, one for each seed. Texts are Markdown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np

from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import (
    Key,
    allowed,
    bits_and_nats,
    bits_per_byte,
    hedged,
    mean_interval,
    paired_differences,
    plus_minus,
)
from dlt_core.studies.contrasts import NUMBERS
from dlt_core.studies.diagnosis import independent_by_chance, q_scale, shared_decisions
from dlt_core.studies.findings import corrected
from dlt_core.studies.methods import COLLAPSE, LADDER, PUT_IN, TAKEN_OUT_IN_TURN
from dlt_core.studies.released_code import ReleasedCode
from dlt_core.studies.tables import markdown_table
from dlt_core.tie_map import TieMap, expected_independent

Rows = Mapping[str, Sequence[RunRecord]]
STAR = "\n\n\\* per label of marked blocks, another unit; its bits per byte are of other text."
RUNGS = [*(variant.method for variant in LADDER[:-1]), "dynamic"]  # the last rung is Algorithm 1
RESEMBLES = {
    "conventional": "all layers independent",
    "dynamic": "Algorithm 1 as described",
    "random": "as described, the random agent",
    "all_tied": "one weight set, gradient of all positions",
    "all_tied, gradient=source": "one weight set, gradient of one position",
    COLLAPSE.method: "as described with 2 and 3: the collapse",
    "released-without-marked_blocks": "as released, on the text as it is",
    "released": "as released",
    "released-random": "as released, the random agent",
}


def difference(rows: Rows, name: str, other: str) -> str:
    """Test bits per byte of a row minus another's, paired by seed, with the verdict and what the interval allows; if
    the two are of different texts, that instead."""
    bits = list(paired_differences(rows[name], rows[other]).values())
    return f"{plus_minus(*mean_interval(bits), 3, '+')}: {judged(rows, name, other)}"


def judged(rows: Rows, name: str, other: str) -> str:
    """The verdict of `difference`, and what its interval allows."""
    if not same_text(rows, name, other):
        return "other text"
    bits, nats = bits_and_nats(rows[name], rows[other])
    return f"{hedged(bits)} ({allowed(nats)})" if any(bits) else hedged(bits)


def after_holm(rows: Rows, pairs: Mapping[Key, tuple[str, str]]) -> dict[Key, str]:
    """What is shown of each of a table's differences, (row, the row that is taken off), after Holm's correction over
    all of them that are of one text; the others are left out. See `findings.corrected`."""
    family = {
        words: list(paired_differences(rows[name], rows[other]).values())
        for words, (name, other) in pairs.items()
        if same_text(rows, name, other)
    }
    return corrected(family)


def same_text(rows: Rows, name: str, other: str) -> bool:
    return rows[name][0].corpus["sha256"] == rows[other][0].corpus["sha256"]


def perplexity(rows: Rows, name: str) -> str:
    """Mean and interval, with a star if it is in another unit than the described one."""
    star = "" if rows[name][0].unit == rows["dynamic"][0].unit else " *"
    return plus_minus(*mean_interval([r.required(r.test)["perplexity"] for r in rows[name]]), 1) + star


def counts(rows: Rows, name: str) -> tuple[float, float]:
    """At the end of the runs, on average: independent layers by the agent's state, weight sets in memory."""
    said = [r.history["num_independent"][-1] for r in rows[name]]
    held = [r.history.get("weight_sets", [n])[-1] for r, n in zip(rows[name], said, strict=True)]
    return fmean(said), fmean(held)


def alike(rows: Rows, name: str, other: str) -> tuple[int, int, int] | None:
    """`diagnosis.shared_decisions` of two rows, seed by seed: of the decisions that neither made at random, how many
    there are, how many are the same, and how many would be had neither learned anything. The states are those that the
    agent saw. None if the rows have unlike many decisions."""
    theirs = {r.seed: r for r in rows[other]}
    pairs = [(r, theirs[r.seed]) for r in rows[name] if r.seed in theirs]
    found = [shared_decisions([_seen(one), _seen(two)]) for one, two in pairs]
    if not found or None in found:
        return None
    total, same, untaught = (sum(column) for column in zip(*found, strict=True))
    return total, same, untaught


def _seen(record: RunRecord) -> RunRecord:
    """With the agent's state as the tie map: in the released code memory may hold another."""
    states = record.history.get("state", record.history["tie_map"])
    return dataclasses.replace(record, history={**record.history, "tie_map": states})


def other_choices(rows: Rows, name: str, other: str) -> str:
    """`alike` the other way round, in words: how many decisions are others, and how many of untaught networks."""
    if (found := alike(rows, name, other)) is None:
        return "other number"
    total, same, untaught = found
    return f"{1 - same / total:.0%} ({1 - untaught / total:.0%})"


def cut_changed(rows: Rows) -> str:
    """What the cut of the reward changed in the runs of the code as released, beside what untaught networks do."""
    if (found := alike(rows, "released-without-clipped_reward", "released")) is None:
        return "no decision of the released runs was greedy, with the cut and without"
    total, same, untaught = found
    return (
        f"of {total} greedy decisions of the code as released **{1 - same / total:.0%}** differ with the cut and "
        f"without; had the networks learned nothing, {1 - untaught / total:.0%} would"
    )


def singles(rows: Rows, variants: Mapping[str, ReleasedCode], baseline: str) -> str:
    """A line for each variant, by the switch in which it differs from the baseline."""
    after = after_holm(rows, {switch: (variant.method, baseline) for switch, variant in variants.items()})
    lines = []
    for switch, variant in variants.items():
        name, (said, held) = variant.method, counts(rows, variant.method)
        lines.append(
            {
                "": NUMBERS[switch],
                "difference": f"`{switch}`",
                "perplexity": perplexity(rows, name),
                "bits per byte": difference(rows, name, baseline),
                "after Holm": after.get(switch, ""),
                "state": f"{said:.1f}",
                "memory": f"{held:.1f}",
                "other choices (untaught)": other_choices(rows, name, baseline),
                "largest abs. Q": f"{fmean(q_scale(r)[0] for r in rows[name]):.1f}",
            }
        )
    said, held = counts(rows, baseline)
    one = "this one difference taken out" if baseline == "released" else "this one difference put in"
    return (
        f"`{baseline}`: perplexity {perplexity(rows, baseline)} {rows[baseline][0].unit}; by the state {said:.1f} "
        f"independent layers, in memory {held:.1f} weight sets. Each row has {one}:\n\n"
        f"{markdown_table(lines)}{STAR if any(' *' in line['perplexity'] for line in lines) else ''}"
    )


def told(rows: Rows, variants: Mapping[str, ReleasedCode], baseline: str) -> dict[str, list[str]]:
    """Which switches got which verdict against the baseline, such as {"worse": ["bf16_weights"], ...}."""
    found: dict[str, list[str]] = {}
    for switch, variant in variants.items():
        found.setdefault(judged(rows, variant.method, baseline).partition(" (")[0], []).append(switch)
    return found


def shown_of_all(rows: Rows, variants: Mapping[str, ReleasedCode], baseline: str) -> list[str]:
    """The switches that are told apart from the baseline after Holm's correction over all those of the same text that
    change anything; none with one seed."""
    after = after_holm(rows, {switch: (variant.method, baseline) for switch, variant in variants.items()})
    return [switch for switch, word in after.items() if word in ("better", "worse")]


def ladder(rows: Rows) -> str:
    """A line for each rung, with the step from the one above."""
    names = ["as released", *(f"... and without {name}" for name in TAKEN_OUT_IN_TURN[:-1]), "as described"]
    after = after_holm(rows, {name: (name, above) for above, name in pairwise(RUNGS)})
    lines = []
    for i, (label, name) in enumerate(zip(names, RUNGS, strict=True)):
        said, held = counts(rows, name)
        lines.append(
            {
                "rung": label,
                "perplexity": perplexity(rows, name),
                "bits per byte": plus_minus(*mean_interval([bits_per_byte(r) for r in rows[name]]), 3),
                "step from the rung above": difference(rows, name, RUNGS[i - 1]) if i else "",
                "after Holm": after.get(name, ""),
                "state": f"{said:.1f}",
                "memory": f"{held:.1f}",
            }
        )
    return markdown_table(lines) + STAR


def steps_told(rows: Rows) -> list[str]:
    """The rungs that are better or worse than the one above, by what they take out, with what the interval allows."""
    steps = zip(TAKEN_OUT_IN_TURN, pairwise(RUNGS), strict=True)
    found = [(switch, judged(rows, name, above)) for switch, (above, name) in steps]
    return [f"without `{switch}` {word}" for switch, word in found if word.startswith(("better", "worse"))]


def resemblance(rows: Rows) -> str:
    """The released code beside what it resembles; what is left after Holm's correction over the whole table stands
    behind each of the two differences. The row "all_tied" has nothing new: its difference is that of "conventional"."""
    others = ("all_tied", "conventional")
    pairs = {(name, other): (name, other) for name in RESEMBLES for other in others if name not in (other, "all_tied")}
    after = after_holm(rows, pairs)
    lines = []
    for name, words in RESEMBLES.items():
        line = {"": words, "perplexity": perplexity(rows, name)}
        for other in others:
            line[f"bits per byte minus {other}"] = difference(rows, name, other) if name != other else ""
            line[f"after Holm, minus {other}"] = after.get((name, other), "")
        sets = fmean(TieMap(r.required(r.final_tie_map)).num_independent for r in rows[name])
        lines.append(line | {"weight sets": f"{sets:.1f}"})
    return markdown_table(lines) + STAR


def one_set_from(record: RunRecord) -> str:
    """From which turn on one weight set was left in memory, in words."""
    sets = record.history["weight_sets"]
    turns = record.experiment["episodes"]
    if 1 not in sets:
        return "never one weight set"
    return (
        f"one weight set from turn {sets.index(1) // (len(record.required(record.final_tie_map)) - 1) + 1} of {turns}"
    )


def turns_to_one_set(n_layer: int, seed: int) -> int:
    """After how many turns a random policy leaves one weight set in the released code's memory. No transformer is
    needed: an action puts a layer into another's place, and "independent" leaves it where it is."""
    rng, place, turns = np.random.default_rng(seed), list(range(n_layer)), 0
    while len(set(place)) > 1:
        for layer in range(1, n_layer):
            place[layer] = place[int(rng.integers(layer + 1))]
        turns += 1
    return turns


def collapses(rows: Rows, layers: Sequence[int] = (6, 12, 48), trials: int = 100) -> str:
    """When the storages were one: in the runs, and under a random policy without a transformer."""
    lines = [
        f"- {words}, seed {r.seed}: {one_set_from(r)} on; at the end the state says "
        f"{r.history['num_independent'][-1]} independent layers."
        for name, words in (("released", "As released"), ("released-random", "With the random agent"))
        for r in rows[name]
    ]
    for n_layer in layers:
        turns = [turns_to_one_set(n_layer, seed) for seed in range(trials)]
        lines.append(
            f"- A random policy, {n_layer} layers, {trials} trials: one weight set after {min(turns)} to {max(turns)} "
            f"turns, median {np.median(turns):.0f}; its state says {expected_independent(n_layer):.1f} on average."
        )
    share = fmean(n == 1 for r in rows["released"] for n in r.history["weight_sets"])
    return "\n".join([*lines, f"- As released, **{share:.0%}** of the decisions were made while there was one set."])


def claims(rows: Rows) -> str:
    """Which of the paper's claims which difference touches, if its numbers were made with the released code."""
    from dlt_core.learner.accounting import gpt2_parameters

    size: dict[str, Any] = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 1600}
    one, six = (gpt2_parameters(**size, num_groups=n) / 1e6 for n in (1, 6))
    positions, likely = size["n_positions"] * size["n_embd"] / 1e6, independent_by_chance(48)
    quoted, labels = 49.37, 256  # Basis Sharing's quotation; the sequence length of the released job scripts
    kept, freed = (
        fmean(r.required(r.bytes)["measured_at_end"]["optimizer"] for r in rows[name])
        for name in ("described-with-kept_optimizer_state", "dynamic")
    )
    said, held = counts(rows, "released")
    rewards = rows["released"][0].history["reward"]
    others = ((5, "stale_pointers"), (7, "test_selects"), (8, "kept_optimizer_state"), (9, "bf16_weights"))
    found = {
        "perplexity modestly better than conventional training (abstract)": (
            "2, 3, 5, 6, 7, 8, 9, 10",
            f"2 with 3, minus conventional: {difference(rows, COLLAPSE.method, 'conventional')}. 6: the number of "
            "steps, which we keep equal. 10: another unit. Each of the others put into the description: "
            + ". ".join(f"{number}: {difference(rows, PUT_IN[name].method, 'dynamic')}" for number, name in others),
        ),
        f"perplexity {quoted} per token on WikiText-2 (quoted by Basis Sharing)": (
            "7, 10",
            f"if marks make one label of {labels} free, {quoted} is shown where the other labels have "
            f"{quoted ** (labels / (labels - 1)):.2f} (closed form)",
        ),
        "of 48 layers 7 to 10 stay independent (reviews); 264M parameters (Basis Sharing)": (
            "2, 5",
            f"the state says {said:.1f} of {rows['released'][0].experiment['n_layer']}, memory holds {held:.1f}. At "
            f"the paper's size six sets are {six:.1f}M, {six - positions:.1f}M without the position table, and one is "
            f"{one:.1f}M (closed form): 264M fits six. If every action is drawn evenly, 6 or more of 48 stay "
            f"independent with probability {likely[6:].sum():.2f}, 7 to 10 with {likely[7:11].sum():.2f}",
        ),
        "training memory up to ten times less (abstract)": (
            "8, 9, and when it is read",
            f"8: AdamW's state at the end is {kept / freed:.2f} times what it is if it is freed. 9: half the bytes for "
            "each value, whatever is tied",
        ),
        "that the agent's choices matter (our question)": (
            "1, 6",
            f"as released, {len(set(rewards))} distinct reward{'s' * (len(set(rewards)) != 1)} in {len(rewards)} "
            f"decisions; Q-agent minus random agent {difference(rows, 'released', 'released-random')}. As described: "
            f"{difference(rows, 'dynamic', 'random')}",
        ),
    }
    return markdown_table(
        [{"claim": claim, "touched by": which, "measured here": what} for claim, (which, what) in found.items()]
    )
