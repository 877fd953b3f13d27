"""Dynamic layer tying as a callback of `transformers.Trainer`: the same decisions as Algorithm 1's own loop, in yours.

    Trainer(model=model, ..., callbacks=[DynamicLayerTyingCallback()]).train()

A decision begins before a step and ends k steps later: the environment's step, cut in two by the Trainer's k steps.
"""

from __future__ import annotations

import base64
import functools
import math
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as unpack
from safetensors.torch import save as pack
from torch import nn
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler, ExportableState

from dlt_core.agents import Agent, QAgent, RandomAgent
from dlt_core.blocks import Blocks, find_blocks
from dlt_core.env import STARTS, LayerTyingEnv
from dlt_core.huggingface.pretrained import save_pretrained
from dlt_core.learner.evaluation import perplexity
from dlt_core.learner.training import PROBING, TrainingDiverged
from dlt_core.records.checkpoints import Saved, cannot_be_saved
from dlt_core.tie_map import TieMap
from dlt_core.tying import follow_state_dicts, read_tie_map, tie_layers
from dlt_core.tying.layout import FSDP

AGENTS = {"q": QAgent, "random": RandomAgent}
Batch = Mapping[str, Any]


class DynamicLayerTyingCallback(TrainerCallback, ExportableState):
    """Lets an agent tie the layers of the model that the Trainer trains.

    agent: "q" (the paper's, with its settings), "random", or any agent of `dlt_core.agents` or with its methods.
    steps_per_action: k, optimiser steps between two decisions. reward, price, orphans: see `LayerTyingEnv`; the
    reward is made from the loss that the model returns, dropout off. gradient, blocks: see `tie_layers`.
    reward_batch: decision number -> the inputs of the reward's minibatch, with labels. By default as many examples as a
    device's batch has, drawn from the training set, in an order of their own.
    start: "tied" as in the paper, all layers sharing the first one's weights; "independent" to begin with the model as
    it is, such as a pretrained one, of which tying all at once would leave nothing.
    seed: of the agent and the default reward batches; the Trainer's by default.

    The Trainer's log gets `independent_layers`, `reward` and `epsilon`, and so do all that it reports to.
    `decisions` lists what was decided, `agent` and `tie_map` are what they are now. Checkpoints are plain ones in which
    tied layers have equal values; `resume_from_checkpoint` goes on with the same ties, agent and decisions.
    Raises ValueError for what cannot be done: FSDP, DeepSpeed, several processes, a training set without length and no
    reward_batch.

    >>> callback = DynamicLayerTyingCallback(agent="q", steps_per_action=15)  # for Trainer(..., callbacks=[callback])
    >>> callback.settings["start"], callback.decisions
    ('tied', [])
    """

    def __init__(
        self,
        agent: str | Agent = "q",
        *,
        steps_per_action: int = 15,
        reward: str = "neg_perplexity",
        price: float = 0.0,
        orphans: str = "follow",
        gradient: str = "shared",
        blocks: Blocks | None = None,
        reward_batch: Callable[[int], Batch] | None = None,
        start: str = "tied",
        seed: int | None = None,
    ) -> None:
        if isinstance(agent, str) and agent not in AGENTS:
            raise ValueError(f"unknown agent {agent!r}; known: {', '.join(AGENTS)}, or an agent of your own")
        if start not in STARTS:
            raise ValueError(f"unknown start {start!r}; known: {', '.join(STARTS)}")
        self.settings: dict[str, Any] = {
            "agent": agent,
            "steps_per_action": steps_per_action,
            "reward": reward,
            "price": price,
            "orphans": orphans,
            "gradient": gradient,
            "blocks": blocks,
            "reward_batch": reward_batch,
            "start": start,
            "seed": seed,
        }
        self.saved: dict[str, Any] | None = None  # by the checkpoint that is gone on from
        self.env: LayerTyingEnv | None = None  # until training begins
        self.agent: Agent
        self.pending: dict[str, Any] | None = None  # the decision whose k steps are being taken
        self.decisions: list[dict[str, Any]] = []
        self.logged: dict[str, float] = {}

    @property
    def tie_map(self) -> TieMap:
        """The ties as they are now. Raises ValueError before training has begun."""
        if self.env is None:
            raise ValueError("training has not begun: nothing is tied yet")
        return self.env.tie_map

    # --- the Trainer's events ---

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **of: Any) -> None:
        _refuse(args)
        model = of["model"]
        own = [name for name, value in self.settings.items() if not isinstance(value, (str, int, float, type(None)))]
        if args.restore_callback_states_from_checkpoint and own:
            raise ValueError(
                f"restore_callback_states_from_checkpoint would make this callback anew without its {own[0]}: leave it "
                "out; the callback restores itself"
            )
        layers = find_blocks(model, self.settings["blocks"])
        tie_layers(model, self._first_map(read_tie_map(model, blocks=layers)), blocks=layers)
        follow_state_dicts(model)
        if isinstance(model, PreTrainedModel):  # the Trainer calls it for its checkpoints
            model.save_pretrained = functools.partial(save_pretrained, model, blocks=layers)  # type: ignore[method-assign]

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **of: Any) -> None:
        _go_first(self)
        model, optimizer, loader = of["model"], of["optimizer"], of["train_dataloader"]
        layers = find_blocks(model, self.settings["blocks"])
        _refuse_untrained(layers, optimizer)
        seed = args.seed if self.settings["seed"] is None else self.settings["seed"]
        batch = self.settings["reward_batch"] or _own_order(loader, args.per_device_train_batch_size, seed)
        world = _TrainersModel(model, layers, optimizer, self.settings["gradient"], batch, args.device)
        callbacks: Any = state.stateful_callbacks or {}
        saved = self.saved or callbacks.get(type(self).__name__, {}).get("attributes", {}).get("saved")
        if state.global_step and saved is None:
            raise ValueError("the checkpoint was written without this callback: it does not say what was decided")
        how = {name: self.settings[name] for name in ("steps_per_action", "reward", "price", "orphans")}
        as_it_is = state.global_step or self.settings["start"] == "independent"
        self.env = LayerTyingEnv(world, start="independent" if as_it_is else "tied", **how)  # type: ignore[arg-type]
        agent = self.settings["agent"]
        self.agent = AGENTS[agent](len(layers), seed=seed) if isinstance(agent, str) else agent
        self.pending, self.decisions, self.logged = None, [], {}
        if args.save_strategy != "no" and (why := cannot_be_saved(self.agent)):
            warnings.warn(f"{why}: checkpoints keep the model, but training cannot go on from them", stacklevel=2)
        if state.global_step:
            self._restore(saved)
        self.saved = None

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **of: Any) -> None:
        assert self.env is not None
        if self.pending is None:
            before, layer = self.env.tie_map, self.env.layer
            action = self.agent.act(before, layer)
            valid = self.env.act(action)
            self.pending = {"state": list(before), "layer": layer, "action": int(action), "valid": valid, "steps": 0}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **of: Any) -> None:
        assert self.env is not None
        assert self.pending is not None
        now = self.pending
        now["steps"] += 1
        if now["steps"] < self.env.steps_per_action:
            return
        _, reward, end_of_turn, _, info = self.env.outcome(now["valid"])
        self.agent.learn(TieMap(now["state"]), now["layer"], now["action"], reward, self.env.tie_map)
        self.logged = {
            "independent_layers": info["num_independent"],
            "reward": float(reward),
            "epsilon": float(getattr(self.agent, "epsilon", 0.0)),
        }
        self.decisions.append({"layer": now["layer"], "action": now["action"], "loss": info["loss"], **self.logged})
        self.pending = None
        if end_of_turn:
            self.agent.end_episode()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **of: Any,
    ) -> None:
        if logs is not None and "loss" in logs:
            logs.update(self.logged)
            state.log_history[-1].update(self.logged)

    # --- what a checkpoint keeps ---

    def state(self) -> dict[str, Any]:
        """For trainer_state.json: the settings, and all that decides what comes next."""
        plain = {n: v for n, v in self.settings.items() if isinstance(v, (str, int, float, type(None)))}
        return {"args": plain, "attributes": {} if self.env is None else {"saved": self._saved()}}

    def _saved(self) -> dict[str, Any]:
        assert self.env is not None
        return {
            "env": self.env.state_dict(),
            "agent": self._saved_agent(),
            "pending": self.pending and dict(self.pending),
            "decisions": [dict(decision) for decision in self.decisions],
            "logged": dict(self.logged),
        }

    def _saved_agent(self) -> dict[str, Any] | None:
        """None for an agent that cannot be saved: the checkpoint has the model all the same."""
        if not isinstance(self.agent, Saved):
            return None
        agent = self.agent.state_dict()
        tensors = {name: tensor.contiguous() for name, tensor in agent["tensors"].items()}
        return {"tensors": base64.b64encode(pack(tensors)).decode(), "values": agent["values"]}

    def _restore(self, saved: dict[str, Any]) -> None:
        assert self.env is not None
        if saved["agent"] is None or not isinstance(self.agent, Saved):
            why = cannot_be_saved(self.agent) or "it could not be saved"
            raise ValueError(f"the checkpoint has the model, but not its agent: {why}. Begin anew, without it")
        if list(self.env.tie_map) != saved["env"]["tie_map"]:
            raise ValueError(
                f"the checkpoint was written with the ties {saved['env']['tie_map']}, its weights brought "
                f"{list(self.env.tie_map)}: they are not those that were saved"
            )
        self.env.load_state_dict(saved["env"])
        tensors = unpack(base64.b64decode(saved["agent"]["tensors"]))
        self.agent.load_state_dict({"tensors": tensors, "values": saved["agent"]["values"]})
        self.pending, self.decisions, self.logged = saved["pending"], saved["decisions"], saved["logged"]

    def _first_map(self, present: TieMap) -> TieMap:
        return TieMap.all_tied(len(present)) if self.settings["start"] == "tied" else present


class _TrainersModel:
    """What the environment needs of a learner: ties, and the loss that rewards are made from. The Trainer trains."""

    def __init__(
        self,
        model: nn.Module,
        blocks: list[nn.Module],
        optimizer: torch.optim.Optimizer,
        gradient: str,
        batch: Callable[[int], Batch],
        device: torch.device,
    ) -> None:
        self.model, self.blocks, self.optimizer, self.gradient = model, blocks, optimizer, gradient
        self.batch, self.device = batch, device

    @property
    def tie_map(self) -> TieMap:
        return read_tie_map(self.model, blocks=self.blocks)

    def tie(self, tie_map: TieMap) -> None:
        tie_layers(self.model, tie_map, gradient=self.gradient, optimizer=self.optimizer, blocks=self.blocks)

    @torch.no_grad()
    def probe(self, index: int) -> float:
        """Loss on the reward's minibatch number `index`, dropout off."""
        from accelerate.utils import send_to_device  # which the Trainer needs, and the rest of the package does not

        training = self.model.training
        self.model.eval()
        try:
            loss = self.model(**send_to_device(self.batch(index), self.device)).loss
        finally:
            self.model.train(training)
        if loss is None:
            raise ValueError("the model returned no loss for the reward's minibatch: its inputs need labels")
        if not math.isfinite(perplexity(float(loss))):
            raise TrainingDiverged(f"the loss of reward {index} is {float(loss)} with {self.tie_map}")
        return float(loss)


def _own_order(loader: Any, size: int, seed: int) -> Callable[[int], Batch]:
    """Minibatches of the training set, drawn anew for each decision, whatever the Trainer's own order is."""
    dataset = loader.dataset
    if not hasattr(dataset, "__len__"):
        raise ValueError("the training set has no length to draw the reward's minibatches from: give reward_batch")

    def batch(index: int) -> Batch:
        rng = np.random.default_rng((seed, PROBING, index))
        chosen = rng.choice(len(dataset), size=min(size, len(dataset)), replace=False)
        return loader.collate_fn([dataset[int(i)] for i in chosen])

    return batch


def _refuse(args: TrainingArguments) -> None:
    """Raises ValueError where several processes hold the model, or parts of it."""
    if args.deepspeed or getattr(args, "deepspeed_plugin", None):
        raise ValueError("DeepSpeed keeps weights and moments in places of its own: layers cannot be tied under it")
    if args.fsdp or getattr(args, "fsdp_plugin_args", None):
        raise ValueError(FSDP)
    if args.world_size > 1:
        raise ValueError(
            "DDP does not allow weights to change after it has wrapped the model, and its processes would drift apart: "
            "in several processes use `torchrun ... -m dlt_core train`, which averages the gradients itself"
        )


def _refuse_untrained(blocks: list[nn.Module], optimizer: torch.optim.Optimizer) -> None:
    """Raises ValueError if the optimiser does not hold all trainable weights, as after the Trainer has loaded
    its best model, which may be tied otherwise."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if any(p.requires_grad and id(p) not in held for block in blocks for p in block.parameters()):
        raise ValueError("the optimizer does not hold all of the blocks' weights: train on with a new Trainer")


def _go_first(callback: TrainerCallback) -> None:
    """Put the callback before those that report, so that they see what it adds to the log. The Trainer gives no other
    way: its list of callbacks is the caller's caller's."""
    handler = sys._getframe(2).f_locals.get("self")
    if isinstance(handler, CallbackHandler):
        handler.callbacks = [callback, *(other for other in handler.callbacks if other is not callback)]
