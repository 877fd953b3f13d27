"""Everything of the CUDA graphs but the capture itself, which tests/test_cuda.py has."""

import contextlib
import warnings

import pytest
import torch

from dlt_core.experiments import build_learner
from dlt_core.learner.step_graph import StepGraph
from dlt_core.tie_map import TieMap

MAPS = [TieMap([0, 0, 0, 0]), TieMap([0, 1, 0, 1]), TieMap([0, 1, 2, 1]), TieMap([0, 0, 2, 2]), TieMap([0, 0, 2, 2])]


class Played:
    """In a graph's place: a step on the same memory, with the Parameters that were there at the capture."""

    def __init__(self, graph: StepGraph, parameters: list[torch.nn.Parameter], loss: torch.Tensor) -> None:
        self.graph, self.parameters, self.loss = graph, parameters, loss

    def replay(self) -> None:
        self.loss.copy_(self.graph.learner.take_step(self.graph.batch, self.parameters))

    def reset(self) -> None:
        self.graph.resets += 1


class PlayedGraph(StepGraph):
    """On a CPU."""

    resets = 0

    def prepare(self) -> None:
        pass

    def apart(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def capture(self, parameters):
        loss = torch.tensor(float("nan"))
        return Played(self, parameters, loss), loss


@pytest.fixture
def two(smoke, tiny_data):
    """A learner that takes steps one by one, and one that replays them."""
    learners = [build_learner(smoke.replace(dropout=0.2), tiny_data) for _ in range(2)]
    learners[1].graph = PlayedGraph(learners[1])
    return learners


def test_steps_are_equal_to_the_bit_across_ties_and_unties(two):
    plain, replayed = two
    for tie_map in [*MAPS, *MAPS[:1]]:
        plain.tie(tie_map)
        replayed.tie(tie_map)
        assert replayed.train(5) == plain.train(5), tie_map
        replayed.graph.batch.fill_(7)  # a replay must read its own step's batch
    assert replayed.step == plain.step == 30
    for name, weight in plain.weights().items():
        assert torch.equal(replayed.weights()[name], weight), name


def test_a_step_is_captured_anew_only_if_ties_or_addresses_have_changed(two):
    _, learner = two
    counts = []
    for tie_map in MAPS:
        learner.tie(tie_map)
        learner.train(3)
        counts.append(learner.graph.captures)
    assert counts == [1, 2, 3, 4, 4]
    assert learner.graph.resets == 3  # each but the last
    state = learner.optimizer.state[next(learner.model.parameters())]
    state["exp_avg"] = state["exp_avg"].clone()  # as after a checkpoint
    learner.train(3)
    assert learner.graph.captures == 5


def test_other_ties_of_the_same_weights_are_another_graph(two):
    _, learner = two
    learner.tie(TieMap([0, 1, 1, 0]))
    learner.train(2)
    before = learner.graph.standing(list(learner.model.parameters()))
    learner.tie(TieMap([0, 1, 0, 1]))
    after = learner.graph.standing(list(learner.model.parameters()))
    assert set(before[1]) == set(after[1])
    assert before != after


def test_nothing_is_captured_before_the_moments_are_there(two):
    _, learner = two
    replays = []
    learner.graph.capture = lambda parameters: (
        replays.append(len(learner.optimizer.state)) or (_ for _ in ()).throw(RuntimeError("not on this device\nmore"))
    )
    plain, _ = two
    with pytest.warns(UserWarning, match="not on this device"):
        losses = learner.train(4)
    assert losses == plain.train(4)  # they are taken one by one
    assert replays == [len(list(learner.model.parameters()))]  # asked once, after the first step
    assert learner.graph_note == "off: not on this device"


def test_one_step_alone_and_a_new_start_have_no_graph(two):
    _, learner = two
    learner.train(1)
    assert learner.graph.captures == 0
    learner.train(4)
    learner.restart(1)
    assert learner.graph.graph is None
    learner.train(4)
    assert learner.graph.captures == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "off: the device is cpu"),
        ({"cuda_graph": False}, "off: not asked for"),
    ],
)
def test_a_learner_says_why_it_has_no_graph(smoke, tiny_data, changes, reason):
    learner = build_learner(smoke.replace(**{"cuda_graph": True, **changes}), tiny_data)
    assert learner.graph is None
    assert learner.graph_note == reason


def test_warnings_are_for_failures_only(two):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        two[1].train(4)
