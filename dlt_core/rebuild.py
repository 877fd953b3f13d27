"""All tables and figures from the records: `python -m dlt_core.figures` is this module's `main`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dlt_core import figures
from dlt_core.experiments import EXPERIMENTS
from dlt_core.files import write_text_atomically
from dlt_core.records import RunRecord, load_all
from dlt_core.results import MAIN_METHODS, STUDIES, main_table, results_csv, results_markdown, summary, with_gaps
from dlt_core.studies import (
    ablation_differences,
    ablation_figure,
    by_study,
    differences_figure,
    ladder,
    ladder_markdown,
    put_in,
    singles_markdown,
)
from dlt_core.tie_map import TieMap

FIGURES = Path(__file__).resolve().parent.parent / "figures"
_PAIRED = (
    "Test bits per byte minus those of Algorithm 1 as described with the same seed, ± half the width of the 95 % "
    "interval: above zero is worse. Under `marked_blocks` blank lines are dropped, so there the text is a little "
    "shorter. See notebook 11."
)


def rebuild(records: Sequence[RunRecord], out: Path) -> list[Path]:
    """Write all tables and figures that can be made of the finished records to `out`; returns their paths."""
    records = [r for r in records if r.status == "finished"]
    rows = with_gaps(summary([r for r in records if r.experiment["preset"] != "smoke"]))
    text = results_markdown(rows, records)
    for title, table in (
        ("each difference alone", singles_markdown(records)),
        ("the ladder", ladder_markdown(records)),
    ):
        if table:
            text += f"\n## The paper as described against the code as released: {title}\n\n{_PAIRED}\n\n{table}\n"
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
            {figures.experiment_name(r): TieMap(r.final_tie_map) for r in dynamic}
        )
    if names:
        curves = [[r for m in MAIN_METHODS for r in main if (r.experiment["name"], r.method) == (n, m)] for n in names]
        drawn["fig_learning_curves"] = figures.learning_curves({figures.experiment_name(g[0]): g for g in curves})
    decided = [[first[n, m] for m in ("dynamic", "random") if (n, m) in first] for n in names]
    if decided := {figures.experiment_name(g[0]): g for g in decided if g}:
        drawn["fig_independent_layers"] = figures.independent_layers(decided)
    pairs = [first[n, m] for n in names for m in ("dynamic", "conventional") if (n, m) in first]
    if pairs:
        drawn["fig_memory"] = figures.memory(pairs)
        table = main_table([r for r in rows if r["method"] in MAIN_METHODS])
        drawn["table_main"] = figures.table([list(row.values()) for row in table], list(table[0]))
    ablations = [r for r in records if (r.experiment["name"], r.experiment["preset"]) == ("ablations", "laptop")]
    if ablation_differences(ablations):
        drawn["fig_ablations"] = ablation_figure(ablations)
    for name, rows_of in (("fig_released_ladder", ladder), ("fig_released_singles", put_in)):
        if found := by_study(records, rows_of):
            drawn[name] = differences_figure(found)
    for name, figure in drawn.items():
        written += [figures.save(figure, out / f"{name}.png"), figures.save(figure, out / f"{name}.svg")]
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Rebuild tables and figures; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dlt_core.figures", description="Make all tables and figures anew from records."
    )
    parser.add_argument(
        "--records", type=Path, default=FIGURES / "records", metavar="DIR", help="(default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=FIGURES, metavar="DIR", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    if not options.records.is_dir():
        parser.error(f"there is no folder {options.records}")
    try:
        records = load_all(options.records)
    except ValueError as error:
        parser.error(str(error))
    if not records:
        parser.error(f"there are no records in {options.records}")
    for path in rebuild(records, options.out):
        print(path)
    return 0
