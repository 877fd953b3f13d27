"""What only a GPU can show. Not run without one: `CUDA_VISIBLE_DEVICES=0 python -m pytest -m cuda`.

Needs neither data nor the other tests' fixtures, so that it runs on a bare machine.
"""

import pytest
import torch

from dlt_core.algorithm1 import train_dynamic
from dlt_core.experiments import Experiment, build_learner
from dlt_core.learner import PRECISIONS
from dlt_core.studies.benchmark.trainers import noise
from dlt_core.tie_map import TieMap

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
MAPS = [TieMap([0, 0, 0, 0]), TieMap([0, 1, 0, 1]), TieMap([0, 1, 2, 1]), TieMap([0, 0, 2, 2])]


@pytest.fixture(scope="module")
def data():
    return noise(512)


def smoke(device: str = "cuda", **changes: object) -> Experiment:
    return Experiment.preset("gpt2-embedded", "smoke", device=device, **changes)


@pytest.mark.parametrize("sources", MAPS)
def test_loss_and_gradients_are_the_cpus(data, sources):
    found = []
    for device in ("cpu", "cuda"):
        learner = build_learner(smoke(device), data)
        learner.tie(sources)
        losses = learner.train(1)
        learner.optimizer.zero_grad()
        learner.probe_gradient(0)
        found.append((losses[0], {name: p.grad.cpu() for name, p in learner.model.named_parameters()}))
    (loss, gradients), (loss_there, gradients_there) = found
    assert loss_there == pytest.approx(loss, rel=1e-4)
    largest = max(g.abs().max() for g in gradients.values())
    for name, gradient in gradients.items():
        assert (gradients_there[name] - gradient).abs().max() < 1e-2 * largest, name


def test_ties_and_unties_keep_weights_and_moments(data):
    learner = build_learner(smoke(), data)
    learner.train(2)
    learner.tie(MAPS[0])
    root = {key: value.clone() for key, value in learner.optimizer.state[_first(learner, 0)].items()}
    learner.tie(MAPS[1])
    clone = learner.optimizer.state[_first(learner, 1)]
    assert _first(learner, 1) is not _first(learner, 0)
    for key, value in root.items():
        assert value.device.type == "cuda", key
        assert torch.equal(clone[key], value), key
    learner.train(2)
    assert clone["step"] == root["step"] + 2


def _first(learner, layer: int) -> torch.nn.Parameter:
    return next(learner.model.transformer.h[layer].parameters())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_resumed_run_is_the_uninterrupted_one_within_a_tolerance(data, tmp_path, precision):
    experiment = smoke(precision=precision, dropout=0.2, epsilon_min=1.0)
    whole = train_dynamic(experiment, data=data)
    path = tmp_path / "checkpoint"
    while (
        train_dynamic(experiment, data=data, checkpoint=path, max_decisions=7, record_path=tmp_path).status
        != "finished"
    ):
        pass
    resumed = train_dynamic(experiment, data=data, checkpoint=path, record_path=tmp_path)
    assert resumed.history["action"] == whole.history["action"]
    rel = 2e-2 if precision.startswith("bf16") else 1e-3
    assert resumed.curves["train"]["loss"] == pytest.approx(whole.curves["train"]["loss"], rel=rel)
    assert resumed.test["perplexity"] == pytest.approx(whole.test["perplexity"], rel=3 * rel)


def test_the_best_weights_stay_on_the_device_and_are_loaded_from_there(data):
    learner = build_learner(smoke(), data)
    kept = learner.weights(learner.device)
    assert {tensor.device.type for tensor in kept.values()} == {"cuda"}
    before = learner.probe(0)
    learner.train(3)
    assert learner.probe(0) != before
    learner.load_weights(TieMap.independent(4), kept)
    assert learner.probe(0) == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_from_a_cuda_graph_are_those_taken_one_by_one(data, precision):
    plain = build_learner(smoke(precision=precision, dropout=0.2), data)
    captured = build_learner(smoke(precision=precision, dropout=0.2, cuda_graph=True), data)
    for turn in range(6):
        for learner in (plain, captured):
            learner.tie(MAPS[turn % 4])
        ours, theirs = plain.train(5), captured.train(5)
        assert theirs == pytest.approx(ours, rel=1e-2 if precision == "bf16" else 1e-4), turn
        captured.graph.batch.fill_(7)  # a replay must read its own step's batch
    assert captured.graph_note == "on"
    assert captured.graph.captures == 6
    captured.train(5)
    assert captured.graph.captures == 6  # nothing moved
    for name, weight in plain.weights().items():
        assert captured.weights()[name].shape == weight.shape


def test_a_captured_dropout_mask_is_the_one_of_its_step(data):
    learner = build_learner(smoke(dropout=0.5, learning_rate=1e-12, cuda_graph=True), data)
    again = build_learner(smoke(dropout=0.5, learning_rate=1e-12), data)
    assert learner.train(6) == pytest.approx(again.train(6), rel=1e-5)
