"""Five thousand decisions, in minutes: nothing grows but the record."""

import gc
import os
import threading

import pytest
import torch

from dlt_core.agents import RandomAgent
from dlt_core.algorithm1 import train_dynamic

DECISIONS = 5000


class Watched(RandomAgent):
    """A random agent that looks around every thousand decisions."""

    def __init__(self, num_layers: int) -> None:
        super().__init__(num_layers, seed=0)
        self.decided, self.seen = 0, []

    def act(self, state, layer: int) -> int:
        self.decided += 1
        if self.decided % 1000 == 0:
            gc.collect()
            with open("/proc/self/statm") as file:
                megabytes = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
            tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
            files = len(os.listdir("/proc/self/fd"))
            # as many Parameters as this state has: twelve for a weight set, each with a gradient and its moments
            self.seen.append((megabytes, tensors / len(set(state)), files, threading.active_count()))
        return min(layer, 1) if self.decided % 1000 == 0 else super().act(state, layer)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux counts files and memory there")
def test_five_thousand_decisions_leave_memory_tensors_files_and_threads_as_they_were(smoke, tiny_data, tmp_path):
    experiment = smoke.replace(episodes=-(-DECISIONS // 3), steps_per_action=1, evaluate_every=500, n_embd=16)
    agent = Watched(4)
    record = train_dynamic(experiment, agent=agent, data=tiny_data, checkpoint=tmp_path / "run.safetensors")
    assert record.status == "finished"
    assert len(record.history["action"]) >= DECISIONS == 1000 * len(agent.seen)
    first, last = agent.seen[0], agent.seen[-1]
    assert last[0] - first[0] < 60, f"memory in MB: {[round(seen[0]) for seen in agent.seen]}"
    assert last[1] <= 1.5 * first[1] + 20, f"tensors for a weight set: {[seen[1] for seen in agent.seen]}"
    assert {seen[2:] for seen in agent.seen} == {first[2:]}, "open files and threads"
