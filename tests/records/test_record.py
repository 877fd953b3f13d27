"""Records: the same bytes again, a table of them, and a plain refusal for every file that is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlt_core import CHECKOUT
from dlt_core.records.record import RunRecord, _sealed, load_all, load_records

COMMITTED = CHECKOUT / "figures" / "records"
EXPERIMENT = {"name": "e", "preset": "smoke", "n_layer": 3, "overrides": {"gamma": 0.5, "episodes": 2}}


def finished(seed: int = 0) -> RunRecord:
    return RunRecord(
        EXPERIMENT,
        "dynamic",
        seed,
        {"name": "embedded"},
        status="finished",
        tie_map=[0, 0, 2],
        history={"layer": [1, 2], "reward": [-2.0, -1.0], "q_values": [None, [0.5, 1.0, None]]},
        test={"perplexity": 12.345, "unit": "per token", "bits_per_byte": 2.5},
        parameters={"unique": 300, "conventional": 400},
    )


def test_how_often_the_text_was_read_is_the_tokens_over_those_of_its_training_split():
    record = finished()
    record.budget["tokens"], record.corpus["tokens"] = 300, {"train": 120, "test": 7}
    assert record.passes == 2.5
    with pytest.raises(ValueError, match="lacks what a finished run has"):
        finished().passes  # noqa: B018


def test_every_committed_record_is_saved_back_to_the_same_bytes():
    paths = sorted(COMMITTED.glob("*.json"))
    assert len(paths) > 700
    for path, record in zip(paths, load_all(COMMITTED), strict=True):
        text = path.read_text(encoding="utf-8")
        expected = _sealed(record.to_json()) if '\n  "digest": ' in text else record.to_json() + "\n"
        assert text == expected, path


def test_records_round_trip_and_refuse_what_they_do_not_know(tmp_path):
    record = RunRecord({"name": "e", "preset": "smoke"}, "dynamic", 2, {"name": "embedded"})
    record.history = {"reward": [float("-inf"), -1.5]}
    path = record.save(tmp_path)
    assert path.name == "e-smoke-dynamic-seed2.json"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert load_all(tmp_path)[0].history == {"reward": [None, -1.5]}  # JSON has no infinity
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "schema_version": 99}))
    with pytest.raises(ValueError, match="schema version 99"):
        RunRecord.load(path)
    path.write_text(json.dumps({**fields, "colour": "blue"}))
    with pytest.raises(ValueError, match=r"unknown fields \['colour'\]"):
        RunRecord.load(path)


def test_an_older_record_has_the_defaults_for_what_it_lacks(tmp_path):
    needed = {"schema_version": 1, "experiment": EXPERIMENT, "method": "m", "seed": 0, "corpus": {"name": "embedded"}}
    (tmp_path / "old.json").write_text(json.dumps(needed))
    assert RunRecord.load(tmp_path / "old.json") == RunRecord(EXPERIMENT, "m", 0, {"name": "embedded"})


def deep(levels: int) -> dict:
    value: dict = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "0"}, "seed must be a valid integer, got '0'"),
        ({"seed": True}, "seed must be a valid integer, got True"),
        ({"seed": 10**30}, "seed must be less than"),
        ({"corpus": None}, "corpus must be an object, got None"),
        ({"corpus": {}}, "corpus.name is missing"),
        ({"experiment": {"preset": "smoke"}}, "experiment.name is missing"),
        ({"experiment": {**EXPERIMENT, "name": "../../x"}}, "cannot name a file in a folder"),
        ({"method": "../x"}, "cannot name a file in a folder"),
        ({"schema_version": True}, "schema_version must be a valid integer"),
        ({"status": "lost"}, "status must be 'running', 'stopped', 'diverged', 'failed' or 'finished', got 'lost'"),
        ({"test": None}, "test is missing, and the run is finished"),
        ({"tie_map": None}, "tie_map is missing, and the run is finished"),
        ({"test": {"unit": "per token", "bits_per_byte": 1.0}}, "test.perplexity is missing"),
        ({"test": {"perplexity": None, "unit": "", "bits_per_byte": 1.0}}, "test.perplexity must be a valid number"),
        ({"parameters": {"unique": 0, "conventional": 1}}, "parameters.unique must be greater than or equal to 1"),
        ({"tie_map": [0, 2, 2]}, "tie_map layer 1 has source 2"),
        ({"history": []}, "history must be an object"),
        ({"history": {"layer": [1], "reward": [0.0, 0.0]}}, "history has lists of unequal length: .*'reward': 2"),
        ({"history": {"reward": ["low"]}}, "history.reward.0 must be a valid number, got 'low'"),
        ({"history": {"explored": [1]}}, "history.explored.0 must be a valid boolean"),
        ({"history": {"tie_map": [[0, "0"]]}}, "history.tie_map.0.1 must be a valid integer"),
        ({"history": {"what_a_later_version_adds": 3}}, "history must have lists, which what_a_later_version_adds is"),
        ({"curves": {"train": {"step": [1], "loss": []}}}, "curves.train has lists of unequal length"),
        ({"curves": {"train": {"loss": [[]]}}}, "curves.train.loss.0 must be a valid number"),
        ({"seconds": float("nan")}, "seconds must be a finite number"),
        ({"history": {"reward": [float("nan")]}}, "history.reward.0 must be a finite number"),
        ({"agent": {"gamma": float("-inf")}}, "agent has -Infinity, which is no number in JSON"),
        ({"agent": {"class": "\ud800"}}, "Invalid JSON"),
        ({"agent": deep(400)}, "recursion limit"),
    ],
    ids=str,
)
def test_a_field_that_cannot_be_is_named(changes, message, tmp_path):
    path = finished().save(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=message) as refused:
        RunRecord.load(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=message):
        load_records(tmp_path)


@pytest.mark.parametrize("field", ["experiment", "method", "seed", "corpus"])
def test_a_field_that_is_missing_is_named(field, tmp_path):
    path = finished().save(tmp_path)
    fields = json.loads(path.read_text())
    del fields[field]
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=f"{path}: {field} is missing"):
        RunRecord.load(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"3", b"null", b"NaN", b'{"seed": 0, "seed": 1}', b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5_000,
     b"\xff\xfe", b"\xef\xbb\xbf{}"],
    ids=lambda content: str(content[:8]),
)  # fmt: skip
def test_files_that_are_no_record_are_named(content, tmp_path):
    path = tmp_path / "stranger.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is not a record"):
        RunRecord.load(path)


def test_a_folder_is_no_record_and_a_missing_file_is_missing(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path} is not a record"):
        RunRecord.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        RunRecord.load(tmp_path / "nothing.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(json_values | st.dictionaries(st.sampled_from(list(RunRecord.__dataclass_fields__)), json_values, max_size=3))
def test_any_json_is_a_record_or_a_refusal_that_names_the_file(value):
    whole = {"schema_version": 1, **json.loads(finished().to_json())}
    for stranger in (value, {**whole, **value} if isinstance(value, dict) else value):
        try:
            record = RunRecord.from_json(json.dumps(stranger), name="a-file.json")
        except ValueError as error:
            assert "a-file.json" in str(error)  # noqa: PT017 - a refusal is allowed, not demanded
        else:
            assert RunRecord.from_json(record.to_json()) == record
            assert record.key in str(record) or record.status == "finished"


def test_transitions_count_ties_and_unties():
    record = RunRecord({}, "dynamic", 0, {}, history={"tie_map": [[0, 1, 0], [0, 1, 2], [0, 0, 2], [0, 0, 0]]})
    assert record.transitions() == {"ties": 2, "unties": 2}


def test_a_record_prints_its_headline_in_words():
    assert str(finished()).splitlines() == [
        "e, dynamic, seed 0:",
        "  test perplexity       12.3 per token (2.500 bits per byte)",
        "  trainable parameters  300, 75% of 400 conventional",
        "  independent layers    2 of 3",
    ]
    running = RunRecord({"name": "e", "preset": "smoke"}, "dynamic", 2, {"name": "embedded"})
    assert str(running) == "e-smoke-dynamic-seed2: running"
    with pytest.raises(ValueError, match="e-smoke-dynamic-seed2 is running and lacks"):
        running.headline()


def test_records_as_a_table(tmp_path):
    empty = load_records(tmp_path)
    assert len(empty) == 0
    finished(seed=1).save(tmp_path)
    RunRecord({"name": "e", "preset": "smoke"}, "random", 2, {"name": "embedded"}).save(tmp_path)
    table = load_records(tmp_path)
    assert list(table.dtypes.items()) == list(empty.dtypes.items()), "the same columns with and without records"
    table = table.set_index("method")
    expected = {"experiment": "e", "preset": "smoke", "changes": "episodes=2, gamma=0.5", "seed": 1,
                "corpus": "embedded", "status": "finished", "perplexity": 12.345, "unit": "per token",
                "bits_per_byte": 2.5, "parameters": 300, "conventional_parameters": 400, "independent_layers": 2,
                "layers": 3, "steps": 0, "seconds": 0.0}  # fmt: skip
    assert table.loc["dynamic"].drop("record").to_dict() == expected
    assert table.loc["dynamic", "record"] == finished(seed=1)
    assert table.loc["random", ["perplexity", "parameters", "independent_layers"]].isna().all()
    assert [name for name in empty.columns if name not in load_records.__doc__] == [], "each column is documented"
    with pytest.raises(NotADirectoryError, match="nowhere"):
        load_records(tmp_path / "nowhere")


def test_the_committed_records_as_a_table():
    table = load_records(COMMITTED)
    assert table["seed"].dtype == "int64"
    assert (table["status"] == "finished").all()
    assert (table["parameters"] <= table["conventional_parameters"]).all()
    assert (table["independent_layers"] <= table["layers"]).all()


def test_records_are_read_without_pytorch():
    code = "import sys, dlt_core.records.record, dlt_core.records.statistics; print('torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("losses", "patience", "ends"),
    [
        ([3.0, 2.0, 2.5, 2.1, 2.2], 2, (40, False)),  # after the second that is no better
        ([3.0, 2.0, 2.5, 1.0, 2.2], 2, None),  # the first of the two was one, then it was better
        ([3.0, 2.0, 2.5, 2.1, 1.9], 2, (40, True)),  # a later one was better: it would have stopped too early
        ([3.0, 2.0, 2.5, 2.1, 2.2], 3, None),  # not before the last evaluation, after which it ends anyway
        ([3.0, 2.0, 1.0], 1, None),
        ([3.0, 3.0, 3.0], 1, (20, False)),  # as good is no better
        ([3.0], 1, None),
        ([], 1, None),
    ],
)
def test_where_patience_would_have_ended_a_run(losses, patience, ends):
    run = finished()
    run.curves["validation"] = {"step": [10 * (i + 1) for i in range(len(losses))], "loss": losses}
    assert run.stopped_by(patience) == ends
