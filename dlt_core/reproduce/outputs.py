"""All tables and figures from the records: the command `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from dlt_core import CHECKOUT, figures
from dlt_core.corpora.files import write_text_atomically
from dlt_core.experiments import EXPERIMENTS
from dlt_core.records.record import RunRecord, load_all
from dlt_core.records.statistics import bits_per_byte
from dlt_core.studies import findings, gate, regimes
from dlt_core.studies.benchmark import report
from dlt_core.studies.claim import results_markdown
from dlt_core.studies.contrasts import (
    ablation_differences,
    ablation_figure,
    by_study,
    differences_figure,
    ladder,
    ladder_markdown,
    put_in,
    singles_markdown,
)
from dlt_core.studies.tables import (
    LEARNING,
    MAIN_METHODS,
    STUDIES,
    results_csv,
    summary,
    with_gaps,
)
from dlt_core.tie_map import TieMap

FIGURES = CHECKOUT / "figures"
_PAIRED = (
    "Test bits per byte minus those of Algorithm 1 as described with the same seed, ± half the width of the 95 % "
    "interval: above zero is worse. Under `marked_blocks` blank lines are dropped, so there the text is a little "
    "shorter. See notebook 11."
)
_AGENTS = (
    "Test bits per byte minus those of the random agent with the same seed: below zero is better. Student's t ± half "
    "the width of the 95 % interval, the bootstrap's ends (of ten seeds or more; with fewer it is too narrow), and the "
    "interquartile mean; parameters of the tested model, "
    "of conventional; FLOPs of all optimiser steps. See notebooks 12, 13 and 14."
)


def write_from_folder(records: Path, out: Path) -> list[Path]:
    """Write the tables and figures of a folder of records to `out`, those of its benchmarks too; returns their paths.

    Raises ValueError if there are no records, or one that cannot be read.
    """
    if not records.is_dir():
        raise ValueError(f"there is no folder {records}")
    if not (loaded := load_all(records)):
        raise ValueError(f"there are no records in {records}")
    written = write_tables_and_figures(loaded, out)
    for benchmark in sorted((out / "benchmark").glob("*.json")):
        written += report.show(benchmark)
    return written


def write_tables_and_figures(records: Sequence[RunRecord], out: Path) -> list[Path]:
    """Write all tables and figures that can be made of the finished records to `out`; returns their paths."""
    records = [r for r in records if r.status == "finished"]
    gates = gate.informative(records)
    rows = with_gaps(summary([r for r in records if r.experiment["preset"] != "smoke"]))
    text = results_markdown(rows, records)
    for title, table in (
        ("each difference alone", singles_markdown(records)),
        ("the ladder", ladder_markdown(records)),
    ):
        if table:
            text += f"\n## The paper as described against the code as released: {title}\n\n{_PAIRED}\n\n{table}\n"
    for study in LEARNING[:2]:
        rows_of_it = findings.rows_of(records, study)
        if table := findings.table(rows_of_it, [name for name in rows_of_it if name != "random"], "random"):
            text += f"\n## Does the agent learn anything? {study}\n\n{_AGENTS}\n\n{table}\n"
    write_text_atomically(out / "results.md", text)
    write_text_atomically(out / "results.csv", results_csv(rows))
    written = [out / "results.md", out / "results.csv"]
    laptop = [r for r in records if r.experiment["preset"] == "laptop" and not r.experiment["overrides"]]
    main = [r for r in laptop if r.method in MAIN_METHODS and r.experiment["name"] not in STUDIES]
    names = [name for name in EXPERIMENTS if any(r.experiment["name"] == name for r in main)]
    first = {(r.experiment["name"], r.method): r for r in sorted(main, key=lambda r: -r.seed)}  # the lowest seed
    dynamic = [first[name, "dynamic"] for name in names if (name, "dynamic") in first]
    drawn: dict[str, figures.Figure] = {}
    if dynamic:
        drawn["fig_tie_map_evolution"] = figures.tie_map_evolution(dynamic[0])
        drawn["fig_tie_map_evolution_all"] = figures.tie_map_evolution(dynamic)
        drawn["fig_final_maps"] = figures.map_graphs(
            {figures.experiment_name(r): TieMap(r.final_tie_map) for r in dynamic if r.final_tie_map}
        )
    if names:
        curves = [[r for m in MAIN_METHODS for r in main if (r.experiment["name"], r.method) == (n, m)] for n in names]
        marks = [gates[gate.key(g[0])].mark for g in curves]
        drawn["fig_learning_curves"] = figures.learning_curves(
            {figures.experiment_name(g[0]) + mark: g for g, mark in zip(curves, marks, strict=True)}
        )
    groups = [[first[n, m] for m in ("dynamic", "random") if (n, m) in first] for n in names]
    decided: dict[str, Sequence[RunRecord]] = {figures.experiment_name(group[0]): group for group in groups if group}
    if decided:
        drawn["fig_independent_layers"] = figures.independent_layers(decided)
    pairs = [first[n, m] for n in names for m in ("dynamic", "conventional") if (n, m) in first]
    if pairs:
        drawn["fig_memory"] = figures.memory(pairs)
    ablations = [r for r in records if (r.experiment["name"], r.experiment["preset"]) == ("ablations", "laptop")]
    if ablation_differences(ablations):
        drawn["fig_ablations"] = ablation_figure(ablations)
    for name, rows_of in (("fig_released_ladder", ladder), ("fig_released_singles", put_in)):
        if studies := by_study(records, rows_of):
            drawn[name] = differences_figure(studies)
    drawn |= _learning(records, gates)
    for name, figure in drawn.items():
        written += [figures.save(figure, out / f"{name}.png"), figures.save(figure, out / f"{name}.svg")]
    return written


def _learning(records: Sequence[RunRecord], gates: Mapping[gate.Key, gate.Gate]) -> dict[str, figures.Figure]:
    """The figures of notebooks 12, 13 and 14 that can be made."""
    rows = {study: findings.rows_of(records, study) for study in LEARNING}
    drawn: dict[str, figures.Figure] = {}
    panels: dict[str, dict[str, Sequence[float]]] = {}
    for study in LEARNING[:2]:
        names = [name for name in rows[study] if name != "random" and ", k=" not in name]
        pairs = {name: findings.against(rows[study], name, "random") for name in names}
        if pairs := {name: values for name, values in pairs.items() if values}:
            title = study + gate.gate_of(gates, study).mark
            panels[title] = dict(sorted(pairs.items(), key=lambda item: fmean(item[1])))
    if panels:
        drawn["fig_agents"] = figures.differences(panels, "test bits per byte minus those of the random agent")
        first = rows[LEARNING[0]]
        if first:
            mark = gate.gate_of(gates, LEARNING[0]).mark
            axes = f"trainable parameters, of conventional\n{LEARNING[0]}{mark}", "test bits per byte"
            other = (", k=", "freeze_after", "map-")  # questions of their own, some with other seeds
            plain = [name for name in first if not any(part in name for part in other)]
            drawn["fig_pareto"] = figures.front(findings.points(first, plain), *axes)
    maps = {name: group for name, group in rows["truth"].items() if name.startswith("map-")}
    if maps:
        mean = {name: fmean(map(bits_per_byte, group)) for name, group in maps.items()}
        order = sorted(maps, key=mean.__getitem__)
        values: dict[str, Sequence[float]] = {name: findings.against(maps, name, order[-1]) for name in order}
        title = f"truth{gate.gate_of(gates, 'truth').mark}"
        drawn["fig_truth"] = figures.differences({title: values}, f"test bits per byte minus those of {order[-1]}")
    if panels_of_regime := regimes.regime_panels(rows["regime"], "random"):
        label = "random minus conventional,\nvalidation bits per byte"
        drawn["fig_regime"] = figures.sign_map(panels_of_regime, "optimiser steps", label)
    return drawn
