"""Training that stops to look: the ties change when it says so, and the learner is put back."""

import torch

from dlt_core.experiments import build_learner
from dlt_core.studies.comparison import compare
from dlt_core.studies.rule.looks import put_back
from dlt_core.tie_map import TieMap


def test_share_then_unshare_unties_all_at_once_after_a_tenth(smoke, tiny_data):
    (run,) = compare(smoke, ["share_unshare"], data=tiny_data)
    decisions = smoke.episodes * 3
    after = round(decisions / 10)
    assert run.history["tie_map"] == after * [[0, 0, 0, 0]] + (decisions - after) * [[0, 1, 2, 3]]
    assert run.budget["optimizer_steps"] == decisions * smoke.steps_per_action
    assert "search_steps" not in run.budget


def test_the_learner_is_put_back_whatever_was_tried(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    learner.train(1)
    before = learner.state_dict()
    with put_back(learner) as back:
        learner.tie(TieMap.all_tied(4))
        learner.train(2)
        back()
        assert (learner.step, learner.tie_map) == (1, TieMap.independent(4))
        learner.train(1)
    after = learner.state_dict()
    assert after["values"]["step"] == 1
    assert all(torch.equal(tensor, after["tensors"][name]) for name, tensor in before["tensors"].items())
