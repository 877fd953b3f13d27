"""The batch command: execute notebooks with papermill, presets x seeds, and collect what they leave.

    python -m dlt_core.reproduce [--preset P] [--notebooks 03 04] [--seeds 0 1 2] [--jobs N] [--out DIR] [--in-place]

DIR/<preset>-seed<seed>/<notebook>/ holds an executed notebook, its figures and its records/, and DIR/summary.json says
what happened.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from dlt_core import figures
from dlt_core.experiments import PRESETS
from dlt_core.files import write_text_atomically
from dlt_core.records import RunRecord, load_all
from dlt_core.tie_map import TieMap

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
DEFAULT_NOTEBOOKS = ("00", "01", "02", "03")  # need no data that is not already here
CELL_SECONDS = 6 * 3600  # a cell that takes longer is broken
KERNEL_ERRORS = ("DeadKernelError", "RuntimeError: Kernel", "ZMQError")  # a kernel that did not start: tried twice


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status, 0 only if every notebook ran to its end."""
    parser = argparse.ArgumentParser(prog="python -m dlt_core.reproduce", description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="laptop", choices=list(PRESETS), help="how large (default: laptop)")
    parser.add_argument(
        "--notebooks",
        nargs="+",
        default=DEFAULT_NOTEBOOKS,
        metavar="NN",
        help=f"the beginning of their names, or 'all' (default: {' '.join(DEFAULT_NOTEBOOKS)})",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="S", help="(default: 0)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="notebooks at a time (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("reproduction"), metavar="DIR", help="(default: reproduction)")
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="also refresh the outputs in notebooks/ and the contents of figures/ of this checkout",
    )
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {options.jobs}")
    if options.in_place and (options.preset, options.seeds) != ("laptop", [0]):
        parser.error("--in-place is for the preset laptop and seed 0, which the notebooks' parameters show")
    out = options.out.resolve()
    try:
        notebooks = _find(options.notebooks)
        out.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"cannot write to {out} ({error}): name another folder with --out")
    return reproduce(
        notebooks, preset=options.preset, seeds=options.seeds, jobs=options.jobs, out=out, in_place=options.in_place
    )


def reproduce(
    notebooks: Sequence[Path], *, preset: str, seeds: Sequence[int], jobs: int, out: Path, in_place: bool = False
) -> int:
    """Execute each notebook for each seed; what is already done is skipped. Returns the exit status."""
    todo, results = [], []
    for seed in seeds:
        for notebook in notebooks:
            folder = out / f"{preset}-seed{seed}" / notebook.stem
            fingerprint = _fingerprint(notebook, preset, seed)
            done = _read_result(folder)
            if not in_place and done.get("status") == "done" and done["fingerprint"] == fingerprint:
                print(f"{_name(done)}: done before, skipped", flush=True)
                results.append({**done, "skipped": True})
            else:
                todo.append((notebook, preset, seed, folder, fingerprint))
    # Each notebook gets its share of the cores; the workers' kernels read these variables when they start.
    workers = min(jobs, len(todo)) or 1
    threads = max(1, (os.cpu_count() or 1) // workers)
    os.environ.update(TQDM_DISABLE="1", OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", str(threads)))
    if todo:
        print(f"running {len(todo)} notebooks at preset {preset}, {workers} at a time ...", flush=True)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(_execute, *job): job for job in todo}
        for future in as_completed(futures):
            notebook, _, seed, folder, _ = futures[future]
            try:
                result = future.result()
            except BrokenProcessPool as error:  # a worker was killed, for want of memory perhaps
                result = {"notebook": notebook.stem, "preset": preset, "seed": seed, "status": "failed"}
                result |= {"error": f"the worker process died: {error}", "seconds": 0.0, "runs": []}
            results.append(result)
            print(f"{_name(result)}: {result['status']}, {result['seconds']:.0f} s", flush=True)
            if result["status"] == "failed":
                print(f"  {result['error']}", flush=True)
            elif in_place:
                _refresh(notebook, folder)
    results.sort(key=lambda r: (r["seed"], r["notebook"]))
    if in_place:
        _refresh_readme(results)
    _write_json(out / "summary.json", {"preset": preset, "seeds": list(seeds), "notebooks": results})
    _print_summary(results, out)
    return 1 if any(r["status"] == "failed" for r in results) else 0


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


def _execute(notebook: Path, preset: str, seed: int, folder: Path, fingerprint: str) -> dict[str, Any]:
    """Execute one notebook in a kernel of its own; what came of it, also written beside the executed notebook."""
    executed = folder / notebook.name
    folder.mkdir(parents=True, exist_ok=True)
    started = time.time()
    error = _papermill(notebook, executed, preset, seed)
    if error is not None and error.startswith(KERNEL_ERRORS):  # two kernels can race for a port: once more
        error = _papermill(notebook, executed, preset, seed)
    result = {
        "notebook": notebook.stem,
        "preset": preset,
        "seed": seed,
        "status": "done" if error is None else "failed",
        "error": error,
        "seconds": time.time() - started,
        "folder": str(folder),
        "runs": [headline(r) for r in load_all(folder / "records") if r.status == "finished"],
        "fingerprint": fingerprint,
    }
    _write_json(folder / "result.json", result)
    return result


def _papermill(notebook: Path, executed: Path, preset: str, seed: int) -> str | None:
    """Execute `notebook` to `executed`, in its folder; what went wrong, or None."""
    import papermill

    try:
        papermill.execute_notebook(
            str(notebook),
            str(executed),
            parameters={"preset": preset, "seed": seed, "out_dir": str(executed.parent)},
            kernel_name="python3",
            execution_timeout=CELL_SECONDS,
            progress_bar=False,
            extra_arguments=["--log-level=ERROR"],  # or each kernel warns about its transport
            cwd=str(executed.parent),
        )
    except papermill.PapermillExecutionError as error:
        return f"cell {error.cell_index + 1}: {error.ename}: {error.evalue}"
    except Exception as error:  # a kernel that did not start or died, a file that is no notebook, ...
        return f"{type(error).__name__}: {error}"
    return _stopped_early(executed)


def _stopped_early(executed: Path) -> str | None:
    """What the notebook printed before it stopped itself with sys.exit(0), which papermill counts as success."""
    import nbformat

    for index, cell in enumerate(nbformat.read(executed, as_version=4).cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                printed = "".join(o.get("text", "") for o in cell.outputs if o.get("name") == "stdout")
                return f"cell {index + 1} stopped the notebook: {printed.strip()}"
    return None


def _refresh(notebook: Path, folder: Path) -> None:
    """Put the executed notebook, its figures and records into the checkout, without traces of how it was executed."""
    import nbformat

    nb = nbformat.read(folder / notebook.name, as_version=4)
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
    nbformat.write(nb, notebook)
    committed = NOTEBOOKS.parent / "figures"
    for path in [*folder.glob("*.png"), *(folder / "records").glob("*.json")]:
        target = committed / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def _refresh_readme(results: Sequence[dict[str, Any]]) -> None:
    """Note how long the notebooks took, and write the README's tables anew from what is committed."""
    root = NOTEBOOKS.parent
    times = root / "figures" / "notebook_times.json"
    known = json.loads(times.read_text(encoding="utf-8")) if times.exists() else {}
    known.update({r["notebook"]: round(r["seconds"]) for r in results if r["status"] == "done"})
    _write_json(times, dict(sorted(known.items())))
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

    records = [
        r
        for r in load_all(root / "figures" / "records")
        if r.experiment["preset"] == "laptop" and not r.experiment["overrides"]
    ]
    runs = [
        {"experiment": r.experiment["name"], **row} for r, row in zip(records, figures.comparison(records), strict=True)
    ]
    runs.sort(key=lambda row: (row["experiment"], row["seed"], row["method"]))
    times = json.loads((root / "figures" / "notebook_times.json").read_text(encoding="utf-8"))
    notebooks = []
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        title = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")
        seconds = times.get(path.stem)
        took = f"{seconds} s" if seconds is not None else "not timed"
        notebooks.append({"notebook": f"[{title}](notebooks/{path.name})", "time, preset laptop, two cores": took})
    return {"results": figures.markdown_table(runs), "notebooks": figures.markdown_table(notebooks)}


def _fingerprint(notebook: Path, preset: str, seed: int) -> str:
    """Changes when the notebook's cells, the core or the parameters do: then what was done is not done any more."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = json.dumps([(cell["cell_type"], "".join(cell["source"])) for cell in cells])
    digest = hashlib.sha256(f"{preset} {seed} {sources}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read_result(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write_json(path: Path, value: Any) -> None:
    write_text_atomically(path, json.dumps(value, indent=1) + "\n")


def _name(result: dict[str, Any]) -> str:
    return f"{result['notebook']} ({result['preset']}, seed {result['seed']})"


def _print_summary(results: Sequence[dict[str, Any]], out: Path) -> None:
    """The three numbers that matter for each run at the chosen size, and where everything lies."""
    runs = {
        run["key"]: run for r in results if r["status"] == "done" for run in r["runs"] if run["preset"] == r["preset"]
    }
    for run in runs.values():
        print(f"\n{_in_words(run)}")
    print(f"\nExecuted notebooks, their figures and records/: {out}")
    for folder in sorted({r["folder"] for r in results if "folder" in r}):
        print(f"  {Path(folder).relative_to(out)}")
    print(f"Summary: {out / 'summary.json'}")


def headline(record: RunRecord) -> dict[str, Any]:
    """The three numbers that matter: perplexity with bits per byte, trainable parameters, independent layers."""
    return {
        "key": record.key,
        "experiment": record.experiment["name"],
        "preset": record.experiment["preset"],
        "method": record.method,
        "seed": record.seed,
        "perplexity": record.test["perplexity"],
        "unit": record.test["unit"],
        "bits_per_byte": record.test["bits_per_byte"],
        "parameters": record.parameters,
        "independent_layers": TieMap(record.tie_map).num_independent,
        "layers": len(record.tie_map),
    }


def describe(record: RunRecord) -> str:
    """The three numbers that matter, in words."""
    return _in_words(headline(record))


def _in_words(run: dict[str, Any]) -> str:
    unique, conventional = run["parameters"]["unique"], run["parameters"]["conventional"]
    return (
        f"{run['experiment']}, {run['method']}, seed {run['seed']}:\n"
        f"  test perplexity       {run['perplexity']:.1f} {run['unit']} ({run['bits_per_byte']:.3f} bits per byte)\n"
        f"  trainable parameters  {unique:,}, {unique / conventional:.0%} of {conventional:,} conventional\n"
        f"  independent layers    {run['independent_layers']} of {run['layers']}"
    )


if __name__ == "__main__":
    sys.exit(main())
