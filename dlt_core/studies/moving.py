"""What moving ties costs: runs whose ties stop moving after a share of the training, against those that go on."""

from __future__ import annotations

from collections.abc import Sequence

from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import allowed, bits_and_nats, holm, mean_interval, p_value, plus_minus
from dlt_core.studies.claim import LOOKED, later_alone, looked_at, with_later
from dlt_core.studies.tables import changes, grouped, markdown_table


def frozen_markdown(records: Sequence[RunRecord]) -> str:
    """For each experiment that has runs with `freeze_after` and nothing else changed: frozen minus moving to the end,
    for the agent and for the random agent; and the agent minus the random agent, both frozen; with Holm's correction
    over all rows. Nothing for no pairs."""
    finished = [r for r in records if r.status == "finished"]
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    later: dict[str, list[float]] = {}
    when = ""
    for experiment, runs in grouped(finished, lambda r: r.experiment["name"]).items():
        frozen = [r for r in runs if r.experiment.get("freeze_after") is not None and r.changes.count("=") == 1]
        plain = grouped([r for r in runs if not changes(r)], lambda r: r.method)
        for change, of in grouped(frozen, lambda r: r.changes).items():
            methods = grouped(of, lambda r: r.method)
            pairs = {f"`{m}`, frozen minus moving": (methods[m], plain.get(m, [])) for m in methods}
            pairs["frozen, `dynamic` minus `random`"] = methods.get("dynamic", []), methods.get("random", [])
            for name, (ours, theirs) in pairs.items():
                if len((differences := bits_and_nats(ours, theirs))[0]) > 1:
                    found[f"{experiment}, {change}", name] = differences
                if alone := later_alone(ours, theirs):
                    later[name], when = alone, LOOKED.format(f"{experiment}, {change}", looked_at(ours))
    corrected = holm({name: p_value(bits) for name, (bits, _) in found.items()})
    table = markdown_table(
        [
            {
                "experiment": name[0],
                "compared": name[1],
                "n": str(len(bits)),
                "bits per byte": plus_minus(*mean_interval(bits), 3, "+"),
                "95 % interval": allowed(nats),
                "p, Holm": f"{corrected[name]:.2g}",
            }
            for name, (bits, nats) in found.items()
        ]
    )
    return with_later(table, when, later)
