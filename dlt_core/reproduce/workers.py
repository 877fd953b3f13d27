"""The jobs one after the other, and the processes on this machine that execute them; for a Dask cluster see `cluster`.

A job that cannot be executed has a result that says why. After a signal to stop no job is begun.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any, Protocol

from dlt_core.records.stopping import ASKING
from dlt_core.reproduce.jobs import Job, Kernel, execute, signal_group
from dlt_core.reproduce.progress import Progress, Running
from dlt_core.reproduce.stopping import Stop

THREADS = "1"  # of a kernel. Not a share of the cores: a run's last digits depend on it, and must not on the jobs
POLL_SECONDS = 0.2  # between two looks at who has ended and whether to stop
GRACE_SECONDS = 10.0  # for a stopped notebook to finish its step and write its checkpoint, before its kernel is killed
LEAVE_SECONDS = 5.0  # for its worker to clean up after that


class Executor(Protocol):
    """Executes several jobs at a time; its `running` are begun and have not ended."""

    where: str

    @property
    def running(self) -> Sequence[Running]: ...

    def has_room(self) -> bool: ...

    def start(self, job: Job) -> None: ...

    def ended(self) -> list[tuple[Job, dict[str, Any]]]:
        """Wait a moment for what ends. Raises ConnectionError if it can never be known any more."""
        ...

    def stop(self) -> None:
        """Let the jobs that run come to an end soon."""
        ...

    def kill(self) -> None:
        """End them at once."""
        ...


def execute_all(
    jobs: Sequence[Job], executor: Executor, stop: Stop, progress: Progress
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Execute the jobs; (job, result) as they end. Once `stop` is true those that run are stopped, none is begun, and
    all of them are among the results."""
    waiting, patience = deque(jobs), None
    try:
        while executor.running or (waiting and not stop):
            while waiting and not stop and executor.has_room():
                executor.start(waiting.popleft())
            if stop and patience is None:
                patience = time.monotonic() + GRACE_SECONDS + LEAVE_SECONDS
                executor.stop()
            try:
                yield from executor.ended()
            except ConnectionError as error:
                for job in (*(one.job for one in executor.running), *waiting):
                    yield job, job.result("failed", str(error), 0.0)
                return
            progress.look(executor.running, len(waiting))
            if patience is not None and (stop.again or time.monotonic() > patience):
                break
    finally:  # also if whoever takes the results has failed
        left = list(executor.running)
        executor.kill()
    for one in left:
        yield one.job, one.job.result("stopped", None, one.seconds)
    for job in waiting:
        yield job, job.result("not begun", None, 0.0)


@dataclass
class _Worker:
    """A process of this machine, what it executes, and the process of that one's kernel."""

    process: SpawnProcess
    connection: Connection
    running: Running | None = None
    kernel: int | None = None
    is_second_try: bool = False


class Processes:
    """Executes jobs in processes of this machine, `number` at a time.

    If a process dies its job is begun once more in another, from the records and checkpoints in its folder; a second
    death is a failure. The others do not notice.
    """

    def __init__(self, number: int) -> None:
        self.number, self.where = number, f"{number} at a time"
        self._workers: list[_Worker] = []
        self._stopping = False

    @property
    def running(self) -> list[Running]:
        return [worker.running for worker in self._workers if worker.running is not None]

    def has_room(self) -> bool:
        return len(self.running) < self.number

    def start(self, job: Job, *, is_second_try: bool = False) -> None:
        idle = [worker for worker in self._workers if worker.running is None]
        worker = idle[0] if idle else _new_worker()
        if not idle:
            self._workers.append(worker)
        worker.running, worker.kernel, worker.is_second_try = Running(job), None, is_second_try
        environment = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", THREADS)}
        with contextlib.suppress(OSError):  # it has died, which `ended` will find
            worker.connection.send((job, environment))

    def ended(self) -> list[tuple[Job, dict[str, Any]]]:
        ended = []
        talking = wait([worker.connection for worker in self._workers], POLL_SECONDS)
        for worker in [worker for worker in self._workers if worker.connection in talking]:
            try:
                said = worker.connection.recv()
            except (EOFError, OSError):
                ended += self._bury(worker)
                continue
            if isinstance(said, int):
                worker.kernel = said
            elif said["status"] == "stopped" and not self._stopping:
                continue  # somebody has ended this worker alone, and its end comes next
            elif worker.running is not None:
                ended.append((worker.running.job, said))
                worker.running = None
        return ended

    def _bury(self, worker: _Worker) -> list[tuple[Job, dict[str, Any]]]:
        """Forget a worker that has died; the result of its job if that is not begun once more."""
        self._workers.remove(worker)
        _end(worker)
        if (victim := worker.running) is None:
            return []
        if self._stopping:
            return [(victim.job, victim.job.result("stopped", None, victim.seconds))]
        if not worker.is_second_try:
            self.start(victim.job, is_second_try=True)
            return []
        code = worker.process.exitcode
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"
        error = f"the worker process died twice, of {how}, for want of memory perhaps"
        return [(victim.job, victim.job.result("failed", error, victim.seconds))]

    def stop(self) -> None:
        self._stopping = True
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.connection.send("stop")

    def kill(self) -> None:
        for worker in self._workers:
            _end(worker)
        self._workers = []


def _new_worker() -> _Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there,))
    with _without_signals():  # Ctrl-C is for all processes of a terminal, and a new one would not know what to do
        process.start()
    there.close()  # so that either side notices when the other has died
    return _Worker(process, here)


@contextlib.contextmanager
def _without_signals() -> Iterator[None]:
    """Signals wait, here until the end of the block, and in a process that is started within until it is ready."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(worker: _Worker) -> None:
    """End a worker that is dead, idle or late, and its kernel."""
    worker.process.kill()
    worker.process.join()
    worker.connection.close()
    if worker.kernel is not None and worker.running is not None:
        signal_group(worker.kernel, signal.SIGKILL)


def _work(parent: Connection) -> None:
    """What a worker does: execute the jobs that it is sent, one after the other, as long as its parent lives."""
    terminated = threading.Event()

    def on_sigterm(_number: int, _frame: FrameType | None) -> None:
        terminated.set()

    for number in ASKING:
        signal.signal(number, on_sigterm if number == signal.SIGTERM else _nothing)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)
    while True:
        while not parent.poll(POLL_SECONDS):
            if terminated.is_set():
                return
        try:
            said = parent.recv()
        except (EOFError, OSError):
            return
        if said == "stop":
            return
        job, environment = said
        if _execute(job, environment, parent, terminated):
            os._exit(0)  # what is left of a stopped notebook must not keep this process


def _execute(job: Job, environment: Mapping[str, str], parent: Connection, terminated: threading.Event) -> bool:
    """Execute a job and send its result, and before that its kernel's process; whether it was stopped.

    It is when the parent says so or has died, or on SIGTERM.
    """
    results: list[dict[str, Any]] = []

    def note(process: int) -> None:
        with contextlib.suppress(OSError):  # the parent has died
            parent.send(process)

    def run() -> None:
        try:
            results.append(execute(job, environment, kernel))
        except Exception as error:  # a full disk, a folder that somebody else holds, ...
            results.append(job.result("failed", f"{type(error).__name__}: {error}", 0.0))

    kernel = Kernel(started=note)
    began = time.monotonic()
    # Not in this thread: nbclient would take its signals, and it has to listen.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until = None
    while thread.is_alive() and (until is None or time.monotonic() < until):
        thread.join(POLL_SECONDS)
        if until is None and (terminated.is_set() or parent.poll()):  # a word, or its end
            until = time.monotonic() + GRACE_SECONDS
            kernel.stop()
    if kernel.stopped:
        kernel.kill()
        thread.join(LEAVE_SECONDS / 2)
    with contextlib.suppress(OSError):
        parent.send(results[0] if results else job.result("stopped", None, time.monotonic() - began))
    return kernel.stopped


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """For signals that the parent answers to. Not SIG_IGN, which kernels and their processes would inherit."""
