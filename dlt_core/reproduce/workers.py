"""Who executes the jobs: processes on this machine, or the workers of a Dask cluster.

Either way an iterator of (job, result), as they end; a job that cannot be executed has a result that says why.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from dlt_core.reproduce.jobs import Job, execute

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10.0  # to wait for the scheduler's answer
THREADS = "1"  # of a kernel. Not a share of the cores: a run's last digits depend on it, and must not on the jobs
POLL_SECONDS = 0.5  # between two looks at what the cluster has done


def on_processes(jobs: Sequence[Job], number: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Execute the jobs on this machine, `number` at a time."""
    environment = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", THREADS)}
    with ProcessPoolExecutor(number, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(execute, job, environment): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], _outcome(futures[future], future, BrokenProcessPool)


def on_cluster(jobs: Sequence[Job], client: Client) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Execute the jobs on a Dask cluster, one at a time on each of its workers; workers may come and go.

    The runs of a lost worker are taken up again by another, from the records and checkpoints in their folder. A job
    whose workers died more often than the scheduler's `distributed.scheduler.allowed-failures` has failed. Each kernel
    has one thread, unless OMP_NUM_THREADS is set here.
    """
    from distributed import KilledWorker

    mark = uuid.uuid4().hex[:8]  # or Dask would take what another batch has computed under the same name
    waiting = deque(jobs)
    running: dict[Any, Job] = {}
    while waiting or running:
        try:
            workers = len(client.nthreads())
        except OSError as error:
            for job in (*running.values(), *waiting):
                yield job, job.result("failed", f"the connection to the Dask scheduler was lost: {error}", 0.0)
            return
        # No more than there are workers: Dask holds a worker's death against all jobs that wait there, too.
        while waiting and len(running) < max(1, workers):
            job = waiting.popleft()
            key = f"{job.stem}-{job.preset}-seed{job.seed}-{mark}"
            threads = os.environ.get("OMP_NUM_THREADS", THREADS)
            running[client.submit(_execute_on_worker, job, threads, key=key, pure=False)] = job
        ended = [future for future in running if future.done()]
        for future in ended:
            job = running.pop(future)
            yield job, _outcome(job, future, KilledWorker)
        if not ended:
            time.sleep(POLL_SECONDS)


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


def _execute_on_worker(job: Job, threads: str) -> dict[str, Any]:
    """Executed by a worker of the cluster."""
    from distributed import get_worker

    worker = get_worker().address
    if not (job.notebook.is_file() and job.out.is_dir()):
        raise FileNotFoundError(
            f"the worker {worker} does not see {job.notebook} or {job.out}: the checkout and --out must be on a file "
            "system that all workers share"
        )
    # MKL's too: Dask sets both to 1 when it starts a worker, and torch takes the smaller
    return execute(job, {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads})


def _outcome(job: Job, future: Any, lost: type[Exception]) -> dict[str, Any]:
    """The result that the future holds, or one that says why there is none. lost: raised if the worker has died."""
    try:
        return future.result()
    except lost as error:
        return job.result("failed", f"the worker process died, for want of memory perhaps: {error}", 0.0)
    except Exception as error:
        return job.result("failed", f"{type(error).__name__}: {error}", 0.0)
