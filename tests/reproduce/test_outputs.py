"""All tables and figures from the records: the same bytes every time, the gaps said aloud."""

import csv
import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import pytest

from dlt_core import CHECKOUT
from dlt_core.__main__ import main
from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord, load_all
from dlt_core.reproduce import outputs
from dlt_core.studies import tables
from dlt_core.studies.comparison import compare
from dlt_core.studies.contrasts import ladder
from dlt_core.studies.tables import summary
from tests.studies.conftest import made_up, studies, table_cells


@pytest.fixture(scope="module")
def folder(tiny_data, tmp_path_factory) -> Path:
    """Records that look as if the laptop preset had been run: smoke runs under another name."""
    path = tmp_path_factory.mktemp("records")
    small = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=2, evaluation_tokens=256)
    for seed in (0, 1):
        runs = compare(small.replace(seed=seed), ["conventional", "dynamic", "random"], data=tiny_data)
        for name in ("gpt2-wikitext2", "ablations"):
            for record in runs:
                record.experiment |= {"name": name, "preset": "laptop", "overrides": {}}
                record.save(path)
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_two_processes_write_the_same_bytes(folder, tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    command = [sys.executable, "-m", "dlt_core", "figures", "--records", str(folder), "--out", str(one)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert main(["figures", "--records", str(folder), "--out", str(two)]) == 0
    assert contents(one) == contents(two)
    assert done.stdout.replace(str(one), str(two)) == capsys.readouterr().out
    drawn = (
        "fig_ablations", "fig_final_maps", "fig_independent_layers", "fig_learning_curves", "fig_memory",
        "fig_tie_map_evolution", "fig_tie_map_evolution_all",
    )  # fmt: skip
    pictures = {f"{name}.{ending}" for name in drawn for ending in ("png", "svg")}
    found = contents(one)
    assert found.keys() == {"results.md", "results.csv"} | pictures
    assert {Path(line).name for line in done.stdout.splitlines()} == found.keys()
    assert all(found[name].startswith(b"\x89PNG") for name in pictures if name.endswith("png"))
    assert all(b"<svg" in found[name] for name in pictures if name.endswith("svg"))
    rows = list(csv.DictReader(io.StringIO(found["results.csv"].decode())))
    ours = [row for row in rows if (row["experiment"], row["preset"]) == ("gpt2-wikitext2", "laptop")]
    assert [row["n"] for row in ours] == ["2"] * 3
    cells = table_cells(found["results.md"].decode())
    assert [len(row) for row in cells].count(14) == len(rows)
    assert {row[9] for row in cells if len(row) == 14} == {"cannot tell", ""}  # what was not run has no gate
    adds = table_cells(found["results.md"].decode().partition("### What the agent adds")[2])
    assert [row[0] for row in adds if len(row) == 5] == ["gpt2-wikitext2", "ablations"]


def test_figures_show_the_lowest_seed_and_curves_and_the_main_table_all(folder, tmp_path, monkeypatch):
    calls = {}

    def note(name):
        monkeypatch.setattr(outputs.figures, name, lambda *arguments: calls.setdefault(name, arguments))

    for name in ("learning_curves", "independent_layers", "memory"):
        note(name)
    monkeypatch.setattr(outputs.figures, "save", lambda figure, path: path)
    records = load_all(folder)[::-1]
    changed = [dataclasses.replace(r, experiment=r.experiment | {"overrides": {"gamma": 0.5}}) for r in records]
    outputs.write_tables_and_figures([*records, *changed], tmp_path)
    for name, mark in (("learning_curves", " (cannot tell)"), ("independent_layers", "")):  # a panel for the one
        assert calls[name][0].keys() == {f"gpt2-wikitext2{mark}"}
        calls[name] = tuple(calls[name][0].values())
    for name in ("learning_curves", "independent_layers", "memory"):
        seeds = {0, 1} if name == "learning_curves" else {0}
        assert {record.seed for record in calls[name][0]} == seeds, name
        assert {record.experiment["name"] for record in calls[name][0]} == {"gpt2-wikitext2"}
        assert not any(record.experiment["overrides"] for record in calls[name][0]), name
    methods = [record.method for record in calls["learning_curves"][0]]
    assert list(dict.fromkeys(methods)) == ["dynamic", "random", "conventional"]
    assert [record.method for record in calls["independent_layers"][0]] == ["dynamic", "random"]
    rows = tables.main_table(summary(records))
    assert [row["n"] for row in rows] == ["2"] * 3
    assert [row["method"] for row in rows] == ["dynamic", "random", "conventional"]
    assert all("±" in row["test perplexity"] for row in rows)


def test_the_studies_have_figures_of_their_own_and_no_row_in_the_main_table(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(outputs.figures, "save", lambda figure, path: drawn.setdefault(path.stem, figure) and path)
    runs = studies("differences-embedded", "differences-wikitext2")
    outputs.write_tables_and_figures(runs, tmp_path)
    assert drawn.keys() == {"fig_released_ladder", "fig_released_singles"}
    figure = drawn["fig_released_ladder"]
    assert [ax.get_title() for ax in figure.axes] == [
        "differences-embedded (cannot tell)", "differences-wikitext2 (cannot tell)"
    ]  # fmt: skip
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(ladder(runs))
    assert "seeds: 2" in figure.get_supxlabel()
    dots = [line for line in figure.axes[1].lines if line.get_marker() == "."]
    assert list(dots[0].get_xdata()) == pytest.approx([1.1, 1.1])
    assert tables.main_table(summary(runs)) == []
    assert "| differences-embedded | embedded | released | 2 |" in (tmp_path / "results.md").read_text(encoding="utf-8")


def test_smoke_and_unfinished_runs_are_left_out(folder, tmp_path):
    smoke = made_up(preset="smoke", name="gpt2-embedded")
    stopped = RunRecord(made_up().experiment, "dynamic", 9, {"name": "wikitext-2"}, status="stopped")
    written = outputs.write_tables_and_figures([smoke, stopped], tmp_path)
    assert [path.name for path in written] == ["results.md", "results.csv"]
    cells = table_cells((tmp_path / "results.md").read_text())
    assert {row[3] for row in cells} == {"not run"}
    assert "smoke" not in (tmp_path / "results.csv").read_text()


@pytest.mark.parametrize("there", ["nothing", "empty", "a file"])
def test_without_records_it_says_so(there, tmp_path, capsys):
    path = tmp_path / "records"
    if there == "empty":
        path.mkdir()
    elif there == "a file":
        path.write_text("")
    with pytest.raises(SystemExit) as caught:
        main(["figures", "--records", str(path), "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    said = "there are no records in" if there == "empty" else "there is no folder"
    assert f"error: {said} {path}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_committed_figures_are_those_of_the_committed_records(tmp_path):
    """If this fails: python -m dlt_core figures, and look at what changed."""
    committed = CHECKOUT / "figures"
    outputs.write_tables_and_figures(load_all(committed / "records"), tmp_path)
    made = contents(tmp_path)
    kept = {p.name: p.read_bytes() for p in committed.iterdir() if p.suffix in (".png", ".svg", ".md", ".csv")}
    del kept["README.md"]  # whose tables are put between marks
    assert sorted(kept) == sorted(made), "a picture that no record makes, or one that is missing"
    assert [name for name in made if made[name] != kept[name]] == []
