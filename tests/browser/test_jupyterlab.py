"""The playground in JupyterLab, as a student works with it."""

import contextlib
import json
import os
import re
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
from dlt_core.widgets.beat_the_agent import STOPPED
from tests.browser import operate

SETTINGS = {
    "notification": {"fetchNews": "false", "checkForUpdates": False},
    "themes": {"theme": "JupyterLab Light"},
}
WIDGETS = ("tie_map_editor", "stepper", "memory_explorer", "reward_lab", "beat_the_agent", "compare_runs", "agreement")

LOOKS = ((1400, 900, "Light"), (1400, 900, "Dark"), (900, 800, "Light"), (900, 800, "Dark"))


@contextlib.contextmanager
def lab(folder):
    """JupyterLab in a folder with the playground, and nothing of the user's own; yields the notebook's address."""
    (folder / "notebooks").mkdir()
    shutil.copy(CHECKOUT / "notebooks" / "playground.ipynb", folder / "notebooks")
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / "apputils-extension" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = {
        "PYTHONPATH": str(CHECKOUT), "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "OMP_NUM_THREADS": "1",
        "JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"), "JUPYTER_TOKEN": token, "JUPYTER_PLATFORM_DIRS": "1",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        "--LabApp.expose_app_in_browser=True",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder / 'notebooks'}",
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


def choose(page, *entries):
    """Go through the menus as a person does."""
    for entry in entries:
        page.get_by_role("menuitem", name=entry, exact=True).click()


def until_executed(page, cells):
    """Until each code cell has a number, and none waits."""
    page.wait_for_function(
        """n => {
          const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')];
          return prompts.length >= n && prompts.every((el) => /^\\[\\d+\\]:/.test(el.textContent.trim()));
        }""",
        arg=cells,
    )


def errors(page):
    return page.locator('[data-mime-type*="jupyter.error"], .jp-OutputArea-output[data-mime-type*="stderr"]')


def looked_at(page, picture, roots, width, height, theme):
    """Nothing sticks out at this size, in this theme."""
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", f"JupyterLab {theme}")
    page.locator(f'body[data-jp-theme-name="JupyterLab {theme}"]').wait_for(state="attached")
    for name, root in roots.items():
        root.evaluate("el => el.closest('.jp-Cell').scrollIntoView()")
        picture(page, f"lab-{width}-{theme.lower()}-{name}")
        assert root.evaluate("el => el.scrollWidth <= el.clientWidth + 1"), (name, theme)


def figures_have_no_box(page):
    """No page's colour lies under a figure: its corner is clear, and JupyterLab has put nothing there."""
    images = page.locator(".jp-RenderedImage img")
    assert images.count() == 7
    for image in images.all():
        corner = image.evaluate(
            """img => {
              const canvas = document.createElement('canvas');
              canvas.getContext('2d').drawImage(img, 0, 0);
              return canvas.getContext('2d').getImageData(0, 0, 1, 1).data[3];
            }"""
        )
        assert corner == 0
        assert image.evaluate("img => getComputedStyle(img).backgroundColor") == "rgba(0, 0, 0, 0)"


def stopped_and_on(page, root):
    """The stop button ends a turn of the game with a sentence; what was finished stays, and the next click plays on."""
    began = int(root.get_attribute("data-decision"))
    plays = page.locator(".jp-CodeCell", has=page.get_by_text("game.play("))
    plays.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    plays.get_by_text("[*]:").wait_for()
    page.get_by_text(re.compile(r"\| Busy")).wait_for()
    page.evaluate("jupyterapp.commands.execute('notebook:interrupt-kernel')")
    errors(page).first.wait_for()
    assert errors(page).all_text_contents() == [STOPPED]
    page.get_by_text(re.compile(r"\| Idle")).wait_for()
    kept = int(root.get_attribute("data-decision"))
    assert began <= kept < began + 3
    root.locator("[data-action='0']").click()
    page.wait_for_function("([el, n]) => Number(el.dataset.decision) === n", arg=[root.element_handle(), kept + 1])


def a_later_cell_first(page, cell):
    """After a restart a cell that needs another one says so in a line that names what is missing."""
    choose(page, "Kernel")
    page.get_by_role("menuitem", name=re.compile("^Restart Kernel…")).click()  # its name ends in its keys
    page.locator(".jp-Dialog .jp-mod-accept").click()
    page.locator(".jp-Dialog").wait_for(state="detached")
    page.get_by_text(re.compile(r"\| Idle")).wait_for()
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    cell.get_by_text("NameError: name 'editor' is not defined").wait_for()
    assert cell.get_by_text("Traceback").count() == 1
    assert cell.locator(".jp-OutputArea-output").inner_text().count("Cell In[") == 1, "no more than the cell itself"


def test_the_playground_in_jupyterlab(browser, tmp_path, picture):
    """Run all, operate each widget, ask the kernel, run all again, stop a turn and go on, restart, run a later cell
    first, run all: everything begins anew."""
    with lab(tmp_path) as address:
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(address)
        page.locator(".jp-NotebookPanel .jp-CodeCell").first.wait_for()
        page.get_by_text(re.compile(r"\| Idle")).wait_for()
        unsaved = page.locator(".lm-TabBar-tab.jp-mod-dirty")
        assert unsaved.count() == 0, "before any edit"
        choose(page, "Run", "Run All Cells")
        unsaved.wait_for(state="attached")
        roots = {name: page.locator(f'[data-dlt="{name}"]') for name in WIDGETS}
        for root in roots.values():
            root.wait_for(state="attached")
        until_executed(page, 13)
        left = operate.tie_map_editor(roots["tie_map_editor"])
        record = RunRecord.load(CHECKOUT / "figures" / "records" / "gpt2-embedded-laptop-dynamic-seed0.json")
        operate.stepper(roots["stepper"], record)
        operate.memory_explorer(roots["memory_explorer"])
        figures_have_no_box(page)
        for width, height, theme in LOOKS if "DLT_SCREENSHOTS" in os.environ else LOOKS[1:3]:
            looked_at(page, picture, roots, width, height, theme)

        asks = page.locator(".jp-CodeCell", has=page.get_by_text("editor.numbers()"))
        asks.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        asks.get_by_text(str(left)).wait_for()  # the kernel knows what was pressed

        choose(page, "Run", "Run All Cells")
        asks.get_by_text("[0, 0, 2, 2, 2, 5] 538,464 parameters").wait_for()
        until_executed(page, 13)
        stopped_and_on(page, roots["beat_the_agent"])
        a_later_cell_first(page, asks)
        choose(page, "Run", "Run All Cells")
        asks.get_by_text("[0, 0, 2, 2, 2, 5] 538,464 parameters").wait_for()
        until_executed(page, 13)
        roots["tie_map_editor"].scroll_into_view_if_needed()
        operate.shows_map(roots["tie_map_editor"], [0, 0, 2, 2, 2, 5], "laptop")
        assert errors(page).count() == 0
        context.close()
