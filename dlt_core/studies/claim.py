"""What the records say about the paper's claim: a verdict for each row that could have told, with what it leaves open.

Two contrasts are primary, named in advance: *sharing*, a fixed sandwich minus conventional training, and the *agent*,
dynamic tying minus its random twin. Of both the margin of equivalence is MARGIN, and both are corrected together, by
Holm's method: whatever is said of one of them, on whichever page, is said by `primary`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeVar

from dlt_core.experiments import EXPERIMENTS
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import (
    allowed,
    bits_and_nats,
    bits_per_byte,
    equivalence,
    excluded,
    holm,
    log_perplexity,
    mean_interval,
    p_in_words,
    p_value,
    paired_differences,
    plus_minus,
    pooled,
    range_in_words,
    verdict,
)
from dlt_core.studies.diagnosis import shared_decisions
from dlt_core.studies.gate import Gate, Key, by_plain_name, gate_of, in_words, informative, key
from dlt_core.studies.tables import (
    NOT_RUN,
    changes,
    corpus_name,
    grouped,
    in_a_row,
    markdown_table,
    shown,
    with_changes,
)

T = TypeVar("T")
Both = tuple[dict[int, float], dict[int, float]]  # seed -> difference, in bits per byte and in log perplexity
MARGIN = 3.0  # percent of perplexity: what is less does not matter to us
FEWEST = 3  # seeds that all rows have, to pool over these alone
OPEN = "open: neither a difference nor equality within {} is shown"
WORDS = {"conventional": "conventional training", "random": "the random policy"}
LOOKED_AT: dict[tuple[str, str], tuple[Collection[int], str]] = {
    ("depth", ""): (range(105, 110), "after five and after nine"),
    ("depth", "dropout=0.2, train_bytes=262144"): ({102}, "after four"),
    ("depth", "dropout=0.2, episodes=80, train_bytes=262144"): (range(103, 105), "after three"),
    ("truth-bert", ""): (range(103, 105), "after three"),
    ("agents-embedded", "freeze_after=0.5"): (range(4, 10), "after four and after five"),
    ("regime", ""): (range(3, 5), "after three"),
    ("regime", "episodes=20, train_bytes=73700"): (range(3, 5), "after three"),
    ("regime", "episodes=20, train_bytes=18425"): (range(3, 5), "after three"),
    ("regime", "dropout=0.2, episodes=20, train_bytes=73700"): (range(3, 5), "after three"),
    ("regime", "dropout=0.2, episodes=20, train_bytes=18425"): (range(3, 5), "after three"),
}
"""Rows of the results that were looked at before all their seeds were run: experiment and changed settings -> the seeds
that were added, and when we looked."""
POOLED = (
    "**All rows that can tell, together.** One test beside the rows, in no family of Holm's; most of the runs were "
    "known when we worked it out. The unit is the seed, since rows share initial weights and random numbers: of each "
    "seed that all rows have (of any, if fewer than three are common) we take the mean over the rows. So it speaks of "
    "this mean, and not of each row."
)


@dataclass(frozen=True)
class Contrast:
    """A primary contrast in one row of the results that can tell, or over several of them, and what is shown of it."""

    bits: Mapping[int, float]
    """seed -> paired difference in test bits per byte."""
    nats: Mapping[int, float]
    """The same in log perplexity."""
    p_differ: float
    """That they differ; of a row after Holm's correction over all contrasts of `primary`."""
    p_equal: float
    """That they are equal within MARGIN, likewise."""

    @property
    def conclusion(self) -> str:
        """In words, see `conclusion`."""
        return conclusion(fmean(self.nats.values()), self.p_differ, self.p_equal)

    @property
    def allowed(self) -> str:
        """What the 95 % interval allows, in percent of perplexity."""
        return allowed(list(self.nats.values()))

    @property
    def mean(self) -> str:
        """In bits per byte, ± half the width of the 95 % interval."""
        return plus_minus(*mean_interval(list(self.bits.values())), 3, "+")


def primary(records: Sequence[RunRecord]) -> dict[tuple[Key, str, str], Contrast]:
    """The primary contrasts of each row that can tell and has at least two pairs of runs: (row, method, the one that is
    taken off) -> contrast. Sharing comes before the agent."""
    found: dict[tuple[Key, str, str], Both] = {}
    for row, gate in informative(records).items():
        of = by_plain_name(r for r in records if key(r) == row)
        pairs = [(m, "conventional") for m in sorted(of) if m.startswith("sandwich")] + [("dynamic", "random")]
        for one, other in pairs if gate.can_tell else ():
            bits, nats = (
                paired_differences(of.get(one, []), of.get(other, []), value)
                for value in (bits_per_byte, log_perplexity)
            )
            if len(bits) > 1:
                found[row, one, other] = bits, nats
    return _corrected(found)


def _corrected(found: Mapping[T, Both]) -> dict[T, Contrast]:
    """Contrasts by their differences in bits per byte and in log perplexity, as one family of Holm's."""
    differ = holm({name: p_value(list(nats.values())) for name, (_, nats) in found.items()})
    equal = holm({name: equivalence(list(nats.values()), MARGIN) for name, (_, nats) in found.items()})
    return {name: Contrast(*found[name], differ[name], equal[name]) for name in found}


def of_pair(found: Mapping[tuple[Key, str, str], Contrast], one: str, other: str) -> list[Contrast]:
    """Of `primary` the contrasts of these two, row by row."""
    return [contrast for (_, *pair), contrast in found.items() if pair == [one, other]]


def over_rows(contrasts: Sequence[Contrast], *, any_row: bool = False) -> Contrast:
    """Those of several rows as one test, with the seed as unit: for each seed that all rows have the mean over the
    rows; if these are fewer than FEWEST, or any_row is asked for, for each seed over the rows that have it. Its p are
    corrected for nothing.

    Raises ValueError for no contrasts, and for fewer than two seeds."""
    fewest = math.inf if any_row else FEWEST
    bits, nats = (pooled(values, fewest) for values in ([c.bits for c in contrasts], [c.nats for c in contrasts]))
    values = list(nats.values())
    return Contrast(bits, nats, p_value(values), equivalence(values, MARGIN))


def average_in_words(contrasts: Sequence[Contrast], seeds: str = "seeds") -> str:
    """What several rows allow to say of their average, in percent of perplexity and in words: over the seeds that all
    rows have, and over all seeds where these are more. seeds: what a reader calls them."""
    every, any_row = over_rows(contrasts), over_rows(contrasts, any_row=True)
    ranges = [range_in_words(list(of.nats.values())) for of in (every, any_row)]
    words = [of.conclusion.partition(":")[0] for of in (every, any_row)]
    if len(any_row.bits) == len(every.bits):
        return f"{ranges[0]} ({words[0]}) over {len(every.bits)} {seeds}"
    return (
        f"{ranges[0]} ({words[0]}) over the {len(every.bits)} {seeds} that all of them have, and {ranges[1]} "
        f"({words[1]}) over all {len(any_row.bits)}, of which one setting alone has {_in_one_row(contrasts)}"
        f"{_undecided(every, any_row)}"
    )


def _in_one_row(contrasts: Sequence[Contrast]) -> int:
    """How many seeds only one of these rows has."""
    return sum(n == 1 for n in Counter(seed for contrast in contrasts for seed in contrast.bits).values())


def _undecided(every: Contrast, any_row: Contrast) -> str:
    """What follows where the two of `over_rows` say different things; nothing where they agree."""
    return "" if every.conclusion == any_row.conclusion else "; that hangs on which are taken, so we conclude nothing"


def _added(runs: Sequence[RunRecord]) -> tuple[Collection[int], str]:
    """Of the runs of one row: the seeds that were added after a look, and when we looked."""
    row = (runs[0].experiment["name"], runs[0].changes) if runs else ("", "")
    return LOOKED_AT.get(row, ((), ""))


def looked_at(runs: Sequence[RunRecord]) -> str:
    """When the runs of one row were looked at before more of them were made; nothing if they were not."""
    added, when = _added(runs)
    return when if len({r.seed in added for r in runs}) == 2 else ""


def looked(whens: Mapping[str, str]) -> str:
    """That rows were looked at before all their seeds were run, and what that does: name -> when, in a sentence."""
    every = in_a_row([f"of `{name}` {when}" for name, when in whens.items()])
    return f"We looked at the seeds {every}, and then ran more of them. So these p are too small."


def later_alone(
    runs: Sequence[RunRecord], baseline: Sequence[RunRecord], added: Collection[int] | None = None
) -> list[float]:
    """Paired differences in test bits per byte of those seeds that were run after a look; none for fewer than two, or
    where there were no others before. added: these seeds, where they are not those of LOOKED_AT."""
    added = _added(runs)[0] if added is None else added
    later = list(paired_differences([r for r in runs if r.seed in added], baseline).values())
    return later if 1 < len(later) < len(paired_differences(runs, baseline)) else []


def shown_again(runs: Sequence[RunRecord], baseline: Sequence[RunRecord]) -> bool:
    """Do the seeds that `later_alone` has say what all of them say? True where it has none."""
    alone = later_alone(runs, baseline)
    return not alone or verdict(alone) == verdict(list(paired_differences(runs, baseline).values()))


def with_later(table: str, words: str, later: Mapping[str, Sequence[float]]) -> str:
    """A table, and below it that it was looked at and what `later_alone` has of what is compared; the table alone
    where it has nothing."""
    said = _alone(later)
    return f"{table}\n\n{words} The later seeds alone: {said}." if said else table


def _alone(later: Mapping[str, Sequence[float]]) -> str:
    return "; ".join(f"{pair} {in_words(values)}" for pair, values in later.items() if values)


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
    counted: dict[str, dict[tuple[str, str], Both]] = {other: {} for other in WORDS}
    for name, preset in dict.fromkeys((r.experiment["name"], r.experiment["preset"]) for r in _in_order(plain)):
        found = by_plain_name(r for r in plain if (r.experiment["name"], r.experiment["preset"]) == (name, preset))
        of = {method: found.get(method, []) for method in ("dynamic", *WORDS)}
        pairs = {other: paired_differences(of["dynamic"], of[other]) for other in WORDS}
        if not any(pairs.values()):
            continue
        gate = gate_of(gates, name, preset)
        told += gate.can_tell
        for other, values in pairs.items():
            if len(values) > 1 and gate.can_tell:
                nats = paired_differences(of["dynamic"], of[other], log_perplexity)
                counted[other][name, preset] = values, nats
        cells = {f"dynamic minus {other}": difference(of["dynamic"], of[other], gate) for other in WORDS}
        n = max(map(len, pairs.values()))
        rows.append({"experiment": name, "corpus": corpus_name(of["dynamic"][0]), "n": str(n), **cells})
    if not rows:
        return ""
    shown = [c for (row, one, _), c in primary(records).items() if one == "dynamic" and row in gates]
    said = (
        f"Of these {len(rows)} experiments {told or 'none'} can tell, by the rule of the gate; only those are counted."
    )
    together = {other: _together([nats for _, nats in of.values()]) for other, of in counted.items()}
    if untied := list(_corrected(counted["conventional"]).values()):
        said += f" Against {WORDS['conventional']}, by p after Holm's correction over these: "
        said += f"{_count(untied)}{together['conventional']}."
    if shown:
        said += f" Against {WORDS['random']}, one of the two contrasts that were named in advance, by p after Holm's "
        said += f"correction over all of them: {_count(shown)}{together['random']}."
    said += "".join(f" We looked at the seeds of `{name}` {when}." for name, when in _looks(plain))
    return (
        f"{markdown_table(rows)}\n\nBits per byte of dynamic tying minus the other's, ± half the width of the 95 % "
        f"interval: below zero, dynamic tying is better. In brackets what the interval allows of a difference in "
        f"perplexity. {said}{_alike(plain)}"
    )


def _looks(plain: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """The experiments with unchanged settings that were looked at before all their seeds were run, and when."""
    of = grouped([r for r in plain if r.method == "dynamic"], lambda r: r.experiment["name"])
    return [(name, when) for name, runs in of.items() if (when := looked_at(runs))]


def _in_order(records: Iterable[RunRecord]) -> list[RunRecord]:
    order = {name: i for i, name in enumerate(EXPERIMENTS)}
    return sorted(records, key=lambda r: order.get(r.experiment["name"], len(order)))


def _count(contrasts: Sequence[Contrast]) -> str:
    """Of how many contrasts what is shown; of one it may be both, that it differs and that it is equal."""
    said = [contrast.conclusion for contrast in contrasts]
    counts = {word: sum(word in words for words in said) for word in ("better", "worse", f"equal within {MARGIN:g} %")}
    shown = ", ".join(f"{word} in {n}" for word, n in counts.items())
    return f"{shown}, open in {sum(words.startswith('open') for words in said)}"


def _together(differences: Sequence[dict[int, float]]) -> str:
    """What those of several experiments, seed -> log perplexity, allow to say of their mean; nothing of one."""
    together = list(pooled(differences, FEWEST).values()) if len(differences) > 1 else []
    return (
        f"; on average over these {len(differences)}, seed by seed (n = {len(together)}): {allowed(together)}"
        if together
        else ""
    )


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
        + (" So the equal start explains what they share." if same <= untaught else "")
    )


def gate_markdown(records: Sequence[RunRecord]) -> str:
    """What the gate says of each experiment and change of settings in which conventional training met the random agent:
    the numbers, how often the text was read, in how many conventional runs the last model was the best, and whether it
    can tell."""
    rows = []
    for row, gate in informative(_in_order(records)).items():
        if gate.dynamic_range:
            name, _, changed = row
            full = by_plain_name(r for r in records if key(r) == row)["conventional"]
            depth = "; ".join(f"{in_words(values)} to `{other}`" for other, values in gate.depth.items())
            rows.append(
                {
                    "experiment": with_changes(name, changed),
                    "the text is read": f"{full[-1].passes:.3g} times",
                    "best at the end": f"{sum(r.best_at_the_end for r in full)} of {len(full)}",
                    "conventional minus fewer layers": depth or in_words([]),
                    "random minus conventional": in_words(gate.dynamic_range),
                    "": gate.word,
                }
            )
    return markdown_table(rows)


def claim_markdown(records: Sequence[RunRecord]) -> str:
    """The two primary contrasts of each row that can tell: with p of the difference and of equivalence within MARGIN,
    both corrected over all that are shown; if none can tell, that. Below, all rows together, and the seeds that were
    run after a look."""
    if not (found := primary(records)):
        return "No experiment here can tell and has the runs for it, so the claim is not tested yet."
    table = markdown_table(
        [
            {
                "experiment": with_changes(name, changed),
                "contrast": f"{'agent' if other == 'random' else 'sharing'}: {one} minus {other}",
                "n": str(len(contrast.bits)),
                "bits per byte": contrast.mean,
                "95 % interval": contrast.allowed,
                "p, Holm": p_in_words(contrast.p_differ),
                f"p of equal within {MARGIN:g} %, Holm": p_in_words(contrast.p_equal),
                "": contrast.conclusion,
            }
            for ((name, _, changed), one, other), contrast in found.items()
        ]
    )
    return "\n\n".join(filter(None, (table, _pooled_in_words(found), _looks_in_words(records, list(found)))))


def _pooled_in_words(found: Mapping[tuple[Key, str, str], Contrast]) -> str:
    """Each contrast of `primary` that several rows have over all of them, in a sentence; and in how many rows that of
    the agent excludes what. Nothing if no two rows have one contrast."""
    lines = []
    for one, other in dict.fromkeys((one, other) for _, one, other in found):
        rows = of_pair(found, one, other)
        if len(rows) < 2:
            continue
        every, any_row = over_rows(rows), over_rows(rows, any_row=True)
        in_all = all(set(every.bits) <= set(contrast.bits) for contrast in rows)
        seeds = f"{len(every.bits)} seeds that {'all' if in_all else 'any'} of {len(rows)} rows have"
        lines.append(
            f"- {'The agent' if other == 'random' else 'Sharing'}, `{one}` minus `{other}`, over the {seeds}: "
            f"{every.mean} bits per byte ({every.allowed}); p of a difference {p_in_words(every.p_differ)}, p of equal "
            f"within {MARGIN:g} % {p_in_words(every.p_equal)}. So: {every.conclusion}."
        )
        if len(any_row.bits) > len(every.bits):
            lines[-1] += (
                f" (With all {len(any_row.bits)} seeds that any row has, {_in_one_row(rows)} of them in one row only: "
                f"{any_row.allowed}; {any_row.conclusion}{_undecided(every, any_row)}.)"
            )
        if other == "random":
            two, five = (sum(excluded(list(c.nats.values()), percent) for c in rows) for percent in (2, 5))
            lines[-1] += (
                f" In {two} of the {len(rows)} rows the 95 % interval lies within ±2 % of perplexity, in {five} within "
                "±5 %."
            )
    return "\n".join([POOLED, "", *lines]) if lines else ""


def _looks_in_words(records: Sequence[RunRecord], contrasts: Sequence[tuple[Key, str, str]]) -> str:
    """Which rows were looked at before all their seeds were run, and what the seeds that were added say alone of these
    contrasts, row by row; nothing if none was."""
    whens, lines = {}, []
    for row in dict.fromkeys(row for row, *_ in contrasts):
        of, pairs = by_plain_name(r for r in records if key(r) == row), [pair for of, *pair in contrasts if of == row]
        name = with_changes(row[0], row[2])
        if when := looked_at([r for one, _ in pairs for r in of[one]]):
            whens[name] = when
            alone = {f"`{one}` minus `{other}`": later_alone(of[one], of[other]) for one, other in pairs}
            lines += [f"- `{name}`: {said}" for said in [_alone(alone)] if said]
    if not whens:
        return ""
    return looked(whens) + ("\n\nThe later seeds alone, bits per byte:\n\n" + "\n".join(lines) if lines else "")


def conclusion(mean: float, p_differ: float, p_equal: float, margin: str = f"{MARGIN:g} %") -> str:
    """A contrast in words, from its two corrected p. margin: within which p_equal asks."""
    word = ("better" if mean < 0 else "worse") if p_differ < 0.05 else ""
    same = f"equal within {margin}" if p_equal < 0.05 else ""
    return ", though ".join(filter(None, (word, same))) or OPEN.format(margin)


def results_markdown(rows: Sequence[dict[str, Any]], records: Sequence[RunRecord] = ()) -> str:
    """All rows, a section for each preset; and of the records what the agent adds."""
    text = [
        "# Results\n",
        "Made by `python -m dlt_core figures` from the records in `records/`. Mean over n seeds ± half the width of "
        "the 95 % interval (Student's t); with one seed there is no interval. Perplexities can be compared only "
        "within one unit, bits per byte only within one corpus. Parameters: trainable, of the best-validation model, "
        "in brackets their share of the conventional model's. Peak: bytes held in tensors during one optimiser step. "
        "Time: of the whole run, on a machine that other runs shared, so methods are not to be compared by it "
        "(notebook 09 does that). A corpus marked (sample) is only a part of the paper's. Tokens tested: of the test "
        "split. Only some experiments are tested on all of it, so an interval says nothing of the rest of the split.\n",
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
