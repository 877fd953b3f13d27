"""The exercise notebooks: students' versions are up to date, solved ones pass, others stop at their checks."""

import contextlib
import copy
import io
import json
import re

import nbformat
import papermill
import pytest

from dlt_core import CHECKOUT
from dlt_core.__main__ import main
from dlt_core.reproduce import exercises
from dlt_core.reproduce.checks.common import NotYet
from dlt_core.reproduce.exercises import EXERCISES, as_text, load, stub, students

SOLVED = sorted((EXERCISES / "solutions").glob("*.ipynb"))
STUDENTS = sorted(EXERCISES.glob("*.ipynb"))
STEMS = [path.stem for path in SOLVED]
WITH_KERNEL = "02_q_learning_for_architecture"  # papermill executes this one, the others share this process


def execute(path) -> tuple[dict[str, BaseException], dict[str, str]]:
    """Execute the cells of a notebook in this process, going on where one raises: cell -> what it raised, and cell ->
    what it printed."""
    names, raised, printed = {"__name__": "an_exercise"}, {}, {}
    for cell in load(path)["cells"]:
        if cell["cell_type"] == "code":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                try:
                    exec(compile(cell["source"], cell["id"], "exec"), names)
                except BaseException as error:
                    raised[cell["id"]] = error
            printed[cell["id"]] = out.getvalue()
    return raised, printed


def checks(path) -> list[str]:
    return [cell["id"] for cell in load(path)["cells"] if "check" in cell["metadata"].get("tags", [])]


def test_there_is_an_exercise_for_each_of_these_notebooks():
    assert [stem[:2] for stem in STEMS] == ["00", "01", "02", "03", "09", "11", "12", "13", "15"]
    assert [path.stem for path in STUDENTS] == STEMS
    assert all((CHECKOUT / "notebooks" / f"{stem}.ipynb").exists() for stem in STEMS)


def test_the_students_versions_are_up_to_date(tmp_path, capsys):
    assert main(["exercises", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / path.name) for path in SOLVED]
    for path in STUDENTS:
        assert path.read_text(encoding="utf-8") == (tmp_path / path.name).read_text(encoding="utf-8"), (
            "run: python -m dlt_core exercises"
        )


@pytest.mark.parametrize("path", [path for path in SOLVED if path.stem != WITH_KERNEL], ids=lambda path: path.stem)
def test_each_check_of_a_solved_notebook_prints_one_line(path):
    raised, printed = execute(path)
    assert raised == {}
    for cell, text in printed.items():
        assert ("✓" in text) == (cell in checks(path)), cell
        assert cell not in checks(path) or re.fullmatch(r"✓ Right\. .+\n", text), cell


@pytest.mark.parametrize("path", STUDENTS, ids=lambda path: path.stem)
def test_an_unsolved_notebook_stops_exactly_at_its_checks(path):
    raised, printed = execute(path)
    assert list(raised) == checks(path)
    for number, error in enumerate(raised.values(), start=1):
        assert isinstance(error, NotYet)
        assert str(error).startswith(f"Task {number} is still yours: write `"), error
    assert "✓" not in "".join(printed.values())


def test_in_a_kernel_too_the_solved_one_passes_and_the_other_stops_with_one_line(tmp_path, monkeypatch):
    stem = WITH_KERNEL
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    how = {"kernel_name": "python3", "progress_bar": False, "execution_timeout": 120, "cwd": str(tmp_path)}
    done = papermill.execute_notebook(str(EXERCISES / "solutions" / f"{stem}.ipynb"), str(tmp_path / "1.ipynb"), **how)
    # a busy machine's kernel may send one line in two pieces
    of_checks = ["".join(o.text for o in c.outputs) for c in done.cells if "check" in c.metadata.get("tags", [])]
    assert all(re.fullmatch(r"✓ Right\. .+\n", text) for text in of_checks), of_checks
    assert len(of_checks) == len(checks(EXERCISES / f"{stem}.ipynb"))
    with pytest.raises(papermill.PapermillExecutionError, match=r"✗ Not yet\. Task 1 is still yours"):
        papermill.execute_notebook(str(EXERCISES / f"{stem}.ipynb"), str(tmp_path / "2.ipynb"), **how)
    stopped = nbformat.read(tmp_path / "2.ipynb", as_version=4)
    (error,) = [o for c in stopped.cells for o in c.get("outputs", []) if o.output_type == "error"]
    assert [line.startswith("✗ Not yet. Task 1") for line in error.traceback] == [True], "no traceback"


@pytest.mark.parametrize("path", SOLVED, ids=lambda path: path.stem)
def test_each_task_says_what_a_lecturer_wants_to_know(path):
    notebook = load(path)
    nbformat.validate(nbformat.from_dict(notebook))
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    tasks = [name for name in cells if re.fullmatch(r"task-\d", name)]
    assert 3 <= len(tasks) <= 5
    order = [f"task-{n + 1}{part}" for n in range(len(tasks)) for part in ("", "-hints", "-answer", "-check")]
    assert list(cells) == ["start", "setup", *order]
    for number, name in enumerate(tasks, start=1):
        said = cells[name]["source"]
        assert said.startswith(f"## {number} · ")
        assert re.search(r"^\*Difficulty [●○]{3} · importance [●○]{3} · \d+ minutes\*$", said, re.MULTILINE)
        hints = cells[f"{name}-hints"]["source"]
        assert hints.count("<details><summary>Hint") == hints.count("</details>") >= 1
        assert "check_" in cells[f"{name}-check"]["source"]
        for function in re.findall(r"check_\w+", cells[f"{name}-check"]["source"]):
            assert function in cells["setup"]["source"]


@pytest.mark.parametrize("path", [*SOLVED, *STUDENTS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_links_lead_somewhere(path):
    words = "\n".join(cell["source"] for cell in load(path)["cells"] if cell["cell_type"] == "markdown")
    targets = re.findall(r"\]\((?!http)([^)#\s]+)\)", words)
    assert targets
    assert all((path.parent / target).exists() for target in targets)


def test_for_marking_no_solution_is_left(tmp_path, capsys):
    assert main(["exercises", "--for-marking", "--out", str(tmp_path)]) == 0
    for path in SOLVED:
        there, text = load(tmp_path / path.name), (tmp_path / path.name).read_text(encoding="utf-8")
        assert "A solution of task" not in text
        assert "SOLUTION" not in text
        assert "](../" not in text, "a link from another folder"
        assert len(there["cells"]) == len(load(path)["cells"])


def test_for_marking_does_not_overwrite_the_checkout(capsys):
    with pytest.raises(SystemExit):
        main(["exercises", "--for-marking"])
    assert "error: --for-marking needs --out" in capsys.readouterr().err


def test_without_solved_notebooks_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(exercises, "EXERCISES", tmp_path)
    with pytest.raises(ValueError, match=r"no solved notebooks in .*solutions: run this from a checkout"):
        exercises.write_exercises()


NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "id": "t", "metadata": {}, "source": "## 3 · Add\n\nSee [01](../../01.ipynb)."},
        {"cell_type": "code", "id": "a", "metadata": {}, "outputs": ["old"], "execution_count": 7,
         "source": "def add(a, b):\n    ### BEGIN SOLUTION\n    return a + b\n    ### END SOLUTION"},
        {"cell_type": "code", "id": "c", "metadata": {"tags": ["check"]}, "outputs": [], "execution_count": None,
         "source": "check_add(add)"},
    ],
    "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip


def test_a_solution_becomes_a_stub_and_stands_folded_behind_its_check():
    before = copy.deepcopy(NOTEBOOK)
    heading, answer, check, folded = students(NOTEBOOK)["cells"]
    assert before == NOTEBOOK
    assert heading["source"].endswith("See [01](../01.ipynb).")
    assert answer["source"] == (
        'def add(a, b):\n    raise NotImplementedError("Task 3 is still yours: write `add` in place of the line '
        'that raises.")'
    )
    assert (answer["outputs"], answer["execution_count"]) == ([], None)
    assert check == NOTEBOOK["cells"][2]
    assert folded["source"].startswith("<details><summary>A solution of task 3</summary>")
    assert "def add(a, b):\n    return a + b\n```" in folded["source"]
    assert len(students(NOTEBOOK, for_marking=True)["cells"]) == 3


def test_each_gap_of_a_cell_names_its_own_function():
    source = "class A:\n    def f(self):\n        ### BEGIN SOLUTION\n        pass\n        ### END SOLUTION\n\n"
    source += "    def g(self):\n        ### BEGIN SOLUTION\n        pass\n        ### END SOLUTION\n"
    made = stub(source, "1")
    assert [re.search("`(.)`", line).group(1) for line in made.splitlines() if "raise " in line] == ["f", "g"]
    compile(made, "stub", "exec")


@pytest.mark.parametrize(
    ("remove", "message"),
    [(0, "a solution without a task"), (1, "a check without a solution"), (2, "task 3: its solution has no check")],
)
def test_what_is_incomplete_is_refused(remove, message):
    broken = {**NOTEBOOK, "cells": [cell for index, cell in enumerate(NOTEBOOK["cells"]) if index != remove]}
    with pytest.raises(ValueError, match=message):
        students(broken)


def test_the_next_task_may_not_begin_before_the_check():
    cells = NOTEBOOK["cells"]
    with pytest.raises(ValueError, match="task 3: its solution has no check"):
        students({**NOTEBOOK, "cells": [*cells[:2], cells[0], cells[2]]})


def test_the_text_is_what_jupyter_writes():
    notebook = nbformat.from_dict(load(SOLVED[0]))
    assert as_text(load(SOLVED[0])) == nbformat.writes(notebook) + "\n"
    assert json.loads(as_text(NOTEBOOK))["cells"][0]["source"][0] == "## 3 · Add\n"
