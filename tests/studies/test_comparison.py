"""Methods side by side: the same start, batches and budget for each, honest replays, what few seeds allow to say."""

import dataclasses
import hashlib
import pickle
import warnings

import numpy as np
import pytest

from dlt_core import CHECKOUT
from dlt_core.agents import RandomAgent
from dlt_core.algorithm1 import train_dynamic
from dlt_core.experiments import Experiment
from dlt_core.learner import training
from dlt_core.learner.training import Learner
from dlt_core.records.record import RunRecord, load_all
from dlt_core.records.statistics import (
    paired_differences,
)
from dlt_core.studies import comparison
from dlt_core.studies.comparison import compare
from dlt_core.studies.findings import COMMITTED
from dlt_core.studies.methods import (
    METHODS,
    RANDOM_MAP,
    permutation,
    permuted,
)
from dlt_core.tie_map import TieMap, random_map
from tests.conftest import untimed

SMALL = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=2, evaluation_tokens=256)  # 6 decisions


@pytest.fixture(scope="module")
def seen() -> dict[str, list]:
    """What each learner was given, in the order of the runs: its weights at step 0, and its batches."""
    return {"weights": [], "batches": []}


@pytest.fixture(scope="module")
def runs(tiny_data, seen) -> dict[str, RunRecord]:
    """One run of each method, watched."""
    restart, mean_loss = Learner.restart, training.mean_loss

    def watched_restart(self, seed):
        restart(self, seed)
        weights = hashlib.sha256()
        for name, p in self.model.named_parameters():
            weights.update(name.encode() + p.detach().numpy().tobytes())
        seen["weights"].append(weights.hexdigest())
        seen["batches"].append([])

    def watched_loss(model, batch, *limits):
        if model.training:
            seen["batches"][-1].append(batch.numpy().tobytes())
        return mean_loss(model, batch, *limits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "restart", watched_restart)
        patch.setattr(training, "mean_loss", watched_loss)
        return dict(zip(METHODS, compare(SMALL, METHODS, data=tiny_data), strict=True))


# --- compare ---


def test_methods_run_by_name_in_the_order_asked_for(runs, tiny_data):
    assert [record.method for record in runs.values()] == list(METHODS)
    assert all(record.status == "finished" for record in runs.values())
    agents = {name: record.agent["class"] for name, record in runs.items()}
    decided = {"dynamic": "QAgent", "random": "RandomAgent", "policy_cycle": "CycleAgent", "thompson": "ThompsonAgent"}
    decided |= dict.fromkeys(("dqn", "dqn_plus"), "DQNAgent")
    decided |= dict.fromkeys(("policy_pairs", "policy_mirror"), "FixedAgent")
    assert agents == {**dict.fromkeys(METHODS, "static"), "replay": "schedule", "permuted": "schedule", **decided}
    by_hand = train_dynamic(SMALL, agent=RandomAgent(4, seed=SMALL.seed), data=tiny_data)
    assert runs["random"].history == by_hand.history
    reverse = compare(SMALL, ["conventional", "all_tied"], data=tiny_data)
    assert [record.method for record in reverse] == ["conventional", "all_tied"]


def test_a_comparison_is_a_list_that_shows_itself():
    committed = CHECKOUT / "figures" / "records"
    compared = compare(Experiment.preset("gpt2-embedded", "laptop"), ["conventional"], recorded=committed)
    assert isinstance(compared, list)
    assert pickle.loads(pickle.dumps(compared)) == compared == [*compared]
    (record,) = compared
    shown = compared._repr_html_()
    assert f"<td>conventional</td><td>{record.seed}</td>" in shown
    assert f"<td>{record.test['bits_per_byte']:.3f}</td><td>{len(set(record.tie_map))}</td>" in shown


def test_every_method_has_the_same_start_batches_and_number_of_steps(runs, seen):
    assert len(seen["weights"]) == len(METHODS)
    shallow = list(METHODS).index("shallow")  # a smaller model: other weights
    assert len({weights for i, weights in enumerate(seen["weights"]) if i != shallow}) == 1
    assert all(batches == seen["batches"][0] for batches in seen["batches"])
    steps = SMALL.episodes * (SMALL.n_layer - 1) * SMALL.steps_per_action
    assert len(set(seen["batches"][0])) == steps + 1  # the last one only measures the memory of a step
    for record in runs.values():
        assert record.budget == {"optimizer_steps": steps, "tokens": steps * SMALL.batch_size * SMALL.block_size}
        assert record.corpus == runs["dynamic"].corpus
        assert record.curves["validation"]["step"] == [6, 12]
        assert record.experiment == runs["dynamic"].experiment


def test_the_maps_of_methods_without_an_agent_of_their_own(runs):
    assert runs["conventional"].tie_map == [0, 1, 2, 3]
    assert runs["all_tied"].tie_map == [0, 0, 0, 0]
    assert runs["sequence"].tie_map == [0, 0, 2, 2]
    assert runs["cycle"].tie_map == [0, 1, 0, 1]
    assert runs["cycle_rev"].tie_map == runs["mirror"].tie_map == [0, 1, 1, 0]
    assert runs["sandwich"].tie_map == [0, 1, 1, 1]
    assert runs["pairs"].tie_map == [0, 0, 2, 2]
    assert runs["shallow"].tie_map == [0, 1]
    assert runs["retrained"].tie_map == runs["retrained"].final_tie_map == runs["dynamic"].final_tie_map
    # policies start all tied, and have reached their map after one turn
    assert runs["policy_pairs"].history["tie_map"][:3] == [[0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 2, 2]]
    assert runs["policy_pairs"].final_tie_map == runs["pairs"].tie_map
    assert runs["policy_mirror"].final_tie_map == runs["mirror"].tie_map
    assert len({record.test["bits_per_byte"] for record in runs.values()}) >= 9  # and the ties make a difference


def test_a_shallow_model_has_the_parameters_of_a_pattern(runs):
    """As many weight sets, at as many layers: the difference of the two is what sharing does."""
    assert runs["shallow"].parameters["unique"] == runs["sequence"].parameters["unique"]
    assert runs["shallow"].parameters["conventional"] == runs["conventional"].parameters["unique"]
    assert runs["shallow"].bytes["closed_form_at_end"] == runs["sequence"].bytes["closed_form_at_end"]


def test_searches_share_the_budget(tiny_data, tmp_path):
    experiment = SMALL.replace(episodes=12, steps_per_action=1)
    names = ["random", "halving", "best_of-2", "evolution"]
    random, halving, best, evolved = compare(experiment, names, data=tiny_data, out_dir=tmp_path)
    assert [r.method for r in (halving, best, evolved)] == names[1:]
    assert (evolved.budget["optimizer_steps"], evolved.budget["steps_of_the_chosen"]) == (36, 15)
    assert len(evolved.agent["maps"]) == 8  # four and four children
    steps = random.budget["optimizer_steps"]
    assert halving.budget["optimizer_steps"] == best.budget["optimizer_steps"] == steps == 36
    assert halving.budget["tokens"] == random.budget["tokens"]
    assert (halving.budget["steps_of_the_chosen"], best.budget["steps_of_the_chosen"]) == (21, 18)
    assert halving.experiment == random.experiment
    assert {r.method for r in load_all(tmp_path / "records")} == set(names)
    assert compare(experiment, ["halving"], data=tiny_data)[0].test == halving.test, "without a folder, too"
    with pytest.raises(ValueError, match="too many to draw"):
        compare(experiment.replace(episodes=80), ["random", "best_of-16"], data=tiny_data)
    with pytest.raises(ValueError, match="a multiple of 32 is needed"):
        compare(experiment, ["halving-8"], data=tiny_data)


def test_methods_of_equal_behaviour_differ_by_exactly_nothing(tiny_data):
    """Pairing is real: weights, batches and reward batches are the seed's, not the method's."""
    conventional, four = compare(SMALL, ["conventional", "sequence-4"], data=tiny_data)
    assert paired_differences([four], [conventional]) == {SMALL.seed: 0.0}
    assert four.curves == conventional.curves


def test_any_given_map_is_trained_without_ever_moving(runs, tiny_data):
    given, other = compare(SMALL, ["map-0-0-2-2", "map-0-1-1-3"], data=tiny_data)
    assert given.method == "map-0-0-2-2"
    assert other.tie_map == other.final_tie_map == [0, 1, 1, 3]
    assert given.agent["class"] == other.agent["class"] == "static"
    assert given.curves == runs["sequence"].curves != other.curves
    assert given.budget == other.budget == runs["dynamic"].budget
    assert (given.test, given.parameters) == (runs["sequence"].test, runs["sequence"].parameters)


def test_a_random_map_has_the_weight_sets_of_the_dynamic_runs_last(runs, tiny_data, tmp_path):
    found = runs["random_map"]
    assert found.tie_map == found.final_tie_map
    assert found.agent["class"] == "static"
    assert TieMap(found.tie_map).num_independent == TieMap(runs["dynamic"].final_tie_map).num_independent
    drawn = []
    for final in ([0, 0, 0, 0], [0, 1, 1, 3], [0, 0, 2, 3], [0, 1, 2, 3]):
        dataclasses.replace(runs["dynamic"], final_tie_map=final).save(tmp_path)
        (record,) = compare(SMALL, ["random_map"], data=tiny_data, recorded=tmp_path)
        groups = TieMap(final).num_independent
        expected = random_map(4, groups, np.random.default_rng((SMALL.seed, RANDOM_MAP)).random)
        assert record.tie_map == record.final_tie_map == list(expected)
        drawn.append(TieMap(record.tie_map))
    assert [m.num_independent for m in drawn] == [1, 3, 3, 4]
    assert drawn[1] == drawn[2], "the seed's, whatever the dynamic run's map is"


# --- equal behaviour, equal numbers ---


@pytest.mark.parametrize(
    "changes", [{"orphans": "promote"}, {"gradient": "source"}, {"dropout": 0.1, "n_layer": 6, "seed": 2}], ids=str
)
def test_a_replay_is_the_dynamic_run_bit_for_bit(changes, tiny_data):
    dynamic, replay = compare(SMALL.replace(**changes), ["dynamic", "replay"], data=tiny_data)
    assert dynamic.transitions()["ties"] + dynamic.transitions()["unties"] > 0
    assert replay.history["tie_map"] == dynamic.history["tie_map"]
    assert replay.curves == dynamic.curves
    assert replay.test == dynamic.test
    assert replay.parameters == dynamic.parameters
    assert paired_differences([replay], [dynamic]) == {dynamic.seed: 0}


def test_methods_that_behave_alike_differ_by_exactly_nothing(runs, tiny_data):
    # with two layers, pairs and mirror both mean: all tied, from the start
    alike = compare(SMALL.replace(n_layer=2), ["all_tied", "policy_pairs", "policy_mirror", "cycle-1"], data=tiny_data)
    for record in alike:
        assert record.curves == alike[0].curves
        assert paired_differences([record], alike[:1]) == {0: 0}
    names = ["cycle-4", "map-0-1-2-3", "sequence-1", "random-1", "map-0-0-0-0", "map-0-1-1-0", "shallow-4"]
    independent, written_out, once, one_set, tied, mirrored, deep = compare(SMALL, names, data=tiny_data)
    for one, other in (
        (runs["replay"], runs["dynamic"]),
        (runs["pairs"], runs["sequence"]),
        (runs["mirror"], runs["cycle_rev"]),
        (independent, runs["conventional"]),
        (written_out, runs["conventional"]),
        (deep, runs["conventional"]),
        (once, runs["all_tied"]),
        (one_set, runs["all_tied"]),
        (tied, runs["all_tied"]),
        (mirrored, runs["mirror"]),
    ):
        assert one.curves == other.curves
        assert one.test == other.test
        assert paired_differences([one], [other]) == {0: 0}
        assert one.method != other.method


# --- records and interruptions ---


def test_what_has_a_record_is_not_run_again(runs, tiny_data, tmp_path, monkeypatch):
    first = compare(SMALL, ["replay", "conventional"], data=tiny_data, out_dir=tmp_path)
    written = load_all(tmp_path / "records")
    assert {record.method for record in written} == {"dynamic", "replay", "conventional"}  # dynamic is replayed
    assert [untimed(record) for record in first] == [untimed(runs["replay"]), untimed(runs["conventional"])]
    assert list((tmp_path / "checkpoints").glob("*")) == []
    monkeypatch.setattr(Learner, "train", None)  # would fail if it trained
    again = compare(SMALL, ["dynamic", "replay", "conventional"], data=tiny_data, out_dir=tmp_path)
    assert [record.to_json() for record in again[1:]] == [record.to_json() for record in first]
    monkeypatch.undo()
    compare(SMALL.replace(gamma=0.5), ["conventional"], data=tiny_data, out_dir=tmp_path)
    assert len(load_all(tmp_path / "records")) == 4, "a changed preset has a record of its own"


def test_an_interrupted_comparison_goes_on(runs, tiny_data, tmp_path, monkeypatch):
    train, calls = Learner.train, []

    def counted(self, steps):
        if steps == SMALL.steps_per_action:  # and not the one step that measures its memory
            calls.append(self.step)
        if len(calls) == 16:  # in the third run, after 3 of its 6 decisions
            raise KeyboardInterrupt
        return train(self, steps)

    monkeypatch.setattr(Learner, "train", counted)
    methods = ["conventional", "dynamic", "permuted"]
    with pytest.raises(KeyboardInterrupt):
        compare(SMALL, methods, data=tiny_data, out_dir=tmp_path, checkpoint_seconds=0)
    assert {record.method for record in load_all(tmp_path / "records")} == {"conventional", "dynamic"}
    kept = set((tmp_path / "checkpoints").iterdir())
    assert len(kept) == 2  # the last and the one before
    (other,) = compare(SMALL.replace(seed=1), ["permuted"], data=tiny_data, out_dir=tmp_path)  # not in its way
    assert (other.seed, other.status) == (1, "finished")
    assert set((tmp_path / "checkpoints").iterdir()) == kept
    del calls[16:]
    found = compare(SMALL, methods, data=tiny_data, out_dir=tmp_path)
    assert calls[16:] == [6, 8, 10], "only the rest of the third run"
    assert [untimed(record) for record in found] == [untimed(runs[method]) for method in methods]


# --- recorded runs ---


NAMES = ["conventional", "all_tied", "dynamic"]


@pytest.fixture
def recorded(runs, tmp_path):
    """A folder with the records of NAMES, marked, as if other code had made them."""
    folder = tmp_path / "recorded"
    for name in NAMES:
        dataclasses.replace(runs[name], versions={"dlt_core": "older"}).save(folder)
    return folder


def no_training(monkeypatch) -> None:
    def refuse(*_, **__):
        raise AssertionError("nothing is needed that is not recorded")

    monkeypatch.setattr(Learner, "train", refuse)
    monkeypatch.setattr(comparison, "load_data", refuse)


def was_recorded(record: RunRecord) -> bool:
    return record.versions == {"dlt_core": "older"}


def test_recorded_runs_are_taken_as_they_are_without_training_or_data(recorded, tmp_path, monkeypatch):
    no_training(monkeypatch)
    before = {path.name: path.read_bytes() for path in recorded.iterdir()}
    found = compare(SMALL, NAMES[::-1], recorded=str(recorded), out_dir=tmp_path / "out")
    assert [record.method for record in found] == NAMES[::-1]
    assert all(was_recorded(record) for record in found)
    by_method = {record.method: record.to_json() for record in load_all(recorded)}
    assert [record.to_json() for record in found] == [by_method[name] for name in NAMES[::-1]]
    assert {path.name: path.read_bytes() for path in recorded.iterdir()} == before
    assert not (tmp_path / "out").exists()


def test_recorded_variants_of_the_released_code_are_taken_though_some_change_the_settings(monkeypatch):
    no_training(monkeypatch)
    experiment = Experiment.preset("differences-embedded", "laptop", seed=1)
    found = compare(
        experiment, ["released", "described-with-low_epsilon", "described-with-frozen_start"], recorded=COMMITTED
    )
    changed = [sorted(record.experiment["overrides"]) for record in found]
    every = ["episodes", "epsilon_min", "evaluate_every", "gradient", "reward", "steps_per_action"]
    assert changed == [every, ["epsilon_min"], []]


def test_only_what_is_not_recorded_is_run(runs, recorded, tiny_data, tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(comparison, "load_data", lambda experiment: loaded.append(experiment) or tiny_data)
    names = ["all_tied", "sequence", "pairs", "conventional"]
    found = compare(SMALL, names, recorded=recorded, out_dir=tmp_path / "out")
    assert [was_recorded(record) for record in found] == [True, False, False, True]
    assert [record.method for record in found] == names
    assert found[1].curves == runs["sequence"].curves
    assert loaded == [SMALL], "once"
    assert {record.method for record in load_all(tmp_path / "out" / "records")} == {"sequence", "pairs"}
    assert {record.method for record in load_all(recorded)} == set(NAMES)


def test_what_follows_the_dynamic_run_follows_the_recorded_one(runs, recorded, tiny_data):
    names = ["replay", "permuted", "retrained"]
    found = compare(SMALL, names, data=tiny_data, recorded=recorded)
    assert [untimed(record) for record in found] == [untimed(runs[name]) for name in names]
    assert paired_differences(found[:1], [runs["dynamic"]]) == {SMALL.seed: 0}


def test_a_mixture_of_texts_is_refused(recorded, tiny_data, monkeypatch):
    for path in recorded.iterdir():
        record = RunRecord.load(path)
        record.corpus["sha256"] = "another"
        record.save(path)
    with pytest.raises(ValueError, match=r"saw another text .* recorded=None"):
        compare(SMALL, ["conventional", "sequence"], data=tiny_data, recorded=recorded)
    with pytest.raises(ValueError, match="saw another text"):
        compare(SMALL, ["retrained"], data=tiny_data, recorded=recorded)
    no_training(monkeypatch)
    assert len(compare(SMALL, NAMES, recorded=recorded)) == 3, "all of one text"
    with pytest.raises(ValueError, match="saw another text than the one given"):
        compare(SMALL, NAMES, data=tiny_data, recorded=recorded)


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "stopped"},
        {"status": "running"},
        {"status": "diverged"},
        {"experiment": {"learning_rate": 0.5}},
        {"experiment": {"overrides": {}}},
        {"experiment": {"device": "cuda"}},
        {"experiment": {"a_setting_of_the_future": 1}},
    ],
    ids=str,
)
def test_records_of_other_settings_or_of_unfinished_runs_are_not_taken(changed, runs, recorded, tiny_data):
    (path,) = recorded.glob("*-conventional-*")
    record = RunRecord.load(path)
    fields = {"experiment": record.experiment | changed["experiment"]} if "experiment" in changed else changed
    dataclasses.replace(record, **fields).save(path)
    found, other = compare(SMALL, ["conventional", "all_tied"], data=tiny_data, recorded=recorded)
    assert [was_recorded(found), was_recorded(other)] == [False, True]
    assert untimed(found) == untimed(runs["conventional"])


def test_records_of_another_seed_or_preset_are_not_taken(recorded, tiny_data):
    for experiment in (SMALL.replace(seed=1), SMALL.replace(gamma=0.5), SMALL.replace(name="truth")):
        (found,) = compare(experiment, ["conventional"], data=tiny_data, recorded=recorded)
        assert not was_recorded(found)


def test_an_older_record_is_taken_if_what_it_lacks_is_the_default(recorded, tiny_data, monkeypatch):
    (path,) = recorded.glob("*-conventional-*")
    record = RunRecord.load(path)
    del record.experiment["price"], record.experiment["train_bytes"]
    record.save(path)
    (priced,) = compare(SMALL.replace(price=0.5), ["conventional"], data=tiny_data, recorded=recorded)
    assert not was_recorded(priced)
    no_training(monkeypatch)
    (found,) = compare(SMALL, ["conventional"], recorded=recorded)
    assert was_recorded(found)


@pytest.mark.parametrize(("device", "taken"), [
    ("cpu", True), ("cpu:0", True), ("auto", True), ("cuda", False), ("mps", False)
])  # fmt: skip
def test_a_named_device_takes_the_runs_that_auto_put_on_such_a_one(device, taken, monkeypatch):
    """The project's own ran on a CPU, by `device="auto"`."""
    no_training(monkeypatch)
    asked = Experiment.preset("depth", "laptop", seed=100, device=device)
    if not taken:
        with pytest.raises(AssertionError, match="nothing is needed"):
            compare(asked, ["conventional"], recorded=COMMITTED)
        return
    (found,) = compare(asked, ["conventional"], recorded=COMMITTED)
    assert (found.experiment["device"], found.hardware["device"]) == ("auto", "cpu")


def test_a_mixture_of_devices_is_warned_of(recorded, tiny_data):
    (path,) = recorded.glob("*-conventional-*")
    record = RunRecord.load(path)
    record.hardware["device"] = "a GPU"
    record.save(path)
    with pytest.warns(UserWarning, match="recorded or run now, were on a GPU and cpu: paired by seed"):
        compare(SMALL, ["conventional", "all_tied"], data=tiny_data, recorded=recorded)
    with warnings.catch_warnings(action="error"):
        compare(SMALL, ["conventional"], data=tiny_data, recorded=recorded)
        compare(SMALL, ["all_tied", "dynamic"], data=tiny_data, recorded=recorded)


def test_no_folder_of_records_means_that_all_are_run(tiny_data, tmp_path):
    (found,) = compare(SMALL, ["conventional"], data=tiny_data, recorded=tmp_path / "nowhere")
    assert found.status == "finished"


# --- permuted ---


def test_the_permuted_run_is_the_dynamic_one_in_other_places(runs):
    order = permutation(4, SMALL.seed)
    expected = [list(permuted(TieMap(m), order)) for m in runs["dynamic"].history["tie_map"]]
    assert runs["permuted"].history["tie_map"] == expected != runs["dynamic"].history["tie_map"]
    assert runs["permuted"].history["num_independent"] == runs["dynamic"].history["num_independent"]


def test_runs_at_a_time_are_those_one_after_the_other(tiny_data, tmp_path):
    methods = ["all_tied", "replay", "conventional"]
    one = compare(SMALL, methods, data=tiny_data)
    two = compare(SMALL, methods, data=tiny_data, out_dir=tmp_path, jobs=2)
    assert [untimed(record) for record in two] == [untimed(record) for record in one]
    assert len(load_all(tmp_path / "records")) == 4  # with the dynamic run, which the replay follows


def test_a_run_that_fails_does_not_stop_those_beside_it(tiny_data, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    key = f"{comparison.records.key(SMALL.to_dict(), 'all_tied', 0)}.safetensors"
    (tmp_path / "checkpoints" / key).write_bytes(b"damaged")
    with pytest.raises(ValueError, match=key):
        compare(SMALL, ["all_tied", "conventional", "random"], data=tiny_data, out_dir=tmp_path, jobs=2)
    assert {record.method for record in load_all(tmp_path / "records")} == {"conventional", "random"}


@pytest.mark.parametrize("wrong", [{"jobs": 0}, {"jobs": 2, "on_decision": print}])
def test_jobs_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=f"jobs={wrong['jobs']}"):
        compare(SMALL, ["all_tied"], **wrong)
