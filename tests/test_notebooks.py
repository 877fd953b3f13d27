"""Every notebook runs under papermill at the smoke preset, writes its record, and is fit to be committed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from dlt_core import CHECKOUT
from dlt_core.corpora.local import local_files
from dlt_core.corpora.own_text import OWN
from dlt_core.corpora.sources import LOCAL, SPLITS
from dlt_core.records.record import RunRecord, load_all
from dlt_core.reproduce import batch
from dlt_core.reproduce.jobs import Job

NOTEBOOKS = sorted((CHECKOUT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
# The notebooks that have a parameter `corpus`, and the corpora it may be beside "embedded".
CORPUS = {
    "04_gpt2_wikitext2": ("wikitext-2",),
    "05_gpt2_wikitext103": ("wikitext-103",),
    "06_gpt2_lambada": ("lambada",),
    "07_gpt2_one_billion_words": ("lm1b",),
    "08_bert": ("lambada",),  # of four, the one with passages
}
SHOWS_EMBEDDED = {"11_paper_vs_released_code": ("wikitext-2",)}  # ... that is "embedded" unless another is asked for
SOME = {**CORPUS, **SHOWS_EMBEDDED}
EXECUTIONS = [(path, corpus) for path in NOTEBOOKS for corpus in SOME.get(path.stem, (None,))]


def execute(path: Path, out: Path, **parameters) -> nbformat.NotebookNode:
    out.mkdir(parents=True, exist_ok=True)
    return papermill.execute_notebook(
        str(path), str(out / path.name), parameters={"preset": "smoke", "out_dir": str(out), **parameters},
        kernel_name="python3", execution_timeout=300, progress_bar=False, cwd=str(out),
    )  # fmt: skip


def is_here(corpus: str) -> bool:
    parts = [getattr(layout, split).where for layout in LOCAL[corpus] for split in SPLITS]
    return any(local_files(where) for where in parts)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # kernels beside each other would only wait for each other


@pytest.mark.parametrize(("path", "corpus"), EXECUTIONS, ids=lambda value: getattr(value, "stem", value))
def test_notebook_runs_and_its_record_shows_the_mechanism(path, corpus, tmp_path):
    """On the real data where it is here, on the embedded corpus where not."""
    if corpus is not None and not is_here(corpus):
        corpus = "embedded"
    # one is enough for 11, with its many variants: what it says of several is tested in the package, and shown by 10
    several = {"11_paper_vs_released_code": 1}.get(path.stem, 2)
    seeds = {"num_seeds": several} if path.stem in batch.SEVERAL_SEEDS else {}
    nb = execute(path, tmp_path, **({"corpus": corpus} if corpus else {}), **seeds)
    records = load_all(tmp_path / "records")
    dynamic = [r for r in records if r.method == "dynamic"]
    assert dynamic
    for record in dynamic:
        assert record.status == "finished"
        assert record.budget["optimizer_steps"] > 0
        assert max(record.history["td_loss"]) > 0, "no Q update"
        assert record.transitions()["ties"] > 0
        assert record.transitions()["unties"] > 0
    if corpus is not None:
        assert {r.corpus["name"] for r in records} == {corpus}
        assert {"dynamic", "random", "conventional"} <= {r.method for r in records}
        assert len({tuple(r.budget.items()) for r in records}) == 1, "equal budgets"
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)


@pytest.mark.parametrize("stem", ["04_gpt2_wikitext2", "08_bert"])  # the others have 04's cells
def test_without_data_the_embedded_corpus_will_do_if_asked_for(stem, tmp_path, monkeypatch):
    monkeypatch.delenv("DLT_DATA_DIR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    execute(CHECKOUT / "notebooks" / f"{stem}.ipynb", tmp_path, corpus="embedded")
    assert {r.corpus["name"] for r in load_all(tmp_path / "records")} == {"embedded"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_refuses_an_unknown_preset(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="unknown preset 'huge'; known: smoke"):
        run_cells(path, preset="huge", out_dir=str(tmp_path))


def run_cells(path: Path, **parameters: str) -> None:
    """The cells one after the other, without a kernel, which would take ten seconds to start."""
    names: dict = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            exec("\n".join(line for line in cell.source.split("\n") if not line.startswith("%")), names)
        if "parameters" in cell.metadata.get("tags", []):
            names |= parameters


@pytest.mark.parametrize("stem", CORPUS)
def test_without_data_a_notebook_names_the_remedies_and_stops(stem, tmp_path, monkeypatch):
    monkeypatch.delenv("DLT_DATA_DIR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    nb = execute(CHECKOUT / "notebooks" / f"{stem}.ipynb", tmp_path / "out")  # raises nothing
    printed = "".join(o.get("text", "") for cell in nb.cells for o in cell.get("outputs", []))
    assert "Remedy 1" in printed
    assert "Remedy 2" in printed
    assert "DLT_DATA_DIR" in printed
    assert 'corpus = "embedded"' in printed
    assert not (tmp_path / "out" / "records").exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebook_is_whole(path):
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert path.stat().st_size < 300_000
    assert "widgets" not in nb.metadata
    assert nb.metadata["kernelspec"] == batch.KERNEL  # else JupyterLab calls the notebook unsaved when it is opened
    assert nb.metadata["language_info"]["version"].startswith("3.")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "execute it: --in-place"
    shown = [o.data for cell in code for o in cell.outputs if "data" in o]
    assert any("image/png" in data for data in shown)
    assert not any(data.get("text/plain", "").startswith("<Figure") and "image/png" not in data for data in shown)
    assert not any(o.output_type == "error" for cell in code for o in cell.outputs)
    assert not any("injected-parameters" in cell.metadata.get("tags", []) for cell in nb.cells)
    for cell in code:  # what JupyterLab hides, the site folds
        hidden = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        assert hidden == ("hide-input" in cell.metadata.get("tags", [])), cell.source[:60]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert tagged[0].source.splitlines()[0].startswith('preset: str = "laptop"')
    text = path.read_text(encoding="utf-8")
    assert str(Path.home()) + "/" not in text
    assert str(CHECKOUT) not in text
    assert not re.search(r"\.py:\d+: \w*Warning", text), "a warning names a file of the machine that executed it"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_can_say_what_each_parameter_is(path):
    parameters = papermill.inspect_notebook(str(path))
    assert {"preset", "seed", "out_dir"} <= parameters.keys() == Job(path, "smoke", 0, {}, {}, path).defaults().keys()
    for name, parameter in parameters.items():
        assert parameter["inferred_type_name"] in ("str", "int", "bool"), name
        assert parameter["help"], name


def test_no_committed_notebook_shows_a_widget_whose_kernel_is_gone():
    for path in (CHECKOUT / "notebooks").glob("*.ipynb"):
        nb = nbformat.read(path, as_version=4)
        data = [o.data for cell in nb.cells for o in cell.get("outputs", []) if "data" in o]
        assert not any(batch.WIDGET_VIEW in shown for shown in data), path.name


def test_the_playground_runs_and_is_whole(tmp_path):
    path = CHECKOUT / "notebooks" / "playground.ipynb"
    out = papermill.execute_notebook(
        str(path), str(tmp_path / path.name), kernel_name="python3", execution_timeout=120, progress_bar=False
    )
    shown = [o.data for cell in out.cells for o in cell.get("outputs", []) if "data" in o]
    widgets = [data for data in shown if batch.WIDGET_VIEW in data]
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    committed = [o.data for cell in code for o in cell.outputs if "data" in o]
    assert [data["text/plain"] for data in widgets] == [
        data["text/plain"] for data in committed if "alive while the notebook runs" in data["text/plain"]
    ]
    assert sum("image/png" in data for data in committed) >= len(widgets) >= 3, "a figure for each"
    assert "widgets" not in nb.metadata
    assert str(CHECKOUT) not in path.read_text(encoding="utf-8")


def test_committed_records_can_be_read_and_are_finished():
    records = load_all(CHECKOUT / "figures" / "records")
    assert records
    assert all(record.status == "finished" for record in records)
    assert all(isinstance(record, RunRecord) for record in records)
    assert OWN not in {record.corpus["source"] for record in records}


def test_the_core_runs_its_loop_without_a_notebook(tmp_path):
    """Silent when nobody watches: no progress bar in a pipe."""
    code = (
        "from dlt_core.algorithm1 import train_dynamic\n"
        "from dlt_core.experiments import Experiment\n"
        "print(train_dynamic(Experiment.preset('gpt2-embedded', 'smoke', episodes=1)).status)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TQDM_DISABLE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "finished"
    assert "decision" not in done.stderr
