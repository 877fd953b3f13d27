"""One execution of one notebook with papermill: its parameters, its folder, and what came of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dlt_core
from dlt_core.corpora.files import write_json_atomically
from dlt_core.records.record import RunRecord

CELL_SECONDS = 6 * 3600  # a cell that takes longer is broken
KERNEL_ERRORS = ("DeadKernelError", "RuntimeError: Kernel", "ZMQError")  # a kernel that did not start: tried twice
# papermill changes the folder of its process, and `execute` the environment: one notebook at a time in a process.
_ALONE = threading.Lock()


@dataclass(frozen=True)
class Job:
    """One execution of one notebook."""

    notebook: Path
    preset: str
    seed: int
    variant: dict[str, str]  # parameters beyond preset, seed and out_dir, that are part of the name
    more: dict[str, int]  # and those that are not
    out: Path

    @property
    def stem(self) -> str:
        """Name of the notebook, with its variant."""
        return "-".join([self.notebook.stem, *self.variant.values()])

    @property
    def name(self) -> str:
        return f"{self.stem} ({self.preset}, seed {self.seed})"

    @property
    def folder(self) -> Path:
        return self.out / f"{self.preset}-seed{self.seed}" / self.stem

    @property
    def parameters(self) -> dict[str, Any]:
        """What papermill puts into the notebook."""
        return {"preset": self.preset, "seed": self.seed, "out_dir": str(self.folder), **self.variant, **self.more}

    def fingerprint(self) -> str:
        """Changes when the notebook's cells, the core or the parameters do: then what was done is not done any more."""
        cells = json.loads(self.notebook.read_text(encoding="utf-8"))["cells"]
        sources = json.dumps([(cell["cell_type"], "".join(cell["source"])) for cell in cells])
        digest = hashlib.sha256(f"{self.preset} {self.seed} {self.variant} {self.more} {sources}".encode())
        for path in sorted(Path(dlt_core.__file__).parent.rglob("*.py")):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def before(self) -> dict[str, Any]:
        """The result of the last execution that came to its end; empty if there was none."""
        path = self.folder / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def result(self, status: str, error: str | None, seconds: float) -> dict[str, Any]:
        """What came of it, in JSON's types: `status` "done", "failed" or "no data", the error with its cell, and what
        was left where. With a record that cannot be read it has failed."""
        records = sorted((self.folder / "records").glob("*.json"))
        try:
            runs = [r.headline() for r in map(RunRecord.load, records) if r.status == "finished"]
        except ValueError as unreadable:
            status, error, runs = "failed", error or str(unreadable), []
        return {
            "name": self.stem,
            "notebook": self.notebook.stem,
            "preset": self.preset,
            "seed": self.seed,
            "status": status,
            "error": error,
            "seconds": seconds,
            "folder": str(self.folder),
            "records": [str(path) for path in records],
            "figures": [str(path) for path in sorted(self.folder.glob("*.png"))],
            "runs": runs,
            "fingerprint": self.fingerprint(),
        }


def execute(job: Job, environment: Mapping[str, str]) -> dict[str, Any]:
    """Execute one notebook in a kernel of its own; what came of it, also written beside the executed notebook.

    environment: variables that the kernel gets beside those of this process. Executed again after it was interrupted,
    a notebook takes up from the records and checkpoints in its folder.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    from_the_start = not any(any((job.folder / name).glob("*")) for name in ("records", "candidates", "checkpoints"))
    with _ALONE, _with_variables(environment):
        started = time.time()
        status, error = _papermill(job)
        if error is not None and error.startswith(KERNEL_ERRORS):  # two kernels can race for a port: once more
            status, error = _papermill(job)
    result = job.result(status, error, time.time() - started)
    earlier = job.before().get("seconds_from_the_start")
    result["seconds_from_the_start"] = result["seconds"] if from_the_start else earlier
    write_json_atomically(job.folder / "result.json", result)
    return result


@contextlib.contextmanager
def _with_variables(environment: Mapping[str, str]) -> Iterator[None]:
    """os.environ with these variables: papermill has no other way to give them to a kernel."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _papermill(job: Job) -> tuple[str, str | None]:
    """Execute the job's notebook, in its folder; the status and what went wrong, or None."""
    import papermill

    executed = job.folder / job.notebook.name
    try:
        papermill.execute_notebook(
            str(job.notebook),
            str(executed),
            parameters=job.parameters,
            kernel_name="python3",
            execution_timeout=CELL_SECONDS,
            progress_bar=False,
            extra_arguments=["--log-level=ERROR"],  # or each kernel warns about its transport
            cwd=str(job.folder),
        )
    except papermill.PapermillExecutionError as error:
        return "failed", f"cell {error.cell_index + 1}: {error.ename}: {error.evalue}"
    except Exception as error:  # a kernel that did not start or died, a file that is no notebook, ...
        return "failed", f"{type(error).__name__}: {error}"
    stopped = _stopped_early(executed)
    return ("no data", stopped) if stopped else ("done", None)


def _stopped_early(executed: Path) -> str | None:
    """What the notebook printed before it stopped itself with sys.exit(0), for want of data; papermill counts that as
    success."""
    import nbformat

    for index, cell in enumerate(nbformat.read(executed, as_version=4).cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                printed = "".join(o.get("text", "") for o in cell.outputs if o.get("name") == "stdout")
                return f"cell {index + 1} stopped the notebook: {printed.strip()}"
    return None
