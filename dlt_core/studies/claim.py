"""What the records say about the paper's claim: a verdict for each row that could have told, with what it leaves open.

Two contrasts are primary, named in advance: *sharing*, a fixed sandwich minus conventional training, and the *agent*,
dynamic tying minus its random twin. Of both the margin of equivalence is MARGIN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from dlt_core.experiments import EXPERIMENTS
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import (
    allowed,
    bits_and_nats,
    equivalence,
    holm,
    log_perplexity,
    mean_interval,
    p_value,
    paired_differences,
    plus_minus,
    pooled,
    verdict,
)
from dlt_core.studies.diagnosis import shared_decisions
from dlt_core.studies.gate import Gate, gate_of, in_words, informative, key
from dlt_core.studies.tables import MAIN_METHODS, NOT_RUN, changes, corpus_name, markdown_table, shown

MARGIN = 3.0  # percent of perplexity: what is less does not matter to us
WORDS = {"conventional": "conventional training", "random": "the random policy"}
DECIDED = ("better", "worse", "not told apart")


def difference(runs: Sequence[RunRecord], baseline: Sequence[RunRecord], gate: Gate) -> str:
    """A paired difference for a table's cell: bits per byte, the verdict or that the row cannot tell, and what the
    interval allows in percent of perplexity."""
    bits, nats = bits_and_nats(runs, baseline)
    if not bits:
        return NOT_RUN
    return f"{plus_minus(*mean_interval(bits), 3, '+')}: {gate.verdict(bits)} ({allowed(nats)})"


def agent_markdown(records: Sequence[RunRecord]) -> str:
    """What the agent adds: for each experiment with unchanged settings, dynamic tying minus conventional training and
    minus the random policy, paired by seed, and what is to be said of those that can tell; and how alike the agent
    decides in different experiments. Nothing for no pairs."""
    plain = [r for r in records if r.status == "finished" and not changes(r)]
    gates = informative(plain)
    rows, told = [], 0
    family: dict[str, dict[str, tuple[list[float], dict[int, float]]]] = {other: {} for other in WORDS}
    for name, preset in dict.fromkeys((r.experiment["name"], r.experiment["preset"]) for r in _in_order(plain)):
        of = {m: _of(plain, name, preset, m) for m in MAIN_METHODS}
        pairs = {other: paired_differences(of["dynamic"], of[other]) for other in WORDS}
        if not any(pairs.values()):
            continue
        gate = gate_of(gates, name, preset)
        told += gate.can_tell
        for other, values in pairs.items():
            if len(values) > 1 and gate.can_tell:
                family[other][name] = (
                    list(values.values()),
                    paired_differences(of["dynamic"], of[other], log_perplexity),
                )
        cells = {f"dynamic minus {other}": difference(of["dynamic"], of[other], gate) for other in WORDS}
        n = max(map(len, pairs.values()))
        rows.append({"experiment": name, "corpus": corpus_name(of["dynamic"][0]), "n": str(n), **cells})
    if not rows:
        return ""
    said = "; ".join(f"against {WORDS[other]} {_count(tests)}" for other, tests in family.items() if tests)
    counted = (
        f"Of these {len(rows)} experiments {told or 'none'} can tell, by the rule of the gate; only those are counted."
        + (f" With several seeds: {said}." if said else "")
    )
    return (
        f"{markdown_table(rows)}\n\nBits per byte of dynamic tying minus the other's, ± half the width of the 95 % "
        f"interval: below zero, dynamic tying is better. In brackets what the interval allows of a difference in "
        f"perplexity. {counted}{_alike(plain)}"
    )


def _in_order(records: Iterable[RunRecord]) -> list[RunRecord]:
    order = {name: i for i, name in enumerate(EXPERIMENTS)}
    return sorted(records, key=lambda r: order.get(r.experiment["name"], len(order)))


def _of(records: Iterable[RunRecord], name: str, preset: str, method: str) -> list[RunRecord]:
    wanted = name, preset, method
    return [r for r in records if (r.experiment["name"], r.experiment["preset"], r.method) == wanted]


def _count(tests: Mapping[str, tuple[list[float], dict[int, float]]]) -> str:
    """How many of a family of differences have which verdict, before and after Holm's correction; how many are equal
    within the margin; and all of them pooled."""
    words = {name: verdict(bits) for name, (bits, _) in tests.items()}
    corrected = holm({name: p_value(bits) for name, (bits, _) in tests.items()})
    equal = holm({name: equivalence(list(nats.values()), MARGIN) for name, (_, nats) in tests.items()})
    counts = []
    for word in DECIDED:
        found = [name for name in tests if words[name] == word]
        left = f" ({sum(corrected[name] < 0.05 for name in found)} after Holm's correction)"
        counts.append(f"{word} in {len(found)}{left if found and word != DECIDED[-1] else ''}")
    text = ", ".join(counts)
    text += f", shown equal within {MARGIN:g} % in {sum(p < 0.05 for p in equal.values())}"
    together = list(pooled([nats for _, nats in tests.values()]).values())
    if len(tests) > 1 and together:
        text += f"; all together, seed by seed (n = {len(together)}): {allowed(together)}"
    return text


def _alike(plain: Iterable[RunRecord]) -> str:
    """How alike the agent decides in different experiments, against networks that learned nothing."""
    shared = shared_decisions(r for r in plain if r.method == "dynamic")
    if not shared:
        return ""
    total, same, untaught = shared
    return (
        "\n\nDoes the agent decide otherwise where text or model are others? We pair experiments with one seed, so "
        "with the same Q-network at the start, and equally many decisions. Of the decisions that neither made at "
        f"random, {same / total:.0%} of {total:,} are the same. Had neither network learned anything, "
        f"{untaught / total:.0%} would be."
    )


def gate_markdown(records: Sequence[RunRecord]) -> str:
    """What the gate says of each experiment and change of settings in which conventional training met the random agent:
    the numbers, and why it cannot tell."""
    rows = []
    for (name, _, changed), gate in informative(_in_order(records)).items():
        if gate.dynamic_range:
            depth = "; ".join(f"{in_words(values)} to `{other}`" for other, values in gate.depth.items())
            rows.append(
                {
                    "experiment": f"{name}, {changed}" if changed else name,
                    "conventional minus fewer layers": depth or in_words([]),
                    "random minus conventional": in_words(gate.dynamic_range),
                    "": gate.word,
                }
            )
    return markdown_table(rows)


def claim_markdown(records: Sequence[RunRecord]) -> str:
    """The two primary contrasts of each row that can tell: with p of the difference and of equivalence within MARGIN,
    both corrected over all that are shown; if none can tell, that."""
    gates = informative(records)
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for row_key, gate in gates.items():
        name, _, changed = row_key
        of = [r for r in records if key(r) == row_key]
        methods = {m: [r for r in of if r.method == m and r.status == "finished"] for m in {r.method for r in of}}
        pairs = [(m, "conventional") for m in sorted(methods) if m.startswith("sandwich")] + [("dynamic", "random")]
        for one, other in pairs if gate.can_tell else ():
            differences = bits_and_nats(methods.get(one, []), methods.get(other, []))
            if len(differences[0]) > 1:
                row = f"{name}, {changed}" if changed else name
                found[row, f"{one} minus {other}"] = differences
    if not found:
        return "No experiment here can tell and has the runs for it, so the claim is not tested yet."
    differ = holm({name: p_value(nats) for name, (_, nats) in found.items()})
    equal = holm({name: equivalence(nats, MARGIN) for name, (_, nats) in found.items()})
    return markdown_table(
        [
            {
                "experiment": name[0],
                "contrast": f"{'agent' if 'random' in name[1] else 'sharing'}: {name[1]}",
                "n": str(len(bits)),
                "bits per byte": plus_minus(*mean_interval(bits), 3, "+"),
                "95 % interval": allowed(nats),
                "p, Holm": f"{differ[name]:.3f}",
                f"p of equal within {MARGIN:g} %, Holm": f"{equal[name]:.3f}",
                "": conclusion(fmean(nats), differ[name], equal[name]),
            }
            for name, (bits, nats) in found.items()
        ]
    )


def conclusion(mean: float, p_differ: float, p_equal: float, margin: str = f"{MARGIN:g} %") -> str:
    """A contrast in words, from its two corrected p. margin: within which p_equal asks."""
    word = ("better" if mean < 0 else "worse") if p_differ < 0.05 else ""
    same = f"equal within {margin}" if p_equal < 0.05 else ""
    return ", though ".join(filter(None, (word, same))) or "open: neither a difference nor its absence is shown"


def results_markdown(rows: Sequence[dict[str, Any]], records: Sequence[RunRecord] = ()) -> str:
    """All rows, a section for each preset; and of the records what the agent adds."""
    text = [
        "# Results\n",
        "Made by `python -m dlt_core figures` from the records in `records/`. Mean over n seeds ± half the width of "
        "the 95 % interval (Student's t); with one seed there is no interval. Perplexities can be compared only "
        "within one unit, bits per byte only within one corpus. Parameters: trainable, of the best-validation model, "
        "in brackets their share of the conventional model's. Peak: bytes held in tensors during one optimiser step. "
        "Time: of the whole run, on a machine that other runs shared, so methods are not to be compared by it "
        "(notebook 09 does that). A corpus marked (sample) is only a part of the paper's.\n",
    ]
    for preset in dict.fromkeys(row["preset"] for row in rows):
        text += [f"## Preset {preset}\n", markdown_table([shown(r) for r in rows if r["preset"] == preset]) + "\n"]
        of = [r for r in records if r.experiment["preset"] == preset]
        if gate := gate_markdown(of):
            text += [f"### What could tell, preset {preset}\n", f"{RULE}\n\n{gate}\n"]
            text += [f"### The primary contrasts, preset {preset}\n", claim_markdown(of) + "\n"]
        if paired := agent_markdown(of):
            text += [f"### What the agent adds, preset {preset}\n", paired + "\n"]
    return "\n".join(text)


RULE = (
    "An experiment can tell if conventional training of all layers is better than each model of fewer layers that was "
    "run with as many steps, and if decisions by chance differ from it: both 95 % intervals exclude 0."
)
