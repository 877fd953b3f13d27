"""Methods side by side: the same start, batches and budget for each, honest replays, what few seeds allow to say."""

import dataclasses
import hashlib
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dlt_core.agents import AGENT, RandomAgent
from dlt_core.algorithm1 import train_dynamic
from dlt_core.experiments import Experiment
from dlt_core.learner import training
from dlt_core.learner.training import Learner
from dlt_core.records.record import RunRecord, load_all
from dlt_core.records.statistics import (
    bits_per_byte,
    bootstrap_interval,
    interquartile_mean,
    mean_interval,
    paired_differences,
    plus_minus,
    verdict,
)
from dlt_core.studies import comparison
from dlt_core.studies.comparison import compare
from dlt_core.studies.diagnosis import q_scale, shared_decisions
from dlt_core.studies.methods import (
    COLLAPSE,
    LADDER,
    METHODS,
    PUT_IN,
    RANDOM_MAP,
    REGISTRY,
    RELEASED,
    TAKEN_OUT,
    TAKEN_OUT_IN_TURN,
    base_name,
    decided,
    parse,
    permutation,
    permuted,
)
from dlt_core.studies.released_code import ReleasedCode
from dlt_core.tie_map import TieMap, random_map
from tests.conftest import tie_maps

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


def test_shallow_models_of_any_depth(tiny_data):
    (three,) = compare(SMALL, ["shallow-3"], data=tiny_data)
    assert three.tie_map == [0, 1, 2]
    assert three.method == "shallow-3"
    for method in ("shallow-0", "shallow-1"):
        with pytest.raises(ValueError, match="n_layer must be a whole number of at least 2"):
            compare(SMALL, [method], data=tiny_data)


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


def test_variants_of_the_released_code_run_by_name(tiny_data, tmp_path):
    experiment = SMALL.replace(episodes=4)
    names = ["released", "described", "dynamic", "released-random", COLLAPSE.method, "described-with-frozen_start"]
    released, described, dynamic, random, collapse, frozen = compare(
        experiment, names, data=tiny_data, out_dir=tmp_path
    )
    assert [r.method for r in (released, described, dynamic, random, collapse, frozen)] == names
    assert described.curves == dynamic.curves
    assert random.agent["class"] == "RandomAgent"
    assert random.agent["released_code"] == released.agent["released_code"] == dict.fromkeys(ReleasedCode.names(), True)
    assert [name for name, there in frozen.agent["released_code"].items() if there] == ["frozen_start"]
    assert len({tuple(r.budget.items()) for r in (released, described, dynamic, random, collapse, frozen)}) == 1
    seconds = [r.seconds for r in compare(experiment, names, data=tiny_data, out_dir=tmp_path)]
    assert seconds == [r.seconds for r in (released, described, dynamic, random, collapse, frozen)], "not run again"


def test_settings_that_a_variant_does_not_have_are_refused_before_anything_runs(tiny_data, monkeypatch):
    monkeypatch.setattr(Learner, "train", None)
    with pytest.raises(ValueError, match="do not make whole turns"):
        compare(SMALL.replace(episodes=3, steps_per_action=1), ["dynamic", "released"], data=tiny_data)
    with pytest.raises(ValueError, match="orphans='promote'"):
        compare(SMALL.replace(orphans="promote"), ["dynamic", "described"], data=tiny_data)


def test_the_ladder_takes_out_one_difference_at_a_time():
    names = ReleasedCode.names()
    assert sorted(TAKEN_OUT_IN_TURN) == sorted(names)
    assert (LADDER[0], LADDER[-1]) == (ReleasedCode.all(), ReleasedCode())
    for i, (above, below) in enumerate(itertools.pairwise(LADDER)):
        assert below == above.without(TAKEN_OUT_IN_TURN[i]) != above
    assert [v.method for v in PUT_IN.values()] == [f"described-with-{name}" for name in names]
    assert [v.method for v in TAKEN_OUT.values()] == [f"released-without-{name}" for name in names]
    assert len(RELEASED) == 12 + 11 + 11 - 2 + 2  # the second rung is a TAKEN_OUT, the last but one a PUT_IN


def test_a_pattern_with_another_number_of_weight_sets(tiny_data):
    six = SMALL.replace(n_layer=6, episodes=1)
    half, two, five = compare(six, ["sequence", "sequence-2", "sandwich-5"], data=tiny_data)
    assert TieMap(half.tie_map).num_independent == 3
    assert TieMap(two.tie_map).groups == ((0, 1, 2), (3, 4, 5))
    assert five.tie_map == [0, 1, 2, 2, 4, 5]
    assert two.method == "sequence-2"


def test_a_new_method_is_one_entry_in_the_registry(tiny_data, monkeypatch):
    monkeypatch.setitem(REGISTRY, "mine", decided("Algorithm 1 with mine", lambda e: RandomAgent(e.n_layer, seed=9)))
    (record,) = compare(SMALL.replace(episodes=1), ["mine"], data=tiny_data)
    assert (record.method, record.agent["seed"]) == ("mine", 9)


def test_a_name_says_what_it_is_and_what_follows():
    assert parse("sequence-2", SMALL).numbers == (2,)
    assert parse("map-0-0-2-2", SMALL).numbers == (0, 0, 2, 2)
    names = ("sequence-2", "random", "random-3", "map-0-1", "halving-8", COLLAPSE.method, "released-random")
    assert [base_name(name) for name in names] == ["sequence", "random", "random", "map", "halving", *names[-2:]]
    assert [parse(name, SMALL).in_one_process for name in ("dynamic", "best_of-2", "released")] == [False, True, True]


@pytest.mark.parametrize(
    "method",
    [
        *(
            "genius",
            "map",
            "sequence-x",
            "sequence-",
            "sequence--1",
            "random-two",
            "random-",
            "dynamic-2",
            "random_map-2",
        ),
        *("map-", "map-0-x-0-0", "map-0--1-0-0", "evolution-four", "-2", ""),
    ],
)
def test_unknown_methods_are_refused_before_anything_runs(method, tiny_data, monkeypatch):
    monkeypatch.setattr(Learner, "train", None)  # would fail if it trained
    known = "known: dynamic, random, conventional, all_tied, sequence, .*, permuted, .*, halving, evolution, "
    known += "patterns as in sequence-2"
    known += ", and the variants of the released code"
    with pytest.raises(ValueError, match=f"unknown method '{method}'; {known}"):
        compare(SMALL, ["dynamic", method], data=tiny_data)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("cycle-5", "between 1 and n_layer=4"),
        ("pairs-3", "always has 2"),
        ("random-0", "between 1 and n_layer=4"),
        ("random-5", "between 1 and n_layer=4"),
        ("map-0-0", "'map-0-0' has 2 layers, the experiment has 4"),
        ("map-0-0-0-0-0", "has 5 layers, the experiment has 4"),
        ("map-0-2-0-0", "layer 1 has source 2"),
        ("map-0-0-1-0", "not canonical"),
        ("evolution", "2 turns cannot be shared by 4 maps in 3 parts"),
        ("evolution-3", "power of two"),
    ],
)
def test_impossible_patterns_are_refused_before_anything_runs(method, message, tiny_data, monkeypatch):
    monkeypatch.setattr(Learner, "train", None)
    with pytest.raises(ValueError, match=message):
        compare(SMALL, ["dynamic", method], data=tiny_data)


def test_the_random_agent_over_maps_with_as_many_weight_sets_by_name(tiny_data):
    one, two, again, three = (
        compare(SMALL.replace(seed=seed, episodes=4), [method], data=tiny_data)[0]
        for seed, method in ((0, "random-1"), (0, "random-2"), (0, "random-2"), (1, "random-3"))
    )
    for record, groups in ((one, 1), (two, 2), (three, 3)):
        assert record.method == f"random-{groups}"
        assert record.agent == {"class": "RandomAgent", "seed": record.seed, "num_groups": groups}
        rng = np.random.default_rng((record.seed, AGENT))
        drawn = [list(random_map(4, groups, rng.random)) for _ in range(4)]
        assert record.history["tie_map"][2::3] == drawn, "after each turn another map"
        assert all(record.history["explored"])
    assert two.curves == again.curves
    assert two.history == again.history


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


def untimed(record: RunRecord) -> dict:
    fields = json.loads(record.to_json())
    return {name: value for name, value in fields.items() if name not in ("seconds", "timing")}


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

    monkeypatch.setattr("dlt_core.records.run.CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(Learner, "train", counted)
    methods = ["conventional", "dynamic", "permuted"]
    with pytest.raises(KeyboardInterrupt):
        compare(SMALL, methods, data=tiny_data, out_dir=tmp_path)
    assert {record.method for record in load_all(tmp_path / "records")} == {"conventional", "dynamic"}
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    (other,) = compare(SMALL.replace(seed=1), ["permuted"], data=tiny_data, out_dir=tmp_path)  # not in its way
    assert (other.seed, other.status) == (1, "finished")
    assert list((tmp_path / "checkpoints").iterdir()) == [checkpoint]
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


def test_no_folder_of_records_means_that_all_are_run(tiny_data, tmp_path):
    (found,) = compare(SMALL, ["conventional"], data=tiny_data, recorded=tmp_path / "nowhere")
    assert found.status == "finished"


# --- permuted ---


@given(st.integers(1, 10).flatmap(lambda n: st.tuples(tie_maps(n), st.permutations(range(n)))))
def test_permuting_renames_the_layers_of_the_partition(case):
    tie_map, order = case
    renamed = permuted(tie_map, order)
    assert {frozenset(group) for group in renamed.groups} == {
        frozenset(order[layer] for layer in group) for group in tie_map.groups
    }
    assert sorted(map(len, renamed.groups)) == sorted(map(len, tie_map.groups))
    back = [order.index(layer) for layer in range(len(order))]
    assert permuted(renamed, back) == tie_map  # a bijection
    assert permuted(tie_map, range(len(tie_map))) == tie_map


@given(st.integers(2, 12), st.integers(0, 1000))
def test_a_permutation_moves_something_and_is_the_seeds(n_layer, seed):
    order = permutation(n_layer, seed)
    assert sorted(order) == list(range(n_layer))
    assert order != list(range(n_layer))
    assert permutation(n_layer, seed) == order


def test_seeds_permute_differently():
    assert permutation(2, 0) == permutation(2, 1) == [1, 0]
    assert len({tuple(permutation(6, seed)) for seed in range(20)}) > 15


def test_the_permuted_run_is_the_dynamic_one_in_other_places(runs):
    order = permutation(4, SMALL.seed)
    expected = [list(permuted(TieMap(m), order)) for m in runs["dynamic"].history["tie_map"]]
    assert runs["permuted"].history["tie_map"] == expected != runs["dynamic"].history["tie_map"]
    assert runs["permuted"].history["num_independent"] == runs["dynamic"].history["num_independent"]


# --- statistics ---


def test_an_interval_by_hand():
    # mean 2, standard deviation 1, standard error 1/√3, and t of a 95 % interval with 2 degrees of freedom: 4.3027
    mean, half = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.302652729911275 / math.sqrt(3), rel=1e-9)
    # two values: t = 12.706, and the standard error is half their distance
    assert mean_interval([5.0, 6.0]) == (5.5, pytest.approx(12.706204736432095 / 2, rel=1e-9))
    assert mean_interval([4.0] * 5) == (4, 0)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_intervals_are_scipys(values, confidence):
    mean, half = mean_interval(values, confidence)
    scale = stats.sem(values)
    assert mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    if scale > 1e-6:
        low, high = stats.t.interval(confidence, len(values) - 1, loc=mean, scale=scale)
        assert (mean - half, mean + half) == (pytest.approx(low), pytest.approx(high))


def test_one_value_has_no_interval_and_no_value_no_mean():
    assert mean_interval([3.5]) == (3.5, None)
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def made_up(seed: int, bits: float, perplexity: float = 9.0) -> RunRecord:
    return RunRecord({}, "m", seed, {}, test={"bits_per_byte": bits, "perplexity": perplexity})


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([-0.3, -0.2, -0.1], "not told apart"),  # half the width is 4.303 * 0.1 / sqrt(3) = 0.248
        ([-0.4, -0.3, -0.2], "better"),
        ([0.4, 0.3, 0.2], "worse"),
        ([0.1], "one seed"),
        ([0.0, 0.0], "exactly equal"),
    ],
)
def test_what_an_interval_allows_to_say(differences, expected):
    assert verdict(differences) == expected


def test_a_mean_with_its_interval_in_words():
    assert plus_minus(2.104, 0.0312, 2) == "2.10 ± 0.03"
    assert plus_minus(0.5, None, 3, "+") == "+0.500"
    assert plus_minus(-0.5, 0.25, 1, "+") == "-0.5 ± 0.2"


def test_differences_are_paired_by_seed_alone():
    ours = [made_up(2, 2.5), made_up(0, 2.25), made_up(7, 1.0)]
    theirs = [made_up(0, 2.0), made_up(1, 9.0), made_up(2, 2.0)]
    assert paired_differences(ours, theirs) == {2: 0.5, 0: 0.25}  # 7 and 1 have no partner
    assert paired_differences(iter(ours), iter(theirs)) == paired_differences(
        theirs[::-1], ours, lambda r: -bits_per_byte(r)
    )
    assert paired_differences(ours, []) == {}
    assert paired_differences([made_up(0, 1.0, 30.0)], [made_up(0, 1.0, 20.0)], lambda r: r.test["perplexity"]) == {
        0: 10
    }


def test_the_scales_of_belief_and_reward():
    history = {"q_values": [[0.5, -2.0], [1.0, 0.0, 1.5]], "reward": [-30.0, -7.0]}
    assert q_scale(RunRecord({}, "dynamic", 0, {}, history=history)) == (2.0, 7.0, 30.0)


def test_decisions_that_two_experiments_share_by_hand():
    def run(seed, actions, explored=(False, False, False, True), layers=(1, 2, 3, 1)):
        history = {"layer": list(layers), "action": list(actions), "explored": list(explored)}
        return RunRecord({}, "dynamic", seed, {}, history=history)

    first, second = run(0, (0, 1, 2, 1)), run(0, (0, 2, 2, 1), (False, False, True, True))
    # of the first pair, decisions 0 and 1 count: one is the same; by chance 1/2 and 1/3
    assert shared_decisions([first, second]) == (2, 1, pytest.approx(1 / 2 + 1 / 3))
    assert shared_decisions([first, run(1, (0, 1, 2, 1)), run(0, (0,), (False,), (1,))]) is None  # no pair
    assert shared_decisions([first, first, second]) == (3 + 2 + 2, 3 + 1 + 1, pytest.approx(13 / 12 + 2 * 5 / 6))
    assert shared_decisions([first, run(0, (0, 1, 2, 1), (True,) * 4)]) is None
    assert shared_decisions([first, RunRecord({}, "conventional", 0, {})]) is None


# --- without assuming a distribution ---


def test_the_bootstrap_is_scipys_and_the_same_each_time():
    values = [0.1, 0.4, -0.2, 0.3, 0.9, 0.05, 0.2]
    found = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=9_999, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    assert bootstrap_interval(values, 0.9) == (found.low, found.high) == bootstrap_interval(values, 0.9)
    low, high = bootstrap_interval(values)
    assert low < found.low < np.mean(values) < found.high < high


def test_the_bootstraps_coverage_is_about_what_it_says():
    """Of 200 samples of 20 from a skewed distribution of mean 1, nearly 95 % have an interval with 1 in it."""
    rng = np.random.default_rng(1)
    ends = [bootstrap_interval(rng.exponential(1.0, 20).tolist()) for _ in range(200)]
    assert 0.86 <= np.mean([low <= 1 <= high for low, high in ends]) <= 0.98


def test_a_bootstrap_of_equal_or_too_few_values():
    assert bootstrap_interval([0.0, 0.0, 0.0]) == (0.0, 0.0)
    assert bootstrap_interval([1.0, 1.0 + 2.3e-16, 1.0]) == pytest.approx((1.0, 1.0))
    with pytest.raises(ValueError, match="at least two"):
        bootstrap_interval([1.0])


def test_the_interquartile_mean_by_hand():
    assert interquartile_mean([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -100.0]) == 3.5  # of 2, 3, 4, 5
    assert interquartile_mean([1.0, 2.0, 4.0]) == pytest.approx(7 / 3), "too few to cut a quarter off"
    with pytest.raises(ValueError, match="no values"):
        interquartile_mean([])
