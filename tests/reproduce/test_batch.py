"""The batch command: exit status, the failing cell's name, skipping what is done, refreshing in place."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest

import dlt_core
from dlt_core import CHECKOUT
from dlt_core.__main__ import main
from dlt_core.reproduce import batch
from dlt_core.reproduce.jobs import Job

GOOD = """
from pathlib import Path
from dlt_core.records.record import RunRecord
record = RunRecord({"name": "e", "preset": preset, "overrides": {}}, "dynamic", seed, {}, status="finished")
record.budget = {"optimizer_steps": 3, "tokens": 9}
record.test = {"perplexity": 20.0, "unit": "per token", "bits_per_byte": 1.5, "selected_step": 3}
record.parameters, record.tie_map = {"unique": 1, "conventional": 4}, [0, 0]
shape = {"architecture": "gpt2", "tokenizer": "bpe-256", "batch_size": 1, "block_size": 1, "n_embd": 1, "n_layer": 2}
record.experiment |= {"gradient": "shared", **shape}
record.final_tie_map = [0, 0]
record.corpus = {"name": "embedded", "is_sample": False}
record.hardware = {"device": "cpu", "machine": "x", "threads": 1, "cores": 1}
record.bytes = {}
record.save(Path(out_dir) / "records")
Path(out_dir, "fig_x.png").write_bytes(b"png")
with open(Path(out_dir) / "times.txt", "a") as file:
    file.write("ran ")
print(out_dir)
"""


def notebook(path, *cells, more=""):
    parameters = nbformat.v4.new_code_cell(f"preset = 'laptop'\nseed = 0\nout_dir = None\n{more}")
    parameters.metadata["tags"] = ["parameters"]
    title = nbformat.v4.new_markdown_cell("# First\nText.")
    nb = nbformat.v4.new_notebook(cells=[title, parameters, *map(nbformat.v4.new_code_cell, cells)])
    nb.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, path)


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    folder = tmp_path / "checkout" / "notebooks"
    monkeypatch.setattr(batch, "NOTEBOOKS", folder)
    notebook(folder / "00_good.ipynb", GOOD)
    return folder


def run(tmp_path, *arguments):
    preset = [] if "--in-place" in arguments else ["--preset", "smoke"]
    status = main(["reproduce", *preset, "--out", str(tmp_path / "out"), *arguments])
    summary = tmp_path / "out" / "summary.json"
    return status, json.loads(summary.read_text()) if summary.exists() else None


def test_it_runs_records_and_skips_what_is_done(notebooks, tmp_path, capsys):
    arguments = ("--notebooks", "00", "--seeds", "0", "1", "--jobs", "2")
    status, summary = run(tmp_path, *arguments)
    assert status == 0
    assert [(r["seed"], r["status"]) for r in summary["notebooks"]] == [(0, "done"), (1, "done")]
    assert [run["perplexity"] for r in summary["notebooks"] for run in r["runs"]] == [20.0, 20.0]
    printed = capsys.readouterr().out
    assert "test perplexity       20.0 per token (1.500 bits per byte)" in printed
    assert "trainable parameters  1, 25% of 4 conventional" in printed
    assert "independent layers    1 of 2" in printed
    assert str(tmp_path / "out" / "summary.json") in printed
    for seed in (0, 1):
        folder = tmp_path / "out" / f"smoke-seed{seed}" / "00_good"
        assert (folder / "00_good.ipynb").exists()
        assert (folder / "records" / f"e-smoke-dynamic-seed{seed}.json").exists()
    assert run(tmp_path, *arguments)[0] == 0
    assert capsys.readouterr().out.count("done before, skipped") == 2
    assert (tmp_path / "out" / "smoke-seed0" / "00_good" / "times.txt").read_text() == "ran "
    nb = nbformat.read(notebooks / "00_good.ipynb", as_version=4)
    nb.cells[-1].outputs = [nbformat.v4.new_output("stream", text="looked at in JupyterLab")]
    nbformat.write(nb, notebooks / "00_good.ipynb")
    assert run(tmp_path, *arguments)[0] == 0
    assert (tmp_path / "out" / "smoke-seed0" / "00_good" / "times.txt").read_text() == "ran "
    notebook(notebooks / "00_good.ipynb", GOOD, "1 + 1")  # a changed notebook is not done any more
    assert run(tmp_path, "--notebooks", "00")[0] == 0
    assert (tmp_path / "out" / "smoke-seed0" / "00_good" / "times.txt").read_text() == "ran ran "


def test_a_failure_names_the_cell_and_is_tried_again_the_next_time(notebooks, tmp_path, capsys):
    notebook(notebooks / "01_bad.ipynb", "x = 1", "raise ValueError('no such thing')")
    status, summary = run(tmp_path, "--notebooks", "00", "01")
    assert status == 1
    assert [r["status"] for r in summary["notebooks"]] == ["done", "failed"]
    # cell 5 of the executed notebook: papermill has put the parameters behind cell 2
    assert summary["notebooks"][1]["error"] == "cell 5: ValueError: no such thing"
    assert "01_bad (smoke, seed 0): failed" in capsys.readouterr().out
    notebook(notebooks / "01_bad.ipynb", "x = 1")
    assert run(tmp_path, "--notebooks", "all")[0] == 0


def test_a_notebook_that_stops_itself_did_not_succeed(notebooks, tmp_path):
    notebook(notebooks / "02_stops.ipynb", "import sys\nprint('no data: do this')\nsys.exit(0)", "1 / 0")
    status, summary = run(tmp_path, "--notebooks", "02")
    assert status == 1
    assert summary["notebooks"][0]["status"] == "failed"
    assert summary["notebooks"][0]["error"] == "cell 4 stopped the notebook: no data: do this"


def test_without_names_what_has_no_data_is_left_out_and_said_so(notebooks, tmp_path, capsys):
    notebook(notebooks / "02_stops.ipynb", "import sys\nprint('no data: do this')\nsys.exit(0)", "1 / 0")
    status, summary = run(tmp_path)
    assert status == 0
    assert {r["name"]: r["status"] for r in summary["notebooks"]} == {"00_good": "done", "02_stops": "no data"}
    printed = capsys.readouterr().out
    assert "No data: 02_stops, seed 0" in printed
    assert "no data: do this" in printed
    notebook(notebooks / "02_stops.ipynb", "print('the data has come')")
    assert [r["status"] for r in run(tmp_path)[1]["notebooks"]] == ["done", "done"]


def test_one_failure_does_not_stop_the_others_and_the_summary_says_what_was_left(notebooks, tmp_path):
    notebook(notebooks / "01_bad.ipynb", GOOD, "1 / 0")
    notebook(notebooks / "02_good.ipynb", GOOD)
    status, summary = run(tmp_path, "--seeds", "0", "1", "--jobs", "2")
    assert status == 1
    assert [(r["name"], r["seed"], r["status"]) for r in summary["notebooks"]] == [
        (name, seed, status)
        for seed in (0, 1)
        for name, status in (("00_good", "done"), ("01_bad", "failed"), ("02_good", "done"))
    ]
    for r in summary["notebooks"]:
        assert r["seconds"] > 0
        assert [Path(p).name for p in r["records"]] == [f"e-smoke-dynamic-seed{r['seed']}.json"]
        assert [Path(p).name for p in r["figures"]] == ["fig_x.png"]
        assert all((tmp_path / "out" / p).is_file() for p in r["records"] + r["figures"])
        assert (r["error"] or "").startswith("cell 5: ZeroDivisionError" if r["name"] == "01_bad" else "")


def test_variants_are_executed_side_by_side(notebooks, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "VARIANTS", {"00_good": [{"corpus": "a"}, {"corpus": "b"}]})
    notebook(notebooks / "00_good.ipynb", GOOD, "Path(out_dir, 'corpus.txt').write_text(corpus)", more="corpus = 'c'")
    status, summary = run(tmp_path)
    assert status == 0
    assert [r["name"] for r in summary["notebooks"]] == ["00_good-a", "00_good-b"]
    for name in ("a", "b"):
        assert (tmp_path / "out" / "smoke-seed0" / f"00_good-{name}" / "corpus.txt").read_text() == name
    assert run(tmp_path)[1]["notebooks"][1]["skipped"]


def test_a_notebook_that_takes_several_seeds_is_executed_once(notebooks, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "SEVERAL_SEEDS", ("00_good",))
    notebook(
        notebooks / "00_good.ipynb", "open(f'{out_dir}/ran-{seed}-{num_seeds}', 'w').close()", more="num_seeds = 4"
    )
    notebook(notebooks / "01_good.ipynb", GOOD)
    summary = run(tmp_path, "--seeds", "5", "6", "7")[1]
    assert [(r["name"], r["seed"]) for r in summary["notebooks"]] == [
        ("00_good", 5), ("01_good", 5), ("01_good", 6), ("01_good", 7)
    ]  # fmt: skip
    parameters = nbformat.read(tmp_path / "out" / "smoke-seed5" / "00_good" / "00_good.ipynb", as_version=4).cells[2]
    assert "num_seeds = 3" in parameters.source
    run(tmp_path, "--notebooks", "00", "--seeds", "2")  # one seed: as many as it says itself
    assert (tmp_path / "out" / "smoke-seed2" / "00_good" / "ran-2-4").exists()


def test_the_batch_trains_what_a_notebook_would_take_from_the_records(notebooks, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "RECORDED", ("00_good",))
    notebook(notebooks / "00_good.ipynb", "open(f'{out_dir}/recorded-{recorded}', 'w').close()", more="recorded = True")
    run(tmp_path, "--notebooks", "00")
    assert (tmp_path / "out" / "smoke-seed0" / "00_good" / "recorded-False").exists()


def test_the_notebooks_that_show_recorded_runs_say_so_in_their_parameters():
    for stem in batch.RECORDED:
        assert stem in batch.SEVERAL_SEEDS
        cells = nbformat.read(CHECKOUT / "notebooks" / f"{stem}.ipynb", as_version=4).cells
        (parameters,) = [c.source for c in cells if "parameters" in c.metadata.get("tags", [])]
        assert "recorded: bool = True" in parameters


def test_a_folder_that_cannot_be_made_is_named(notebooks, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        main(["reproduce", "--notebooks", "00", "--out", str(tmp_path / "file" / "out")])
    assert "name another folder with --out" in capsys.readouterr().err


def test_a_dead_kernel_is_a_failure(notebooks, tmp_path):
    notebook(notebooks / "03_dies.ipynb", "import os\nos._exit(1)")
    status, summary = run(tmp_path, "--notebooks", "03")
    assert status == 1
    assert "Kernel" in summary["notebooks"][0]["error"]


def test_in_place_refreshes_without_a_trace(notebooks, tmp_path):
    root = notebooks.parent
    pages = ("README.md", "figures/README.md", "notebooks/README.md", "dlt_core/README.md")
    marks = {
        page: re.findall(r"<!-- (?!benchmark)(\w+): begin -->", (dlt_core.CHECKOUT / page).read_text(encoding="utf-8"))
        for page in pages
    }  # no benchmark was measured here
    assert all(marks.values())
    for name, names in marks.items():
        (root / name).parent.mkdir(exist_ok=True)
        tables = [f"<!-- {mark}: begin -->\nOUTDATED\n<!-- {mark}: end -->\n" for mark in names]
        (root / name).write_text("# T\n" + "".join(tables) + "z")
    for measured in ("table_world.json", "many_decisions.json", "looks.json", "images.json", "surrogate.json"):
        shutil.copy(dlt_core.CHECKOUT / "figures" / measured, root / "figures")
    assert run(tmp_path, "--notebooks", "00", "--seeds", "0", "1", "--in-place")[0] == 0
    nb = nbformat.read(notebooks / "00_good.ipynb", as_version=4)
    assert [cell.source for cell in nb.cells[2:]] == [GOOD]
    assert [cell.execution_count for cell in nb.cells[1:]] == [1, 2]
    assert nb.cells[1].metadata["tags"] == ["parameters"]
    assert "papermill" not in nb.metadata
    assert all("papermill" not in cell.metadata for cell in nb.cells)
    figures = notebooks.parent / "figures"
    printed = "".join(output.text for output in nb.cells[2].outputs)
    assert "laptop-seed0" in printed  # the outputs are seed 0's ...
    assert len(list((figures / "records").iterdir())) == 2  # ... the records all seeds'
    (row,) = [line for line in (figures / "README.md").read_text().splitlines() if line.startswith("| e | embedded |")]
    assert row.startswith("| e | embedded | dynamic | 2 | ")
    assert "| 20.0 ± 0.0 per token |" in row
    assert "(fig_ablations.png)" not in (figures / "README.md").read_text()  # no record makes it
    assert "20.0 ± 0.0" in (figures / "results.md").read_text()
    assert json.loads((figures / "notebook_times.json").read_text())["00_good"] >= 0
    for name, names in marks.items():
        text = (root / name).read_text()
        assert text.startswith(f"# T\n<!-- {names[0]}: begin -->\n")
        assert text.endswith(f"<!-- {names[-1]}: end -->\nz")
        assert "OUTDATED" not in text
    assert "| [First](notebooks/00_good.ipynb) |" in (root / "README.md").read_text()


def test_a_change_in_any_file_of_any_room_is_another_fingerprint(notebooks, tmp_path, monkeypatch):
    package = tmp_path / "dlt_core"
    shutil.copytree(Path(dlt_core.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(dlt_core, "__file__", str(package / "__init__.py"))
    job = Job(notebooks / "00_good.ipynb", "smoke", 0, {}, {}, tmp_path)
    files = [path for path in package.rglob("*.py") if path.stat().st_size]
    assert {"figures", "learner", "benchmark"} <= {path.parent.name for path in files}
    seen = {job.fingerprint()}
    for path in files:
        path.write_text(path.read_text() + "# changed\n")
        seen.add(job.fingerprint())
    assert len(seen) == len(files) + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "huge"], "invalid choice 'huge'"),
        (["--notebooks", "77"], "no notebook begins with '77'; there are: 00_good"),
        (["--seeds"], "--seeds needs at least one"),
        (["--seeds", "1", "-2"], "--seeds must not be negative, got -2"),
        (["--seeds", "3", "1", "3"], "--seeds has 3 twice: name each once"),
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--in-place", "--seeds", "1"], "--in-place is for the preset laptop, and seed 0 first"),
        (["--in-place", "--preset", "smoke"], "--in-place is for the preset laptop, and seed 0 first"),
    ],
)
def test_bad_arguments(notebooks, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(["reproduce", "--out", str(tmp_path / "out"), *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
