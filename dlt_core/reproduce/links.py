"""Links between what is committed, made to lead from page to page of the site."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dlt_core import CHECKOUT

RECORDS = CHECKOUT / "figures" / "records"
COPIED = (".png", ".svg", ".csv", ".json")
ONLY_WORDS = (".py", ".cff", "")
"""How a file ends that the site does not hold: a program, how to cite, the licence."""


@dataclass
class Links:
    """Where links lead on the site.

    pages: file -> name of the page that is made of it; files: what pages show or lead to, to be copied beside them,
    where it has the same path as in the checkout."""

    pages: Mapping[Path, str]
    files: set[Path] = field(default_factory=set)

    def connect(self, text: str, source: Path) -> str:
        """The HTML made of the file `source`, with its links and pictures as they are on the site.

        What leads to a page or to a picture or data leads there, with its anchor; a link to a folder, a record, a
        program or the licence is only its words. Raises ValueError for what leads to nothing."""

        def link(found: re.Match[str]) -> str:
            before, target, after, words = found.groups()
            if re.match(r"https?:|mailto:|#", target):
                return found.group(0)
            there = self._there(target, source)
            return words if there is None else f'<a{before}href="{there}"{after}>{words}</a>'

        def picture(found: re.Match[str]) -> str:
            there = self._there(found.group(2), source)
            if there is None:
                raise ValueError(f"{source} shows {found.group(2)}, which is no picture that the site can hold")
            return f'{found.group(1)}{there}"'

        text = re.sub(r'(<img\b[^>]*?src=")(?!data:|https?:)([^"]+)"', picture, text)
        return re.sub(r'<a\b([^>]*?)href="([^"]*)"([^>]*)>(.*?)</a>', link, text, flags=re.DOTALL)

    def _there(self, target: str, source: Path) -> str | None:
        """Where a link of the file `source` leads on the site; None if it is only words there."""
        name, _, anchor = target.partition("#")
        # nbconvert has already made .html of .ipynb
        path = (source.parent / re.sub(r"\.html$", ".ipynb", name)).resolve()
        if path in self.pages:
            return f"{self.pages[path]}.html{'#' + anchor if anchor else ''}"
        if path.is_dir() or (path.is_file() and (RECORDS in path.parents or path.suffix in ONLY_WORDS)):
            return None
        if not (path.is_file() and path.suffix in COPIED and CHECKOUT in path.parents):
            raise ValueError(f"{source} leads to {target}, of which the site has no page: mend the link")
        self.files.add(path)
        return path.relative_to(CHECKOUT).as_posix()
