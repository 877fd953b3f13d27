"""The workers of a Dask cluster as an executor of jobs, see `workers`. They may come and go."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from dlt_core.reproduce.jobs import Job, Kernel, execute
from dlt_core.reproduce.progress import Running
from dlt_core.reproduce.workers import GRACE_SECONDS, THREADS

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 10.0  # to wait for the scheduler's answer
POLL_SECONDS = 0.5  # between two looks at what the cluster has done


class Cluster:
    """Executes jobs on a Dask cluster, one at a time on each of its workers.

    The runs of a lost worker are taken up again by another, from the records and checkpoints in their folder. A job
    whose workers died more often than the scheduler's `distributed.scheduler.allowed-failures` has failed. Each kernel
    has one thread, unless OMP_NUM_THREADS is set here.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        address = client.scheduler.address if client.scheduler is not None else "that is gone"
        self.where = f"on the cluster at {address}"
        self.running: list[Running] = []
        self._futures: list[Future] = []  # in the order of `running`
        self._mark = uuid.uuid4().hex[:8]  # or Dask would take what another batch has computed under the same name

    def _number(self) -> int:
        """Of workers. Raises ConnectionError if the scheduler is gone."""
        try:
            return len(self.client.nthreads())
        except OSError as error:
            raise ConnectionError(f"the connection to the Dask scheduler was lost: {error}") from error

    def has_room(self) -> bool:
        # No more than there are workers: Dask holds a worker's death against all jobs that wait there, too.
        try:
            return len(self.running) < max(1, self._number())
        except ConnectionError:  # which `ended` will say
            return False

    def start(self, job: Job) -> None:
        key = f"{job.stem}-{job.preset}-seed{job.seed}-{self._mark}"
        threads = os.environ.get("OMP_NUM_THREADS", THREADS)
        self._futures.append(self.client.submit(_execute, job, threads, self._mark, key=key, pure=False))
        self.running.append(Running(job))

    def ended(self) -> list[tuple[Job, dict[str, Any]]]:
        ended = [(one, future) for one, future in zip(self.running, self._futures, strict=True) if future.done()]
        if not ended:
            self._number()
            time.sleep(POLL_SECONDS)
        for one, future in ended:
            self.running.remove(one)
            self._futures.remove(future)
        return [(one.job, _outcome(one.job, future)) for one, future in ended]

    def stop(self) -> None:
        with contextlib.suppress(OSError):  # the scheduler is gone
            self.client.run(_stop, self._mark, on_error="ignore")

    def kill(self) -> None:
        if self._futures and self.client.status == "running":
            with contextlib.suppress(OSError):
                self.client.cancel(self._futures, force=True)
        self.running, self._futures = [], []


def connect(address: str) -> Client:
    """A client of the Dask scheduler at this address. Raises ValueError if `distributed` is not installed, or if no
    scheduler answers there."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            f'a Dask cluster needs the package distributed ({error}): pip install "dlt-core[dask]", or in a checkout '
            "pip install distributed"
        ) from error
    try:
        # asked beforehand, since a Client that cannot connect waits and complains long after its error
        kind = asyncio.run(asyncio.wait_for(_kind_of_server(address), CONNECT_SECONDS))
        if kind != "Scheduler":
            raise ValueError(f"it is a Dask {kind}")
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except TimeoutError as error:
        raise ValueError(f"no Dask scheduler at {address}: no answer in {CONNECT_SECONDS:g} s") from error
    except (OSError, ValueError, TypeError) as error:  # TypeError: tls:// without certificates in Dask's configuration
        raise ValueError(f"no Dask scheduler at {address}: {error}") from error


async def _kind_of_server(address: str) -> str:
    from distributed import Security
    from distributed.core import rpc

    async with rpc(address, connection_args=Security().get_connection_args("client")) as server:
        return (await server.identity())["type"]


def _outcome(job: Job, future: Future) -> dict[str, Any]:
    """The result that the future holds, or one that says why there is none."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        return job.result("failed", f"the worker process died, for want of memory perhaps: {error}", 0.0)
    except Exception as error:
        return job.result("failed", f"{type(error).__name__}: {error}", 0.0)


# What follows happens in a worker of the cluster.
_stopped: set[str] = set()  # the marks of batches
_kernels: dict[str, list[Kernel]] = {}  # those that run, by the mark of their batch


def _execute(job: Job, threads: str, mark: str) -> dict[str, Any]:
    from distributed import get_worker

    worker = get_worker().address
    if not (job.notebook.is_file() and job.out.is_dir()):
        raise FileNotFoundError(
            f"the worker {worker} does not see {job.notebook} or {job.out}: the checkout and --out must be on a file "
            "system that all workers share"
        )
    kernel = Kernel()
    _kernels.setdefault(mark, []).append(kernel)
    try:
        if mark in _stopped:
            return job.result("stopped", None, 0.0)
        # MKL's too: Dask sets both to 1 when it starts a worker, and torch takes the smaller
        variables = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        return execute(job, variables, kernel)
    finally:
        _kernels[mark].remove(kernel)


def _stop(mark: str) -> None:
    """Stop the batch's notebooks in this worker; kill them later if they go on."""
    _stopped.add(mark)
    for kernel in list(_kernels.get(mark, [])):
        kernel.stop()
        late = threading.Timer(GRACE_SECONDS, lambda kernel=kernel: kernel in _kernels[mark] and kernel.kill())
        late.daemon = True
        late.start()
