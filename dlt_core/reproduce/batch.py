"""Execute notebooks with papermill, presets x seeds, and collect what they leave.

OUT/<preset>-seed<seed>/<notebook>/ holds an executed notebook, its figures and its records/, and OUT/summary.json says
what happened. A notebook whose data is not here is left out, unless it was asked for by name.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dlt_core import CHECKOUT
from dlt_core.corpora.files import write_json_atomically, write_text_atomically
from dlt_core.corpora.own_text import OWN
from dlt_core.corpora.sources import CORPORA
from dlt_core.records.record import RunRecord, in_words, load_all
from dlt_core.reproduce.cluster import Cluster, connect
from dlt_core.reproduce.folder import check_writable, held
from dlt_core.reproduce.jobs import Job
from dlt_core.reproduce.plan import Plan
from dlt_core.reproduce.progress import Progress, expected_seconds, say
from dlt_core.reproduce.stopping import Stop, noticed
from dlt_core.reproduce.workers import Executor, Processes, execute_all

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
    "10_ablations", "11_paper_vs_released_code", "12_is_the_agent_learning", "13_is_the_map_good", "14_better_agents",
    "15_a_rule_that_hears",
)  # fmt: skip
# Of these, those that show the runs in figures/records; the batch trains them, but in place they are shown.
RECORDED = ("12_is_the_agent_learning", "13_is_the_map_good", "14_better_agents", "15_a_rule_that_hears")


def reproduce(
    *,
    preset: str = "laptop",
    notebooks: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    jobs: int = 1,
    dask: str | None = None,
    out: Path = Path("reproduction"),
    in_place: bool = False,
    list_only: bool = False,
    dry_run: bool = False,
) -> int:
    """Execute the notebooks for each seed; returns the exit status, 0 only if none failed and every record was read.

    notebooks: beginnings of their names; none: all whose data is here. jobs: how many at a time on this machine.
    dask: instead, on the workers of the cluster whose scheduler has this address, one at a time on each; the runs of a
    lost worker are taken up again by another. in_place: also refresh what the checkout shows. list_only, dry_run: only
    say what would be executed, see `plan`, and write nothing.

    After Ctrl-C, or another signal to stop, no notebook is begun, those that run are interrupted, and the status is
    128 + the signal. Raises ValueError, before anything is executed, for what cannot be.
    """
    if not seeds:
        raise ValueError("--seeds needs at least one")
    if wrong := [seed for seed in seeds if seed < 0]:
        raise ValueError(f"--seeds must not be negative, got {wrong[0]}")
    if twice := [seed for seed in seeds if list(seeds).count(seed) > 1]:
        raise ValueError(f"--seeds has {twice[0]} twice: name each once")
    if jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {jobs}")
    if dask is not None and jobs != 1:
        raise ValueError("--jobs is for processes of this machine: with --dask the workers say how many at a time")
    if in_place and (preset != "laptop" or seeds[0] != 0):
        raise ValueError("--in-place is for the preset laptop, and seed 0 first, which the notebooks' parameters show")
    out = out.expanduser().resolve()
    asked_for = list(_jobs(_find(notebooks or ["all"]), preset, seeds, out, in_place))
    for job in asked_for:
        job.check_parameters()
    if list_only or dry_run:
        times = NOTEBOOKS.parent / "figures" / "notebook_times.json"
        plan = Plan(asked_for, expected_seconds(times) if preset == "laptop" else {})
        where = f"on the workers of {dask}" if dask is not None else f"{jobs} at a time"
        for line in (*plan.table(), *(plan.summary(out, where, named=bool(notebooks), in_place=in_place) * dry_run)):
            say(line)
        return 0
    check_writable(out)
    with noticed() as stop, held(out):
        to_do, results = _split(asked_for, in_place)
        for folder in (*(job.folder for job in to_do), *((NOTEBOOKS, NOTEBOOKS.parent / "figures") * in_place)):
            check_writable(folder, room=1)
        if in_place:
            load_all(NOTEBOOKS.parent / "figures" / "records")  # refuses now what would be refused at the end
        with contextlib.nullcontext() if dask is None else connect(dask) as client:
            executor = Processes(min(jobs, len(to_do) or 1)) if client is None else Cluster(client)
            for job, result in _execute(to_do, executor, stop):
                if result["status"] == "no data" and notebooks:
                    result["status"] = "failed"
                results.append(result)
                say(f"{job.name}: {result['status']}, {result['seconds']:.0f} s")
                for words in (*filter(None, [result["error"]]), *result["unreadable"]):
                    say(f"  {words}")
                if in_place and result["status"] == "done" and not result["unreadable"]:
                    _refresh(job)
        results.sort(key=lambda r: (r["seed"], r["name"]))
        stopped = any(r["status"] in ("stopped", "not begun") for r in results)
        status = "stopped" if stopped else "finished"
        _write_summary(out, {"preset": preset, "seeds": list(seeds), "status": status, "notebooks": results})
        if in_place and not stopped:
            _refresh_tables(results)
        _print_summary(results, out)
        if stopped:
            say("stopped; what is finished is kept; call again to go on")
            return stop.status
    return 1 if any(r["status"] == "failed" or r["unreadable"] for r in results) else 0


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
    """The jobs still to be done, and the results of those that were done before, here or before the folder moved."""
    to_do, results = [], []
    for job in jobs:
        try:
            before = job.before()
        except ValueError as error:
            say(f"{job.name}: executed again, since {error}")
            before = None
        if before is None or not job.is_done(before):
            to_do.append(job)
            continue
        result = job.result("done", None, before["seconds"])
        say(f"{job.name}: done before, skipped")
        for words in result["unreadable"]:
            say(f"  {words}")
        results.append({**result, "seconds_from_the_start": before["seconds_from_the_start"], "skipped": True})
        if in_place and not result["unreadable"]:
            _refresh(job)
    return to_do, results


def _execute(jobs: Sequence[Job], executor: Executor, stop: Stop) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Execute the jobs, and say so; (job, result) as they end."""
    if jobs:
        say(f"running {len(jobs)} notebooks at preset {jobs[0].preset}, {executor.where} ...")
        times = NOTEBOOKS.parent / "figures" / "notebook_times.json"
        progress = Progress(expected_seconds(times) if jobs[0].preset == "laptop" else {})
        yield from execute_all(jobs, executor, stop, progress)


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
        if RunRecord.load(path).corpus.get("source") != OWN:  # a text that a notebook makes itself is no result
            write_text_atomically(committed / path.name, path.read_text(encoding="utf-8"))
    if job.seed != 0 or job.variant != VARIANTS.get(job.notebook.stem, [{}])[0]:
        return
    nb = nbformat.read(job.folder / job.notebook.name, as_version=4)
    nb.cells = [cell for cell in nb.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    count = 0
    for index, cell in enumerate(nb.cells):
        cell["id"] = f"cell-{index:02d}"
        kept = ("tags", "jupyter")  # `source_hidden` folds a cell
        cell.metadata = {key: cell.metadata[key] for key in kept if cell.metadata.get(key)}
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                output.get("data", {}).pop(WIDGET_VIEW, None)  # of a kernel that is gone; its words stay
                if "execution_count" in output:
                    output.execution_count = count
    nb.metadata = {key: nb.metadata[key] for key in ("kernelspec", "language_info") if key in nb.metadata}
    nb.metadata["kernelspec"] = KERNEL  # what JupyterLab would put there, and call the notebook unsaved for it
    write_text_atomically(job.notebook, nbformat.writes(nb).rstrip("\n") + "\n")


def _refresh_tables(results: Sequence[dict[str, Any]]) -> None:
    """Note how long the notebooks took; make figures and tables anew from what is committed."""
    from dlt_core.reproduce.marked_tables import write_marked_tables  # which import PyTorch, in seconds
    from dlt_core.reproduce.outputs import write_tables_and_figures

    root = NOTEBOOKS.parent
    write_tables_and_figures(load_all(root / "figures" / "records"), root / "figures")
    times = root / "figures" / "notebook_times.json"
    known = json.loads(times.read_text(encoding="utf-8")) if times.exists() else {}
    timed = [r for r in results if r["status"] == "done" and r["seed"] == 0 and r["seconds_from_the_start"]]
    for name in {r["notebook"] for r in timed}:
        known[name] = round(max(r["seconds_from_the_start"] for r in timed if r["notebook"] == name))
    write_json_atomically(times, dict(sorted(known.items())))
    write_marked_tables(root)


def _write_summary(out: Path, summary: dict[str, Any]) -> None:
    try:
        write_json_atomically(out / "summary.json", summary)
    except OSError as error:
        raise ValueError(f"cannot write {out / 'summary.json'} ({error}); what is finished is kept") from error


def _print_summary(results: Sequence[dict[str, Any]], out: Path) -> None:
    """The three numbers that matter for each run at the chosen size, and where everything lies."""
    runs = {
        run["key"]: run for r in results if r["status"] == "done" for run in r["runs"] if run["preset"] == r["preset"]
    }
    for run in runs.values():
        say(f"\n{in_words(run)}")
    say(f"\nExecuted notebooks, their figures and records/: {out}")
    for folder in sorted({r["folder"] for r in results if r["status"] != "not begun"}):
        say(f"  {folder}")
    for status in ("no data", "failed", "stopped", "not begun"):
        if names := [f"{r['name']}, seed {r['seed']}" for r in results if r["status"] == status]:
            say(f"{status.capitalize()}: {'; '.join(names)}")
    say(f"Summary: {out / 'summary.json'}")
