"""The tables about the notebooks: how long each takes, what it needs, and what a route through them takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dlt_core.reproduce import exercises
from dlt_core.studies import tables


def times(root: Path) -> str:
    """The notebooks by their titles, each with the time it took."""
    return tables.markdown_table(
        [
            {"notebook": f"[{title}](notebooks/{path.name})", "time, preset laptop, two cores": took}
            for path, _, title, took in _listed(root)
        ]
    )


def needs(root: Path) -> str:
    """What each notebook needs: its time, the text that its parameters cell names, and its exercises."""
    rows = []
    for path, cells, title, took in _listed(root):
        (parameters,) = (cell["source"] for cell in cells if "parameters" in cell["metadata"].get("tags", []))
        corpus = re.search(r'^corpus(?:: str)? = "([\w-]+)"', parameters, re.MULTILINE)
        to_fetch = f"`{corpus.group(1)}`" if corpus and corpus.group(1) != "embedded" else "nothing to fetch"
        tasks = _tasks(root, path)
        rows.append(
            {
                "notebook": f"[{title}]({path.name})",
                "time": took,
                "data": to_fetch,
                "exercises": f"[{len(tasks)}, {sum(tasks)} minutes](exercises/{path.name})" if tasks else "",
            }
        )
    return tables.markdown_table(rows)


def _tasks(root: Path, notebook: Path) -> list[int]:
    """The minutes of each task of a notebook's exercises; none where it has none."""
    path = root / "notebooks" / "exercises" / notebook.name
    if not path.exists():
        return []
    words = "\n".join(cell["source"] for cell in exercises.load(path)["cells"])
    return [int(minutes) for minutes in re.findall(r"^\*Difficulty .* (\d+) minutes\*$", words, re.MULTILINE)]


ROUTES = {
    "the idea": ("00", "02", "03", "12", "15"),
    "the course": tuple(f"{number:02d}" for number in range(17)),
    "the researcher": ("09", "10", "11", "13", "14", "15", "16"),
}
READING = 30  # minutes a notebook, our estimate


def routes(root: Path) -> str:
    """For each route what it takes: reading, which is estimated; running its notebooks; and their exercises. Of those
    that are under `root`."""
    seconds = _seconds(root)
    paths = {path.name[:2]: path for path, *_ in _listed(root)}
    rows = []
    for route, numbers in ROUTES.items():
        of = [paths[number] for number in numbers if number in paths]
        untimed = "".join(f", without {path.name[:2]}" for path in of if path.stem not in seconds)
        rows.append(
            {
                "route": route,
                "notebooks": "all" if len(of) == len(paths) else ", ".join(numbers),
                "reading, estimated": _hours(READING * len(of)),
                "running": f"{sum(seconds.get(path.stem, 0) for path in of) / 60:.0f} minutes{untimed}",
                "exercises": _hours(sum(sum(_tasks(root, path)) for path in of)),
            }
        )
    return tables.markdown_table(rows)


def _hours(minutes: float) -> str:
    return f"{minutes / 60:.1f} hours"


def _listed(root: Path) -> Iterator[tuple[Path, list[dict[str, Any]], str, str]]:
    """Path, cells, title and time of each numbered notebook."""
    times = _seconds(root)
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        cells = exercises.load(path)["cells"]
        seconds = times.get(path.stem)
        took = f"{seconds} s" if seconds is not None else "not timed"
        yield path, cells, cells[0]["source"].splitlines()[0].removeprefix("# "), took


def _seconds(root: Path) -> dict[str, int]:
    """Notebook -> the seconds that it took, of those that were timed."""
    found: dict[str, int] = json.loads((root / "figures" / "notebook_times.json").read_text(encoding="utf-8"))
    return found
