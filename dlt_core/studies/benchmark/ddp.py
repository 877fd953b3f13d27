"""What the benchmark starts in each of several processes: decisions whose gradients are averaged in one flat
all-reduce, against the same with DDP wrapped anew."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch.nn.parallel import DistributedDataParallel

from dlt_core.learner import parallel
from dlt_core.learner.training import Learner
from dlt_core.studies.benchmark.timings import Bench, quartiles
from dlt_core.studies.benchmark.trainers import by_hand, take_turns, wait_for


def decision(bench: Bench, learner: Learner, in_ddp: bool, wrapping: list[float]) -> Callable[[], None]:
    """At each call: other ties, the same in all processes, and k steps."""
    rng = np.random.default_rng(0)
    tie_map = learner.tie_map

    def call() -> None:
        nonlocal tie_map
        layer = int(rng.integers(1, len(tie_map)))
        tie_map = tie_map.with_action(layer, int(rng.integers(layer + 1)))
        learner.tie(tie_map)
        started = time.perf_counter()
        wrapped = DistributedDataParallel(learner.model) if in_ddp else None
        wait_for(bench.device)
        wrapping.append(time.perf_counter() - started)
        by_hand(learner, bench.k, wrapped)

    return call


def main(scale: str, repetitions: str, device: str, out: str) -> None:
    with parallel.process_group(device, timeout=300.0):
        bench = Bench(scale, int(repetitions), "auto" if device.startswith("cuda") else device)
        wrapping: dict[str, list[float]] = {"flat all-reduce": [], "DDP, wrapped anew": []}
        learners = {name: bench.learner() for name in wrapping}
        trainers = {n: decision(bench, learners[n], n.startswith("DDP"), spent) for n, spent in wrapping.items()}
        seconds = take_turns(trainers, bench.repetitions, bench.device)
        flat, ddp = learners.values()
        pairs = zip(flat.model.parameters(), ddp.model.parameters(), strict=True)
        apart = max(float((a - b).abs().max()) for a, b in pairs)
        rows = [
            {
                "gradients": name,
                "processes": parallel.world_size(),
                **quartiles(1e3 * spent, "ms_per_decision"),
                **quartiles(spent / seconds["flat all-reduce"], "ratio_to_flat"),
                "ms_to_wrap": 1e3 * float(np.median(wrapping[name])),
                "weight_difference": apart,
            }
            for name, spent in seconds.items()
        ]
        if parallel.rank() == 0:
            Path(out).write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
