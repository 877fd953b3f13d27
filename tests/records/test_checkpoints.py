"""Checkpoints: whole or not at all, and nothing else is taken for one."""

import pytest
import torch
from safetensors.torch import save_file

from dlt_core.algorithm1 import train_dynamic
from dlt_core.records import checkpoints


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path):
    path = tmp_path / "new" / "run.safetensors"
    tensors = {"a/b": torch.arange(6.0).reshape(2, 3).T, "half": torch.tensor([0.1], dtype=torch.bfloat16)}
    parts = {"learner": {"tensors": tensors, "values": {"step": 3}}, "agent": {"tensors": {}, "values": {}}}
    for values in ({"done": 1}, {"done": 2, "record": "ε"}):  # the second in place of the first
        checkpoints.save(path, parts, values)
        loaded, found = checkpoints.load(path)
        assert found == values
        assert {name: part["values"] for name, part in loaded.items()} == {"learner": {"step": 3}, "agent": {}}
        assert loaded["agent"]["tensors"] == {}
        assert loaded["learner"]["tensors"].keys() == tensors.keys()
        for name, tensor in loaded["learner"]["tensors"].items():
            assert tensor.dtype == tensors[name].dtype
            assert torch.equal(tensor, tensors[name])


def test_another_programs_file_and_a_missing_one_are_no_checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"model\.safetensors is no checkpoint of this project \(format None\)"):
        checkpoints.load(path)
    with pytest.raises(FileNotFoundError):
        checkpoints.load(tmp_path / "nothing")


def test_a_failed_write_leaves_the_old_checkpoint_whole(twenty, tiny_data, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    train_dynamic(twenty, data=tiny_data, checkpoint=path, max_decisions=3)
    before = path.read_bytes()

    def disk_full(tensors, file, metadata):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("dlt_core.records.checkpoints.save_file", disk_full)
    with pytest.raises(OSError, match="No space left"):
        train_dynamic(twenty, data=tiny_data, checkpoint=path, max_decisions=3)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]
