"""What the tests of figures share: records of runs, and lines of many seeds."""

import io

import numpy as np
import pytest
from PIL import Image

from dlt_core.agents import RandomAgent
from dlt_core.algorithm1 import train_conventional, train_dynamic
from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord

LINES = {
    "dynamic": ([1, 2, 3], [[3.0, 2.0, 1.0], [4.0, 2.0, 2.0], [5.0, 2.0, 6.0]]),
    "random (last)": ([1, 2], [[1.0, 2.0]]),
}


@pytest.fixture(scope="session")
def runs(tiny_data) -> list[RunRecord]:
    """Read back from JSON, as a notebook on another machine would."""
    smoke = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=4)
    agent = RandomAgent(4, seed=0)
    found = [
        train_dynamic(smoke, data=tiny_data),
        train_dynamic(smoke, agent=agent, data=tiny_data),
        train_conventional(smoke, data=tiny_data),
    ]
    return [RunRecord.from_json(record.to_json()) for record in found]


def assert_drawn(figure) -> None:
    shown = Image.open(io.BytesIO(figure._repr_png_()[0]))
    assert shown.width > 100
    assert np.asarray(shown.convert("RGBA"))[..., 3].std() > 5, "blank"
