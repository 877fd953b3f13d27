"""A browser as a reader has one; skipped where there is none."""

import os
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.browser.operate")  # so that its failures say what was there


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Where screenshots go: the folder DLT_SCREENSHOTS, if it is named, to be looked at."""
    folder = Path(os.environ.get("DLT_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
