"""One run by its method's name, in one process or in several.

Several processes share every batch, and make the same decisions: it is one and the same run, see `learner.parallel`.
"""

from __future__ import annotations

from pathlib import Path

from dlt_core.corpora.hub import CorpusUnavailable
from dlt_core.experiments import Experiment
from dlt_core.learner import parallel
from dlt_core.studies.comparison import compare
from dlt_core.studies.methods import parse


def train(experiment: Experiment, method: str, *, out: Path, timeout: float) -> None:
    """Make the run and print its headline and where its record is.

    timeout: seconds that a process waits for another. Raises ValueError for a method, settings or data that cannot be.
    """
    with parallel.process_group(experiment.device, timeout=timeout):
        if parallel.world_size() > 1 and parse(method, experiment).in_one_process:
            raise ValueError(f"the method {method} runs in one process only")
        try:
            (record,) = compare(experiment, [method], out_dir=out)
        except CorpusUnavailable as error:
            raise ValueError(str(error)) from error
        if parallel.rank() == 0:
            print(record)
            print(f"  record                {record.path_in(out / 'records')}", flush=True)
