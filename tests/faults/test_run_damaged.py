"""Nothing damaged is used: each corruption of a checkpoint or a record is found, named, and what to do is said."""

import json
import random
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from dlt_core.algorithm1 import train_conventional, train_dynamic
from dlt_core.records import checkpoints
from dlt_core.records.record import RunRecord, load_all, load_records
from tests.conftest import untimed
from tests.records.test_record import finished, json_values

TENSORS = {"weights.a": torch.arange(24.0).reshape(4, 6), "weights.b": torch.tensor([0.5, -2.0], dtype=torch.bfloat16)}
PARTS = {"learner": {"tensors": TENSORS, "values": {"step": 3}}, "agent": {"tensors": {}, "values": {"epsilon": 0.5}}}
VALUES = {"done": 3, "record": "a text"}


def corruptions(data: bytes, number: int):
    """So many ways to damage a file: a bit turned, cut off, a piece zeroed, doubled, or swapped with another."""
    dice, seen = random.Random(0), {data}
    while len(seen) <= number:
        a, b = sorted(dice.sample(range(len(data)), 2))
        n = min(b - a, len(data) - b, dice.randint(1, 64))
        turned = data[:a] + bytes([data[a] ^ 1 << dice.randrange(8)]) + data[a + 1 :]
        kinds = [turned, data[:a], data[:a] + bytes(n) + data[a + n :], data[:b] + data[a:],
                 data[:a] + data[b : b + n] + data[a + n : b] + data[a : a + n] + data[b + n :]]  # fmt: skip
        broken = dice.choice(kinds)
        if broken not in seen:
            seen.add(broken)
            yield broken


def test_of_200_corruptions_of_a_checkpoint_each_is_found(tmp_path):
    path = tmp_path / "run.safetensors"
    checkpoints.save(path, PARTS, VALUES)
    whole = path.read_bytes()
    for broken in corruptions(whole, 200):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"run\.safetensors") as refused:
            checkpoints.load(path)
        assert "\n" not in str(refused.value)
    path.write_bytes(whole)
    assert checkpoints.load(path)[1] == VALUES


def test_of_200_corruptions_of_a_record_each_is_found(tmp_path):
    path = finished().save(tmp_path)
    whole = path.read_bytes()
    for broken in corruptions(whole, 200):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=path.name) as refused:
            RunRecord.load(path)
        assert "\n" not in str(refused.value)
    path.write_bytes(whole)
    assert RunRecord.load(path) == finished()


def test_a_record_says_that_it_was_changed_but_not_for_the_newlines_of_windows(tmp_path):
    path = finished().save(tmp_path)
    text = path.read_bytes()
    path.write_bytes(text.replace(b"12.345", b"12.344"))
    for load in (RunRecord.load, lambda path: load_all(path.parent), lambda path: load_records(path.parent)):
        with pytest.raises(ValueError, match=f"{path.name} was changed after it was written.* remove the field digest"):
            load(path)
    fields = json.loads(path.read_text())
    del fields["digest"]
    path.write_text(json.dumps(fields))
    assert RunRecord.load(path).test["perplexity"] == 12.344, "as records of earlier versions, which had no digest"
    path.write_bytes(text.replace(b"\n", b"\r\n"))
    assert RunRecord.load(path) == finished()


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_taken_up(smoke, tiny_data, tmp_path):
    six, path = smoke.replace(episodes=2), tmp_path / "checkpoint"

    def run(**options):
        return train_dynamic(six, data=tiny_data, checkpoint=path, checkpoint_seconds=0, **options)

    whole = untimed(train_dynamic(six, data=tiny_data))
    run(max_decisions=3)
    assert checkpoints.load(path)[1]["done"] == 3
    assert checkpoints.load(checkpoints.one_before(path))[1]["done"] == 2
    damaged = path.read_bytes()[:-1] + b"\x55"
    path.write_bytes(damaged)
    decided = []
    with pytest.warns(UserWarning, match=r"checkpoint is damaged.*now called checkpoint\.damaged.*the one before"):
        run(max_decisions=1, on_decision=lambda record: decided.append(len(record.history["action"])))
    assert decided == [3]
    assert (tmp_path / "checkpoint.damaged").read_bytes() == damaged
    path.unlink()  # as if the power failed between the two renamings
    assert untimed(run()) == whole
    assert [one.name for one in tmp_path.iterdir()] == ["checkpoint.damaged"]


def test_where_no_checkpoint_is_sound_it_is_said_what_to_delete(smoke, tiny_data, tmp_path):
    path = tmp_path / "checkpoint"
    for before in ("no one before", "one before that is damaged, too"):
        path.write_bytes(b"damaged")
        with pytest.raises(ValueError, match="checkpoint cannot be read as a checkpoint") as refused:
            train_conventional(smoke, data=tiny_data, checkpoint=path)
        both = before != "no one before"
        assert ("There is none before it: delete it", "Delete both")[both] in str(refused.value)
        assert {one.name for one in tmp_path.iterdir()} == {"checkpoint", *["checkpoint.before"] * both}
        checkpoints.one_before(path).write_bytes(b"damaged")


def test_a_checkpoint_of_an_earlier_version_is_refused_for_want_of_a_checksum(tmp_path):
    save_file(TENSORS, tmp_path / "old", metadata={"format": "dlt-checkpoint-1", "state": "{}"})
    with pytest.raises(ValueError, match="old was written by an earlier version, without the checksum"):
        checkpoints.load(tmp_path / "old")


# --- any file is a valid object, or one of our errors that names it ---


@st.composite
def checkpoint_files(draw) -> bytes:
    """A header that anything may stand in, with a right checksum now and then."""
    state = json.dumps(draw(json_values | st.fixed_dictionaries({"values": json_values, "parts": json_values})))
    checksum = checkpoints._checksum({}, state) if draw(st.booleans()) else "0" * 64
    about = {"format": draw(st.sampled_from(["dlt-checkpoint-1", checkpoints.FORMAT])), "state": state}
    header = {"__metadata__": draw(st.just(about | {"checksum": checksum}) | json_values)}
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    data = b""
    if draw(st.booleans()):
        header["part/name"] = tensor | draw(st.dictionaries(st.sampled_from([*tensor, "x"]), json_values, max_size=2))
        data = bytes(draw(st.integers(0, 8)))
    text = json.dumps(draw(st.just(header) | json_values)).encode()
    length = draw(st.just(len(text)) | st.integers(0, 2**64 - 1))
    return struct.pack("<Q", length) + text + data


def a_checkpoint_or_named(data: bytes, folder) -> None:
    path = folder / "a-file"
    path.write_bytes(data)
    try:
        parts, values = checkpoints.load(path)
    except ValueError as error:
        assert "a-file" in str(error)  # noqa: PT017 - a refusal is allowed, not demanded
    else:
        checkpoints.save(path, parts, values)
        assert checkpoints.load(path)[1] == values


@st.composite
def record_files(draw) -> bytes:
    """The file of a record in which a piece is another's, or anything."""
    whole = draw(st.sampled_from([finished().to_json().encode(), SAVED]))
    a, b = sorted(draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    return whole[:a] + draw(st.binary(max_size=8) | json_values.map(json.dumps).map(str.encode)) + whole[b:]


def a_record_or_named(data: bytes, folder) -> None:
    path = folder / "a-file.json"
    path.write_bytes(data)
    try:
        record = RunRecord.load(path)
    except ValueError as error:
        assert "a-file.json" in str(error)  # noqa: PT017
    else:
        assert RunRecord.load(record.save(path)) == record


SAVED = b'{\n  "a": 1,\n  "digest": "' + b"0" * 64 + b'"\n}\n'


@settings(max_examples=200)
@given(checkpoint_files() | st.binary(max_size=64))
def test_any_file_is_a_checkpoint_or_a_refusal_that_names_it(tmp_path, data):
    a_checkpoint_or_named(data, tmp_path)


@settings(max_examples=200)
@given(record_files())
def test_any_file_is_a_record_or_a_refusal_that_names_it(tmp_path, data):
    a_record_or_named(data, tmp_path)


@pytest.mark.soak
@settings(max_examples=10_000)
@given(checkpoint_files() | st.binary(max_size=64), record_files())
def test_ten_thousand_files(tmp_path, one, other):
    a_checkpoint_or_named(one, tmp_path)
    a_record_or_named(other, tmp_path)


def test_a_checkpoint_that_fits_no_run_is_named(smoke, tiny_data, tmp_path):
    """With a right checksum: somebody else's."""
    path = tmp_path / "checkpoint"
    train_dynamic(smoke, data=tiny_data, checkpoint=path, max_decisions=1)
    parts, values = checkpoints.load(path)
    learner, agent = parts["learner"], parts["agent"]
    other_ties = {**learner, "values": {**learner["values"], "tie_map": [0, 1, 2, 3]}}
    checkpoints.remove(path)
    for some, changed in (
        ({}, {}),
        (parts, {"done": None}),
        (parts, {"done": 2}),
        (parts, {"record": 3}),
        (parts, {"record": "{}"}),
        (parts, {"env": {"layer": 1}}),
        (parts | {"learner": {"tensors": {}, "values": {}}}, {}),
        (parts | {"learner": other_ties}, {}),
        (parts | {"agent": {**agent, "values": []}}, {}),
    ):
        checkpoints.save(path, some, {**values, **changed})
        with pytest.raises(ValueError, match=str(path)) as refused:
            train_dynamic(smoke, data=tiny_data, checkpoint=path)
        assert str(refused.value).count("\n") == 0
        checkpoints.remove(path)
