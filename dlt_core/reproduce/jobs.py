"""One execution of one notebook with papermill: its parameters, its folder, its kernel, and what came of it."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

import dlt_core
from dlt_core.corpora.files import write_json_atomically, write_text_atomically
from dlt_core.records.record import RunRecord
from dlt_core.records.refusals import refusal
from dlt_core.reproduce.folder import held

CELL_SECONDS = 6 * 3600  # a cell that takes longer is broken
KERNEL_ERRORS = ("DeadKernelError", "RuntimeError: Kernel", "ZMQError")  # a kernel that did not start: tried twice
HOLD_SECONDS = 30.0  # to wait for whoever still works in a job's folder, such as a worker whose batch was killed
# Variables that name folders. A kernel works in a folder of its own, where a relative one would mean another.
FOLDERS = ("DLT_DATA_DIR", "DLT_CACHE_DIR", "HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "XDG_CACHE_HOME")
# papermill changes the folder of its process, and `execute` the environment: one notebook at a time in a process.
_ALONE = threading.Lock()


class _Before(TypedDict):
    """What is read of a result.json."""

    status: str
    fingerprint: str
    seconds: float
    seconds_from_the_start: float | None


_CHECK = TypeAdapter(_Before)


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

    def _cells(self) -> list[dict[str, Any]]:
        """The notebook's cells. Raises ValueError naming the file if it is no notebook."""
        try:
            cells = json.loads(self.notebook.read_text(encoding="utf-8"))["cells"]
            return [{**cell, "source": "".join(cell["source"])} for cell in cells]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.notebook} is not a notebook ({type(error).__name__}: {error})") from error

    def defaults(self) -> dict[str, Any]:
        """What the notebook's parameters cell sets; None for what is no plain value."""
        tagged = [cell for cell in self._cells() if "parameters" in cell.get("metadata", {}).get("tags", [])]
        try:
            tree = ast.parse("\n".join(cell["source"] for cell in tagged))
        except SyntaxError as error:
            raise ValueError(f"{self.notebook.name}: its parameters cell is not Python: {error}") from error
        found: dict[str, Any] = {}
        for line in tree.body:
            targets = getattr(line, "targets", [getattr(line, "target", None)])
            value = getattr(line, "value", None)
            plain = value.value if isinstance(value, ast.Constant) else None
            found |= {target.id: plain for target in targets if isinstance(target, ast.Name)}
        return found

    def check_parameters(self) -> None:
        """Raises ValueError if the notebook's parameters cell lacks one: papermill would set it, and nothing use it."""
        known = self.defaults()
        if unknown := [name for name in self.parameters if name not in known]:
            raise ValueError(
                f"{self.notebook.name} has no parameter {', '.join(unknown)}: its cell tagged `parameters` has "
                f"{', '.join(known) or 'none'}"
            )

    def fingerprint(self) -> str:
        """Changes when the notebook's cells, the core or the parameters do: then what was done is not done any more."""
        sources = json.dumps([(cell["cell_type"], cell["source"]) for cell in self._cells()])
        digest = hashlib.sha256(f"{self.preset} {self.seed} {self.variant} {self.more} {sources}".encode())
        for path in sorted(Path(dlt_core.__file__).parent.rglob("*.py")):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def before(self) -> _Before | None:
        """The result of the last execution that came to its end; None if there was none.

        Raises ValueError naming the file that says so and cannot be read.
        """
        path = self.folder / "result.json"
        try:
            return _CHECK.validate_json(path.read_bytes()) if path.exists() else None
        except ValidationError as error:
            raise ValueError(f"{path} is not a result: {refusal(error)}") from None
        except OSError as error:
            raise ValueError(f"{path} is not a result: {error}") from error

    def is_done(self, before: _Before) -> bool:
        """Whether this is the result of this very job: of the same notebook, code and parameters."""
        return before["status"] == "done" and before["fingerprint"] == self.fingerprint()

    def result(self, status: str, error: str | None, seconds: float) -> dict[str, Any]:
        """What came of it, in JSON's types, and what was left where, in paths within `out`.

        status: "done", "failed", "no data", "stopped" or "not begun"; error: with its cell. A record that cannot be
        read is named under `unreadable`, and the others are taken.
        """
        records = sorted((self.folder / "records").glob("*.json"))
        runs, unreadable = [], []
        for path in records:
            try:
                record = RunRecord.load(path)
                if record.status == "finished":
                    runs.append(record.headline())
            except (ValueError, OSError) as refused:
                unreadable.append(f"skipped a record: {refused}")
        return {
            "name": self.stem,
            "notebook": self.notebook.stem,
            "preset": self.preset,
            "seed": self.seed,
            "status": status,
            "error": error,
            "seconds": seconds,
            "folder": self._within(self.folder),
            "records": [self._within(path) for path in records],
            "figures": [self._within(path) for path in sorted(self.folder.glob("*.png"))],
            "runs": runs,
            "unreadable": unreadable,
        }

    def _within(self, path: Path) -> str:
        return path.relative_to(self.out).as_posix()


class Kernel:
    """The kernel of a notebook that is executed, for whoever has to stop it.

    started: called with the kernel's process id.
    """

    def __init__(self, started: Callable[[int], object] = lambda _: None) -> None:
        self.stopped = False
        self.process: int | None = None
        self._started = started

    def note(self, process: int) -> None:
        self.process = process
        self._started(process)

    def stop(self) -> None:
        """Interrupt the cell, as a notebook's stop button does; no further one is begun."""
        self.stopped = True
        if self.process is not None:
            signal_group(self.process, signal.SIGINT)

    def kill(self) -> None:
        if self.process is not None:
            signal_group(self.process, signal.SIGKILL)


def signal_group(process: int, number: signal.Signals) -> None:
    """Send a signal to a kernel and the processes that it has started, if there are any."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended
        os.killpg(process, number)  # a kernel leads a group of its own


class _Stopped(Exception):
    """The notebook was stopped between two cells."""


def execute(job: Job, environment: Mapping[str, str], kernel: Kernel | None = None) -> dict[str, Any]:
    """Execute one notebook in a kernel of its own; what came of it, also written beside the executed notebook.

    environment: variables that the kernel gets beside those of this process. kernel: to stop it by; a notebook that
    was stopped, or otherwise interrupted, is executed again from the records and checkpoints in its folder.
    """
    kernel = kernel or Kernel()
    job.folder.mkdir(parents=True, exist_ok=True)
    with _ALONE, held(job.folder, HOLD_SECONDS), _with_variables({**_folders(), **environment}):
        earlier, fingerprint = None, job.fingerprint()
        with contextlib.suppress(ValueError):
            earlier = job.before()
        taken_up = any(any((job.folder / name).glob("*")) for name in ("records", "candidates", "checkpoints"))
        started = time.time()
        status, error = _papermill(job, kernel)
        if error is not None and error.startswith(KERNEL_ERRORS):  # two kernels can race for a port: once more
            status, error = _papermill(job, kernel)
        result = job.result(status, error, time.time() - started)
        if status != "stopped":  # or it has not come to its end
            from_the_start = (earlier["seconds_from_the_start"] if earlier else None) if taken_up else result["seconds"]
            result |= {"fingerprint": fingerprint, "seconds_from_the_start": from_the_start}
            write_json_atomically(job.folder / "result.json", result)
    return result


def _folders() -> dict[str, str]:
    """The variables of this process that name folders, with absolute paths."""
    given = {name: os.environ[name] for name in FOLDERS if os.environ.get(name)}
    absolute = {name: os.path.abspath(os.path.expanduser(path)) for name, path in given.items()}
    if paths := os.environ.get("PYTHONPATH"):
        absolute["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, paths.split(os.pathsep)))
    return absolute


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


def _papermill(job: Job, kernel: Kernel) -> tuple[str, str | None]:
    """Execute the job's notebook, in its folder; the status and what went wrong, or None."""
    import papermill
    from jupyter_client.manager import AsyncKernelManager
    from papermill.iorw import LocalHandler, papermill_io

    class Whole(LocalHandler):
        """Papermill writes the notebook again and again while it executes it; each time whole or not at all."""

        def write(self, text: str, path: str) -> None:
            write_text_atomically(Path(path), text)

    class Manager(AsyncKernelManager):
        """Says which process the kernel is."""

        async def start_kernel(self, **how: Any) -> None:  # type: ignore[override]  # as AsyncKernelManager's
            await super().start_kernel(**how)
            if (process := getattr(self.provisioner, "pid", None)) is not None:
                kernel.note(process)

    def on_cell_start(**_: Any) -> None:
        if kernel.stopped:
            raise _Stopped

    executed = job.folder / job.notebook.name
    papermill_io.register(str(job.folder), Whole())
    try:
        papermill.execute_notebook(
            _literal(job.notebook),
            _literal(executed),
            parameters=job.parameters,
            kernel_name="python3",
            kernel_manager_class=Manager,
            on_cell_start=on_cell_start,
            execution_timeout=CELL_SECONDS,
            progress_bar=False,
            extra_arguments=["--log-level=ERROR"],  # or each kernel warns about its transport
            cwd=str(job.folder),
        )
        stopped_early = _stopped_early(executed)
        status, error = ("no data", stopped_early) if stopped_early else ("done", None)
    except papermill.PapermillExecutionError as failed:
        status, error = "failed", f"cell {failed.cell_index + 1}: {failed.ename}: {failed.evalue}"
    except Exception as failed:  # a kernel that did not start or died, a full disk, ...
        status, error = "failed", f"{type(failed).__name__}: {failed}"
    return ("stopped", None) if kernel.stopped else (status, error)


def _literal(path: Path) -> str:
    """The path as papermill takes it, which fills in what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


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
