"""The callback in transformers' Trainer: the same decisions as our own loop, checkpoints that go on with them."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import set_seed

from dlt_core import Experiment, QAgent, TieMap, build_learner, load_data, train_dynamic
from dlt_core.huggingface.pretrained import from_pretrained
from dlt_core.huggingface.trainer import DynamicLayerTyingCallback
from dlt_core.tying import read_tie_map, tie_layers
from tests.conftest import AlwaysIndependent
from tests.huggingface.families import inputs, tiny

STEPS, K = 18, 3
CHANGES = {"n_layer": 4, "episodes": 2, "steps_per_action": K, "weight_decay": 0.0, "dropout": 0.0}


class Reported(TrainerCallback):
    """Stands for what `report_to` names: it comes before the caller's own callbacks."""

    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append(dict(logs))


class Rows(torch.utils.data.Dataset):
    """A learner's batches, row by row, in its order."""

    def __init__(self, learner):
        self.learner = learner

    def __len__(self):
        return self.learner.batch_size * STEPS

    def __getitem__(self, index):
        turn, row = divmod(index, self.learner.batch_size)
        return as_inputs(torch.from_numpy(self.learner.batches[turn][row]))


def as_inputs(tokens):
    labels = tokens[..., 1:].contiguous()
    return {"input_ids": tokens[..., :-1].contiguous(), "labels": labels, "shift_labels": labels}


class InOrder(Trainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


class Setting:
    def __init__(self):
        self.experiment = Experiment.preset("gpt2-embedded", "smoke", **CHANGES)
        self.data = load_data(self.experiment)
        self.learner = build_learner(self.experiment, self.data)

    def agent(self):
        e = self.experiment
        return QAgent(4, seed=e.seed, learning_rate=e.q_learning_rate, epsilon=0.5, epsilon_decay=e.epsilon_decay)

    def trainer(self, out, *, trainer=InOrder, reporter=None, callback=None, **options):
        e = self.experiment
        callback = callback or DynamicLayerTyingCallback(
            self.agent(),
            steps_per_action=K,
            reward_batch=lambda n: as_inputs(torch.from_numpy(self.learner.probes[n])),
        )
        how = {
            "max_steps": STEPS,
            "per_device_train_batch_size": e.batch_size,
            "learning_rate": e.learning_rate,
            "max_grad_norm": e.grad_clip,
            "lr_scheduler_type": "constant",
            "optim": "adamw_torch_fused",
            "logging_steps": K,
            "save_steps": 7,
            "seed": e.seed,
        }
        fixed = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "remove_unused_columns": False}
        made = trainer(
            model=build_learner(e, self.data).model,
            args=TrainingArguments(output_dir=str(out), **{**how, **fixed, **options}),
            train_dataset=Rows(self.learner),
            eval_dataset=Rows(self.learner),
            callbacks=[*filter(None, [reporter]), callback],
        )
        made.tying = callback
        return made


@pytest.fixture(scope="module")
def setting():
    return Setting()


@pytest.fixture(scope="module")
def run(setting, tmp_path_factory):
    reporter = Reported()
    trainer = setting.trainer(tmp_path_factory.mktemp("run"), reporter=reporter)
    trainer.train()
    trainer.reporter = reporter
    return trainer


def test_it_decides_as_our_own_loop_does(setting, run):
    own = train_dynamic(setting.experiment, agent=setting.agent(), data=setting.data)
    decisions = run.tying.decisions
    assert [d["action"] for d in decisions] == own.history["action"]
    assert [d["layer"] for d in decisions] == own.history["layer"]
    assert [d["loss"] for d in decisions] == pytest.approx(own.history["loss"], abs=1e-5)
    assert list(run.tying.tie_map) == own.final_tie_map == list(read_tie_map(run.model))
    assert len({d["independent_layers"] for d in decisions}) > 1  # something was tied and untied


def test_ties_reward_and_epsilon_are_in_the_log_and_in_what_it_reports_to(run):
    logged = [log for log in run.state.log_history if "loss" in log]
    for seen in (logged, [log for log in run.reporter.logs if "loss" in log]):
        assert [log["independent_layers"] for log in seen] == [d["independent_layers"] for d in run.tying.decisions]
        assert [log["reward"] for log in seen] == [d["reward"] for d in run.tying.decisions]
        assert [log["epsilon"] for log in seen] == [d["epsilon"] for d in run.tying.decisions]


def test_a_killed_run_goes_on_from_its_checkpoint_as_if_nothing_had_happened(setting, run):
    folder = f"{run.args.output_dir}/checkpoint-7"  # in the middle of a decision
    again = setting.trainer(run.args.output_dir + "-again")
    again.train(resume_from_checkpoint=folder)
    assert again.tying.decisions == run.tying.decisions
    ours, theirs = dict(again.model.named_parameters()), dict(run.model.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    states = [[t.optimizer.state[p] for p in t.model.parameters()] for t in (run, again)]
    assert all(torch.equal(a["exp_avg"], b["exp_avg"]) for a, b in zip(*states, strict=True))


def test_a_checkpoint_is_a_plain_model_and_a_tied_one(run):
    folder = f"{run.args.output_dir}/checkpoint-{STEPS}"
    plain, tied = type(run.model).from_pretrained(folder), from_pretrained(folder)
    run.model.eval()
    expected = run.model(**inputs("gpt2")).logits
    assert torch.equal(plain(**inputs("gpt2")).logits, expected)
    assert torch.equal(tied(**inputs("gpt2")).logits, expected)
    assert read_tie_map(tied) == run.tying.tie_map


def test_an_agent_that_cannot_be_saved_trains_and_keeps_its_model_but_does_not_go_on(setting, tmp_path, monkeypatch):
    def trainer(out):
        callback = DynamicLayerTyingCallback(AlwaysIndependent(), steps_per_action=K, seed=1)
        return setting.trainer(out, callback=callback)

    trained = trainer(tmp_path / "out")
    with pytest.warns(UserWarning, match="no load_state_dict: checkpoints keep the model, but training cannot go on"):
        trained.train()
    folder = tmp_path / "out" / "checkpoint-7"
    assert [d["action"] for d in trained.tying.decisions][:3] == [1, 2, 3]
    assert from_pretrained(folder).num_parameters() > 0
    with pytest.raises(ValueError, match="not its agent: AlwaysIndependent has no state_dict and no load_state_dict"):
        trainer(tmp_path / "again").train(resume_from_checkpoint=str(folder))
    monkeypatch.setattr(AlwaysIndependent, "state_dict", lambda self: {"tensors": {}, "values": {}}, raising=False)
    with pytest.raises(ValueError, match="not its agent: AlwaysIndependent has no load_state_dict"):
        trainer(tmp_path / "again").train(resume_from_checkpoint=str(folder))


def test_a_checkpoint_of_a_run_without_the_callback_is_refused(setting, run, tmp_path):
    folder = tmp_path / "checkpoint-7"
    folder.symlink_to(f"{run.args.output_dir}/checkpoint-7")
    copy = tmp_path / "copy" / "checkpoint-7"
    copy.mkdir(parents=True)
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    state = json.loads((copy / "trainer_state.json").read_text())
    del state["stateful_callbacks"]["DynamicLayerTyingCallback"]
    (copy / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="was written without this callback"):
        setting.trainer(tmp_path / "out").train(resume_from_checkpoint=str(copy))


@pytest.mark.parametrize(
    "options", [{"optim": "adafactor"}, {"bf16": True}, {"gradient_accumulation_steps": 2}], ids=lambda o: next(iter(o))
)
def test_optimiser_precision_and_accumulation_are_the_trainers(setting, tmp_path, options):
    callback = DynamicLayerTyingCallback("random", steps_per_action=1, seed=1)  # with its own reward minibatches
    trainer = setting.trainer(tmp_path, callback=callback, max_steps=6, save_strategy="no", **options)
    trainer.train()
    assert trainer.state.global_step == len(callback.decisions) == 6
    assert len({d["independent_layers"] for d in callback.decisions}) > 1
    held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in trainer.model.parameters()}


def test_the_best_model_is_loaded_with_its_own_ties(setting, tmp_path):
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_steps": 2, "max_steps": 6}
    callback = DynamicLayerTyingCallback("random", steps_per_action=2, seed=3)
    trainer = setting.trainer(
        tmp_path, callback=callback, load_best_model_at_end=True, greater_is_better=True,
        metric_for_best_model="eval_loss", **options,
    )  # fmt: skip
    trainer.train()
    best = from_pretrained(trainer.state.best_model_checkpoint)
    assert trainer.state.best_global_step == 2  # the largest loss is the first
    assert read_tie_map(trainer.model) == read_tie_map(best) != callback.tie_map
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), best.parameters(), strict=True))
    tie_layers(trainer.model, TieMap.independent(4))  # as a best model with more weight sets would leave it
    with pytest.raises(ValueError, match="train on with a new Trainer"):
        trainer.train()


def test_a_pretrained_model_begins_as_it_is(setting, tmp_path):
    callback = DynamicLayerTyingCallback("random", steps_per_action=1, start="independent")
    trainer = setting.trainer(tmp_path, callback=callback, max_steps=1, save_strategy="no")
    assert read_tie_map(trainer.model) == TieMap.independent(4)
    trainer.train()
    moved = callback.decisions[0]
    assert callback.tie_map == TieMap.independent(4).with_action(moved["layer"], moved["action"])


def refusing(**args):
    plain = {"deepspeed": None, "fsdp": [], "world_size": 1, "restore_callback_states_from_checkpoint": False}
    return SimpleNamespace(**{**plain, **args})


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"deepspeed": "ds.json"}, "DeepSpeed keeps weights"),
        ({"fsdp": ["full_shard"]}, "FSDP gives each process a piece"),
        ({"world_size": 2}, "DDP does not allow weights to change"),
    ],
)
def test_several_processes_are_refused_with_the_reason(args, reason):
    with pytest.raises(ValueError, match=reason):
        DynamicLayerTyingCallback().on_init_end(refusing(**args), None, None, model=tiny("gpt2"))


def test_what_cannot_be_is_refused_at_once():
    with pytest.raises(ValueError, match="unknown agent 'dqn'; known: q, random"):
        DynamicLayerTyingCallback("dqn")
    with pytest.raises(ValueError, match="unknown start 'free'; known: tied, independent"):
        DynamicLayerTyingCallback(start="free")
    with pytest.raises(ValueError, match="training has not begun"):
        _ = DynamicLayerTyingCallback().tie_map
    callback = DynamicLayerTyingCallback(QAgent(3, seed=0))
    args = refusing(restore_callback_states_from_checkpoint=True)
    with pytest.raises(ValueError, match="make this callback anew without its agent: leave it out"):
        callback.on_init_end(args, None, None, model=tiny("gpt2"))


def test_reward_minibatches_need_labels_and_a_training_set_with_a_length(setting, tmp_path):
    unlabelled = DynamicLayerTyingCallback(steps_per_action=1, reward_batch=lambda n: inputs("gpt2"))
    with pytest.raises(ValueError, match="its inputs need labels"):
        setting.trainer(tmp_path, callback=unlabelled, save_strategy="no").train()

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return (Rows(setting.learner)[i] for i in range(100))

    trainer = setting.trainer(tmp_path, callback=DynamicLayerTyingCallback(), trainer=Trainer, save_strategy="no")
    trainer.train_dataset = Stream()
    with pytest.raises(ValueError, match="give reward_batch"):
        trainer.train()


def test_the_default_reward_minibatches_do_not_depend_on_the_trainers_order(setting, tmp_path):
    losses = []
    for order in (0, 1):
        callback = DynamicLayerTyingCallback("random", steps_per_action=1, seed=5)
        trainer = setting.trainer(tmp_path, callback=callback, trainer=Trainer, max_steps=1, save_strategy="no",
                                  learning_rate=1e-12, data_seed=order)  # fmt: skip
        set_seed(order)
        trainer.train()
        losses.append(callback.decisions[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
