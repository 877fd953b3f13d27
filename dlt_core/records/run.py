"""What surrounds a training loop: the record, the best model, checkpoints, limits and the progress bar.

`algorithm1` has the loops themselves, dynamic and conventional; everything here is the same for both.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
from tqdm.auto import tqdm

from dlt_core import records
from dlt_core.corpora.sources import LAST_WORD
from dlt_core.learner import parallel
from dlt_core.learner.accounting import measure_training, model_parameters, training_bytes
from dlt_core.learner.evaluation import perplexity
from dlt_core.learner.training import Learner, TrainingDiverged
from dlt_core.records import checkpoints
from dlt_core.records.record import RunRecord
from dlt_core.tie_map import TieMap
from dlt_core.tying import count_parameters

if TYPE_CHECKING:
    from dlt_core.agents import Agent
    from dlt_core.env import LayerTyingEnv
    from dlt_core.experiments import Experiment

CHECKPOINT_SECONDS = 600.0  # a run with a checkpoint path writes one at least this often


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run leaves its results, and how far one call takes it. No option changes the results.

    Raises ValueError for a limit without a checkpoint or below one decision, TypeError for an unknown name.
    """

    record_path: str | os.PathLike[str] | None = None
    """.json file or folder to write the record to; None: it is only returned."""
    checkpoint: str | os.PathLike[str] | None = None
    """File that the run resumes from if it exists, is saved to now and then, and that is removed at the end. With a
    checkpoint, a run whose finished record is at `record_path` already is not run again."""
    max_seconds: float | None = None
    """Stop this call at a checkpoint after so long (status "stopped"); call again to go on."""
    max_decisions: int | None = None
    """The same after so many decisions of this call."""
    on_decision: Callable[[RunRecord], None] | None = None
    """Called with the record after each decision."""

    def __post_init__(self) -> None:
        if self.checkpoint is None and (self.max_seconds is not None or self.max_decisions is not None):
            raise ValueError("max_seconds and max_decisions stop at a checkpoint: name a checkpoint file")
        if self.max_decisions is not None and self.max_decisions < 1:
            raise ValueError(f"max_decisions must be at least 1, got {self.max_decisions}")


class RunKeywords(TypedDict, total=False):
    """The fields of `RunOptions` as keywords of the training functions, for editors and type checkers."""

    record_path: str | os.PathLike[str] | None
    checkpoint: str | os.PathLike[str] | None
    max_seconds: float | None
    max_decisions: int | None
    on_decision: Callable[[RunRecord], None] | None


class Run:
    """The record, the best model, checkpoints, limits and the progress bar of one run.

    agent, env: of a dynamic run; they are described in the record and saved in checkpoints.
    A context manager: however the block ends, the record says so and is written.
    """

    def __init__(
        self,
        experiment: Experiment,
        method: str,
        learner: Learner,
        options: RunOptions,
        agent: Agent | None = None,
        env: LayerTyingEnv | None = None,
    ) -> None:
        self.experiment = experiment
        self.learner = learner
        self.options = options
        self.agent, self.env = agent, env
        self.selection = "validation" if env is None else env.selection
        self.checkpoint = Path(options.checkpoint) if options.checkpoint is not None else None
        self.total = experiment.episodes * (experiment.n_layer - 1)
        self.done = 0
        self.best: dict[str, Any] | None = None  # {"tensors": weights, "values": step, loss, tie_map}
        data = learner.data
        self.record = RunRecord(
            experiment=experiment.to_dict(),
            method=method,
            seed=experiment.seed,
            corpus={
                "name": data.corpus.name,
                "sha256": data.corpus.sha256,
                "is_sample": data.corpus.is_sample,
                "source": data.corpus.source,
                "tokens": {split: len(t) for split, t in data.tokens.items()},
                "bytes": {split: text.bytes for split, text in data.corpus.splits.items()},
                "note": data.corpus.note,
            },
            versions=records.versions(),
            hardware=records.hardware(learner.device),
        )
        if agent is not None and env is not None:
            self.record.agent = {"class": type(agent).__name__, **agent.settings, **env.settings}
        if learner.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(learner.device)

    def resume(self) -> bool:
        """Take up the checkpoint, if there is one; True if this very run was finished before, and has its record."""
        if self.checkpoint is None:
            return False
        parallel.from_rank_0(0)  # once process 0 is here, what a call before this one has to write is there
        if not self.checkpoint.exists():
            folder = self.options.record_path
            path = self.record.path_in(folder) if folder is not None else None
            if path is None or not path.exists():
                return False
            record = RunRecord.load(path)
            if record.status != "finished" or self._difference(record) is not None:
                return False
            if record.versions != self.record.versions:  # made by other code, it might come out otherwise now
                return False
            self.record = record
            return True
        saved, values = checkpoints.load(self.checkpoint)
        record = RunRecord.from_json(values["record"], name=str(self.checkpoint))
        if (difference := self._difference(record)) is not None:
            raise ValueError(
                f"{self.checkpoint} belongs to another run: {difference}. "
                "Name another checkpoint file, or delete this one."
            )
        self.record = record
        before, now = record.hardware["threads"], torch.get_num_threads()
        if before != now:
            record.hardware["threads_later"] = now
            warnings.warn(
                f"{self.checkpoint} was written with {before} threads, this process has {now}: the last digits of the "
                f"results will not be those of an uninterrupted run. OMP_NUM_THREADS={before} makes it the same",
                stacklevel=3,
            )
        self.done = values["done"]
        self.best = saved.get("best")
        self.learner.load_state_dict(saved["learner"])
        if self.agent is not None and self.env is not None:
            self.agent.load_state_dict(saved["agent"])
            self.env.load_state_dict(values["env"])
        return False

    def _difference(self, record: RunRecord) -> str | None:
        """The first difference between another run's record and this run's, in words; None if there is none."""
        for what, theirs, ours in (
            ("experiment", record.experiment, self.record.experiment),
            ("method", record.method, self.record.method),
            ("agent", record.agent, json.loads(json.dumps(self.record.agent))),
            ("corpus", record.corpus["sha256"], self.record.corpus["sha256"]),
        ):
            if theirs != ours:
                return f"its {what} is {theirs}, not {ours}"
        return None

    def save_checkpoint(self) -> None:
        """Write the checkpoint, if there is to be one; of several processes the first does."""
        if parallel.rank() > 0 or self.checkpoint is None:
            return
        parts = {"learner": self.learner.state_dict()}
        if self.best is not None:
            best = {name: tensor.cpu() for name, tensor in self.best["tensors"].items()}
            parts["best"] = {**self.best, "tensors": best}
        values: dict[str, Any] = {"record": self.record.to_json(), "done": self.done}
        if self.agent is not None and self.env is not None:
            parts["agent"] = self.agent.state_dict()
            values["env"] = self.env.state_dict()
        checkpoints.save(self.checkpoint, parts, values)
        self.last_checkpoint = self.lap = time.perf_counter()

    def __enter__(self) -> Run:
        self.started = self.lap = self.last_checkpoint = time.perf_counter()
        self.seconds_before = self.record.seconds
        self.record.status = "running"
        hidden = {} if _someone_watches() and parallel.rank() == 0 else {"disable": True}
        self.bar = tqdm(total=self.total, initial=self.done, desc=self.record.method, unit="decision", **hidden)
        self.bar.set_postfix_str("the first decision ...")  # the bar stands still until its k steps are taken
        return self

    def decisions(self) -> Iterator[int]:
        """The numbers of the decisions still to be made, as long as this call may go on."""
        first, options = self.done, self.options
        while self.done < self.total:
            yield self.done
            if options.on_decision is not None:
                options.on_decision(self.record)
            self.done += 1
            self.bar.update()
            now = time.perf_counter()
            self.record.seconds = self.seconds_before + now - self.started
            if self.done == self.total or self.checkpoint is None:
                continue
            too_long = options.max_seconds is not None and now - self.started >= options.max_seconds
            if options.max_seconds is not None:  # processes must not disagree, and their clocks do
                too_long = bool(parallel.from_rank_0(too_long))
            if too_long or (options.max_decisions is not None and self.done - first >= options.max_decisions):
                self.record.status = "stopped"
                return
            if now - self.last_checkpoint >= CHECKPOINT_SECONDS:
                self.save_checkpoint()

    def note_decision(
        self,
        layer: int,
        action: int,
        q_values: np.ndarray,
        reward: float,
        td_loss: float,
        info: dict[str, Any],
        *,
        held: bool = False,
    ) -> None:
        """Enter the agent's decision and what followed into the record. info: what `env.step` returned. held: the
        agent was not asked, the tie stays."""
        if self.agent is None or self.env is None:
            raise ValueError("a decision is noted by a run with an agent and its env")
        self.note(
            info["train_loss"],
            layer=layer,
            action=action,
            explored=held or self.agent.explored,
            epsilon=self.agent.epsilon,
            reward=reward,
            loss=info["loss"],
            td_loss=td_loss,
            num_independent=info["num_independent"],
            tie_map=list(self.learner.tie_map),
            q_values=None if np.isnan(q_values).all() else [float(f"{q:.6g}") for q in q_values],
            **self.env.history,
        )

    def note(self, train_loss: float, **decision: Any) -> None:
        """Enter k steps with this mean loss (nats per token), and what was decided before them, into the record."""
        record, learner = self.record, self.learner
        episode = self.done // (self.experiment.n_layer - 1)
        for name, value in ({"episode": episode, **decision} if decision else {}).items():
            record.history.setdefault(name, []).append(value)
        record.curves["train"]["step"].append(learner.step)
        record.curves["train"]["loss"].append(train_loss)
        record.budget |= {
            "optimizer_steps": learner.step,
            "tokens": learner.step * learner.batch_size * learner.block_size,
        }
        now = time.perf_counter()
        trained = learner.seconds - record.timing["training"]
        record.timing["training"] += trained
        record.timing["control"] += now - self.lap - trained
        self.lap = now
        sets = learner.tie_map.num_independent
        self.bar.set_postfix_str(f"turn {episode + 1}, perplexity {perplexity(train_loss):.1f}, {sets} weight sets")

    def validate(self) -> None:
        """Evaluate on the validation split (or what else selects), and keep the weights if they are the best so far."""
        turn = (self.done + 1) // (self.experiment.n_layer - 1)
        if turn % self.experiment.evaluate_every and self.done + 1 < self.total:
            return
        split = self.selection
        evaluation = self.learner.evaluate(split)
        if not np.isfinite(evaluation.perplexity):
            raise TrainingDiverged(
                f"the {split} loss is {evaluation.loss} after step {self.learner.step} with {self.learner.tie_map}; "
                f"the last finite training loss was {self.learner.last_loss:.4f}"
            )
        curve = self.record.curves.setdefault(split, {name: [] for name in self.record.curves["validation"]})
        for name in ("loss", "perplexity", "bits_per_byte"):
            curve[name].append(getattr(evaluation, name))
        curve["step"].append(self.learner.step)
        if self.best is None or evaluation.loss < self.best["values"]["loss"]:
            values = {"step": self.learner.step, "loss": evaluation.loss, "tie_map": list(self.learner.tie_map)}
            # copied on the device: to the CPU it would take seconds for a large model, each time
            self.best = {"tensors": self.learner.weights(self.learner.device), "values": values}
        now = time.perf_counter()
        self.record.timing["validation"] += now - self.lap
        self.lap = now

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        self.bar.close()
        record = self.record
        record.seconds = self.seconds_before + time.perf_counter() - self.started
        if record.status == "stopped":
            self.save_checkpoint()
        if isinstance(error, TrainingDiverged):
            record.status, record.error = "diverged", str(error)
            record.final_tie_map = list(self.learner.tie_map)
            error.record = record
        if parallel.rank() > 0:  # of several processes the first writes
            return
        if self.options.record_path is not None and (error is None or record.status == "diverged"):
            record.save(self.options.record_path)
        if record.status == "finished" and self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)

    def finish(self) -> None:
        """After the last decision: measure the training state, go back to the best model, and test it.

        The measurement takes one optimiser step more, on weights that are not needed any more. Nothing is done where a
        limit has stopped this call.
        """
        if self.record.status == "stopped":
            return
        assert self.best is not None, "validated after the last turn"
        record, learner, experiment = self.record, self.learner, self.experiment
        record.final_tie_map = list(learner.tie_map)
        if experiment.cuda_graph:
            record.hardware["cuda_graph"] = learner.graph_note
        measured = measure_training(learner)
        best = self.best["values"]
        record.tie_map = best["tie_map"]
        learner.load_weights(TieMap(best["tie_map"]), self.best["tensors"])
        test = learner.evaluate("test", in_full=experiment.test_in_full)
        record.test = {
            "perplexity": test.perplexity,
            "unit": f"per {learner.data.unit}",
            "bits_per_byte": test.bits_per_byte,
            "tokens": test.tokens,
            "bytes": test.bytes,
            "selected_by": self.selection,
            "selected_step": best["step"],
            f"{self.selection}_perplexity": perplexity(best["loss"]),
        }
        if learner.data.corpus.name in LAST_WORD:
            words = learner.last_words("test")
            counted = ("accuracy", "perplexity", "passages", "truncated")
            record.test["last_word"] = {name: getattr(words, name) for name in counted}
        shape = {
            "vocab_size": learner.data.vocab_size,
            "n_positions": experiment.n_positions,
            "n_embd": experiment.n_embd,
        }
        record.parameters = {
            "unique": count_parameters(learner.model),
            "conventional": model_parameters(experiment.architecture, **shape, num_groups=experiment.n_layer),
        }
        final_groups = TieMap(record.final_tie_map).num_independent
        width = next(learner.model.parameters()).element_size()
        record.bytes = {
            "measured_at_end": measured["state"],
            "closed_form_at_end": training_bytes(
                model_parameters(experiment.architecture, **shape, num_groups=final_groups), bytes_per_value=width
            ),
            "conventional": training_bytes(record.parameters["conventional"], bytes_per_value=width),
            "step_peak": measured["step_peak"],
            "device_peak": measured["device_peak"],
        }
        record.status = "finished"


def _someone_watches() -> bool:
    """Whether a progress bar would be seen: in a terminal or a notebook, unless TQDM_DISABLE is set."""
    if os.environ.get("TQDM_DISABLE"):  # tqdm's own switch, which its notebook bar does not heed
        return False
    if "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel"):
        return True
    return sys.stderr.isatty()
