"""A folder of toy notebooks that batches in this process, and in others, take for the project's."""

import os

import pytest

from dlt_core import CHECKOUT
from dlt_core.reproduce import batch


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    folder = tmp_path / "checkout" / "notebooks"
    monkeypatch.setattr(batch, "NOTEBOOKS", folder)
    monkeypatch.setenv("TOY_NOTEBOOKS", str(folder))
    # jsonschema does without this grammar of addresses, which takes three seconds to import
    light = tmp_path / "light"
    light.mkdir()
    (light / "rfc3987_syntax.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(str(light))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(light), str(CHECKOUT)]))
    return folder
