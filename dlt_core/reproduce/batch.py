"""The batch command: execute notebooks with papermill, presets x seeds, and collect what they leave.

    python -m dlt_core.reproduce [--preset P] [--notebooks 03 04] [--seeds 0 1 2] [--jobs N | --dask ADDRESS]
                                 [--out DIR] [--in-place]

DIR/<preset>-seed<seed>/<notebook>/ holds an executed notebook, its figures and its records/, and DIR/summary.json says
what happened. A notebook whose data is not here is left out, unless it was asked for by name.

--dask hands the notebooks to the workers of a running Dask cluster (`dask worker ADDRESS --nthreads 1`), one at a time
to each. They need the same environment, DLT_DATA_DIR included, and must see this checkout, its data and DIR under the
same paths. A lost worker's runs are taken up again by another.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlt_core import CHECKOUT
from dlt_core.corpora.files import write_json_atomically, write_text_atomically
from dlt_core.corpora.sources import CORPORA
from dlt_core.experiments import PRESETS
from dlt_core.records.record import in_words, load_all
from dlt_core.reproduce.jobs import Job
from dlt_core.reproduce.outputs import rebuild
from dlt_core.reproduce.workers import connect, on_cluster, on_processes
from dlt_core.studies import contrasts, findings, tables
from dlt_core.studies.benchmark import report

if TYPE_CHECKING:
    from distributed import Client

NOTEBOOKS = CHECKOUT / "notebooks"
# Notebooks that are executed several times, each time with other parameters; the first is the one they show.
VARIANTS = {
    "08_bert": [{"corpus": name} for name in CORPORA if name != "embedded"],
    "11_paper_vs_released_code": [{"corpus": "embedded"}, {"corpus": "wikitext-2"}],
}
# Notebooks that train several seeds themselves: executed once, from the first seed on, with as many as are asked for.
SEVERAL_SEEDS = (
    "10_ablations", "11_paper_vs_released_code", "12_is_the_agent_learning", "13_is_the_map_good", "14_better_agents"
)  # fmt: skip
# Of these, those that show the runs in figures/records; the batch trains them, but in place they are shown.
RECORDED = ("12_is_the_agent_learning", "13_is_the_map_good", "14_better_agents")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status, 0 only if every notebook ran to its end."""
    parser = argparse.ArgumentParser(prog="python -m dlt_core.reproduce", description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="laptop", choices=list(PRESETS), help="how large (default: laptop)")
    parser.add_argument(
        "--notebooks",
        nargs="+",
        metavar="NN",
        help="the beginning of their names, or 'all' (default: all whose data is here)",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="S", help="(default: 0)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="notebooks at a time (default: 1)")
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="instead, one at a time on each worker of the Dask cluster whose scheduler is at tcp://host:port; the "
        "workers need one thread each, this environment, and this checkout, its data and --out under the same paths",
    )
    parser.add_argument("--out", type=Path, default=Path("reproduction"), metavar="DIR", help="(default: reproduction)")
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="also refresh the outputs in notebooks/ and the contents of figures/ of this checkout",
    )
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {options.jobs}")
    if options.dask is not None and options.jobs != 1:
        parser.error(
            "--jobs is for processes of this machine: with --dask the cluster's workers say how many at a time"
        )
    if options.in_place and (options.preset != "laptop" or options.seeds[0] != 0):
        parser.error("--in-place is for the preset laptop, and seed 0 first, which the notebooks' parameters show")
    out = options.out.resolve()
    try:
        notebooks = _find(options.notebooks or ["all"])
        out.mkdir(parents=True, exist_ok=True)
        client = None if options.dask is None else connect(options.dask)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"cannot write to {out} ({error}): name another folder with --out")
    with client or contextlib.nullcontext():
        return reproduce(
            notebooks,
            preset=options.preset,
            seeds=options.seeds,
            jobs=options.jobs,
            client=client,
            out=out,
            in_place=options.in_place,
            need_data=options.notebooks is not None,
        )


def reproduce(
    notebooks: Sequence[Path],
    *,
    preset: str,
    seeds: Sequence[int],
    jobs: int,
    client: Client | None,
    out: Path,
    in_place: bool = False,
    need_data: bool = True,
) -> int:
    """Execute each notebook for each seed; what is already done is skipped. Returns the exit status.

    jobs: processes on this machine, for want of a client of a Dask cluster.
    need_data: whether a notebook whose data is not here has failed, or is only left out.
    """
    todo, done = [], []
    for seed in seeds:
        for notebook in notebooks:
            takes_several = notebook.stem in SEVERAL_SEEDS
            if takes_several and seed != seeds[0]:
                continue
            # in place the notebook shows its own number of seeds
            more = {"num_seeds": len(seeds)} if takes_several and len(seeds) > 1 and not in_place else {}
            if notebook.stem in RECORDED and not in_place:
                more["recorded"] = False
            for variant in VARIANTS.get(notebook.stem, [{}]):
                job = Job(notebook, preset, seed, variant, more, out)
                before = job.before()
                if before.get("status") == "done" and before["fingerprint"] == job.fingerprint():
                    print(f"{job.name}: done before, skipped", flush=True)
                    done.append({**before, "skipped": True})
                    if in_place:
                        _refresh(job)
                else:
                    todo.append(job)
    if client is None:
        workers = min(jobs, len(todo)) or 1
        ended, where = on_processes(todo, workers), f"{workers} at a time"
    else:
        ended = on_cluster(todo, client)
        where = f"on the cluster at {client.scheduler.address} (workers: {len(client.nthreads())})"
    if todo:
        print(f"running {len(todo)} notebooks at preset {preset}, {where} ...", flush=True)
    for job, result in ended:
        if result["status"] == "no data" and need_data:
            result["status"] = "failed"
        done.append(result)
        print(f"{job.name}: {result['status']}, {result['seconds']:.0f} s", flush=True)
        if result["error"]:
            print(f"  {result['error']}", flush=True)
        elif in_place:
            _refresh(job)
    done.sort(key=lambda r: (r["seed"], r["name"]))
    if in_place:
        _refresh_tables(done)
    write_json_atomically(out / "summary.json", {"preset": preset, "seeds": list(seeds), "notebooks": done})
    _print_summary(done, out)
    return 1 if any(r["status"] == "failed" for r in done) else 0


def _find(names: Sequence[str]) -> list[Path]:
    """The notebooks whose names begin so. Raises ValueError, listing what there is, for one that matches none."""
    there = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not there:
        raise ValueError(f"no notebooks in {NOTEBOOKS}: run this from a checkout, installed with pip install -e .")
    found = []
    for name in names:
        matching = [path for path in there if name == "all" or path.stem.startswith(name)]
        if not matching:
            raise ValueError(f"no notebook begins with {name!r}; there are: {', '.join(path.stem for path in there)}")
        found += [path for path in matching if path not in found]
    return found


def _refresh(job: Job) -> None:
    """Put the records into the checkout, and the executed notebook if it is the one that the parameters cell shows,
    without traces of how it was executed."""
    import nbformat

    committed = NOTEBOOKS.parent / "figures" / "records"
    committed.mkdir(parents=True, exist_ok=True)
    for path in (job.folder / "records").glob("*.json"):
        (committed / path.name).write_bytes(path.read_bytes())
    if job.seed != 0 or job.variant != VARIANTS.get(job.notebook.stem, [{}])[0]:
        return
    nb = nbformat.read(job.folder / job.notebook.name, as_version=4)
    nb.cells = [cell for cell in nb.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    count = 0
    for index, cell in enumerate(nb.cells):
        cell["id"] = f"cell-{index:02d}"
        cell.metadata = {key: cell.metadata[key] for key in cell.metadata if key == "tags" and cell.metadata[key]}
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = count
    nb.metadata = {key: nb.metadata[key] for key in ("kernelspec", "language_info") if key in nb.metadata}
    nb.metadata.get("language_info", {}).pop("version", None)
    nbformat.write(nb, job.notebook)


def _refresh_tables(done: Sequence[dict[str, Any]]) -> None:
    """Note how long the notebooks took; make figures, tables and the README's tables anew from what is committed."""
    root = NOTEBOOKS.parent
    rebuild(load_all(root / "figures" / "records"), root / "figures")
    times = root / "figures" / "notebook_times.json"
    known = json.loads(times.read_text(encoding="utf-8")) if times.exists() else {}
    timed = [r for r in done if r["status"] == "done" and r["seed"] == 0 and r["seconds_from_the_start"]]
    for name in {r["notebook"] for r in timed}:
        known[name] = round(max(r["seconds_from_the_start"] for r in timed if r["notebook"] == name))
    write_json_atomically(times, dict(sorted(known.items())))
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, table in readme_tables(root).items():
        head, begin, rest = text.partition(f"<!-- {name}: begin -->\n")
        _, end, tail = rest.partition(f"<!-- {name}: end -->")
        if not end:
            raise ValueError(f"{readme} has lost the marks of its table {name!r}")
        text = f"{head}{begin}{table}\n{end}{tail}"
    write_text_atomically(readme, text)


def readme_tables(root: Path) -> dict[str, str]:
    """The tables of the README, made from the committed records, times and titles of the notebooks."""
    import nbformat

    records = [r for r in load_all(root / "figures" / "records") if r.experiment["preset"] == "laptop"]
    times = json.loads((root / "figures" / "notebook_times.json").read_text(encoding="utf-8"))
    notebooks = []
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        title = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")
        seconds = times.get(path.stem)
        took = f"{seconds} s" if seconds is not None else "not timed"
        notebooks.append({"notebook": f"[{title}](notebooks/{path.name})", "time, preset laptop, two cores": took})
    measured = sorted((root / "figures" / "benchmark").glob("*.json"))
    benchmarks = [report.findings(json.loads(path.read_text(encoding="utf-8"))) for path in measured]
    return {
        **({"benchmark": "\n\n".join(benchmarks)} if benchmarks else {}),
        "results": tables.markdown_table(tables.main_table(tables.summary(records))),
        "agent": tables.agent_markdown(records),
        "learning": findings.findings(records),
        "released": contrasts.singles_markdown(records),
        "notebooks": tables.markdown_table(notebooks),
    }


def _print_summary(done: Sequence[dict[str, Any]], out: Path) -> None:
    """The three numbers that matter for each run at the chosen size, and where everything lies."""
    runs = {run["key"]: run for r in done if r["status"] == "done" for run in r["runs"] if run["preset"] == r["preset"]}
    for run in runs.values():
        print(f"\n{in_words(run)}")
    print(f"\nExecuted notebooks, their figures and records/: {out}")
    for folder in sorted({r["folder"] for r in done}):
        print(f"  {Path(folder).relative_to(out)}")
    for status in ("no data", "failed"):
        if names := [f"{r['name']}, seed {r['seed']}" for r in done if r["status"] == status]:
            print(f"{status.capitalize()}: {'; '.join(names)}")
    print(f"Summary: {out / 'summary.json'}")


if __name__ == "__main__":
    sys.exit(main())
