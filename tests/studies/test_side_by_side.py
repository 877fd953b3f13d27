"""Runs side by side: in the order of the seeds, none that would not finish in time, and a failure stops no other."""

import json
import os
import signal
import tarfile
import time

import pytest

from dlt_core.__main__ import main
from dlt_core.records import load_all
from dlt_core.studies.side_by_side import Job, Scheduler


@pytest.fixture
def scheduler(smoke, tmp_path):
    """Two seeds with two methods each, a limit of 100 s, nobody who works."""
    jobs = [Job(smoke.replace(seed=s), m, tmp_path) for s in (0, 1) for m in ("conventional", "dynamic")]
    return Scheduler(jobs, 0, time.perf_counter(), 100, tmp_path)


def test_seed_by_seed_and_only_what_finishes_in_time(scheduler):
    first, second, third, fourth = scheduler.jobs
    assert scheduler.next_job() is first
    first.status, first.seconds = "finished", 60.0
    assert scheduler.estimate("dynamic") == 60  # by conventional, until one of its own has finished
    assert scheduler.next_job() is second
    second.status, second.seconds = "finished", 120.0
    assert scheduler.next_job() is third
    third.status = "running"
    assert scheduler.next_job() is None  # dynamic takes 120 s
    scheduler.end += 100
    assert scheduler.next_job() is fourth


def test_no_later_seed_is_begun_before_an_earlier_one_has_all_it_can_get(scheduler):
    for job, seconds in zip(scheduler.jobs[:2], (10.0, 200.0), strict=True):
        job.status, job.seconds = "finished", seconds
    scheduler.jobs[1].status = "waiting"
    scheduler.jobs.append(Job(scheduler.jobs[0].experiment, "dynamic", scheduler.out, "finished", seconds=200.0))
    assert scheduler.next_job() is None  # seed 1's conventional would fit, but seed 0's dynamic is waiting


def test_a_running_one_says_how_long_it_takes(scheduler):
    job = scheduler.jobs[0]
    job.status, job.begun, job.share = "running", time.perf_counter() - 20, 0.25
    assert scheduler.estimate("dynamic") == pytest.approx(80, rel=0.01)
    job.share = 0.01
    assert scheduler.estimate("dynamic") is None


def test_ctrl_c_ends_it_and_its_processes_with_one_line(tmp_path, capsys, monkeypatch):
    workers = []

    def press(scheduler):
        workers.extend(scheduler.workers)
        for process in (worker.process for worker in workers):  # a terminal sends it to all of them
            os.kill(process.pid, signal.SIGINT)
            process.join(0.5)
            assert process.is_alive(), "this process ends it"
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Scheduler, "run", press)
    call = [
        "side-by-side",
        "--experiment",
        "gpt2-embedded",
        "--preset",
        "smoke",
        "--methods",
        "all_tied",
        "--jobs",
        "1",
    ]
    assert main([*call, "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "stopped; what is finished is kept; call again to go on\n"
    assert [worker.process.is_alive() for worker in workers] == [False]
    assert [run["status"] for run in json.loads((tmp_path / "summary.json").read_text())["runs"]] == ["not begun"]


def test_a_failure_is_named_and_the_others_go_on_and_are_not_run_again(tmp_path, capsys):
    call = ["side-by-side", "--experiment", "gpt2-embedded", "--preset", "smoke", "--jobs", "1", "--max-seconds", "300",
            "--out", str(tmp_path / "out"), "--archive", str(tmp_path / "all.tgz"), "--device", "cpu",
            "--episodes", "2", "--methods"]  # fmt: skip
    methods = ["gradient-9-restart", "all_tied", "conventional"]
    assert main([*call, *methods]) == 1
    assert "num_groups must be between 1 and n_layer=4, got 9" in (tmp_path / "out" / "failures.txt").read_text()
    runs = json.loads((tmp_path / "out" / "summary.json").read_text())["runs"]
    assert [run["status"] for run in runs] == ["failed", "finished", "finished"]
    assert all(run["ms_a_step"] > 0 and run["steps"] == 12 for run in runs[1:])
    assert {record.method for record in load_all(tmp_path / "out" / "records")} == {"all_tied", "conventional"}
    with tarfile.open(tmp_path / "all.tgz") as archive:
        assert sum(name.startswith("records/") for name in archive.getnames()) == 2
    capsys.readouterr()
    assert main([*call, *methods[1:]]) == 0
    assert "there already: 2" in capsys.readouterr().out
