"""A run that is asked to stop, or killed: real processes, real signals; what is kept is whole, and goes on to the bit.

The processes are forked from one that has loaded PyTorch, which takes seconds.
"""

import contextlib
import multiprocessing
import os
import pty
import random
import re
import resource
import select
import signal
import sys
import termios
import time
from pathlib import Path

import pytest

from dlt_core import __main__ as commands
from dlt_core.algorithm1 import train_dynamic
from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord
from tests.conftest import untimed

SMALL = {"device": "cpu", "steps_per_action": 1, "evaluate_every": 4, "evaluation_tokens": 256}
SMOKE = Experiment.preset("gpt2-embedded", "smoke", **SMALL)  # 24 decisions
TRAIN = ["train", "--experiment", "gpt2-embedded", "--preset", "smoke"]
TRAIN += [part for name, value in SMALL.items() for part in (f"--{name.replace('_', '-')}", str(value))]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.test_run_stops", "dlt_core.reproduce.train", "dlt_core.studies.methods"])


def train(
    out: Path, log: Path, environment: dict[str, str], options: list[str], wait_at: int, patience: int, file_size: int
) -> None:
    """The command as a process of its own, which says into `log` what it would say, and how far it is into a file.

    wait_at: the decision at which it waits, until it is asked to stop `patience` times. file_size: the largest.
    """
    import torch

    from dlt_core.records.run import Run

    for number in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))
    os.environ.update(environment)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which is ignored where the tests run under nohup
    torch.set_num_threads(1)
    if file_size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    note = Run.note

    def in_steps(run: Run, *loss: float, **decision: object) -> None:
        note(run, *loss, **decision)
        (out / "decisions").write_text(f"{run.done + 1}")
        while run.done + 1 == wait_at and bool(run._asked.number) < patience:
            time.sleep(0.005)

    Run.note = in_steps
    sys.exit(commands.main([*TRAIN, "--out", str(out), *options]))


class Process:
    """A run in a process of its own."""

    def __init__(
        self, out: Path, *options: str, wait_at: int = 0, patience: int = 1, file_size: int = 0, log: str = "log"
    ) -> None:
        self.out, self.log = out, out / log
        out.mkdir(exist_ok=True)
        if log == "log":
            (out / "decisions").unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)
        here = {name: os.environ[name] for name in ("DLT_CACHE_DIR", "TQDM_DISABLE")}
        self.process = FORKS.Process(
            target=train, args=(out, self.log, here, list(options), wait_at, patience, file_size)
        )
        self.process.start()

    def decided(self, number: int) -> None:
        """Wait until so many decisions are made, in all."""
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.is_alive():
            with contextlib.suppress(FileNotFoundError, ValueError):
                if int((self.out / "decisions").read_text()) >= number:
                    return
            time.sleep(0.005)
        raise AssertionError(f"no {number} decisions: {self.said}")

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> int:
        self.process.join(60)
        assert not self.process.is_alive()
        return self.process.exitcode

    @property
    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture(scope="module")
def whole(tiny_data) -> dict:
    """The run that nobody stops."""
    return untimed(train_dynamic(SMOKE, data=tiny_data))


def files(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} - {
        "log",
        "second",
        "decisions",
    }


def record_of(out: Path) -> RunRecord:
    (path,) = (out / "records").glob("*.json")
    return RunRecord.load(path)


def test_signals_stop_a_run_at_a_checkpoint_and_the_same_command_goes_on(whole, tmp_path):
    """Asked three times to stop, once while another call is told to wait and once while the disk is full."""
    decided = 0
    for number in (signal.SIGINT, signal.SIGTERM):
        decided += 5
        process = Process(tmp_path, wait_at=decided)
        process.decided(decided)
        if number == signal.SIGINT:
            second = Process(tmp_path, log="second")
            assert second.end() == 2
            assert "another process is at work on" in second.said
            assert second.said.count("\n") == 1
            process.send(number)  # twice, as torchrun's processes get it
        process.send(number)
        assert process.end() == 128 + number
        record = record_of(tmp_path)
        assert (record.status, len(record.history["action"])) == ("stopped", decided)
        (checkpoint,) = (tmp_path / "checkpoints").glob("*.safetensors")
        assert process.said.splitlines() == [
            "",
            "stopping after this decision (Ctrl-C once more: at once)",
            f"{record.key} was stopped after {decided} of 24 decisions. They are kept in {checkpoint}: the same call "
            "goes on there",
        ]
    before = {path: path.read_bytes() for path in checkpoint.parent.iterdir()}
    # room for what is tried beforehand and for a record, not for a checkpoint
    process = Process(tmp_path, "--checkpoint-seconds", "0", wait_at=12, file_size=2**17)
    process.decided(12)
    process.send(signal.SIGHUP)
    assert process.end() == 2
    assert "no checkpoint could be written, and the run goes on: " in process.said
    assert f"error: {checkpoint} could not be written: " in process.said.splitlines()[-1]
    assert "Traceback" not in process.said
    assert {path: path.read_bytes() for path in checkpoint.parent.iterdir()} == before
    process = Process(tmp_path, "--checkpoint-seconds", "0")
    assert process.end() == 0, process.said
    assert process.said.count("test perplexity") == 1
    assert untimed(record_of(tmp_path)) == whole
    assert len(files(tmp_path)) == 1, "the record alone is left"


def test_a_second_ctrl_c_ends_it_at_once_and_without_a_traceback(tmp_path):
    process = Process(tmp_path, "--checkpoint-seconds", "0", wait_at=2, patience=2)
    process.decided(2)
    process.send(signal.SIGINT)
    time.sleep(1.2)
    process.send(signal.SIGINT)
    assert process.end() == 130
    assert process.said.splitlines()[-1].startswith("stopped at once; the same command goes on from a checkpoint")
    assert "Traceback" not in process.said
    assert not list((tmp_path / "records").iterdir())
    assert len(files(tmp_path)) == 1, "the checkpoint of the first decision, and no lock"


def kills(number: int, out: Path, seed: int) -> int:
    """Kill a run so often at moments that nobody chose, then let it finish; how many of them hit it."""
    dice, hit = random.Random(seed), 0
    for _ in range(number):
        process = Process(out, "--checkpoint-seconds", "0")
        with contextlib.suppress(AssertionError):  # it may have finished
            process.decided(1)
        time.sleep(dice.random() * 0.2)
        process.send(signal.SIGKILL)
        hit += process.end() == -signal.SIGKILL
    process = Process(out)
    assert process.end() == 0, process.said
    return hit


def test_a_run_killed_anywhere_goes_on_equal_to_the_bit(whole, tmp_path):
    assert kills(3, tmp_path, seed=0) >= 1
    assert untimed(record_of(tmp_path)) == whole
    assert len(files(tmp_path)) == 1, "nothing half-written, and no lock"
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 7))
def test_thirty_kills(whole, tmp_path, seed):
    assert kills(5, tmp_path, seed) >= 1
    assert untimed(record_of(tmp_path)) == whole
    assert len(files(tmp_path)) == 1
    assert not list(tmp_path.rglob("*.part"))


def test_ctrl_c_in_a_terminal(tiny_data, tmp_path):
    """The command itself, as a user types it, with a progress bar."""
    command = [sys.executable, "-m", "dlt_core", *TRAIN, "--episodes", "2000", "--out", str(tmp_path)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, command, {k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"})
    termios.tcsetwinsize(terminal, (24, 100))
    seen, pressed, end = "", False, time.monotonic() + 120
    with contextlib.suppress(OSError):  # the terminal's end
        while select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
            if not pressed and re.search(r"[1-9]\d*/6000", seen):
                pressed = os.write(terminal, b"\x03")
    if time.monotonic() >= end:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130, seen
    assert "Traceback" not in seen
    assert seen.rstrip().endswith("the same call goes on there")
    assert record_of(tmp_path).status == "stopped"
