"""Who executes the jobs: a Dask cluster does it as local processes do, and a lost worker's runs are taken up again."""

import json
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dask
import psutil
import pytest
from distributed import Client, LocalCluster

from dlt_core.__main__ import main
from dlt_core.reproduce import batch
from dlt_core.reproduce import cluster as dask_cluster
from dlt_core.reproduce.jobs import Job, execute
from dlt_core.reproduce.progress import Progress
from dlt_core.reproduce.stopping import Stop
from dlt_core.reproduce.workers import execute_all
from tests.reproduce.test_batch import GOOD, notebook, run

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TQDM_DISABLE")
LIGHT = f"""
import os
from pathlib import Path
for name in {VARIABLES}:
    Path(out_dir, name).write_text(os.environ.get(name, "not set"))
Path(out_dir, "fig_y.png").write_bytes(b"png")
"""
# A kernel's parent is the worker that executes the notebook.
KILL = """
import os, signal, time
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(60)
"""
CHECKPOINT = """
checkpoint = Path(out_dir, "checkpoints", "steps")
steps = int(checkpoint.read_text()) if checkpoint.exists() else 0
checkpoint.parent.mkdir(exist_ok=True)
checkpoint.write_text(str(steps + 1))
"""


@pytest.fixture(scope="module")
def cluster():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
    ):
        yield cluster


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    folder = tmp_path / "checkout" / "notebooks"
    monkeypatch.setattr(batch, "NOTEBOOKS", folder)
    notebook(folder / "00_light.ipynb", LIGHT)
    return folder


def without_places_and_times(summary, out):
    for result in summary["notebooks"]:
        for name in ("seconds", "seconds_from_the_start"):
            assert result.pop(name) > 0
    return json.loads(json.dumps(summary).replace(str(out), "OUT"))


def on_cluster(jobs, client, stop=None):
    return list(execute_all(jobs, dask_cluster.Cluster(client), Stop() if stop is None else stop, Progress({})))


def variables_of(folder):
    return [(folder / name).read_text() for name in VARIABLES]


def test_a_cluster_does_what_local_processes_do(cluster, notebooks, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    exec(GOOD, {"preset": "smoke", "seed": 0, "out_dir": str(tmp_path)})  # makes a record, without a kernel's imports
    leave_it = f"import shutil\nshutil.copytree({str(tmp_path / 'records')!r}, Path(out_dir, 'records'))"
    notebook(notebooks / "01_record.ipynb", LIGHT, leave_it)
    arguments = ("--seeds", "0", "1", "--notebooks", "all")
    status, summary = run(tmp_path / "dask", *arguments, "--dask", cluster.scheduler_address)
    assert status == 0
    assert (
        f"running 4 notebooks at preset smoke, on the cluster at {cluster.scheduler_address}" in capsys.readouterr().out
    )
    assert variables_of(tmp_path / "dask" / "out" / "smoke-seed0" / "00_light") == ["3", "3", "1"]
    with Client(cluster, set_as_default=False) as client:
        assert "3" not in client.run(os.getenv, "OMP_NUM_THREADS").values()  # the workers are as they were
        assert str(tmp_path) not in " ".join(client.run(os.getcwd).values())
    status, local = run(tmp_path / "local", *arguments, "--jobs", "2")
    assert status == 0
    assert [len(result["runs"]) for result in summary["notebooks"]] == [0, 1, 0, 1]
    assert without_places_and_times(summary, tmp_path / "dask") == without_places_and_times(local, tmp_path / "local")


def test_the_runs_of_a_lost_worker_are_taken_up_again(cluster, notebooks, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    kill_once = "if steps == 0:" + KILL.replace("\n", "\n    ")
    notebook(notebooks / "01_killed.ipynb", LIGHT, CHECKPOINT, kill_once)
    status, summary = run(tmp_path, "--notebooks", "01", "--dask", cluster.scheduler_address)
    assert status == 0
    (result,) = summary["notebooks"]
    assert (result["status"], result["error"]) == ("done", None)
    assert result["seconds_from_the_start"] is None  # it did not begin at the start
    folder = tmp_path / "out" / "smoke-seed0" / "01_killed"
    assert (folder / "checkpoints" / "steps").read_text() == "2"
    assert variables_of(folder)[:2] == ["1", "1"]  # whatever runs beside it


def test_a_batch_on_a_cluster_is_stopped_too(cluster, notebooks, tmp_path):
    began = "import os, time\nprint(os.getpid(), file=open('kernel', 'w'), flush=True)\ntime.sleep(600)"
    notebook(notebooks / "01_sleeps.ipynb", began, "open('behind', 'w').close()")
    jobs = [Job(notebooks / "01_sleeps.ipynb", "smoke", seed, {}, {}, tmp_path) for seed in range(3)]
    stop = Stop()

    def stop_when_two_run():
        while not all((job.folder / "kernel").exists() for job in jobs[:2]):
            time.sleep(0.1)
        stop.note(signal.SIGTERM)

    with Client(cluster, set_as_default=False) as client:
        threading.Thread(target=stop_when_two_run, daemon=True).start()
        results = on_cluster(jobs, client, stop)
    assert [result["status"] for _, result in results] == ["stopped", "stopped", "not begun"]
    for job in jobs[:2]:
        assert not psutil.pid_exists(int((job.folder / "kernel").read_text()))
        assert not (job.folder / "behind").exists()


def test_a_job_that_always_loses_its_worker_fails_alone(cluster, notebooks, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    notebook(notebooks / "00_kills.ipynb", KILL)
    notebook(notebooks / "01_bad.ipynb", "1 / 0")
    status, summary = run(tmp_path, "--seeds", "0", "1", "--dask", cluster.scheduler_address)
    assert status == 1
    assert [(r["name"], r["status"]) for r in summary["notebooks"]] == 2 * [
        ("00_kills", "failed"), ("00_light", "done"), ("01_bad", "failed")
    ]  # fmt: skip
    for result in summary["notebooks"]:
        if result["name"] == "00_kills":
            assert "the worker process died" in result["error"]
            assert "00_kills-smoke-seed" in result["error"]  # Dask's name for it


def test_what_a_worker_cannot_do_is_that_jobs_failure(cluster, notebooks, tmp_path):
    """A record that cannot be read, and a folder that the workers do not see."""
    notebook(notebooks / "01_record.ipynb", "import os\nos.mkdir('records')\nopen('records/x.json', 'w').close()")
    status, summary = run(tmp_path, "--notebooks", "01", "--dask", cluster.scheduler_address)
    assert status == 1
    assert "x.json is not a record" in summary["notebooks"][0]["unreadable"][0]
    job = Job(notebooks / "00_light.ipynb", "smoke", 0, {}, {}, tmp_path / "elsewhere")
    with Client(cluster, set_as_default=False) as client:
        ((_, result),) = on_cluster([job], client)
    assert result["status"] == "failed"
    assert "FileNotFoundError: the worker tcp://" in result["error"]
    assert "must be on a file system that all workers share" in result["error"]


def test_without_a_scheduler_what_is_left_has_failed(notebooks, tmp_path):
    class Lost:
        scheduler = None

        def nthreads(self):
            raise OSError("nobody there")

    jobs = [Job(notebooks / "00_light.ipynb", "smoke", seed, {}, {}, tmp_path) for seed in (0, 1)]
    results = on_cluster(jobs, Lost())
    assert [job for job, _ in results] == jobs
    assert {result["error"] for _, result in results} == {"the connection to the Dask scheduler was lost: nobody there"}
    assert {result["status"] for _, result in results} == {"failed"}


def test_two_threads_of_a_process_take_turns(notebooks, tmp_path):
    """papermill executes a notebook in its folder by changing the whole process's."""
    notebook(notebooks / "00_light.ipynb", LIGHT, "Path('where').write_text(out_dir)")
    jobs = [Job(notebooks / "00_light.ipynb", "smoke", seed, {}, {}, tmp_path) for seed in (0, 1)]
    before = os.getcwd(), dict(os.environ)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda job: execute(job, {"OMP_NUM_THREADS": str(7 + job.seed)}), jobs))
    assert (os.getcwd(), dict(os.environ)) == before
    for job, result in zip(jobs, results, strict=True):
        assert result["status"] == "done"
        assert (job.folder / "where").read_text() == str(job.folder)
        assert variables_of(job.folder)[0] == str(7 + job.seed)


def refused(tmp_path, capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(["reproduce", "--out", str(tmp_path / "out"), *arguments])
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_a_scheduler_that_is_not_there_is_named(notebooks, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 0.5)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        assert f"error: no Dask scheduler at {address}: no answer in 0.5 s" in refused(
            tmp_path, capsys, "--dask", address
        )
    assert "no Dask scheduler at nonsense: missing port" in refused(tmp_path, capsys, "--dask", "nonsense")


def test_a_worker_is_no_scheduler(cluster, notebooks, tmp_path, capsys):
    address = cluster.workers[0].worker_address
    assert f"no Dask scheduler at {address}: it is a Dask Worker" in refused(tmp_path, capsys, "--dask", address)


def test_without_distributed_the_remedy_is_named(notebooks, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert 'pip install "dlt-core[dask]"' in refused(tmp_path, capsys, "--dask", "tcp://127.0.0.1:8786")


def test_the_workers_say_how_many_at_a_time(notebooks, tmp_path, capsys):
    assert "--jobs is for processes of this machine" in refused(tmp_path, capsys, "--dask", "tcp://x:1", "--jobs", "2")
