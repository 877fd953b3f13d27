"""Every notebook runs under papermill at the smoke preset, writes its record, and is fit to be committed."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from dlt_core.records import RunRecord, load_all

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEEDS_DATA = {"04_gpt2_wikitext2": "wikitext-2/wiki.train.tokens"}


def execute(path: Path, out: Path, **parameters) -> nbformat.NotebookNode:
    out.mkdir(parents=True, exist_ok=True)
    return papermill.execute_notebook(
        str(path), str(out / path.name), parameters={"preset": "smoke", "out_dir": str(out), **parameters},
        kernel_name="python3", execution_timeout=300, progress_bar=False, cwd=str(out),
    )  # fmt: skip


def have(relative: str) -> bool:
    return bool(os.environ.get("DLT_DATA_DIR")) and (Path(os.environ["DLT_DATA_DIR"]) / relative).exists()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # kernels beside each other would only wait for each other


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_its_record_shows_the_mechanism(path, tmp_path):
    if path.stem in NEEDS_DATA and not have(NEEDS_DATA[path.stem]):
        pytest.skip("DLT_DATA_DIR does not hold the data")
    nb = execute(path, tmp_path)
    dynamic = [r for r in load_all(tmp_path / "records") if r.method == "dynamic"]
    assert dynamic
    for record in dynamic:
        assert record.status == "finished"
        assert record.budget["optimizer_steps"] > 0
        assert max(record.history["td_loss"]) > 0, "no Q update"
        assert record.transitions()["ties"] > 0
        assert record.transitions()["unties"] > 0
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_refuses_an_unknown_preset(path, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="unknown preset 'huge'; known: smoke"):
        execute(path, tmp_path, preset="huge")


def test_without_data_the_wikitext_notebook_names_the_remedies_and_stops(tmp_path, monkeypatch):
    monkeypatch.delenv("DLT_DATA_DIR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    nb = execute(ROOT / "notebooks" / "04_gpt2_wikitext2.ipynb", tmp_path / "out")  # raises nothing
    printed = "".join(o.get("text", "") for cell in nb.cells for o in cell.get("outputs", []))
    assert "Remedy 1" in printed
    assert "Remedy 2" in printed
    assert "DLT_DATA_DIR" in printed
    assert not (tmp_path / "out" / "records").exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebook_is_whole(path):
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert path.stat().st_size < 300_000
    assert "widgets" not in nb.metadata
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "execute it: --in-place"
    shown = [o.data for cell in code for o in cell.outputs if "data" in o]
    assert any("image/png" in data for data in shown)
    assert not any(data.get("text/plain", "").startswith("<Figure") and "image/png" not in data for data in shown)
    assert not any(o.output_type == "error" for cell in code for o in cell.outputs)
    assert not any("injected-parameters" in cell.metadata.get("tags", []) for cell in nb.cells)
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert tagged[0].source.splitlines()[0].startswith('preset = "laptop"')
    text = path.read_text(encoding="utf-8")
    assert str(Path.home()) + "/" not in text
    assert str(ROOT) not in text


def test_committed_records_can_be_read_and_are_finished():
    records = load_all(ROOT / "figures" / "records")
    assert records
    assert all(record.status == "finished" for record in records)
    assert all(isinstance(record, RunRecord) for record in records)


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
