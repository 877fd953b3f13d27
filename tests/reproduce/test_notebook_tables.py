"""The tables about the notebooks: read off the notebooks, their exercises and the times they took."""

import json

from dlt_core.reproduce import notebook_tables
from tests.studies.conftest import table_cells


def test_what_a_notebook_and_a_route_need_is_read_off_the_notebooks(tmp_path, monkeypatch):
    def cell(kind, source, **metadata):
        more = {"outputs": [], "execution_count": None} if kind == "code" else {}
        return {"cell_type": kind, "id": source[:3], "metadata": metadata, "source": [source], **more}

    def notebook(name, *cells):
        path = tmp_path / "notebooks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))

    for name, parameters in (
        ("00_a", 'preset = "laptop"'),
        ("01_b", 'x = 1\ncorpus: str = "lambada"  # or'),
        ("02_c", 'corpus = "embedded"'),
    ):
        notebook(f"{name}.ipynb", cell("markdown", f"# T {name}\nText"), cell("code", parameters, tags=["parameters"]))
    tasks = "## 1 · A\n\n*Difficulty ●○○ · importance ●●● · {} minutes*\n\nText"
    notebook("exercises/00_a.ipynb", *(cell("markdown", tasks.format(minutes)) for minutes in (5, 15)))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "notebook_times.json").write_text('{"00_a": 59}')
    assert table_cells(notebook_tables.needs(tmp_path).partition("\n")[2]) == [
        ["[T 00_a](00_a.ipynb)", "59 s", "nothing to fetch", "[2, 20 minutes](exercises/00_a.ipynb)"],
        ["[T 01_b](01_b.ipynb)", "not timed", "`lambada`", ""],
        ["[T 02_c](02_c.ipynb)", "not timed", "nothing to fetch", ""],
    ]
    monkeypatch.setattr(notebook_tables, "ROUTES", {"short": ("00",), "long": ("00", "01", "02")})
    assert table_cells(notebook_tables.routes(tmp_path).partition("\n")[2]) == [
        ["short", "00", "0.5 hours", "1 minutes", "0.3 hours"],
        ["long", "all", "1.5 hours", "1 minutes, without 01, without 02", "0.3 hours"],
    ]
