"""A browser as a reader has one; skipped where there is none."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.browser.operate")  # so that its failures say what was there


@pytest.fixture
def picture() -> Callable[..., None]:
    """picture(page, name): keep a screenshot to be looked at, if a folder DLT_SCREENSHOTS is named."""

    def keep(page, name: str, **how) -> None:
        if folder := os.environ.get("DLT_SCREENSHOTS"):
            page.wait_for_timeout(300)
            page.screenshot(path=Path(folder) / f"{name}.png", **how)

    return keep
