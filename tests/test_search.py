"""Search over fixed maps: who takes part in which round, what it costs, and that it goes on where it was."""

import pytest

from dlt_core import run
from dlt_core.algorithm1 import train_conventional
from dlt_core.experiments import Experiment
from dlt_core.learner import Learner
from dlt_core.records import RunRecord, load_all
from dlt_core.search import random_maps, rounds, search
from dlt_core.tie_map import TieMap

SMALL = Experiment.preset(
    "gpt2-embedded", "smoke", device="cpu", episodes=12, evaluation_tokens=256, steps_per_action=1
)
MAPS = [TieMap.all_tied(4), TieMap.independent(4), TieMap([0, 0, 2, 2]), TieMap([0, 1, 0, 1])]


def test_rounds_of_equal_cost_add_up_to_the_budget():
    assert rounds(4, 12, strategy="halving") == [(4, 1), (2, 3), (1, 7)]  # 4·1 + 2·2 + 1·4
    assert rounds(8, 64, strategy="halving") == [(8, 2), (4, 6), (2, 14), (1, 30)]
    assert rounds(4, 12, strategy="best_of") == [(4, 3)]
    assert rounds(1, 5, strategy="halving") == [(1, 5)]
    for candidates, turns in ((3, 12), (0, 12), (4, 10), (8, 8)):
        with pytest.raises(ValueError, match=r"power of two|cannot be shared"):
            rounds(candidates, turns, strategy="halving")


def test_random_maps_differ_and_depend_on_the_seed():
    maps = random_maps(4, 8, 0)
    assert len(set(maps)) == 8
    assert maps == random_maps(4, 8, 0) != random_maps(4, 8, 1)
    assert random_maps(4, 3, 0) == maps[:3]
    with pytest.raises(ValueError, match="too many"):
        random_maps(4, 9, 0)


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


def trained_steps(monkeypatch) -> list[int]:
    """Grows by the number of steps of each call of `Learner.train` for a decision."""
    counted, train = [], Learner.train

    def counting(self, steps):
        counted.append(steps)
        return train(self, steps)

    monkeypatch.setattr(Learner, "train", counting)
    return counted


def test_an_interrupted_search_goes_on_within_its_budget(tiny_data, tmp_path, monkeypatch):
    """Interrupted within a candidate, whose checkpoint is then ahead of its record."""
    whole = search(SMALL, tmp_path / "whole", maps=MAPS, data=tiny_data)
    counted, calls = trained_steps(monkeypatch), 0
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
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
            search(SMALL, tmp_path / "parts", maps=MAPS, data=tiny_data)
    parts = search(SMALL, tmp_path / "parts", maps=MAPS, data=tiny_data)
    assert parts.agent == whole.agent
    assert parts.test == whole.test
    measured = 1  # step_peak_bytes takes a step beside the run
    assert 36 + measured <= sum(counted) <= 38 + measured, "at most what was lost with the interrupt is done again"
    monkeypatch.setattr(Learner, "train", None)
    assert search(SMALL, tmp_path / "parts", maps=MAPS, data=tiny_data).agent == whole.agent, "not run again"
    for path in (tmp_path / "parts" / "candidates").iterdir():
        path.unlink()
    assert search(SMALL, tmp_path / "parts", maps=MAPS, data=tiny_data).agent == whole.agent, "the record is enough"


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


def test_what_cannot_be_raises(tiny_data, tmp_path):
    with pytest.raises(ValueError, match="2 maps for 4 candidates"):
        search(SMALL, tmp_path, maps=MAPS[:2], data=tiny_data)
    with pytest.raises(ValueError, match="a multiple of 12 is needed"):
        search(SMALL.replace(episodes=10), tmp_path, data=tiny_data)
