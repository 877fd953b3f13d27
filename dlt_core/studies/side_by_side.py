"""Methods and seeds side by side on one device, within a time limit, `python -m dlt_core side-by-side`.

Processes stay alive and take one run after the other, seed by seed. A finished record is in its folder at once, and
what is there already is not run again. No run is begun that would not finish in time, going by those that have; then no
later seed is begun either, since a seed without all its methods pairs with nothing. At the limit, and by Ctrl-C, what
still runs is stopped; called again, it goes on from its last checkpoint. summary.json says what came of each run,
failures.txt what failed and why; the others go on.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import tarfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection as connections
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from dlt_core.corpora.files import write_atomically, write_json_atomically
from dlt_core.experiments import Experiment, load_data
from dlt_core.records import RunRecord, key

PROGRESS_SECONDS = 10.0  # between two lines of a run
THREADS = 1  # of a process, on the CPU: what a run comes to must not depend on how many others run beside it
SPARE_SECONDS = 4.0  # a run must finish by its estimate and so much more


@dataclass
class Job:
    """One run, and what is known of it."""

    experiment: Experiment
    method: str
    out: Path
    status: str = "waiting"  # running, finished, there already, failed, stopped by the limit, not begun
    begun: float = 0.0
    seconds: float | None = None  # of the whole run, as the worker saw it
    share: float = 0.0  # done
    ms_a_step: float | None = None
    steps: int = 0

    @property
    def name(self) -> str:
        return f"{self.method} seed {self.experiment.seed}"

    @property
    def record(self) -> Path:
        return self.out / "records" / f"{key(self.experiment.to_dict(), self.method, self.experiment.seed)}.json"

    def is_there(self) -> bool:
        return self.record.exists() and RunRecord.load(self.record).status == "finished"


def _work(connection: connections.Connection) -> None:
    """A process that runs one job after the other: receives (experiment, method, out), sends ("begun",),
    ("progress", ...) and at the end ("finished", ...) or ("failed", traceback)."""
    try:
        import torch

        from dlt_core.studies.comparison import compare

        torch.set_num_threads(THREADS)
        data, text = None, None
        while (job := connection.recv()) is not None:
            experiment, method, out = job
            wanted = (experiment.corpus, experiment.tokenizer, experiment.train_bytes)
            if text != wanted:
                data, text = load_data(experiment), wanted
            free_memory()  # of the model before this one
            connection.send(("begun",))  # the imports are behind it
            report = _Progress(connection, experiment)
            (record,) = compare(experiment, [method], data=data, out_dir=out, on_decision=report)
            steps, test = record.budget["optimizer_steps"], record.required(record.test)
            connection.send(("finished", 1.0, steps, 1e3 * record.timing["training"] / max(1, steps),
                             test["perplexity"], test["selected_step"]))  # fmt: skip
    except EOFError:
        return
    except BaseException:
        connection.send(("failed", traceback.format_exc()))


class _Progress:
    """Sends now and then how far a run has come."""

    def __init__(self, connection: connections.Connection, experiment: Experiment) -> None:
        self.connection = connection
        self.total = experiment.episodes * (experiment.n_layer - 1) * experiment.steps_per_action
        self.last = time.perf_counter()

    def __call__(self, record: RunRecord) -> None:
        if time.perf_counter() - self.last < PROGRESS_SECONDS:
            return
        self.last = time.perf_counter()
        steps, validation = record.budget["optimizer_steps"], record.curves["validation"]["perplexity"]
        ms = 1e3 * record.timing["training"] / steps
        loss = record.curves["train"]["loss"][-1]
        self.connection.send(("progress", steps / self.total, steps, ms, loss, validation[-1] if validation else None))


def free_memory() -> None:
    """Give back what models that are not used any more have taken, also on the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Worker:
    """A process of its own that runs `target(connection, *arguments)`, and the job that it has. Ctrl-C is not for it
    but for the process that has begun it, which ends it. To be made in the main thread."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which the new process inherits
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        theirs.close()
        self.job: Job | None = None

    def end(self) -> None:
        self.process.kill()
        self.process.join(5)


class Scheduler:
    """Gives jobs to workers until all are done or the time is up."""

    def __init__(
        self, jobs: list[Job], workers: int, started: float, max_seconds: float, out: Path, archive: Path | None = None
    ) -> None:
        self.jobs, self.started, self.end, self.out, self.archive = jobs, started, started + max_seconds, out, archive
        self.workers = [Worker(_work) for _ in range(workers)]

    def say(self, text: str) -> None:
        print(f"{time.perf_counter() - self.started:6.1f} s  {text}", flush=True)

    def estimate(self, method: str) -> float | None:
        """Seconds of a run: by the finished ones of this method, of conventional, or of any; else by how far the
        conventional one or any has come. None if nothing is known yet."""
        now = time.perf_counter()
        for names in ({method}, {"conventional"}, {job.method for job in self.jobs}):
            of = [job for job in self.jobs if job.method in names]
            if known := [job.seconds for job in of if job.status == "finished" and job.seconds is not None]:
                return max(known)
            if running := [(now - job.begun) / job.share for job in of if job.status == "running" and job.share > 0.05]:
                return max(running)
        return None

    def next_job(self) -> Job | None:
        """The first that would finish in time, of the first seed that has any waiting."""
        waiting = [job for job in self.jobs if job.status == "waiting"]
        for job in waiting:
            if job.experiment.seed != waiting[0].experiment.seed:
                return None
            needed = self.estimate(job.method)
            if needed is None or time.perf_counter() + needed + SPARE_SECONDS <= self.end:
                return job
        return None

    def run(self) -> None:
        """Until nothing runs and nothing more can be begun, or the time is up."""
        while True:
            for worker in self.workers:
                if worker.job is None and (job := self.next_job()) is not None:
                    worker.job, job.status, job.begun = job, "running", time.perf_counter()
                    worker.connection.send((job.experiment, job.method, job.out))
                    self.say(f"{job.name}: begun")
            busy: dict[Any, tuple[Worker, Job]] = {w.connection: (w, w.job) for w in self.workers if w.job is not None}
            left = self.end - time.perf_counter()
            if not busy or left <= 0:
                return
            for ready in connections.wait(busy, timeout=min(left, 1.0)):
                self.hear(*busy[ready])

    def hear(self, worker: Worker, job: Job) -> None:
        try:
            kind, *said = worker.connection.recv()
        except (EOFError, OSError):
            kind, said = "failed", [f"the process ended with status {worker.process.exitcode}"]
        if kind == "begun":
            job.begun = time.perf_counter()
            return
        if kind == "failed":
            job.status, job.seconds, worker.job = "failed", time.perf_counter() - job.begun, None
            self.say(f"{job.name}: FAILED\n{said[0]}")
            with open(self.out / "failures.txt", "a", encoding="utf-8") as file:
                file.write(f"=== {job.name}\n{said[0]}\n")
            worker.end()  # its device may be in no state to go on
            self.workers[self.workers.index(worker)] = Worker(_work)
        else:
            job.share, job.steps, job.ms_a_step = said[:3]
            words = f"{job.name}: {job.share:.0%}, {job.ms_a_step:.1f} ms a step, "
            if kind == "progress":
                self.say(f"{words}training loss {said[3]:.3f}, validation perplexity {said[4] or float('nan'):.1f}")
                return
            job.status, job.seconds, worker.job = "finished", time.perf_counter() - job.begun, None
            self.say(f"{words}finished in {job.seconds:.1f} s, test perplexity {said[3]:.2f} (best at step {said[4]})")
        self.write()

    def write(self) -> None:
        """The summary, and the archive of what is there, whole or not at all."""
        measured = ("method", "status", "seconds", "steps", "ms_a_step", "share")
        runs = [
            {"seed": job.experiment.seed, "begun": job.begun and job.begun - self.started}
            | {name: getattr(job, name) for name in measured}
            for job in self.jobs
        ]
        summary = {"seconds": time.perf_counter() - self.started, "processes": len(self.workers), "runs": runs}
        write_json_atomically(self.out / "summary.json", {**summary, "threads": THREADS})
        if self.archive is not None:
            write_atomically(self.archive, self._pack)

    def _pack(self, path: Path) -> None:
        with tarfile.open(path, "w:gz") as archive:
            for name in ("records", "summary.json", "failures.txt"):
                if (self.out / name).exists():
                    archive.add(self.out / name, name)

    def close(self) -> None:
        for worker in self.workers:
            worker.end()
        for job in self.jobs:
            job.status = {"running": "stopped by the limit", "waiting": "not begun"}.get(job.status, job.status)
        self.write()


def train(
    experiments: Sequence[Experiment],
    methods: Sequence[str],
    *,
    jobs: int,
    max_seconds: float,
    out: Path,
    archive: Path | None = None,
) -> int:
    """Run all methods of each experiment, `jobs` at a time; how many failed. archive: a .tar.gz of what is in `out`.
    Raises ValueError for less than one at a time, or nothing to run; KeyboardInterrupt, when Ctrl-C has ended it."""
    started = time.perf_counter()
    if jobs < 1 or not experiments or not methods:
        raise ValueError("--jobs, --seeds and --methods must be at least one each")
    out.mkdir(parents=True, exist_ok=True)
    all_jobs = [Job(e, method, out) for e in experiments for method in methods]
    for job in all_jobs:
        if job.is_there():
            job.status = "there already"
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes end with this one
    scheduler = Scheduler(all_jobs, min(jobs, len(all_jobs)), started, max_seconds, out, archive)
    try:
        data = load_data(experiments[0])  # so that the workers find it cached
        sizes = {split: len(tokens) for split, tokens in data.tokens.items()}
        scheduler.say(f"{data.corpus.name}: {sizes} tokens; {len(all_jobs)} runs, {THREADS} thread each")
        scheduler.run()
    finally:
        scheduler.close()
    counts = Counter(job.status for job in all_jobs)
    scheduler.say("; ".join(f"{status}: {count}" for status, count in counts.items()))
    return counts["failed"]
