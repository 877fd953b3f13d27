"""The ways to train that the benchmark compares: a call takes k optimiser steps, or one decision with its k steps."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dlt_core.corpora.sources import Corpus
from dlt_core.corpora.text import Text
from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.experiments import Experiment, build_agent, build_env, build_learner
from dlt_core.learner import parallel
from dlt_core.learner.training import Learner
from dlt_core.tie_map import TieMap

TOKENS = 2**20  # in each split of `noise`


def noise(vocab_size: int) -> TokenizedCorpus:
    """Tokens drawn at random: how long a step takes, and how much memory, does not depend on what the text says."""
    rng = np.random.default_rng(0)
    tokens = {split: rng.integers(vocab_size, size=TOKENS, dtype=np.int64) for split in ("train", "validation", "test")}
    corpus = Corpus("noise", dict.fromkeys(tokens, Text("")), "random", note="tokens drawn at random")
    no_tokenizer: Any = None
    return TokenizedCorpus(corpus, no_tokenizer, tokens, np.ones(vocab_size, dtype=np.int64), "random token")


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopwatch:
    """Seconds of pieces by name: `with stopwatch("reward"): ...`; waits for the device before and after."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        wait_for(self.device)
        started = time.perf_counter()
        try:
            yield
        finally:
            wait_for(self.device)
            self.seconds[name].append(time.perf_counter() - started)


def take_turns(
    trainers: Mapping[str, Callable[[], float | None]], repetitions: int, device: torch.device
) -> dict[str, np.ndarray]:
    """Seconds of each call. All take turns, in an order that alternates, after one turn each to warm up.

    A trainer that returns a number has taken its time itself.
    """
    stopwatch = Stopwatch(device)
    own_times: dict[str, list[float]] = {name: [] for name in trainers}
    for repetition in range(-1, repetitions):
        for name in list(trainers)[:: 1 if repetition % 2 else -1]:
            with stopwatch(name):
                own_time = trainers[name]()
            own_times[name].append(stopwatch.seconds[name][-1] if own_time is None else own_time)
    return {name: np.array(seconds[1:]) for name, seconds in own_times.items()}


def steps(learner: Learner, k: int) -> Callable[[], None]:
    """k steps of the learner, with the ties that it has."""

    def call() -> None:
        learner.train(k)

    return call


class WatchedLearner(Learner):
    """A learner whose ties, steps and rewards are timed."""

    def __init__(self, watch: Callable[[str], contextlib.AbstractContextManager[None]], *args: Any, **how: Any) -> None:
        self.watch = watch
        super().__init__(*args, **how)

    def tie(self, tie_map: TieMap) -> None:
        with self.watch("ties"):
            super().tie(tie_map)

    def train(self, steps: int) -> list[float]:
        with self.watch("k steps"):
            return super().train(steps)

    def probe(self, index: int) -> float:
        with self.watch("reward"):
            return super().probe(index)


class Decision:
    """One decision of Algorithm 1 with all that belongs to it: Q-values, action, ties, k steps, reward, Q update.

    The action is drawn beforehand, whatever the agent says, so that a twin can have the same ties.
    watch: called with the name of each piece, for a context in which the piece is run, such as a Stopwatch.
    """

    def __init__(
        self,
        experiment: Experiment,
        data: TokenizedCorpus,
        watch: Callable[[str], contextlib.AbstractContextManager[None]] = lambda name: contextlib.nullcontext(),
    ) -> None:
        self.watch = watch
        self.learner = build_learner(experiment, data, factory=functools.partial(WatchedLearner, watch))
        self.env, self.agent = build_env(experiment, learner=self.learner), build_agent(experiment)
        self.rng = np.random.default_rng(experiment.seed)
        self.draw()

    def draw(self) -> None:
        """The next action, and the ties that it leads to."""
        self.action = int(self.rng.integers(self.env.layer + 1))
        self.next_map = self.env.tie_map.with_action(self.env.layer, self.action)

    def __call__(self) -> None:
        state, layer = self.env.tie_map, self.env.layer
        with self.watch("Q-values and action"):
            self.agent.q_values(state, layer)
            self.agent.act(state, layer)
        _, reward, end_of_turn, _, _ = self.env.step(self.action)
        with self.watch("Q update"):
            self.agent.learn(state, layer, self.action, reward, self.env.tie_map)
        if end_of_turn:
            self.agent.end_episode()
        self.draw()


def by_hand(learner: Learner, k: int, wrapped: nn.Module | None = None) -> None:
    """k steps of the learner's model on its batches, in a training loop as one writes it by hand. wrapped: the model in
    DDP, which averages the gradients of several processes; otherwise they are averaged here."""
    model = learner.model if wrapped is None else wrapped
    model.train()
    for _ in range(k):
        x = torch.from_numpy(parallel.share(learner.batches[learner.step])).to(learner.device, non_blocking=True)
        learner.optimizer.zero_grad()
        with torch.autocast(learner.device.type, dtype=torch.bfloat16, enabled=learner.precision == "bf16"):
            logits = model(x[:, :-1]).logits
            loss = F.cross_entropy(logits.flatten(0, 1).float(), x[:, 1:].flatten())
        loss.backward()
        if wrapped is None:
            parallel.average_gradients(learner.model.parameters())
        nn.utils.clip_grad_norm_(learner.model.parameters(), learner.grad_clip)
        learner.optimizer.step()
        learner.step += 1


class PlainLoop:
    """The same model on the same batches, `by_hand`."""

    def __init__(self, experiment: Experiment, data: TokenizedCorpus) -> None:
        self.learner = build_learner(experiment, data)  # for the model, its batches, and where they are
        self.k = experiment.steps_per_action

    def __call__(self) -> None:
        by_hand(self.learner, self.k)


class HuggingFaceTrainer:
    """The same model on the same batches, trained by `transformers.Trainer`; from the first step's begin to the last's
    end. Needs accelerate, as Trainer does."""

    def __init__(self, experiment: Experiment, data: TokenizedCorpus) -> None:
        from transformers import Trainer, TrainerCallback, TrainingArguments

        learner = self.learner = build_learner(experiment, data)
        rows = learner.batch_size

        class Sequences(torch.utils.data.Dataset):
            def __len__(self) -> int:
                return rows * experiment.steps_per_action * 1000

            def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
                row = torch.from_numpy(learner.batches[index // rows][index % rows])
                return {"input_ids": row[:-1], "labels": row[1:], "shift_labels": row[1:]}

        class InOrder(Trainer):
            def _get_train_sampler(self, *_: Any) -> torch.utils.data.Sampler:
                return torch.utils.data.SequentialSampler(Sequences())

        class Watch(TrainerCallback):
            seconds = started = 0.0

            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == 0:
                    wait_for(learner.device)
                    self.started = time.perf_counter()

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == state.max_steps:
                    wait_for(learner.device)
                    self.seconds = time.perf_counter() - self.started

        self.watch = Watch()
        self.folder = tempfile.TemporaryDirectory()
        self.trainer = InOrder(
            model=learner.model,
            args=TrainingArguments(
                output_dir=self.folder.name,
                max_steps=experiment.steps_per_action,
                per_device_train_batch_size=rows,
                learning_rate=experiment.learning_rate,
                weight_decay=experiment.weight_decay,
                max_grad_norm=experiment.grad_clip,
                lr_scheduler_type="constant",
                optim="adamw_torch_fused",
                bf16=experiment.precision == "bf16",
                use_cpu=learner.device.type == "cpu",
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
            ),
            train_dataset=Sequences(),
            callbacks=[self.watch],
        )
        self.trainer.args._n_gpu = min(1, self.trainer.args.n_gpu)  # or it would take all that there are
        for callback in list(self.trainer.callback_handler.callbacks):  # or it prints a line at each call
            if type(callback).__name__ == "PrinterCallback":
                self.trainer.remove_callback(callback)

    def __call__(self) -> float:
        self.trainer.train()
        return self.watch.seconds
