"""One run by its method's name, in one process or in several.

Several processes share every batch, and make the same decisions: it is one and the same run, see `learner.parallel`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dlt_core.corpora.files import refuse_unwritable
from dlt_core.corpora.hub import CorpusUnavailable
from dlt_core.experiments import Experiment
from dlt_core.learner import parallel
from dlt_core.learner.out_of_memory import OutOfMemory
from dlt_core.learner.training import TrainingDiverged
from dlt_core.records.record import key
from dlt_core.records.stopping import RunStopped
from dlt_core.studies.comparison import compare
from dlt_core.studies.methods import parse


def train(
    experiment: Experiment, method: str, *, out: Path, timeout: float, checkpoint_seconds: float | None = None
) -> int:
    """Make the run and print its headline and where its record is; the exit status.

    timeout: seconds that a process waits for another. The status is 1 for a run that diverged or had too little memory,
    and as shells have it for one that a signal has stopped (130 after Ctrl-C), each with one line that says what is
    kept. Raises ValueError for a method, settings, data or a folder that cannot be.
    """
    parallel.device(experiment.device)
    with parallel.process_group(experiment.device, timeout=timeout):
        if parallel.world_size() > 1 and parse(method, experiment).in_one_process:
            raise ValueError(f"the method {method} runs in one process only")
        records = out / "records"
        there = (records / f"{key(experiment.to_dict(), method, experiment.seed)}.json").exists()
        if parallel.rank() == 0 and not there:  # what is finished need only be read
            refuse_unwritable(records)
        try:
            (record,) = compare(experiment, [method], out_dir=out, checkpoint_seconds=checkpoint_seconds)
        except RunStopped as stopped:
            status, said = 128 + stopped.signal, str(stopped)
        except (TrainingDiverged, OutOfMemory) as failed:
            status, said = 1, " ".join(str(failed).split())
        except CorpusUnavailable as error:
            raise ValueError(str(error)) from error
        except OSError as error:
            raise ValueError(f"{error}. The same call goes on from the last checkpoint, if there is one") from error
        else:
            status, said = 0, f"{record}\n  record                {record.path_in(records)}"
        if parallel.rank() == 0:
            print(said, flush=True, file=sys.stderr if status else sys.stdout)
    return status
