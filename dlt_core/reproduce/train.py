"""One run from the command line, in one process or in several:

    python -m dlt_core.train --experiment gpt2-wikitext2 --preset gpu
    torchrun --nproc-per-node N -m dlt_core.train --experiment gpt2-wikitext2 --preset gpu

Several processes share every batch, and make the same decisions: it is one and the same run, see `parallel`. What was
finished is not run again, and an interrupted run goes on from its checkpoint, with as many processes as you like.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlt_core.experiments import EXPERIMENTS, PRESETS, Experiment
from dlt_core.learner import parallel
from dlt_core.studies.comparison import compare
from dlt_core.studies.methods import METHODS, parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dlt_core.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", required=True, choices=list(EXPERIMENTS), metavar="NAME", help="which")
    parser.add_argument("--preset", default="gpu", choices=list(PRESETS), help="how large (default: gpu)")
    parser.add_argument(
        "--method", default="dynamic", help=f"{', '.join(METHODS)}, or a pattern as in sequence-2 (default: dynamic)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="(default: 0)")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="FIELD=VALUE", help="other fields of the experiment, as in n_layer=24"
    )
    parser.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help="(default: runs)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="how long a process waits for another before the job ends with an error (default: 1800)",
    )
    options = parser.parse_args(arguments)
    try:
        experiment = Experiment.preset(
            options.experiment, options.preset, seed=options.seed, **dict(map(_field, options.set))
        )
    except (TypeError, ValueError) as error:  # a TypeError for a name that is taken, as in seed=3
        parser.error(str(error))
    with parallel.process_group(experiment.device, timeout=options.timeout):
        try:
            if parallel.world_size() > 1 and parse(options.method, experiment).in_one_process:
                parser.error(f"the method {options.method} runs in one process only")
            (record,) = compare(experiment, [options.method], out_dir=options.out)
        except ValueError as error:
            parser.error(str(error))
        if parallel.rank() == 0:
            print(record)
            print(f"  record                {record.path_in(options.out / 'records')}", flush=True)
    return 0


def _field(text: str) -> tuple[str, Any]:
    """("n_layer", 24) for "n_layer=24"; what is no Python literal is a string."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set takes FIELD=VALUE, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


if __name__ == "__main__":
    sys.exit(main())
