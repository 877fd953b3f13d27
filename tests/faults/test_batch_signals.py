"""A batch that is interrupted: real processes, real signals, one folder that goes on from call to call."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.reproduce.test_batch import notebook

TOY = Path(__file__).with_name("toy_batch.py")
# A run that leaves a checkpoint when it is interrupted, and with it comes to its end the next time but one.
POLITE = """
import os, time
from pathlib import Path
folder = Path(out_dir)
checkpoint = folder / "checkpoint"
steps = int(checkpoint.read_text()) if checkpoint.exists() else 0
try:
    (folder / "began").write_text(str(os.getpid()))
    time.sleep(0 if steps == 3 else 600)
except KeyboardInterrupt:
    checkpoint.write_text(str(steps + 1))
"""
# Deaf to interrupts at first, with a child of its own.
STUBBORN = """
import os, subprocess, time
from pathlib import Path
if not Path(out_dir, "began").exists():
    child = subprocess.Popen(["sh", "-c", "trap '' INT; sleep 600; :"])
    Path(out_dir, "began").write_text(str(os.getpid()))
    while True:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            pass
"""


STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Whatever has failed: the workers end with their parent."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


class Batch:
    """A batch in a process group of its own, as a terminal has one for it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.out, self.log = folder / "out", folder / "log"
        self.log.write_text("")
        command = [sys.executable, str(TOY), "reproduce", "--preset", "smoke", "--out", str(self.out), *arguments]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        STARTED.append(self.process)

    def wait_for(self, *names: str) -> set[psutil.Process]:
        """Wait until these notebooks are in the middle of their work; all processes of the batch then."""
        paths = [self.out / "smoke-seed0" / name / "began" for name in names]
        until(lambda: all(path.exists() for path in paths) or self.process.poll() is not None, 120)
        assert self.process.poll() is None, self.log.read_text()
        ours = psutil.Process(self.process.pid)
        return {ours, *ours.children(recursive=True)}

    def ends(self, seconds: float) -> tuple[int, str]:
        return self.process.wait(seconds), self.log.read_text()

    def statuses(self) -> dict[str, str]:
        summary = json.loads((self.out / "summary.json").read_text())
        return {result["name"]: result["status"] for result in summary["notebooks"]}


def until(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "too late"
        time.sleep(0.05)


def all_end(processes: set[psutil.Process], seconds: float) -> None:
    _, alive = psutil.wait_procs(processes, seconds)
    alive = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    for process in alive:
        process.kill()
    assert not alive


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals are POSIX's")
def test_a_batch_is_stopped_in_each_way_goes_on_each_time_and_leaves_no_process(notebooks, tmp_path):
    notebook(notebooks / "00_quick.ipynb", "x = 1")
    notebook(notebooks / "01_polite.ipynb", POLITE, "open('behind', 'w').close()")
    notebook(notebooks / "02_stubborn.ipynb", STUBBORN)
    notebook(notebooks / "03_queued.ipynb", "open('ran', 'w').close()")
    seed = tmp_path / "out" / "smoke-seed0"

    # Ctrl-C: the terminal sends SIGINT to all of them but the kernels.
    batch = Batch(tmp_path, "--jobs", "2")
    processes = batch.wait_for("01_polite", "02_stubborn")
    assert len(processes) >= 7  # itself, two workers, their kernels, one's child, and multiprocessing's
    os.killpg(batch.process.pid, signal.SIGINT)
    status, log = batch.ends(60)
    assert status == 130
    assert log.splitlines()[-1] == "stopped; what is finished is kept; call again to go on"
    assert "Traceback" not in log
    assert "now: 00_quick (smoke, seed 0) since " in log
    assert "; 2 to come" in log
    all_end(processes, 5)
    assert batch.statuses() == {
        "00_quick": "done", "01_polite": "stopped", "02_stubborn": "stopped", "03_queued": "not begun"
    }  # fmt: skip
    assert (seed / "01_polite" / "checkpoint").read_text() == "1"
    assert not (seed / "01_polite" / "behind").exists()
    assert not (seed / "03_queued").exists() or not (seed / "03_queued" / "ran").exists()

    # `kill PID` of the batch alone.
    (seed / "01_polite" / "began").unlink()
    batch = Batch(tmp_path, "--notebooks", "00", "01")
    processes = batch.wait_for("01_polite")
    batch.process.send_signal(signal.SIGTERM)
    status, log = batch.ends(60)
    assert (status, "Traceback" in log) == (143, False)
    assert "00_quick (smoke, seed 0): done before, skipped" in log
    all_end(processes, 5)
    assert batch.statuses() == {"00_quick": "done", "01_polite": "stopped"}
    assert (seed / "01_polite" / "checkpoint").read_text() == "2"

    # It dies without a word. Its worker stops the notebook as it would have.
    (seed / "01_polite" / "began").unlink()
    batch = Batch(tmp_path, "--notebooks", "01")
    processes = batch.wait_for("01_polite")
    batch.process.kill()
    batch.process.wait()
    # The next one, at once, waits for that worker, and comes to the end.
    batch = Batch(tmp_path)
    all_end(processes, 30)
    assert (seed / "01_polite" / "checkpoint").read_text() == "3"
    status, log = batch.ends(180)
    assert status == 0, log
    assert set(batch.statuses().values()) == {"done"}
    assert (seed / "01_polite" / "behind").exists()
    assert (seed / "03_queued" / "ran").exists()


KILL_WORKER = "import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(600)"
KILL_WORKER_ONCE = f"""
import os
from pathlib import Path
with open("kernels", "a") as file:
    file.write(f"{{os.getpid()}} ")
if len(Path("kernels").read_text().split()) == 1:
    {KILL_WORKER.replace(chr(10), chr(10) + "    ")}
"""


def test_a_dead_worker_costs_its_own_notebook_a_retry_and_the_others_nothing(notebooks, tmp_path, capsys):
    from tests.reproduce.test_batch import run

    notebook(notebooks / "00_kills.ipynb", KILL_WORKER)
    notebook(notebooks / "01_killed_once.ipynb", KILL_WORKER_ONCE)
    notebook(notebooks / "02_waits.ipynb", "x = 1")
    status, summary = run(tmp_path)
    assert status == 1
    assert [r["status"] for r in summary["notebooks"]] == ["failed", "done", "done"]
    error = summary["notebooks"][0]["error"]
    assert error == "the worker process died twice, of SIGKILL, for want of memory perhaps"
    first, second = map(int, (tmp_path / "out/smoke-seed0/01_killed_once/kernels").read_text().split())
    assert first != second
    assert not psutil.pid_exists(first)
