"""Layer 0 shares with nobody: what that one bit of a tie map is worth, from recorded runs.

Seen first in the 15 maps of four layers (study "truth"), after they had been trained. So for six layers the maps in
which it is to be tested are registered here in advance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from dlt_core import figures
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import bits_per_byte
from dlt_core.studies import findings
from dlt_core.studies.diagnosis import true_losses, truth
from dlt_core.studies.gate import Gate, gate_of, informative, of_these_runs
from dlt_core.studies.tables import LEARNING
from dlt_core.tie_map import TieMap

# Methods, two weight sets each: layer 0 alone; the last layer alone; and both ends together, apart from the middle.
REGISTERED = ("map-0-1-1-1-1-1", "map-0-0-0-0-0-5", "map-0-1-1-1-1-0")
OF_FOUR = ("map-0-1-1-1", "map-0-0-0-3")  # the first two of these, of four layers


@dataclass(frozen=True)
class LayerZero:
    """What the bit says of maps with known losses."""

    alone: int
    """In how many of the maps layer 0 shares with nobody."""
    best_are_alone: bool
    """Whether these are exactly the best so many."""
    explained: float
    """Share of the variance of the maps' losses that the bit explains."""
    gap: float
    """Mean loss of the other maps minus theirs, in the unit of the losses."""


def is_alone(tie_map: TieMap | Sequence[int]) -> bool:
    """Whether layer 0 shares its weights with no other layer."""
    return 0 not in list(tie_map)[1:]


def layer_zero(losses: Mapping[TieMap, float]) -> LayerZero:
    """Of maps and their losses. Raises ValueError unless layer 0 is alone in some of them and not in others."""
    alone, others = ([x for m, x in losses.items() if is_alone(m) == bit] for bit in (True, False))
    if not alone or not others:
        raise ValueError(f"layer 0 is alone in {len(alone)} of {len(losses)} maps: there is nothing to compare")
    mean = fmean(losses.values())
    between = len(alone) * (fmean(alone) - mean) ** 2 + len(others) * (fmean(others) - mean) ** 2
    total = sum((x - mean) ** 2 for x in losses.values())
    gap = fmean(others) - fmean(alone)
    return LayerZero(len(alone), max(alone) < min(others), between / total if total else 0.0, gap)


def in_a_sentence(records: Sequence[RunRecord]) -> str:
    """What the study "truth" says of it, and the retrained maps of "agents-embedded"; nothing for what was not run."""
    of = {
        study: [r for r in records if r.experiment["name"] == study and r.status == "finished" and not r.changes]
        for study in ("truth", "agents-embedded")
    }
    losses = {tie_map: fmean(values) for tie_map, values in truth(of["truth"]).items()}
    if not losses:
        return ""
    text = f"{one_bit(losses)}; it was picked afterwards."
    retrained = sorted((r for r in of["agents-embedded"] if r.method == "retrained"), key=bits_per_byte)
    ranks = [rank for rank, r in enumerate(retrained, 1) if is_alone(r.required(r.final_tie_map))]
    if ranks:
        n_layer = retrained[0].experiment["n_layer"]
        text += (
            f" Of the {len(retrained)} maps of {n_layer} layers that the agent left, trained from scratch, it is so in "
            f"{len(ranks)}, which came out at place {' and '.join(map(str, ranks))}."
        )
    return text


def one_bit(losses: Mapping[TieMap, float]) -> str:
    """What the bit says of all maps of a model and their losses (nats per token), in words, without a full stop."""
    found, n_layer = layer_zero(losses), len(next(iter(losses)))
    those = "exactly those" if found.best_are_alone else "not those"
    return (
        f"Of the {len(losses)} maps of {n_layer} layers the best {found.alone} are {those} in which layer 0 shares "
        f"with nobody. This one bit explains {found.explained:.0%} of the variance of their losses, and is worth "
        f"{found.gap:.3f} nats per token"
    )


def maps_figure(losses: Mapping[TieMap, float], *, told: bool = False) -> figures.Figure:
    """The maps from best to worst, a column each with its place, and above each its loss (nats per token). told:
    the losses of the maps in which layer 0 is alone have a colour, and both kinds their means and words."""
    order = sorted(losses, key=losses.__getitem__)
    figure = figures.new_figure(1.6 + 0.5 * len(order), 4.6)
    above, below = figure.subplots(2, 1, height_ratios=(1.25, 1))
    figures.draw_tie_maps(below, {str(i): m for i, m in enumerate(order, 1)})
    below.set_xlabel("the maps, from best to worst", fontsize=9)
    figures.tidy(above)
    for alone, words in ((True, "layer 0 shares\nwith nobody"), (False, "layer 0 shares\nwith another layer")):
        places = [i for i, m in enumerate(order) if is_alone(m) == alone]
        heights = [losses[order[i]] for i in places]
        colour = figures.FREE[1] if told and alone else figures.INK  # of no weight set of so few layers
        label = words if told else None
        above.plot(places, heights, "o", color=colour, markersize=7, label=label)
        if told and places:
            mean = fmean(heights)
            above.plot([places[0] - 0.4, places[-1] + 0.4], [mean] * 2, "--", color=colour, linewidth=1)
            above.annotate(words, (1, mean), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                           fontsize=8, va="center", color=colour, annotation_clip=False)  # fmt: skip
    above.set_xlim(below.get_xlim())
    above.set_xticks([])
    above.set_ylabel("loss, trained from scratch\n(nats per token)", fontsize=9)
    return figure


def registered_markdown(records: Sequence[RunRecord]) -> str:
    """The test that was registered for six layers: the map in which layer 0 is alone, minus each of the other two, in
    both corpora, after Holm's correction, with the gate's mark and whether BERT shows the like; or that it was not
    run."""
    alone, *others = REGISTERED
    pairs = {f"layer 0 alone, against `{other}`": (alone, other) for other in others}
    gates = informative(records)
    parts: list[str] = []
    of: dict[str, Gate] = {}
    for study in LEARNING[:2]:
        rows, gate = findings.rows_of(records, study), gate_of(gates, study)
        if table := findings.family_table(rows, pairs, study + gate.mark):
            parts.append(table)
            of[study] = gate
    if not parts:
        names = ", ".join(f"`{name}`" for name in REGISTERED)
        return f"Registered for six layers, before any run: {names}. They were not run yet."
    return "\n\n".join(filter(None, (*parts, of_these_runs(of), in_bert(records))))


def in_bert(records: Sequence[RunRecord]) -> str:
    """Whether the maps of BERT that were trained from scratch (study "truth-bert") show that layer 0 is better alone;
    nothing without them."""
    if not (losses := true_losses(records, study="truth-bert")):
        return ""
    gate = gate_of(informative(records), "truth-bert")
    seen = "is seen in BERT, too" if layer_zero(losses).best_are_alone else "is not seen in BERT"
    text = f"That layer 0 is better alone {seen} (`truth-bert`, which {gate.word} by the gate). {one_bit(losses)}."
    rows = findings.rows_of(records, "truth-bert")
    if findings.against(rows, *OF_FOUR):
        one, other = OF_FOUR
        text += f" With two sets, `{one}` minus `{other}`: {findings.difference(rows, one, other)}."
    return text
