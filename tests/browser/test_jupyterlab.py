"""The playground in JupyterLab, as a student works with it."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from dlt_core import CHECKOUT
from dlt_core.records.record import RunRecord
from tests.browser import operate

SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/apputils-extension/themes": {"theme": "JupyterLab Light"},
}


@contextlib.contextmanager
def lab(folder, theme):
    """JupyterLab in a folder with the playground and nothing of the user's own; yields the notebook's address."""
    shutil.copy(CHECKOUT / "notebooks" / "playground.ipynb", folder)
    for name, values in (SETTINGS | {"@jupyterlab/apputils-extension/themes": {"theme": theme}}).items():
        path = folder / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = {
        "PYTHONPATH": str(CHECKOUT), "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"), "JUPYTER_TOKEN": token,
        "JUPYTER_PLATFORM_DIRS": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    log = folder / "log"
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=folder, env=os.environ | own, stdout=out, stderr=subprocess.STDOUT)
    try:
        for _ in range(240):
            if server.poll() is not None:
                break
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=5).close()
                yield f"http://127.0.0.1:{port}/lab/tree/playground.ipynb?token={token}"
                return
            time.sleep(0.25)
        pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def run_all(page, menu="Run", entry="Run All Cells"):
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=entry, exact=True).click()


def wait_until_idle(page, cells):
    """Until each code cell has a number, and no cell waits."""
    page.wait_for_function(
        """n => {
          const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].map((el) => el.innerText);
          return prompts.length >= n && prompts.every((text) => /^\\[\\d+\\]:/.test(text.trim()));
        }""",
        arg=cells,
        timeout=90_000,
    )


def errors(page):
    return page.locator(
        '[data-mime-type="application/vnd.jupyter.error"], .jp-OutputArea-output[data-mime-type*="stderr"]'
    )


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_the_playground_in_jupyterlab(browser, tmp_path, pictures, theme):
    """In the dark theme only looked at; in the light one operated, started anew and run twice."""
    with lab(tmp_path, theme) as address:
        width, height = (1400, 900) if "Light" in theme else (900, 800)
        context = browser.new_context(viewport={"width": width, "height": height})
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(address)
        page.locator(".jp-NotebookPanel .jp-CodeCell").first.wait_for()
        page.get_by_text("Python 3").first.wait_for()
        run_all(page)
        roots = {
            name: page.locator(f'[data-dlt="{name}"]') for name in ("tie_map_editor", "stepper", "memory_explorer")
        }
        for name, root in roots.items():
            root.wait_for(state="attached")
            root.scroll_into_view_if_needed()
            page.wait_for_timeout(300)
            page.screenshot(path=pictures / f"lab-{width}-{theme[11:].lower()}-{name}.png")
            assert root.evaluate("el => el.scrollWidth <= el.clientWidth + 1"), name
        if "Dark" in theme:
            assert page.locator("body").get_attribute("data-jp-theme-light") == "false"
            context.close()
            return
        assert errors(page).count() == 0
        left = operate.tie_map_editor(roots["tie_map_editor"])
        record = RunRecord.load(CHECKOUT / "figures" / "records" / "gpt2-embedded-laptop-dynamic-seed0.json")
        operate.stepper(roots["stepper"], record)
        operate.memory_explorer(roots["memory_explorer"])

        says = page.locator(".jp-CodeCell", has=page.get_by_text("editor.numbers()"))
        says.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        says.get_by_text(str(left)).wait_for(), "the kernel knows what was pressed"

        run_all(page)
        says.get_by_text("[0, 0, 2, 2, 2, 5] 538,464 parameters").wait_for(), "begun anew"
        page.get_by_role("menuitem", name="Kernel", exact=True).click()
        page.get_by_role("menuitem", name="Restart Kernel and Run All Cells").click()
        page.get_by_role("button", name="Restart", exact=True).click()
        page.wait_for_timeout(1000)
        wait_until_idle(page, 8)
        roots["tie_map_editor"].scroll_into_view_if_needed()
        operate.shows_map(roots["tie_map_editor"], [0, 0, 2, 2, 2, 5], "laptop")
        assert errors(page).count() == 0
        context.close()
