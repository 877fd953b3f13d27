"""What surrounds a training loop: the record, the best model, checkpoints, limits and the progress bar.

`algorithm1` has the loops themselves, dynamic and conventional; everything here is the same for both.
"""

from __future__ import annotations

import contextlib
import json
import operator
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
from dlt_core.corpora.files import held, refuse_unwritable, remove_leftovers
from dlt_core.corpora.sources import LAST_WORD
from dlt_core.learner import parallel
from dlt_core.learner.accounting import measure_training, model_parameters, training_bytes
from dlt_core.learner.evaluation import perplexity
from dlt_core.learner.out_of_memory import OutOfMemory, with_remedies
from dlt_core.learner.training import Learner, TrainingDiverged
from dlt_core.records import checkpoints
from dlt_core.records.record import RunRecord, plain
from dlt_core.records.stopping import Asked, RunStopped
from dlt_core.tie_map import TieMap
from dlt_core.tying import count_parameters

if TYPE_CHECKING:
    from dlt_core.agents import Agent
    from dlt_core.env import LayerTyingEnv
    from dlt_core.experiments import Experiment

# Between two checkpoints, unless something else is asked for: a minute, and fifty times as long as one takes to write
CHECKPOINT_SECONDS, CHECKPOINT_SHARE = 60.0, 50.0


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run leaves its results, and how far one call takes it. No option changes the results.

    Raises ValueError for a limit without a checkpoint or below one decision, TypeError for an unknown name.
    Whatever they say, SIGINT (Ctrl-C, a notebook's stop button), SIGTERM and SIGHUP stop the run after the decision in
    hand, at a checkpoint if there is to be one, by RunStopped.
    """

    record_path: str | os.PathLike[str] | None = None
    """.json file or folder to write the record to; None: it is only returned."""
    checkpoint: str | os.PathLike[str] | None = None
    """File that the run resumes from if it exists, is saved to now and then, and that is removed at the end; the one
    before it is kept beside it as *.before. With a checkpoint, a run whose finished record is at `record_path` already
    is not run again, and one that diverged says so again."""
    checkpoint_seconds: float | None = None
    """At most so long between two checkpoints, up to a decision; None: a minute, longer where writing takes long."""
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
        if self.checkpoint_seconds is not None and not self.checkpoint_seconds >= 0:
            raise ValueError(f"checkpoint_seconds must be at least 0, got {self.checkpoint_seconds}")


class RunKeywords(TypedDict, total=False):
    """The fields of `RunOptions` as keywords of the training functions, for editors and type checkers."""

    record_path: str | os.PathLike[str] | None
    checkpoint: str | os.PathLike[str] | None
    checkpoint_seconds: float | None
    max_seconds: float | None
    max_decisions: int | None
    on_decision: Callable[[RunRecord], None] | None


class Run:
    """The record, the best model, checkpoints, limits and the progress bar of one run.

    agent, env: of a dynamic run; they are described in the record and saved in checkpoints, if the agent can be.
    A context manager: however the block ends, the record says so and is written. Raises ValueError for a learner whose
    model is not of the experiment's architecture and width.
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
        self.experiment = experiment = experiment.on(learner.data)
        config = learner.model.config
        model = f"{config.model_type} of width {config.hidden_size}"
        ours = f"{experiment.architecture} of width {experiment.n_embd}"
        if model != ours:
            raise ValueError(
                f"the model is a {model}, and the experiment's a {ours}: the record would be of another model. A model "
                "of your own is trained by transformers.Trainer with DynamicLayerTyingCallback, see 'Compare on your "
                "own model' in dlt_core/README.md"
            )
        self.learner = learner
        self.options = options
        self.agent, self.env = agent, env
        self.selection = "validation" if env is None else env.selection
        self.checkpoint = Path(options.checkpoint) if options.checkpoint is not None else None
        self.can_go_on = self.checkpoint is not None and not self._has_no_state()
        self._holding = contextlib.ExitStack()  # the files that this run alone may write
        self._asked = Asked()
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
            versions=records.versions() | experiment.origin(),
            hardware=records.hardware(learner.device),
        )
        if agent is not None and env is not None:
            self.record.agent = in_json(
                {"class": type(agent).__name__, **getattr(agent, "settings", {}), **env.settings}, "settings"
            )
        if learner.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(learner.device)
        path = options.record_path
        self.record_file = self.record.path_in(path) if path is not None else None

    def _has_no_state(self) -> bool:
        """Whether the agent cannot be saved, so that there are no checkpoints: with a warning, since a run that is
        interrupted begins anew then. Raises ValueError where a limit would stop it."""
        if self.agent is None or self.env is None or not (has_not := checkpoints.cannot_be_saved(self.agent)):
            return False
        if self.options.max_seconds is not None or self.options.max_decisions is not None:
            raise ValueError(f"max_seconds and max_decisions stop at a checkpoint, and {has_not}")
        warnings.warn(f"{has_not}: no checkpoint is written, and a run that is interrupted begins anew", stacklevel=4)
        return True

    def resume(self) -> bool:
        """Take up the checkpoint, if there is one; True if this very run was finished before, and has its record.

        Holds the files that the run will write until it ends. Raises ValueError, naming what to do, if another process
        does, if they cannot be written, and for a checkpoint or record that is damaged or another run's;
        TrainingDiverged if the run did before.
        """
        try:
            ended = self._resume()
        except BaseException:
            self._holding.close()
            raise
        if ended:
            self._holding.close()
        return ended

    def _resume(self) -> bool:
        if self._ended_before():
            return True
        if parallel.rank() == 0:
            self._hold()
        if self._ended_before():  # by another process, meanwhile
            return True
        if self.checkpoint is None or not self.can_go_on or not checkpoints.exists(self.checkpoint):
            return False
        with parallel.one_first():  # which sets a damaged one aside
            saved, values = checkpoints.load_last(self.checkpoint)
        try:
            self._take_up(saved, values)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            if str(self.checkpoint) in str(error):
                raise
            raise ValueError(f"{self.checkpoint} does not fit this run: {error!r}. Name another file") from error
        return False

    def _ended_before(self) -> bool:
        """Whether this very run has a record of its end, made by this code, which is then this run's."""
        if self.checkpoint is None:
            return False
        path = self.record_file
        found = None
        if parallel.rank() == 0 and path is not None and path.exists() and not checkpoints.exists(self.checkpoint):
            found = self._recorded(path)
            if found is not None and (self._difference(found) is not None or found.versions != self.record.versions):
                found = None  # by other code it might come out otherwise now
        # once process 0 is here, what a call before this one has to write is there
        if not parallel.from_rank_0(found is not None and found.status in ("finished", "diverged")):
            return False
        assert path is not None
        self.record = found or self._recorded(path)
        if self.record.status == "diverged":
            diverged = TrainingDiverged(f"{self.record.error} (as {path} has it: remove it to try again)")
            diverged.record = self.record
            raise diverged
        return True

    @staticmethod
    def _recorded(path: Path) -> RunRecord:
        try:
            return RunRecord.load(path)
        except ValueError as error:
            raise ValueError(f"{error}. Move it away, and the run is made again") from error

    def _hold(self) -> None:
        """Keep other processes off the files that this run will write, and see whether they can be written."""
        for path in (self.checkpoint, self.record_file):
            if path is None:
                continue
            weights = sum(p.numel() * p.element_size() for p in self.learner.model.parameters())
            # weights with two averages and the best weights; twice, and once more while it is written
            refuse_unwritable(path.parent, needed=4 * 3 * weights if path == self.checkpoint and self.can_go_on else 0)
            if self._holding.enter_context(held(path)):
                remove_leftovers(path)

    def _take_up(self, saved: dict[str, dict[str, Any]], values: dict[str, Any]) -> None:
        """Restore what `save_checkpoint` saved."""
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
                stacklevel=5,
            )
        self.done = values["done"]
        if type(self.done) is not int or self.done != len(record.curves["train"]["step"]):
            raise ValueError(f"it is of decision {self.done!r}, and its record of another")
        self.best = saved.get("best")
        self.learner.load_state_dict(saved["learner"])
        if isinstance(self.agent, checkpoints.Saved) and self.env is not None:
            self.agent.load_state_dict(saved["agent"])
            self.env.load_state_dict(values["env"])

    def _difference(self, record: RunRecord) -> str | None:
        """The first difference between another run's record and this run's, in words; None if there is none."""
        for what, theirs, ours in (
            ("experiment", record.experiment, self.record.experiment),
            ("method", record.method, self.record.method),
            ("agent", record.agent, json.loads(json.dumps(self.record.agent))),
            ("corpus", record.corpus["sha256"], self.record.corpus["sha256"]),
            ("init_from", record.versions.get("init_from"), self.record.versions.get("init_from")),
        ):
            if theirs != ours:
                return f"its {what} is {theirs}, not {ours}"
        return None

    def save_checkpoint(self) -> None:
        """Write the checkpoint, if there is to be one; of several processes the first does."""
        if parallel.rank() > 0 or self.checkpoint is None or not self.can_go_on:
            return
        parts = {"learner": self.learner.state_dict()}
        if self.best is not None:
            best = {name: tensor.cpu() for name, tensor in self.best["tensors"].items()}
            parts["best"] = {**self.best, "tensors": best}
        values: dict[str, Any] = {"record": self.record.to_json(), "done": self.done}
        if isinstance(self.agent, checkpoints.Saved) and self.env is not None:
            parts["agent"] = self.agent.state_dict()
            values["env"] = self.env.state_dict()
        began = time.perf_counter()
        checkpoints.save(self.checkpoint, parts, values)
        self.last_checkpoint = self.lap = time.perf_counter()
        self.saving_seconds = self.lap - began

    def __enter__(self) -> Run:
        self.started = self.lap = self.last_checkpoint = time.perf_counter()
        self.saving_seconds = 0.0
        self.seconds_before = self.record.seconds
        self.record.status = "running"
        self._asked.__enter__()
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
            # asked of all processes, so that they stop at the same decision; without a checkpoint the last is the end
            asked = parallel.largest(self._asked.number)
            if asked and (self.done < self.total or self.can_go_on):
                self._asked.number, self.record.status = asked, "stopped"
                return
            if self.done == self.total or not self.can_go_on:
                continue
            too_long = options.max_seconds is not None and now - self.started >= options.max_seconds
            if options.max_seconds is not None:  # processes must not disagree, and their clocks do
                too_long = bool(parallel.from_rank_0(too_long))
            if too_long or (options.max_decisions is not None and self.done - first >= options.max_decisions):
                self.record.status = "stopped"
                return
            due = options.checkpoint_seconds
            if due is None:
                due = max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * self.saving_seconds)
            if now - self.last_checkpoint >= due:
                try:
                    self.save_checkpoint()
                except OSError as error:  # the disk may have room again later, and the last one is whole
                    self.last_checkpoint = time.perf_counter()
                    warnings.warn(f"no checkpoint could be written, and the run goes on: {error}", stacklevel=2)

    def action(self, chosen: Any, layer: int) -> int:
        """The agent's action for a layer as an int; of several processes, process 0's.

        Raises ValueError for what is no action: not a whole number, or not one of 0, ..., layer.
        """
        name = type(self.agent).__name__
        try:
            action = int(operator.index(chosen))
        except TypeError:
            raise ValueError(f"{name}.act gave {chosen!r} for layer {layer}: an action is a whole number") from None
        if not 0 <= action <= layer:
            raise ValueError(f"{name}.act gave {action} for layer {layer}: an action is one of 0, ..., {layer}")
        return parallel.from_rank_0(action)

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
        try:
            q_values = np.asarray(q_values, dtype=float)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{type(self.agent).__name__}.q_values gave no numbers, but {q_values!r}: {error}"
            ) from error
        self.note(
            info["train_loss"],
            layer=layer,
            action=action,
            explored=held or getattr(self.agent, "explored", False),
            epsilon=getattr(self.agent, "epsilon", 0.0),
            reward=reward,
            loss=info["loss"],
            td_loss=td_loss,
            num_independent=info["num_independent"],
            tie_map=list(self.learner.tie_map),
            q_values=None if np.isnan(q_values).all() else [float(f"{q:.6g}") for q in q_values],
            **self.env.history,
        )
        self.record.budget |= self.env.cost

    def note(self, train_loss: float, **decision: Any) -> None:
        """Enter k steps with this mean loss (nats per token), and what was decided before them, into the record."""
        record, learner = self.record, self.learner
        episode = self.done // (self.experiment.n_layer - 1)
        decision = in_json({"episode": episode, **decision}, "decision") if decision else {}
        for name, value in decision.items():
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
        out_of_memory = with_remedies(error, self.learner)
        try:
            self._end(out_of_memory or error)
        finally:
            self._holding.close()
            self._asked.__exit__(None, None, None)
        if out_of_memory is not None:
            raise out_of_memory from None
        if error is None and self._asked.number:
            raise self._stopped()

    def _end(self, error: BaseException | None) -> None:
        """Write what is to be kept."""
        record = self.record
        record.seconds = self.seconds_before + time.perf_counter() - self.started
        if record.status == "stopped":
            self.save_checkpoint()
        if isinstance(error, (TrainingDiverged, OutOfMemory)):
            record.status = "diverged" if isinstance(error, TrainingDiverged) else "failed"
            record.error, record.final_tie_map = str(error), list(self.learner.tie_map)
            error.record = record
        if parallel.rank() > 0 or (error is not None and record.status == "running"):  # the first process writes
            return
        path = self.record_file
        if path is not None and not (record.status in ("stopped", "failed") and _is_finished(path)):
            record.save(path)
        if self.checkpoint is not None and (
            record.status == "finished" or (record.status == "diverged" and path is not None)
        ):
            checkpoints.remove(self.checkpoint)

    def _stopped(self) -> RunStopped:
        """What says that the run was asked to stop."""
        key, so_far = self.record.key, f"{self.done} of {self.total} decisions"
        if self.record.status == "finished":
            kept = f"{key} was finished before it was asked to stop"
        elif self.can_go_on:
            kept = f"{key} was stopped after {so_far}. They are kept in {self.checkpoint}: the same call goes on there"
        else:
            why = "no checkpoint=... was named" if self.checkpoint is None else "its agent cannot be saved"
            kept = f"{key} was stopped after {so_far}. Its model is not kept, since {why}"
        if _in_notebook():
            kept += ". The record so far is sys.last_value.record"
        stopped = RunStopped(kept)
        stopped.record, stopped.signal = self.record, self._asked.number
        return stopped

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


def in_json(values: dict[str, Any], what: str) -> dict[str, Any]:
    """In JSON's types. Raises ValueError, naming it, for what has none: a run should not end with a record that cannot
    be written."""
    kept = {name: plain(value) for name, value in values.items()}
    for name, value in kept.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise ValueError(
                f"the {what} {name}={values[name]!r} of an agent cannot be kept in a record: {error}"
            ) from error
    return kept


def _is_finished(path: Path) -> bool:
    """Whether there is a finished record already, which a stopped one must not replace."""
    try:
        return path.exists() and RunRecord.load(path).status == "finished"
    except ValueError:
        return False


def _in_notebook() -> bool:
    return "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel")


def _someone_watches() -> bool:
    """Whether a progress bar would be seen: in a terminal or a notebook, unless TQDM_DISABLE is set."""
    if os.environ.get("TQDM_DISABLE"):  # tqdm's own switch, which its notebook bar does not heed
        return False
    return _in_notebook() or sys.stderr.isatty()
