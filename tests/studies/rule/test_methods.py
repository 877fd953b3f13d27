"""The rule and its peers as methods: what is looked at, what is tied by it, what the record says and what it cost."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch

from dlt_core.experiments import build_learner
from dlt_core.records.record import RunRecord
from dlt_core.studies.comparison import compare
from dlt_core.studies.rule import methods, peers
from dlt_core.studies.rule.gain import balanced, best_maps, tensor_sizes, use_gradients
from dlt_core.studies.rule.methods import choose_map, fork, look_at_gradients
from dlt_core.studies.tables import training_flops
from dlt_core.tie_map import TieMap


@pytest.fixture
def short(smoke):
    return smoke.replace(episodes=2, evaluation_tokens=256)


def test_the_chosen_map_is_trained_from_scratch_and_the_record_says_what_it_cost(short, tiny_data, tmp_path):
    chosen, by = choose_map(build_learner(short, tiny_data), 2)
    run, same = compare(short, ["gradient-2-restart", f"map-{'-'.join(map(str, chosen))}"], data=tiny_data)
    assert run.curves == same.curves
    assert run.test == same.test
    assert run.agent == {**by["agent"], "tie_map": list(chosen)}
    assert training_flops(run) * smoke_steps(run) == training_flops(same) * (smoke_steps(run) + 60 + 16)
    assert (run.agent["class"], run.agent["warm_up"], run.agent["minibatches"]) == ("gradient_rule", 60, 16)
    gains, by_sets = [row["gain"] for row in run.agent["gains"]], run.agent["gain_by_sets"]
    assert by_sets[0] <= by_sets[1] == gains[0] <= by_sets[-1] == 1
    assert all(a >= b for a, b in itertools.pairwise(gains))
    assert run.budget == {**same.budget, "search_steps": 60, "search_passes": 16}
    (again,) = compare(short, ["gradient-2-restart"], data=tiny_data, out_dir=tmp_path)
    assert again.test == run.test
    (kept,) = compare(short, ["gradient-2-restart"], data=tiny_data, out_dir=tmp_path)
    assert kept.seconds == again.seconds  # it was not run again


def smoke_steps(record: RunRecord) -> int:
    return record.budget["optimizer_steps"]


def test_going_on_unties_once_after_the_warm_up_and_loses_no_step(short, tiny_data, monkeypatch):
    monkeypatch.setattr(methods, "WARM_UP", 5)  # k = 2: before decision 3
    learner = build_learner(short, tiny_data)
    learner.tie(TieMap.all_tied(4))
    learner.train(6)
    expected = best_maps(use_gradients(learner), 2)[0][0]
    run, tied = compare(short, ["gradient-2", "all_tied"], data=tiny_data)
    maps = run.history["tie_map"]
    assert maps == 3 * [[0, 0, 0, 0]] + (len(maps) - 3) * [list(expected)]
    assert run.history["num_independent"][2:4] == [1, 2]
    assert run.curves["train"]["loss"][:3] == tied.curves["train"]["loss"][:3]
    assert run.budget == {**tied.budget, "search_passes": 16}
    assert run.agent == {"class": "gradient_rule", "num_groups": 2, "warm_up": 6, "minibatches": 16, "norm": "l1"}
    assert [n for n, seen in enumerate(run.history["seen"]) if seen] == [3]
    assert run.history["seen"][3]["gains"][0]["tie_map"] == list(expected)


def test_how_the_rule_looks_can_be_set_and_stands_in_the_record(short, tiny_data):
    how = {"warm_up": 3, "minibatches": 2, "norm": "l2_squared", "per_tensor": True}
    learner = build_learner(short, tiny_data)
    learner.tie(TieMap.all_tied(4))
    learner.train(4)  # k = 2: before decision 2
    gradients = balanced(use_gradients(learner, 2), tensor_sizes(learner), norm="l2_squared")
    expected = best_maps(gradients, 2, norm="l2_squared")[0][0]
    run = methods.train_on(short, method="gradient-2", num_groups=2, data=tiny_data, **how)
    assert run.agent == {"class": "gradient_rule", "num_groups": 2, **how, "warm_up": 4}
    assert run.budget["search_passes"] == 2
    assert run.history["tie_map"][2] == list(expected)
    chosen_by = functools.partial(choose_map, **how)
    again = methods.train_restarted(short, method="x", num_groups=2, chosen_by=chosen_by, data=tiny_data)
    assert {name: again.agent[name] for name in how} == how
    assert again.budget["search_steps"] == 3


def test_without_a_number_the_rule_says_how_many_sets_are_worth_having(short, tiny_data, monkeypatch):
    monkeypatch.setattr(methods, "WARM_UP", 5)
    (run,) = compare(short, ["gradient"], data=tiny_data)
    by_sets = run.history["seen"][3]["gain_by_sets"]
    assert TieMap(run.final_tie_map).num_independent == methods.worth_having(by_sets)


def test_an_interrupted_run_with_looks_goes_on_as_if_it_had_not_been(short, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "WARM_UP", 5)
    for name, value in {"FORKS": (1, 4), "SCREEN": 1, "AHEAD": 1, "COMPARED": 1}.items():
        monkeypatch.setattr(methods, name, value)
    for train, arguments in ((methods.train_on, {"num_groups": 2}), (methods.train_forking, {})):
        plain = train(short, method="x", data=tiny_data, **arguments)
        parts = {"checkpoint": tmp_path / "c", "record_path": tmp_path / "r", "data": tiny_data, **arguments}
        (tmp_path / "r").mkdir(exist_ok=True)
        record = train(short, method="x", max_decisions=4, **parts)
        assert record.status == "stopped"
        record = train(short, method="x", **parts)
        for part in ("history", "curves", "test", "budget", "agent"):
            assert getattr(record, part) == getattr(plain, part)
        record.path_in(tmp_path / "r").unlink()


def test_a_fork_takes_the_map_that_wins_the_race_and_leaves_the_learner_as_it_was(smoke, tiny_data, monkeypatch):
    monkeypatch.setattr(methods, "COMPARED", 2)
    monkeypatch.setattr(methods, "SCREEN", 2)
    monkeypatch.setattr(methods, "AHEAD", 3)
    learner = build_learner(smoke, tiny_data)
    learner.tie(TieMap.all_tied(4))
    learner.train(2)
    before = learner.state_dict()
    seen = fork(learner)
    after = learner.state_dict()
    assert after["values"]["step"] == before["values"]["step"]
    assert all(torch.equal(t, after["tensors"][name]) for name, t in before["tensors"].items())
    screened, ahead = seen.why["screened"], seen.why["looked_ahead"]
    one_away = {TieMap.all_tied(4).with_action(i, a) for i in range(1, 4) for a in range(i + 1)}
    assert {TieMap(row["tie_map"]) for row in screened} == one_away
    assert len(screened) == 4  # all tied, or one layer of its own
    assert [row["tie_map"] for row in ahead] == [
        row["tie_map"] for row in sorted(screened, key=lambda row: row["loss"])[:3]
    ]
    assert list(seen.tie_map) == min(ahead, key=lambda row: row["loss"])["tie_map"]
    assert seen.steps == 4 * 2 + 3 * 3
    learner.tie(TieMap(screened[1]["tie_map"]))
    learner.train(2)
    assert (learner.probe(0) + learner.probe(1)) / 2 == pytest.approx(screened[1]["loss"], rel=1e-4)


def test_three_forks_and_no_more(short, tiny_data, monkeypatch):
    for name, value in {"FORKS": (1, 2, 3), "SCREEN": 1, "AHEAD": 1, "COMPARED": 1}.items():
        monkeypatch.setattr(methods, name, value)
    (run,) = compare(short, ["fork_commit_freeze"], data=tiny_data)
    assert [n for n, seen in enumerate(run.history["seen"]) if seen] == [1, 2, 3]
    assert run.history["tie_map"][3:] == (len(run.history["tie_map"]) - 3) * [run.final_tie_map]
    spent = sum(len(seen[part]) for seen in run.history["seen"][1:4] for part in ("screened", "looked_ahead"))
    assert run.budget["search_steps"] == spent
    with pytest.raises(ValueError, match="13 layers have too many, at most 12"):
        compare(short.replace(n_layer=13), ["fork_commit_freeze"], data=tiny_data)


def test_a_map_of_the_peers_is_trained_from_scratch(short, tiny_data, monkeypatch):
    monkeypatch.setattr(peers, "WARM_UP", 2)
    for name in ("weights", "cka"):
        (run,) = compare(short, [f"{name}-2-restart"], data=tiny_data)
        similarity = np.array(run.agent["similarity"])
        assert peers.merged(similarity, 2) == TieMap(run.final_tie_map)
        assert run.budget["search_steps"] == 2
        assert math.isfinite(run.test["perplexity"])


def test_the_look_unties_nothing_of_what_it_was_given(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    learner.tie(TieMap.all_tied(4))
    seen = look_at_gradients(learner, 3, minibatches=2, norm="l2_squared")
    assert (seen.tie_map.num_independent, seen.passes, seen.steps) == (3, 2, 0)
    tied, *_, untied = seen.why["gain_by_sets"]
    assert untied == 1
    assert tied > 1  # plain gradient descent goes further with the sum of gradients that agree
    (tied, *_, untied) = look_at_gradients(learner, minibatches=2).why["gain_by_sets"]
    assert tied < untied == 1  # Adam does not
