"""The exercise notebooks: students' versions made from the solved ones, the command `exercises`.

One source: notebooks/exercises/solutions/. There a task is a heading "## 1 · ...", hints, a cell with a solution
between `### BEGIN SOLUTION` and `### END SOLUTION` (nbgrader's marks), and a cell tagged "check".
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from dlt_core import CHECKOUT
from dlt_core.corpora.files import write_text_atomically

EXERCISES = CHECKOUT / "notebooks" / "exercises"
_SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION(?:\n|\Z)", re.MULTILINE | re.DOTALL)
_TASK = re.compile(r"^## (\d+) · ", re.MULTILINE)
_DEFINED = re.compile(r"^ *(?:def|class) (\w+)", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\(\.\./\.\./([^)]*)\)")  # out of solutions/, into notebooks/


def write_exercises(*, for_marking: bool = False, out: Path | None = None) -> list[Path]:
    """Write the students' version of each solved notebook to `out`, or where the checkout has them; returns the paths.

    for_marking: without the solutions. Raises ValueError if `for_marking` would overwrite the checkout's, if there are
    no solved notebooks, or one that lacks something.
    """
    if for_marking and out is None:
        raise ValueError("--for-marking needs --out: the checkout's own notebooks keep their solutions")
    solved = sorted((EXERCISES / "solutions").glob("*.ipynb"))
    if not solved:
        raise ValueError(f"no solved notebooks in {EXERCISES / 'solutions'}: run this from a checkout")
    out = EXERCISES if out is None else out
    made = {out / path.name: students(load(path), for_marking=for_marking) for path in solved}
    out.mkdir(parents=True, exist_ok=True)
    for path, notebook in made.items():
        write_text_atomically(path, as_text(notebook))
    return list(made)


def load(path: Path) -> dict[str, Any]:
    """A notebook as its JSON, with the source of each cell in one piece."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


def as_text(notebook: dict[str, Any]) -> str:
    """The JSON of a notebook as Jupyter writes it."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def students(solved: dict[str, Any], *, for_marking: bool = False) -> dict[str, Any]:
    """The students' version: each solution is a stub that raises, and stands folded behind the check that follows.

    for_marking: it is left out, and so are links, which lead nowhere from another folder.
    Raises ValueError for a solution without a task before it or a check after it, or a check without a solution.
    """
    notebook = {**copy.deepcopy(solved), "cells": []}
    task, solution = None, None
    for cell in copy.deepcopy(solved["cells"]):
        source = cell["source"]
        if cell["cell_type"] == "markdown":
            cell["source"] = _LINK.sub(r"\1" if for_marking else r"[\1](../\2)", source)
            if (heading := _TASK.search(source)) is not None:
                if solution is not None:
                    raise ValueError(f"task {task}: its solution has no check")
                task = heading.group(1)
        elif _SOLUTION.search(source):
            if task is None or solution is not None:
                raise ValueError(f"cell {cell['id']}: a solution without a task of its own")
            solution = _SOLUTION.sub(r"\2", source).rstrip("\n")
            cell["source"] = stub(source, task)
        cell.update({"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {})
        notebook["cells"].append(cell)
        if "check" in cell["metadata"].get("tags", []):
            if solution is None:
                raise ValueError(f"cell {cell['id']}: a check without a solution before it")
            if not for_marking:
                notebook["cells"].append(_folded(f"{cell['id']}-solution", task, solution))
            solution = None
    if solution is not None:
        raise ValueError(f"task {task}: its solution has no check")
    return notebook


def stub(source: str, task: str) -> str:
    """A cell's source with a friendly error in place of each solution."""

    def replace(found: re.Match[str]) -> str:
        *_, name = _DEFINED.findall(source[: found.start()]) or ["your answer"]
        said = f"Task {task} is still yours: write `{name}` in place of the line that raises."
        return f"{found.group(1)}raise NotImplementedError({json.dumps(said)})\n"

    return _SOLUTION.sub(replace, source).rstrip("\n")


def _folded(name: str, task: str | None, solution: str) -> dict[str, Any]:
    """A markdown cell that shows a solution when it is clicked."""
    text = f"<details><summary>A solution of task {task}</summary>\n\n```python\n{solution}\n```\n\n</details>"
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}
