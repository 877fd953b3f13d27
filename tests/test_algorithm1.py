"""Whole runs: fair comparisons, complete records, and runs that stop and go on to the bit."""

import inspect
import json
import re

import nbformat
import pytest
import torch
from safetensors.torch import load_file

from dlt_core import CHECKOUT
from dlt_core.agents import FixedAgent, RandomAgent, ReplayAgent
from dlt_core.algorithm1 import LISTING, train_conventional, train_dynamic
from dlt_core.experiments import Experiment
from dlt_core.learner.accounting import gpt2_parameters
from dlt_core.learner.training import Learner
from dlt_core.records import checkpoints
from dlt_core.records.record import RunRecord
from dlt_core.tie_map import TieMap, from_actions
from dlt_core.widgets import stepper
from tests.conftest import AlwaysIndependent, untimed


def test_the_record_of_a_dynamic_run_is_complete(smoke, tiny_data, tmp_path):
    record = train_dynamic(smoke, data=tiny_data, record_path=tmp_path)
    saved = RunRecord.load(tmp_path / "gpt2-embedded-smoke-dynamic-seed0.json")
    assert saved.to_json() == record.to_json()
    assert record.status == "finished"
    assert record.method == "dynamic"
    assert record.experiment["preset"] == "smoke"
    decisions = smoke.episodes * (smoke.n_layer - 1)
    assert {len(column) for column in record.history.values()} == {decisions}
    assert record.history["layer"] == [1, 2, 3] * smoke.episodes
    assert [len(q) for q in record.history["q_values"]] == [2, 3, 4] * smoke.episodes
    pairs = list(zip(record.history["layer"], record.history["action"], strict=True))
    assert list(from_actions(4, pairs)) == record.history["tie_map"][-1] == record.final_tie_map
    assert record.history["num_independent"] == [len(set(s)) for s in record.history["tie_map"]]
    epsilons = [max(0.1, 0.95**turn) for turn in range(smoke.episodes) for _ in range(3)]
    assert record.history["epsilon"] == pytest.approx(epsilons)
    steps = decisions * smoke.steps_per_action
    assert record.budget == {"optimizer_steps": steps, "tokens": steps * smoke.batch_size * smoke.block_size}
    assert record.curves["validation"]["step"] == [6 * turn for turn in range(1, smoke.episodes + 1)]
    best = min(record.curves["validation"]["perplexity"])
    assert record.test["validation_perplexity"] == pytest.approx(best)
    assert record.test["selected_by"] == "validation"
    assert record.test["unit"] == "per token of a 512-piece BPE"
    turn = record.curves["validation"]["perplexity"].index(best)
    assert record.tie_map == record.history["tie_map"][3 * turn + 2]
    shape = {"vocab_size": 512, "n_positions": 32, "n_embd": 32}
    assert record.parameters == {
        "unique": gpt2_parameters(**shape, num_groups=len(set(record.tie_map))),
        "conventional": gpt2_parameters(**shape, num_groups=4),
    }
    closed, measured = record.bytes["closed_form_at_end"], record.bytes["measured_at_end"]
    assert measured["weights"] == closed["weights"]
    assert measured["gradients"] == closed["gradients"]
    assert measured["optimizer"] == pytest.approx(closed["optimizer"], rel=0.01)  # AdamW's step counters
    assert record.transitions()["ties"] > 0
    assert record.transitions()["unties"] > 0
    assert max(record.history["td_loss"]) > 0


def test_there_is_one_listing_and_the_loop_notebook_03_and_the_stepper_have_it():
    listed = list(enumerate((line.strip() for line in stepper.lines()), 1))
    loop = re.findall(r"# (\d)   (.+)", inspect.getsource(train_dynamic))
    assert [(int(number), line) for number, line in loop] == listed
    assert all(f"| {number} | " in LISTING for number, _ in listed)
    notebook = nbformat.read(CHECKOUT / "notebooks" / "03_algorithm_1.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output["data"]["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})]
    assert shown.count(LISTING) == 1
    words = "".join(cell.source for cell in notebook.cells)
    assert not re.search(r"←|<-", words), "a listing of its own"
    tasks = (CHECKOUT / "notebooks" / "exercises" / "03_algorithm_1.ipynb").read_text(encoding="utf-8")
    quoted = re.findall(r"Line (\d) of the listing is `([^`]+)`", tasks)
    assert quoted
    assert all((int(number), line) in listed for number, line in quoted)


def test_an_agent_needs_four_methods(smoke, tiny_data):
    class Stays(AlwaysIndependent):
        def act(self, state, layer):
            return 0

    record = train_dynamic(smoke, agent=Stays(), data=tiny_data)
    assert (record.method, record.agent["class"]) == ("Stays", "Stays")
    assert {*record.history["explored"], *record.history["epsilon"]} == {0}
    assert record.curves == train_dynamic(smoke, agent=FixedAgent(TieMap.all_tied(4)), data=tiny_data).curves


def test_conventional_and_dynamic_share_data_budget_and_start(smoke, tiny_data):
    conventional = train_conventional(smoke, data=tiny_data)
    independent = train_dynamic(smoke, agent=FixedAgent(TieMap.all_tied(4)), data=tiny_data)
    assert conventional.budget == independent.budget
    assert conventional.corpus == independent.corpus
    assert conventional.curves["validation"]["step"] == independent.curves["validation"]["step"]
    assert conventional.parameters["unique"] == conventional.parameters["conventional"]
    # an agent that never ties anything else trains exactly as the static all-tied model does
    tied = train_conventional(smoke, tie_map=TieMap.all_tied(4), method="all_tied", data=tiny_data)
    assert tied.curves == independent.curves
    assert tied.test == independent.test
    with pytest.raises(ValueError, match="method name"):
        train_conventional(smoke, tie_map=TieMap.all_tied(4), data=tiny_data)


@pytest.mark.parametrize("method", ["dynamic", "random"])
def test_after_a_share_of_the_training_no_decision_is_made(method, smoke, tiny_data):
    two = smoke.replace(episodes=2, evaluate_every=2)  # 6 decisions

    def run(**changes):
        agent = RandomAgent(4, seed=3) if method == "random" else None
        return train_dynamic(two.replace(**changes), agent=agent, data=tiny_data)

    free, frozen = run(), run(freeze_after=0.4)
    assert frozen.experiment["overrides"]["freeze_after"] == 0.4
    columns = frozen.history
    for name in ("action", "tie_map", "reward", "q_values"):
        assert columns[name][:3] == free.history[name][:3], name
    assert columns["tie_map"][2:] == [columns["tie_map"][2]] * 4
    assert free.history["tie_map"][3:] != columns["tie_map"][3:]
    assert (columns["explored"][3:], columns["td_loss"][3:]) == ([True] * 3, [0.0] * 3), "nobody was asked"
    assert frozen.budget == free.budget
    if method == "dynamic":  # what is trained is what the same ties train
        maps = [TieMap(m) for m in columns["tie_map"]]
        held = train_conventional(two, tie_map=maps, method="m", data=tiny_data)
        assert (held.curves, held.test) == (frozen.curves, frozen.test)


def test_two_runs_with_one_seed_are_equal_and_replay_repeats_them(twenty, tiny_data):
    first = train_dynamic(twenty, data=tiny_data)
    assert untimed(train_dynamic(twenty, data=tiny_data)) == untimed(first)
    replay = train_dynamic(twenty, agent=ReplayAgent(first.history["action"]), data=tiny_data)
    assert replay.curves == first.curves
    assert replay.test == first.test
    other = train_dynamic(twenty.replace(seed=1), data=tiny_data)
    assert other.history["action"] != first.history["action"]
    assert other.test != first.test


@pytest.mark.parametrize("method", ["dynamic", "random", "conventional"])
def test_stopped_after_7_of_20_and_resumed_equals_uninterrupted(method, twenty, tiny_data, tmp_path):
    def run(**arguments):
        if method == "conventional":
            return train_conventional(twenty, data=tiny_data, **arguments)
        agent = RandomAgent(6, seed=3) if method == "random" else None
        return train_dynamic(twenty, agent=agent, data=tiny_data, **arguments)

    def weights(path, decisions):
        """All tensors of a checkpoint after so many decisions in all."""
        stopped = run(checkpoint=path, max_decisions=decisions)
        assert stopped.status == "stopped"
        return load_file(path)

    uninterrupted = weights(tmp_path / "one", 19)
    slots = tmp_path / "slots"
    assert weights(slots, 7)
    assert len(json.loads(checkpoints.load(slots)[1]["record"])["curves"]["train"]["loss"]) == 7
    resumed = weights(slots, 12)
    assert resumed.keys() == uninterrupted.keys()
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in resumed)

    finished = run(checkpoint=slots)
    assert finished.status == "finished"
    assert not slots.exists()
    assert untimed(finished) == untimed(run())


def test_a_schedule_starts_all_tied_and_has_a_map_for_each_decision(smoke, tiny_data, monkeypatch):
    four = smoke.replace(episodes=2)  # 6 decisions on 4 layers
    starts, tie = [], Learner.tie
    monkeypatch.setattr(Learner, "tie", lambda self, m: starts.append((self.step, list(m))) or tie(self, m))
    maps = [TieMap.independent(4), *[TieMap([0, 0, 2, 2])] * 4, TieMap([0, 1, 1, 0])]
    record = train_conventional(four, tie_map=maps, method="m", data=tiny_data)
    assert starts[:2] == [(0, [0, 0, 0, 0]), (0, [0, 1, 2, 3])]
    assert record.history["tie_map"] == [list(m) for m in maps]
    assert record.history["num_independent"] == [4, 2, 2, 2, 2, 2]
    assert record.history["episode"] == [0, 0, 0, 1, 1, 1]
    assert record.final_tie_map == [0, 1, 1, 0]
    assert record.agent == {"class": "schedule", "tie_maps": [list(m) for m in maps]}
    # untied at the first decision, the layers begin as copies of layer 0: another run than the conventional one
    untied = train_conventional(four, tie_map=[TieMap.independent(4)] * 6, method="m", data=tiny_data)
    assert untied.curves["train"]["loss"][0] != train_conventional(four, data=tiny_data).curves["train"]["loss"][0]
    tied = train_conventional(four, tie_map=[TieMap.all_tied(4)] * 6, method="m", data=tiny_data)
    assert tied.curves == train_conventional(four, tie_map=TieMap.all_tied(4), method="m", data=tiny_data).curves


@pytest.mark.parametrize("length", [1, 5, 7])
def test_a_schedule_of_another_length_is_refused_before_training(length, smoke, tiny_data, monkeypatch):
    monkeypatch.setattr(Learner, "train", None)  # would fail if it trained
    maps = [TieMap.all_tied(4)] * length
    with pytest.raises(ValueError, match=f"{length} tie maps for 6 decisions"):
        train_conventional(smoke.replace(episodes=2), tie_map=maps, method="m", data=tiny_data)
    with pytest.raises(ValueError, match="method name"):
        train_conventional(smoke.replace(episodes=2), tie_map=[TieMap.all_tied(4)] * 6, data=tiny_data)


def test_a_schedule_stopped_and_resumed_equals_the_uninterrupted(twenty, tiny_data, tmp_path):
    maps = [TieMap(m) for m in train_dynamic(twenty, data=tiny_data).history["tie_map"]]
    assert maps[6] != maps[7] != maps[-1]

    def run(maps=maps, **arguments):
        return train_conventional(twenty, tie_map=maps, method="replay", data=tiny_data, **arguments)

    path = tmp_path / "checkpoint"
    stopped = run(checkpoint=path, max_decisions=7)
    assert (stopped.status, len(stopped.history["tie_map"])) == ("stopped", 7)
    with pytest.raises(ValueError, match="belongs to another run: its agent"):
        run([*maps[:-1], TieMap.independent(6)], checkpoint=path)
    with pytest.raises(ValueError, match="belongs to another run: its agent"):
        run(maps[-1], checkpoint=path)
    assert untimed(run(checkpoint=path)) == untimed(run())


@pytest.mark.parametrize("preset", ["gpu", "paper"])
@pytest.mark.parametrize("name", ["gpt2-wikitext2", "bert-wikitext2"])
def test_the_large_presets_run_with_nothing_changed_but_their_size(name, preset, tiny_data):
    """bf16 autocast, dropout and all; the sizes are the only thing that a CPU cannot bear."""
    small = {"n_layer": 3, "n_head": 2, "n_embd": 16, "n_positions": 32, "block_size": 32, "batch_size": 4,
             "episodes": 2, "steps_per_action": 2, "evaluate_every": 2, "evaluation_tokens": 512}  # fmt: skip
    experiment = Experiment.preset(name, preset, corpus="embedded", tokenizer="bpe-512", device="cpu", **small)
    assert (experiment.precision, experiment.dropout) == ("bf16", 0.2)
    for record in (train_dynamic(experiment, data=tiny_data), train_conventional(experiment, data=tiny_data)):
        assert record.status == "finished"
        assert record.budget["optimizer_steps"] == 8
        assert 1 < record.test["perplexity"] < 1000
        assert record.bytes["step_peak"] > record.bytes["measured_at_end"]["weights"]
        assert record.parameters["unique"] <= record.parameters["conventional"]
