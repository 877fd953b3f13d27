"""A browser as a reader has one; skipped where there is none."""

import os
import shutil
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.browser.operate")  # so that its failures say what was there

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright's Python package is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium on this machine (Debian's package is called chromium)")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Where screenshots go: the folder DLT_SCREENSHOTS, if it is named, to be looked at."""
    folder = Path(os.environ.get("DLT_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
