"""Execute notebooks with papermill, presets x seeds, and collect what they leave.

OUT/<preset>-seed<seed>/<notebook>/ holds an executed notebook, its figures and its records/, and OUT/summary.json says
what happened. A notebook whose data is not here is left out, unless it was asked for by name.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlt_core import CHECKOUT
from dlt_core.corpora.files import write_json_atomically
from dlt_core.corpora.sources import CORPORA
from dlt_core.records.record import in_words, load_all
from dlt_core.reproduce.jobs import Job
from dlt_core.reproduce.marked_tables import write_marked_tables
from dlt_core.reproduce.outputs import write_tables_and_figures
from dlt_core.reproduce.workers import connect, on_cluster, on_processes

if TYPE_CHECKING:
    from distributed import Client

NOTEBOOKS = CHECKOUT / "notebooks"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
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


def reproduce(
    *,
    preset: str = "laptop",
    notebooks: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    jobs: int = 1,
    dask: str | None = None,
    out: Path = Path("reproduction"),
    in_place: bool = False,
) -> int:
    """Execute the notebooks for each seed; returns the exit status, 0 only if none failed.

    notebooks: beginnings of their names; none: all whose data is here. jobs: how many at a time on this machine.
    dask: instead, on the workers of the cluster whose scheduler has this address, one at a time on each; the runs of a
    lost worker are taken up again by another. in_place: also refresh what the checkout shows.

    Raises ValueError, before anything is executed, for what cannot be.
    """
    if not seeds:
        raise ValueError("--seeds needs at least one")
    if jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {jobs}")
    if dask is not None and jobs != 1:
        raise ValueError("--jobs is for processes of this machine: with --dask the workers say how many at a time")
    if in_place and (preset != "laptop" or seeds[0] != 0):
        raise ValueError("--in-place is for the preset laptop, and seed 0 first, which the notebooks' parameters show")
    out = out.resolve()
    paths = _find(notebooks or ["all"])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write to {out} ({error}): name another folder with --out") from error
    to_do, results = _split(_jobs(paths, preset, seeds, out, in_place), in_place)
    with contextlib.nullcontext() if dask is None else connect(dask) as client:
        for job, result in _execute(to_do, client, jobs):
            if result["status"] == "no data" and notebooks:
                result["status"] = "failed"
            results.append(result)
            print(f"{job.name}: {result['status']}, {result['seconds']:.0f} s", flush=True)
            if result["error"]:
                print(f"  {result['error']}", flush=True)
            elif in_place:
                _refresh(job)
    results.sort(key=lambda r: (r["seed"], r["name"]))
    if in_place:
        _refresh_tables(results)
    write_json_atomically(out / "summary.json", {"preset": preset, "seeds": list(seeds), "notebooks": results})
    _print_summary(results, out)
    return 1 if any(r["status"] == "failed" for r in results) else 0


def _jobs(notebooks: Sequence[Path], preset: str, seeds: Sequence[int], out: Path, in_place: bool) -> Iterator[Job]:
    """Each execution that is asked for, whether or not it was done before."""
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
                yield Job(notebook, preset, seed, variant, more, out)


def _split(jobs: Iterable[Job], in_place: bool) -> tuple[list[Job], list[dict[str, Any]]]:
    """The jobs still to be done, and the results of those that were done before."""
    to_do, results = [], []
    for job in jobs:
        before = job.before()
        if before.get("status") == "done" and before["fingerprint"] == job.fingerprint():
            print(f"{job.name}: done before, skipped", flush=True)
            results.append({**before, "skipped": True})
            if in_place:
                _refresh(job)
        else:
            to_do.append(job)
    return to_do, results


def _execute(jobs: Sequence[Job], client: Client | None, number: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Execute the jobs on the cluster, or `number` at a time here; (job, result) as they end."""
    if not jobs:
        return
    if client is None:
        number = min(number, len(jobs))
        ended, where = on_processes(jobs, number), f"{number} at a time"
    else:
        ended = on_cluster(jobs, client)
        assert client.scheduler is not None  # it is connected
        where = f"on the cluster at {client.scheduler.address} (workers: {len(client.nthreads())})"
    print(f"running {len(jobs)} notebooks at preset {jobs[0].preset}, {where} ...", flush=True)
    yield from ended


def _find(names: Sequence[str]) -> list[Path]:
    """The notebooks whose names begin so. Raises ValueError, listing what there is, for one that matches none."""
    known = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not known:
        raise ValueError(f"no notebooks in {NOTEBOOKS}: run this from a checkout, installed with pip install -e .")
    chosen: list[Path] = []
    for name in names:
        matching = [path for path in known if name == "all" or path.stem.startswith(name)]
        if not matching:
            raise ValueError(f"no notebook begins with {name!r}; there are: {', '.join(path.stem for path in known)}")
        chosen += [path for path in matching if path not in chosen]
    return chosen


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
                output.get("data", {}).pop(WIDGET_VIEW, None)  # of a kernel that is gone; its words stay
                if "execution_count" in output:
                    output.execution_count = count
    nb.metadata = {key: nb.metadata[key] for key in ("kernelspec", "language_info") if key in nb.metadata}
    nb.metadata["kernelspec"] = KERNEL  # what JupyterLab would put there, and call the notebook unsaved for it
    nbformat.write(nb, job.notebook)


def _refresh_tables(results: Sequence[dict[str, Any]]) -> None:
    """Note how long the notebooks took; make figures and tables anew from what is committed."""
    root = NOTEBOOKS.parent
    write_tables_and_figures(load_all(root / "figures" / "records"), root / "figures")
    times = root / "figures" / "notebook_times.json"
    known = json.loads(times.read_text(encoding="utf-8")) if times.exists() else {}
    timed = [r for r in results if r["status"] == "done" and r["seed"] == 0 and r["seconds_from_the_start"]]
    for name in {r["notebook"] for r in timed}:
        known[name] = round(max(r["seconds_from_the_start"] for r in timed if r["notebook"] == name))
    write_json_atomically(times, dict(sorted(known.items())))
    write_marked_tables(root)


def _print_summary(results: Sequence[dict[str, Any]], out: Path) -> None:
    """The three numbers that matter for each run at the chosen size, and where everything lies."""
    runs = {
        run["key"]: run for r in results if r["status"] == "done" for run in r["runs"] if run["preset"] == r["preset"]
    }
    for run in runs.values():
        print(f"\n{in_words(run)}")
    print(f"\nExecuted notebooks, their figures and records/: {out}")
    for folder in sorted({r["folder"] for r in results}):
        print(f"  {Path(folder).relative_to(out)}")
    for status in ("no data", "failed"):
        if names := [f"{r['name']}, seed {r['seed']}" for r in results if r["status"] == status]:
            print(f"{status.capitalize()}: {'; '.join(names)}")
    print(f"Summary: {out / 'summary.json'}")
