"""What all tests share: a cache of their own, CPU and one thread by default, quiet bars, tiny data."""

import json
import math
import os
import shutil
import signal
import tempfile

import pytest

# Before the libraries are imported. The xdist workers inherit the controller's cache directory.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["DLT_CACHE_DIR"] = tempfile.mkdtemp(prefix="dlt-tests-")
os.environ["TQDM_DISABLE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start: two workers fill two cores
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script's `... &` hands down; some tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.experiments import Experiment, load_data
from dlt_core.learner.training import Learner
from dlt_core.records.record import RunRecord
from dlt_core.tie_map import TieMap

torch.set_num_threads(1)
settings.register_profile(
    "dlt",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("dlt")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["DLT_CACHE_DIR"], ignore_errors=True)


@st.composite
def tie_maps(draw, n_layer: int | None = None, *, max_layers: int = 10) -> TieMap:
    """Any tie map; of `n_layer` layers if given."""
    n_layer = n_layer or draw(st.integers(1, max_layers))
    return TieMap.from_labels(draw(st.lists(st.integers(0, n_layer - 1), min_size=n_layer, max_size=n_layer)))


@st.composite
def actions(draw, n_layer: int, *, max_size: int = 20) -> list[tuple[int, int]]:
    """A list of (layer, action) pairs that a map of `n_layer` layers allows."""
    pair = st.integers(0, n_layer - 1).flatmap(lambda i: st.tuples(st.just(i), st.integers(0, i)))
    return draw(st.lists(pair, max_size=max_size))


TIMED = ("seconds", "timing")  # the only fields that two equal runs may differ in


def explode_after(monkeypatch: pytest.MonkeyPatch, decisions: int) -> None:
    """Let the weights of a GPT-2 become NaN after so many decisions."""
    train = Learner.train

    def explode(self, steps):
        if self.step == decisions * steps:
            with torch.no_grad():
                self.model.transformer.ln_f.weight.fill_(math.nan)
        return train(self, steps)

    monkeypatch.setattr(Learner, "train", explode)


def untimed(record: RunRecord) -> dict:
    fields = json.loads(record.to_json())
    return {name: value for name, value in fields.items() if name not in TIMED}


@pytest.fixture
def smoke() -> Experiment:
    """The smallest preset, on data that needs neither network nor files."""
    return Experiment.preset("gpt2-embedded", "smoke", device="cpu")


@pytest.fixture
def twenty(smoke):
    """20 decisions: 4 turns over the layers 1..5."""
    return smoke.replace(n_layer=6, episodes=4, dropout=0.1, reward="log_improvement")


@pytest.fixture(scope="session")
def tiny_data() -> TokenizedCorpus:
    """The smoke preset's corpus, tokenised."""
    return load_data(Experiment.preset("gpt2-embedded", "smoke"))


CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")  # no longer: while it is open, an event loop runs, and no test beside can have its own
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright's Python package is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium on this machine (Debian's package is called chromium)")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield opened
        opened.close()


class AlwaysIndependent:
    """An agent with the four methods and no more, so that it cannot be saved."""

    def q_values(self, state, layer):
        return [0.0] * (layer + 1)

    def act(self, state, layer):
        return layer

    def learn(self, state, layer, action, reward, next_state):
        return 0.0

    def end_episode(self):
        pass
