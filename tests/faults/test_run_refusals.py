"""What cannot be is said in one line before the work, or at its first decision; what failed is in the record."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dlt_core.__main__ import main
from dlt_core.agents import RandomAgent
from dlt_core.algorithm1 import train_conventional, train_dynamic
from dlt_core.learner.out_of_memory import OutOfMemory
from dlt_core.learner.training import Learner, TrainingDiverged
from dlt_core.records.record import RunRecord
from dlt_core.studies import comparison
from tests.conftest import explode_after, untimed

TRAIN = ["train", "--experiment", "gpt2-embedded", "--preset", "smoke", "--episodes", "2",
         "--evaluation-tokens", "256"]  # fmt: skip
NOWHERE = Path("/sys/dlt-test")  # where not even root may make a folder


def said(capsys, *arguments: object) -> tuple[int, str]:
    """The exit status of the command and the one line that it says."""
    try:
        status = main([*TRAIN, *map(str, arguments)])
    except SystemExit as stopped:
        status = stopped.code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return status, err


@pytest.fixture
def no_work(monkeypatch) -> None:
    """No text is read."""
    monkeypatch.setattr(comparison, "load_data", None)


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="there is no /sys, which nobody can write to")
def test_a_folder_that_cannot_be_written_is_refused_before_any_text_is_read(no_work, capsys):
    status, line = said(capsys, "--out", NOWHERE)
    assert status == 2
    assert f"error: nothing can be written to {NOWHERE / 'records'}: " in line
    assert "Name another folder" in line


def test_a_file_and_a_full_disk_likewise(no_work, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    status, line = said(capsys, "--out", tmp_path / "file")
    assert (status, "Not a directory" in line) == (2, True)
    (tmp_path / "records").write_text("")
    assert "it is a file" in said(capsys, "--out", tmp_path)[1]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, line = said(capsys, "--out", tmp_path / "full")
    assert (status, "No space left on device. Name another folder" in line) == (2, True)


def test_a_run_is_refused_where_its_checkpoints_have_no_room(smoke, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": 1000}))
    with pytest.raises(ValueError, match=r"has room for 0 MB, and at least \d+ MB will be written"):
        train_conventional(smoke, data=tiny_data, checkpoint=tmp_path / "checkpoint")


def test_what_is_finished_can_be_read_where_nothing_can_be_written(smoke, tiny_data, tmp_path, capsys, monkeypatch):
    arguments = [*TRAIN, "--device", "cpu", "--out", str(tmp_path)]
    assert main(arguments) == 0
    first = capsys.readouterr().out

    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    monkeypatch.setattr(os, "open", read_only)
    assert main(arguments) == 0
    assert capsys.readouterr().out == first


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there")
def test_a_device_that_is_not_there(no_work, tmp_path, capsys, smoke):
    status, line = said(capsys, "--device", "cuda:3", "--out", tmp_path)
    assert status == 2
    assert "there is no device 'cuda:3' here: of cuda this machine has 0" in line
    with pytest.raises(ValueError, match="no device 'mps'"):
        train_dynamic(smoke.replace(device="mps"), data=None)


def test_a_seed_that_no_record_could_hold(smoke):
    for seed in (-1, 2**63):
        with pytest.raises(ValueError, match="seed must be"):
            smoke.replace(seed=seed)


class Chooses(RandomAgent):
    """An agent that says its choice, and what else goes into the record, in types of its own."""

    def __init__(self, how, n_layer: int = 4) -> None:
        super().__init__(n_layer, seed=0)
        self.how = how
        self.settings = {"temperature": np.float32(0.5)}

    def act(self, state, layer):
        return self.how(super().act(state, layer))

    def learn(self, *_):
        return np.float32(0.25)


def test_numbers_of_numpy_and_pytorch_are_as_good_as_pythons(smoke, tiny_data, tmp_path):
    one = smoke.replace(episodes=1, evaluation_tokens=256)
    plain = untimed(train_dynamic(one, agent=Chooses(int), data=tiny_data))
    for kind in (np.int64, np.uint8, torch.tensor):
        run = train_dynamic(one, agent=Chooses(kind), data=tiny_data, record_path=tmp_path)
        assert untimed(run) == untimed(RunRecord.load(next(tmp_path.iterdir()))) == plain
        assert [type(action) for action in run.history["action"]] == [int] * 3


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (float, r"Chooses.act gave \d\.0 for layer 1: an action is a whole number"),
        (lambda _: None, "Chooses.act gave None for layer 1"),
        (lambda _: np.array([0, 1]), "for layer 1: an action is a whole number"),
        (lambda _: 2, "Chooses.act gave 2 for layer 1: an action is one of 0, ..., 1"),
        (lambda _: -1, "Chooses.act gave -1 for layer 1"),
    ],
)
def test_what_is_no_action_is_refused_at_the_first_decision(how, message, smoke, tiny_data, monkeypatch):
    monkeypatch.setattr(Learner, "train", None)  # nothing is trained
    with pytest.raises(ValueError, match=message):
        train_dynamic(smoke, agent=Chooses(how), data=tiny_data)


def test_what_no_record_can_hold_is_refused_at_once(smoke, tiny_data):
    agent = Chooses(int)
    agent.learn = lambda *_: object()
    with pytest.raises(ValueError, match=r"the decision td_loss=<object .* of an agent cannot be kept in a record"):
        train_dynamic(smoke, agent=agent, data=tiny_data)
    agent.settings = {"model": object()}
    with pytest.raises(ValueError, match=r"the settings model=<object .* cannot be kept"):
        train_dynamic(smoke, agent=agent, data=tiny_data)
    agent = Chooses(int)
    agent.q_values = lambda *_: "high"
    with pytest.raises(ValueError, match=r"Chooses.q_values gave no numbers, but 'high'"):
        train_dynamic(smoke, agent=agent, data=tiny_data)


@pytest.mark.parametrize("how", ["on a GPU", "on the CPU", "of NumPy"])
def test_out_of_memory_names_what_helps_and_the_record_says_so(how, tiny_data, tmp_path, capsys, monkeypatch):
    def train(self, steps):
        if how == "on a GPU":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nGPU 0 has 79 GiB")
        return torch.empty(2**50) if how == "on the CPU" else np.empty(2**60, "u1")

    monkeypatch.setattr(Learner, "train", train)
    status, line = said(capsys, "--device", "cpu", "--out", tmp_path)
    assert status == 1
    assert line.startswith("out of memory on cpu (")
    for remedy in ("gradient_accumulation_steps than 1", "activation_checkpointing=True", "batch_size than 4"):
        assert remedy in line
    (path,) = tmp_path.rglob("*.json")
    record = RunRecord.load(path)
    assert (record.status, record.error) == ("failed", line.strip())
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]
    if how == "of NumPy":
        monkeypatch.undo()
        assert main([*TRAIN, "--device", "cpu", "--out", str(tmp_path)]) == 0, "it is tried again"
        assert RunRecord.load(path).status == "finished"


def test_out_of_memory_before_the_first_step(smoke, tiny_data, monkeypatch):
    monkeypatch.setattr("dlt_core.blocks.build_model", lambda *_, **__: torch.empty(2**50))
    with pytest.raises(OutOfMemory, match=r"out of memory on cpu .* batch_size than 4"):
        train_conventional(smoke, data=tiny_data)


def test_a_run_that_diverged_says_so_in_one_line_and_is_not_run_again(smoke, tiny_data, tmp_path, capsys, monkeypatch):
    explode_after(monkeypatch, 2)
    arguments = ["--device", "cpu", "--checkpoint-seconds", "0", "--out", tmp_path]
    status, line = said(capsys, *arguments)
    assert (status, line.startswith("the training loss is nan at step 5")) == (1, True)
    (path,) = (one for one in tmp_path.rglob("*") if one.is_file())
    assert RunRecord.load(path).status == "diverged"
    monkeypatch.setattr(Learner, "train", None)  # would fail if it trained
    status, again = said(capsys, *arguments)
    assert (status, again) == (1, f"{line.strip()} (as {path} has it: remove it to try again)\n")
    with pytest.raises(TrainingDiverged) as diverged:
        comparison.compare(
            smoke.replace(episodes=2, evaluation_tokens=256), ["dynamic"], data=tiny_data, out_dir=tmp_path
        )
    assert len(diverged.value.record.history["action"]) == 2


def test_a_record_that_is_damaged_is_not_run_over(smoke, tiny_data, tmp_path):
    places = {"record_path": tmp_path / "records", "checkpoint": tmp_path / "checkpoint"}
    train_conventional(smoke.replace(episodes=1), data=tiny_data, **places)
    (path,) = places["record_path"].iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=f"{path} is not a record.*Move it away, and the run is made again"):
        train_conventional(smoke.replace(episodes=1), data=tiny_data, **places)
