"""What surrounds a training loop: the record, the best model, checkpoints, limits and the progress bar.

`algorithm1` has the loops themselves, dynamic and conventional; everything here is the same for both.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from dlt_core import checkpoints, parallel, records
from dlt_core.accounting import measured_bytes, model_parameters, step_peak_bytes, training_bytes
from dlt_core.corpora import LAST_WORD
from dlt_core.evaluation import perplexity
from dlt_core.learner import Learner, TrainingDiverged
from dlt_core.records import RunRecord
from dlt_core.tie_map import TieMap
from dlt_core.tying import count_parameters

if TYPE_CHECKING:
    from dlt_core.experiments import Experiment

CHECKPOINT_SECONDS = 600.0  # a run with a checkpoint path writes one at least this often


class Run:
    """The record, the best model, checkpoints, limits and the progress bar of one run; arguments as in `algorithm1`.

    As a context manager it finishes the record, or writes down how the run ended otherwise.
    """

    def __init__(
        self,
        experiment: Experiment,
        method: str,
        learner: Learner,
        record_path: str | os.PathLike | None,
        checkpoint: str | os.PathLike | None,
        max_seconds: float | None,
        max_decisions: int | None,
    ) -> None:
        if checkpoint is None and (max_seconds is not None or max_decisions is not None):
            raise ValueError("max_seconds and max_decisions stop at a checkpoint: name a checkpoint file")
        if max_decisions is not None and max_decisions < 1:
            raise ValueError(f"max_decisions must be at least 1, got {max_decisions}")
        self.experiment = experiment
        self.learner = learner
        self.record_path = record_path
        self.checkpoint = Path(checkpoint) if checkpoint is not None else None
        self.max_seconds = max_seconds
        self.max_decisions = max_decisions
        self.total = experiment.episodes * (experiment.n_layer - 1)
        self.done = 0
        self.best: dict[str, Any] | None = None  # {"tensors": weights, "values": step, loss, tie_map}
        self.parts: dict[str, Any] = {}
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
        if learner.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(learner.device)

    def resume(self, parts: dict[str, Any]) -> bool:
        """Take up the checkpoint, if there is one; True if this very run was finished before, and has its record.

        parts: what else has a state, "agent" and "env".
        """
        self.parts = parts
        if self.checkpoint is None:
            return False
        parallel.from_rank_0(0)  # once process 0 is here, what a call before this one has to write is there
        if not self.checkpoint.exists():
            path = self.record.path_in(self.record_path) if self.record_path is not None else None
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
        self.done = values["done"]
        self.best = saved.get("best")
        self.learner.load_state_dict(saved["learner"])
        if "agent" in parts:
            parts["agent"].load_state_dict(saved["agent"])
            parts["env"].load_state_dict(values["env"])
        return False

    def _difference(self, record: RunRecord) -> str | None:
        """What tells another run's record from this run's, in words."""
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
        """Write it; of several processes the first does."""
        if parallel.rank() > 0:
            return
        parts = {"learner": self.learner.state_dict()}
        if self.best is not None:
            best = {name: tensor.cpu() for name, tensor in self.best["tensors"].items()}
            parts["best"] = {**self.best, "tensors": best}
        values: dict[str, Any] = {"record": self.record.to_json(), "done": self.done}
        if "agent" in self.parts:
            parts["agent"] = self.parts["agent"].state_dict()
            values["env"] = self.parts["env"].state_dict()
        checkpoints.save(self.checkpoint, parts, values)
        self.last_checkpoint = self.lap = time.perf_counter()

    def __enter__(self) -> Run:
        self.started = self.lap = self.last_checkpoint = time.perf_counter()
        self.seconds_before = self.record.seconds
        self.record.status = "running"
        quiet = {} if _someone_watches() and parallel.rank() == 0 else {"disable": True}
        self.bar = tqdm(total=self.total, initial=self.done, desc=self.record.method, unit="decision", **quiet)
        return self

    def decisions(self) -> Iterator[int]:
        """The numbers of the decisions still to be made, as long as this call may go on."""
        first = self.done
        while self.done < self.total:
            yield self.done
            self.done += 1
            self.bar.update()
            now = time.perf_counter()
            self.record.seconds = self.seconds_before + now - self.started
            if self.done == self.total or self.checkpoint is None:
                continue
            too_long = self.max_seconds is not None and now - self.started >= self.max_seconds
            if self.max_seconds is not None:  # processes must not disagree, and their clocks do
                too_long = parallel.from_rank_0(too_long)
            if too_long or (self.max_decisions is not None and self.done - first >= self.max_decisions):
                self.record.status = "stopped"
                return
            if now - self.last_checkpoint >= CHECKPOINT_SECONDS:
                self.save_checkpoint()

    def note(self, train_loss: float, **decision: Any) -> None:
        """Enter one decision (or k steps without one) into the record."""
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
        shown = {"perplexity": f"{perplexity(train_loss):.1f}", "independent": learner.tie_map.num_independent}
        if "epsilon" in decision:
            shown = {"layer": decision["layer"], **shown, "epsilon": f"{decision['epsilon']:.2f}"}
        self.bar.set_postfix({"episode": episode + 1, **shown})

    def validate(self) -> None:
        """Evaluate on the split that selects, validation, and keep the weights if they are the best so far."""
        turn = (self.done + 1) // (self.experiment.n_layer - 1)
        if turn % self.experiment.evaluate_every and self.done + 1 < self.total:
            return
        split = self.learner.selection
        found = self.learner.evaluate(split)
        if not np.isfinite(found.perplexity):
            raise TrainingDiverged(
                f"the {split} loss is {found.loss} after step {self.learner.step} with {self.learner.tie_map}; "
                f"the last finite training loss was {self.learner.last_loss:.4f}"
            )
        curve = self.record.curves.setdefault(split, {name: [] for name in self.record.curves["validation"]})
        for name in ("loss", "perplexity", "bits_per_byte"):
            curve[name].append(getattr(found, name))
        curve["step"].append(self.learner.step)
        if self.best is None or found.loss < self.best["values"]["loss"]:
            values = {"step": self.learner.step, "loss": found.loss, "tie_map": list(self.learner.tie_map)}
            # copied on the device: to the CPU it would take seconds for a large model, each time
            self.best = {"tensors": self.learner.weights(self.learner.device), "values": values}
        now = time.perf_counter()
        self.record.timing["validation"] += now - self.lap
        self.lap = now

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        self.bar.close()
        record = self.record
        if error is None and record.status == "running":
            self._finish()
        record.seconds = self.seconds_before + time.perf_counter() - self.started
        if record.status == "stopped":
            self.save_checkpoint()
        if isinstance(error, TrainingDiverged):
            record.status, record.error = "diverged", str(error)
            record.final_tie_map = list(self.learner.tie_map)
            error.record = record
        if parallel.rank() > 0:  # of several processes the first writes
            return
        if self.record_path is not None and (error is None or record.status == "diverged"):
            record.save(self.record_path)
        if record.status == "finished" and self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)

    def _finish(self) -> None:
        """Count, go back to the best model, and read the test split; once, unless it selects."""
        record, learner, experiment = self.record, self.learner, self.experiment
        record.final_tie_map = list(learner.tie_map)
        measured = measured_bytes(learner.model, learner.optimizer)
        device_peak = torch.cuda.max_memory_allocated(learner.device) if learner.device.type == "cuda" else None
        step_peak = step_peak_bytes(learner)  # takes a step, on weights that are not needed any more
        best = self.best["values"]
        record.tie_map = best["tie_map"]
        learner.load_weights(TieMap(best["tie_map"]), self.best["tensors"])
        test = learner.evaluate("test")
        record.test = {
            "perplexity": test.perplexity,
            "unit": f"per {learner.data.unit}",
            "bits_per_byte": test.bits_per_byte,
            "tokens": test.tokens,
            "bytes": test.bytes,
            "selected_by": learner.selection,
            "selected_step": best["step"],
            f"{learner.selection}_perplexity": perplexity(best["loss"]),
        }
        if learner.data.corpus.name in LAST_WORD:
            words = learner.last_words("test")
            record.test["last_word"] = {
                "accuracy": words.accuracy,
                "perplexity": words.perplexity,
                "passages": words.passages,
                "truncated": words.truncated,
            }
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
            "measured_at_end": measured,
            "closed_form_at_end": training_bytes(
                model_parameters(experiment.architecture, **shape, num_groups=final_groups), bytes_per_value=width
            ),
            "conventional": training_bytes(record.parameters["conventional"], bytes_per_value=width),
            "step_peak": step_peak,
            "device_peak": device_peak,
        }
        record.status = "finished"


def _someone_watches() -> bool:
    """Whether a progress bar would be seen: in a terminal or a notebook, unless TQDM_DISABLE is set."""
    if os.environ.get("TQDM_DISABLE"):  # tqdm's own switch, which its notebook bar does not heed
        return False
    if "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel"):
        return True
    return sys.stderr.isatty()
