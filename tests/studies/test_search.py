"""Search over fixed maps: who takes part in which round, what it costs, and that it goes on where it was."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlt_core.algorithm1 import train_conventional
from dlt_core.experiments import Experiment
from dlt_core.learner.training import Learner
from dlt_core.records.record import RunRecord, load_all
from dlt_core.studies.search import STRATEGIES, mutated, random_maps, rounds, search
from dlt_core.tie_map import TieMap, all_maps
from tests.conftest import tie_maps

SMALL = Experiment.preset(
    "gpt2-embedded", "smoke", device="cpu", episodes=12, evaluation_tokens=256, steps_per_action=1
)
MAPS = [TieMap.all_tied(4), TieMap.independent(4), TieMap([0, 0, 2, 2]), TieMap([0, 1, 0, 1])]


def test_rounds_of_equal_cost_add_up_to_the_budget():
    assert rounds(4, 12, strategy="halving") == [(4, 1), (2, 3), (1, 7)]  # 4·1 + 2·2 + 1·4
    assert rounds(8, 64, strategy="halving") == [(8, 2), (4, 6), (2, 14), (1, 30)]
    assert rounds(4, 12, strategy="best_of") == [(4, 3)]
    assert rounds(1, 5, strategy="halving") == [(1, 5)]
    assert rounds(4, 12, strategy="evolution") == [(4, 1), (1, 5)]  # 4·1, 4·1 for the children, and 4
    assert rounds(2, 12, strategy="evolution") == [(2, 2), (1, 6)]
    for candidates, turns in ((3, 12), (0, 12), (4, 10), (8, 8)):
        with pytest.raises(ValueError, match=r"power of two|cannot be shared"):
            rounds(candidates, turns, strategy="halving")
    with pytest.raises(ValueError, match="16 turns cannot be shared by 4 maps in 3 parts: a multiple of 12 is needed"):
        rounds(4, 16, strategy="evolution")


@given(st.integers(0, 5), st.integers(1, 7), st.sampled_from(STRATEGIES))
def test_any_plan_costs_its_turns(power, each, strategy):
    candidates = 2**power
    turns = each * candidates * {"best_of": 1, "halving": power + 1, "evolution": 3}[strategy]
    plan = rounds(candidates, turns, strategy=strategy)
    before = [0, *(length for _, length in plan)]
    cost = sum(size * (after - start) for (size, after), start in zip(plan, before, strict=False))
    assert cost + (candidates * plan[0][1] if strategy == "evolution" else 0) == turns  # as many children


def test_random_maps_differ_and_depend_on_the_seed():
    maps = random_maps(4, 8, 0)
    assert len(set(maps)) == 8
    assert maps == random_maps(4, 8, 0) != random_maps(4, 8, 1)
    assert random_maps(4, 3, 0) == maps[:3]
    with pytest.raises(ValueError, match="too many"):
        random_maps(4, 9, 0)


def one_action_away(tie_map: TieMap) -> set[TieMap]:
    return {tie_map.with_action(i, a) for i in range(len(tie_map)) for a in range(i + 1)} - {tie_map}


@given(st.integers(2, 6).flatmap(tie_maps), st.data())
def test_a_mutated_map_is_one_action_away_and_new(tie_map, data):
    near = sorted(one_action_away(tie_map), key=tuple)
    tried = [tie_map, *data.draw(st.lists(st.sampled_from(near), unique=True))]
    child = mutated(tie_map, tried, np.random.default_rng(0))
    left = set(near).difference(tried)
    assert child in left if left else child is None
    assert child == mutated(tie_map, tried[::-1], np.random.default_rng(0)), "the generator decides alone"


def test_all_new_maps_are_equally_probable_children():
    tie_map, tried = TieMap([0, 1, 1, 3]), [TieMap([0, 1, 1, 3]), TieMap([0, 0, 0, 3])]
    left, rng, n = one_action_away(tie_map).difference(tried), np.random.default_rng(0), 3000
    children = [mutated(tie_map, tried, rng) for _ in range(n)]
    assert set(children) == left
    p = 1 / len(left)
    assert all(abs(children.count(m) - n * p) <= 4 * (n * p * (1 - p)) ** 0.5 for m in left)


@pytest.mark.parametrize(("strategy", "steps_of_the_last"), [("halving", 7 * 3), ("best_of", 3 * 3)])
def test_the_lowest_validation_losses_go_on(strategy, steps_of_the_last, tiny_data, tmp_path):
    found = search(SMALL, tmp_path, candidates=4, strategy=strategy, maps=MAPS, data=tiny_data)
    alone = [
        train_conventional(SMALL.replace(episodes=steps_of_the_last // 3), tie_map=m, method="m", data=tiny_data)
        for m in MAPS
    ]
    taking_part = list(range(4))
    for number, (size, turns) in enumerate(rounds(4, 12, strategy=strategy)):
        losses = {i: alone[i].curves["validation"]["loss"][turns - 1] for i in taking_part[:size]}
        assert found.agent["rounds"][number] == {str(i): loss for i, loss in losses.items()}, "as if trained alone"
        taking_part = sorted(losses, key=losses.get)
    best = taking_part[0]
    assert found.agent["chosen"] == best
    assert found.test == alone[best].test
    assert found.final_tie_map == list(MAPS[best])
    assert found.budget["steps_of_the_chosen"] == steps_of_the_last
    assert found.budget["optimizer_steps"] == 12 * 3
    assert found.experiment == SMALL.to_dict()
    trained = [len(r.curves["train"]["step"]) for r in load_all(tmp_path / "candidates")]
    assert sum(trained) == 12 * 3, "the whole budget, and no more"
    assert [r.method for r in load_all(tmp_path / "records")] == [f"{strategy}-4"]


def test_evolution_changes_the_best_map_and_trains_the_best_of_all_on(tiny_data, tmp_path):
    poor = [TieMap([0, 0, 0, 0]), TieMap([0, 0, 0, 3]), TieMap([0, 0, 2, 0]), TieMap([0, 1, 0, 0])]
    found = search(SMALL, tmp_path, candidates=4, strategy="evolution", maps=poor, data=tiny_data)
    maps = [TieMap(m) for m in found.agent["maps"]]
    assert maps[:4] == poor
    assert len(set(maps)) == 8, "children differ from all earlier maps, and each other"
    first, last = found.agent["rounds"]
    losses = list(first.values())
    assert list(first) == [str(i) for i in range(8)]
    parents = [min(range(i), key=losses.__getitem__) for i in range(4, 8)]
    assert all(maps[i] in one_action_away(maps[parent]) for i, parent in zip(range(4, 8), parents, strict=True))
    assert max(parents) >= 4, "a child has children"
    alone = [train_conventional(SMALL.replace(episodes=5), tie_map=m, method="m", data=tiny_data) for m in maps]
    curves = [record.curves["validation"]["loss"] for record in alone]
    assert losses == [curve[0] for curve in curves], "as if trained alone"
    best = losses.index(min(losses))
    assert last == {str(best): curves[best][4]}
    assert found.agent["chosen"] == best
    assert found.test == alone[best].test
    assert found.final_tie_map == list(maps[best])
    steps = {"optimizer_steps": 36, "tokens": 36 * SMALL.batch_size * SMALL.block_size, "steps_of_the_chosen": 15}
    assert found.budget == steps
    assert found.method == "evolution-4"
    assert found.experiment == SMALL.to_dict()
    trained = sorted(len(r.curves["train"]["step"]) for r in load_all(tmp_path / "candidates"))
    assert trained == [3] * 7 + [15], "the whole budget, and no more"


def test_the_seed_decides_the_children(tiny_data, tmp_path):
    drawn = {}
    for seed, place in itertools.product((0, 1), "ab"):
        experiment = SMALL.replace(seed=seed, episodes=3, n_layer=6)
        start = [TieMap.all_tied(6)]
        how = {"candidates": 1, "strategy": "evolution", "maps": start, "data": tiny_data}
        drawn[seed, place] = search(experiment, tmp_path / f"{seed}{place}", **how).agent["maps"][1:]
        assert start == [TieMap.all_tied(6)], "what was given is left as it is"
    assert drawn[0, "a"] == drawn[0, "b"] != drawn[1, "a"] == drawn[1, "b"]


def trained_steps(monkeypatch) -> list[int]:
    """Grows by the number of steps of each call of `Learner.train` for a decision."""
    counted, train = [], Learner.train

    def counting(self, steps):
        counted.append(steps)
        return train(self, steps)

    monkeypatch.setattr(Learner, "train", counting)
    return counted


@pytest.mark.parametrize("strategy", ["halving", "evolution"])
def test_an_interrupted_search_goes_on_within_its_budget(strategy, tiny_data, tmp_path, monkeypatch):
    """Interrupted within a candidate, whose checkpoint is then ahead of its record."""
    how = {"maps": MAPS, "strategy": strategy, "data": tiny_data, "checkpoint_seconds": 0}
    whole = search(SMALL, tmp_path / "whole", **how)
    counted, calls = trained_steps(monkeypatch), 0
    counting = Learner.train

    def interrupted(self, steps):
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyboardInterrupt
        return counting(self, steps)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(SMALL, tmp_path / "parts", **how)
    parts = search(SMALL, tmp_path / "parts", **how)
    assert parts.agent == whole.agent
    assert parts.test == whole.test
    measured = 1  # step_peak_bytes takes a step beside the run
    assert 36 + measured <= sum(counted) <= 38 + measured, "at most what was lost with the interrupt is done again"
    monkeypatch.setattr(Learner, "train", None)
    assert search(SMALL, tmp_path / "parts", **how).agent == whole.agent, "not run again"
    for path in (tmp_path / "parts" / "candidates").iterdir():
        path.unlink()
    assert search(SMALL, tmp_path / "parts", **how).agent == whole.agent, "the record is enough"


def test_another_search_in_the_same_folder_is_another(tiny_data, tmp_path):
    search(SMALL, tmp_path, maps=MAPS, data=tiny_data)
    others = [TieMap([0, 0, 0, 3]), TieMap([0, 1, 1, 1]), TieMap([0, 1, 1, 3]), TieMap([0, 0, 2, 0])]
    again = search(SMALL, tmp_path, maps=others, data=tiny_data)
    assert again.final_tie_map == list(others[again.agent["chosen"]])
    assert again.agent == search(SMALL, tmp_path / "alone", maps=others, data=tiny_data).agent


def test_what_other_code_made_is_not_taken(tiny_data, tmp_path, monkeypatch):
    search(SMALL, tmp_path, maps=MAPS, data=tiny_data)
    for path in [*(tmp_path / "candidates").iterdir(), *(tmp_path / "records").iterdir()]:
        record = RunRecord.load(path)
        record.versions["dlt_core"] = "another"
        record.save(path)
    counted = trained_steps(monkeypatch)
    assert search(SMALL, tmp_path, maps=MAPS, data=tiny_data).versions["dlt_core"] != "another"
    assert sum(counted) == 36 + 1


def test_another_evolution_in_the_same_folder_is_another(tiny_data, tmp_path):
    short = SMALL.replace(episodes=6)
    start, others = [TieMap.all_tied(4), MAPS[2]], [TieMap.independent(4), MAPS[3]]
    how = {"candidates": 2, "strategy": "evolution", "data": tiny_data}
    first = search(short, tmp_path, maps=start, **how)
    again = search(short, tmp_path, maps=others, **how)
    assert first.agent["maps"][:2] != again.agent["maps"][:2] == [list(m) for m in others]
    assert again.agent == search(short, tmp_path / "alone", maps=others, **how).agent


def test_what_cannot_be_raises(tiny_data, tmp_path):
    with pytest.raises(ValueError, match="2 maps for 4 candidates"):
        search(SMALL, tmp_path, maps=MAPS[:2], data=tiny_data)
    with pytest.raises(ValueError, match="a multiple of 12 is needed"):
        search(SMALL.replace(episodes=10), tmp_path, data=tiny_data)
    with pytest.raises(ValueError, match="unknown strategy 'annealing'; known: best_of, halving, evolution"):
        search(SMALL, tmp_path, strategy="annealing", data=tiny_data)
    with pytest.raises(ValueError, match="unknown strategy"):
        rounds(4, 12, strategy="annealing")


def test_evolution_needs_as_many_maps_again_and_says_so_before_it_trains(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(Learner, "train", None)
    two = SMALL.replace(n_layer=2, episodes=6)
    with pytest.raises(ValueError, match="4 different maps of 2 layers are too many"):
        search(two, tmp_path, candidates=2, strategy="evolution", maps=list(all_maps(2)), data=tiny_data)


def test_where_all_maps_near_the_best_were_tried_the_next_best_has_the_child(tiny_data, tmp_path):
    """The all-tied map of four layers has three neighbours: with it and them as the maps, it can have no child."""
    near = [TieMap.all_tied(4), TieMap([0, 1, 0, 0]), TieMap([0, 0, 2, 0]), TieMap([0, 0, 0, 3])]
    found = search(SMALL, tmp_path, candidates=4, strategy="evolution", maps=near, data=tiny_data)
    assert len({tuple(m) for m in found.agent["maps"]}) == 8
    assert mutated(near[0], near, np.random.default_rng(0)) is None
