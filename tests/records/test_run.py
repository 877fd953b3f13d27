"""What surrounds a training loop: which model is tested, limits, resuming, and what a run that failed leaves."""

import dataclasses
import math

import pytest
import torch

from dlt_core.agents import RandomAgent
from dlt_core.algorithm1 import train_conventional, train_dynamic
from dlt_core.experiments import build_learner
from dlt_core.learner.training import Learner, TrainingDiverged
from dlt_core.records.record import RunRecord
from dlt_core.records.run import Run, RunKeywords, RunOptions
from dlt_core.tie_map import TieMap
from tests.conftest import AlwaysIndependent, explode_after, untimed


def test_an_unknown_option_is_named_before_anything_is_built(smoke):
    for train in (train_dynamic, train_conventional):
        with pytest.raises(TypeError, match="'max_hours'"):
            train(smoke.replace(corpus="lm1b"), max_hours=1)
    assert list(RunKeywords.__annotations__) == [field.name for field in dataclasses.fields(RunOptions)]
    with pytest.raises(ValueError, match="at least 1, got 0"):
        RunOptions(checkpoint="c", max_decisions=0)
    with pytest.raises(ValueError, match="checkpoint_seconds must be at least 0, got nan"):
        RunOptions(checkpoint="c", checkpoint_seconds=math.nan)


def test_the_test_split_is_read_once_and_after_everything_else(smoke, tiny_data, monkeypatch):
    splits = []
    evaluate = Learner.evaluate
    monkeypatch.setattr(
        Learner, "evaluate", lambda self, split, **how: splits.append(split) or evaluate(self, split, **how)
    )
    train_dynamic(smoke, data=tiny_data)
    assert splits == ["validation"] * smoke.episodes + ["test"]


def test_the_test_may_be_on_more_text_than_validation(smoke, tiny_data):
    short, full = (
        train_conventional(smoke.replace(episodes=1, test_in_full=in_full), data=tiny_data) for in_full in (False, True)
    )
    assert short.test["tokens"] <= smoke.evaluation_tokens
    assert full.test["tokens"] == len(tiny_data.tokens["test"]) - 1
    assert full.curves["validation"] == short.curves["validation"]


def test_the_tested_model_is_the_best_on_validation(smoke, tiny_data, monkeypatch):
    evaluate = Learner.evaluate

    def overfitting(self, split, **how):
        """As if the validation loss rose by a nat for each step after step 18."""
        found = evaluate(self, split, **how)
        if split == "test":
            return found
        return dataclasses.replace(found, nll=found.nll + found.tokens * max(0, self.step - 18))

    monkeypatch.setattr(Learner, "evaluate", overfitting)
    record = train_dynamic(smoke, data=tiny_data)
    assert record.test["selected_step"] == 18
    assert record.tie_map == record.history["tie_map"][8]
    monkeypatch.undo()
    stopped_there = train_dynamic(smoke.replace(episodes=3), data=tiny_data)
    assert stopped_there.test == record.test


def test_evaluate_every_thins_the_validation_but_keeps_the_last(smoke, tiny_data):
    record = train_conventional(smoke.replace(evaluate_every=3), data=tiny_data)
    assert record.curves["validation"]["step"] == [18, 36, 48]


def test_max_seconds_stops_at_a_checkpoint(twenty, tiny_data, tmp_path):
    path = tmp_path / "checkpoint"
    slots = 0
    while (record := train_dynamic(twenty, data=tiny_data, checkpoint=path, max_seconds=0)).status == "stopped":
        slots += 1
    assert slots == 19
    assert untimed(record) == untimed(train_dynamic(twenty, data=tiny_data))
    with pytest.raises(ValueError, match="name a checkpoint file"):
        train_dynamic(twenty, data=tiny_data, max_seconds=1)


def test_a_killed_run_goes_on_from_its_last_checkpoint(twenty, tiny_data, tmp_path):
    def power_cut(record):
        if len(record.history["action"]) == 9:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        train_dynamic(twenty, data=tiny_data, checkpoint=path, checkpoint_seconds=0, on_decision=power_cut)
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoint", "checkpoint.before"}  # nothing half-written
    assert untimed(train_dynamic(twenty, data=tiny_data, checkpoint=path)) == untimed(
        train_dynamic(twenty, data=tiny_data)
    )


def test_a_model_of_another_architecture_than_the_experiments_is_refused(smoke, tiny_data):
    data_of_bert = smoke.replace(architecture="bert")
    learner = build_learner(data_of_bert, tiny_data)
    with pytest.raises(
        ValueError, match="the model is a bert of width 32, and the experiment's a gpt2 of width 32: the"
    ):
        Run(smoke, "conventional", learner, RunOptions())
    with pytest.raises(ValueError, match="a bert of width 32, and the experiment's a bert of width 64"):
        Run(data_of_bert.replace(n_embd=64), "conventional", learner, RunOptions())
    assert Run(data_of_bert, "conventional", learner, RunOptions()).record.experiment["architecture"] == "bert"


def test_an_agent_that_cannot_be_saved_runs_to_its_end_without_checkpoints(twenty, tiny_data, tmp_path):
    path, seen = tmp_path / "checkpoint", []

    def look(record):
        seen.extend(p.name for p in tmp_path.iterdir() if p.suffix != ".lock")

    with pytest.warns(UserWarning, match="AlwaysIndependent has no state_dict and no load_state_dict: no check"):
        record = train_dynamic(
            twenty, agent=AlwaysIndependent(), data=tiny_data, checkpoint=path, checkpoint_seconds=0, on_decision=look
        )
    assert (record.status, record.method, seen) == ("finished", "AlwaysIndependent", [])
    assert untimed(record) == untimed(train_dynamic(twenty, agent=AlwaysIndependent(), data=tiny_data))
    with pytest.raises(ValueError, match="stop at a checkpoint, and AlwaysIndependent has no state_dict"):
        train_dynamic(twenty, agent=AlwaysIndependent(), data=tiny_data, checkpoint=path, max_decisions=1)


def test_a_checkpoint_of_an_agent_that_can_no_longer_be_saved_is_not_taken_up(twenty, tiny_data, tmp_path, monkeypatch):
    how = {"data": tiny_data, "checkpoint": tmp_path / "checkpoint"}
    nothing = {"tensors": {}, "values": {}}
    monkeypatch.setattr(AlwaysIndependent, "state_dict", lambda self: nothing, raising=False)
    monkeypatch.setattr(AlwaysIndependent, "load_state_dict", lambda self, state: None, raising=False)
    assert train_dynamic(twenty, agent=AlwaysIndependent(), max_decisions=3, **how).status == "stopped"
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="a run that is interrupted begins anew"):
        record = train_dynamic(twenty, agent=AlwaysIndependent(), **how)
    assert untimed(record) == untimed(train_dynamic(twenty, agent=AlwaysIndependent(), data=tiny_data))


def test_another_runs_checkpoint_and_a_broken_one_are_refused(twenty, tiny_data, tmp_path):
    path = tmp_path / "checkpoint"
    train_dynamic(twenty, data=tiny_data, checkpoint=path, max_decisions=1)
    with pytest.raises(ValueError, match="belongs to another run: its experiment"):
        train_dynamic(twenty.replace(gamma=0.5), data=tiny_data, checkpoint=path)
    with pytest.raises(ValueError, match="belongs to another run: its method"):
        train_conventional(twenty, data=tiny_data, checkpoint=path)
    with pytest.raises(ValueError, match="belongs to another run: its agent"):
        train_dynamic(twenty, agent=RandomAgent(6, seed=0), method="dynamic", data=tiny_data, checkpoint=path)
    static = tmp_path / "static"
    two_maps = TieMap([0, 0, 2, 2, 2, 2]), TieMap([0, 1, 0, 1, 0, 1])
    train_conventional(twenty, tie_map=two_maps[0], method="m", data=tiny_data, checkpoint=static, max_decisions=1)
    with pytest.raises(ValueError, match="belongs to another run: its agent"):
        train_conventional(twenty, tie_map=two_maps[1], method="m", data=tiny_data, checkpoint=static)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        train_dynamic(twenty, data=tiny_data, checkpoint=path)


def test_a_finished_run_with_a_checkpoint_is_not_run_again(smoke, tiny_data, tmp_path, monkeypatch):
    places = {"record_path": tmp_path / "records", "checkpoint": tmp_path / "checkpoint"}
    first = train_dynamic(smoke, data=tiny_data, **places)
    monkeypatch.setattr(Learner, "train", None)  # would fail if it trained
    assert train_dynamic(smoke, data=tiny_data, **places).to_json() == first.to_json()
    monkeypatch.undo()
    other = train_dynamic(smoke.replace(gamma=0.5), data=tiny_data, **places)
    assert other.history["q_values"] != first.history["q_values"]
    assert len(list((tmp_path / "records").iterdir())) == 2, "a changed preset must not overwrite the preset's record"
    again = train_dynamic(smoke, data=tiny_data, record_path=tmp_path / "records")  # without a checkpoint it runs
    assert again.seconds != first.seconds


def test_divergence_writes_the_record_and_then_raises(smoke, tiny_data, tmp_path, monkeypatch):
    explode_after(monkeypatch, 3)
    with pytest.raises(TrainingDiverged, match="step 7 with TieMap") as caught:
        train_dynamic(smoke, data=tiny_data, record_path=tmp_path)
    (path,) = tmp_path.iterdir()
    saved = RunRecord.load(path)
    assert saved.status == "diverged"
    assert saved.error == str(caught.value)
    assert len(saved.history["action"]) == 3
    assert saved.test is None
    assert dataclasses.asdict(caught.value.record) == dataclasses.asdict(saved)


def test_going_on_with_other_threads_is_said_and_recorded(smoke, tiny_data, tmp_path):
    path = tmp_path / "c"
    train_conventional(smoke, data=tiny_data, checkpoint=path, max_decisions=2)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.warns(UserWarning, match=f"written with {before} threads, this process has {before + 1}"):
            record = train_conventional(smoke, data=tiny_data, checkpoint=path)
    finally:
        torch.set_num_threads(before)
    assert record.hardware["threads"] == before
    assert record.hardware["threads_later"] == before + 1


def test_the_record_says_whether_steps_were_replayed_if_that_was_asked_for(smoke, tiny_data):
    assert "cuda_graph" not in train_conventional(smoke, data=tiny_data).hardware
    asked = train_conventional(smoke.replace(cuda_graph=True), data=tiny_data)
    assert asked.hardware["cuda_graph"] == "off: the device is cpu"
