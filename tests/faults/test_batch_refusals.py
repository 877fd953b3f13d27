"""What a batch refuses before the work, in one line that names the thing and the remedy; and what it makes of folders
that were moved, damaged, or are held."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from dlt_core.__main__ import main
from dlt_core.reproduce import folder as places
from dlt_core.reproduce import progress
from dlt_core.reproduce.folder import check_writable, held
from dlt_core.reproduce.jobs import Job
from dlt_core.reproduce.progress import Progress, Running, expected_seconds, say
from tests.reproduce.test_batch import GOOD, notebook, run


def refused(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", "--preset", "smoke", *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_parameter_that_the_notebook_does_not_have_is_refused(notebooks, tmp_path, capsys):
    path = notebooks / "00_typo.ipynb"
    notebook(path, "x = 1")
    path.write_text(path.read_text().replace("seed = 0", "sed = 0"))
    error = refused(capsys, "--out", str(tmp_path / "out"))
    assert "00_typo.ipynb has no parameter seed: its cell tagged `parameters` has preset, sed, out_dir" in error
    path.write_text("{}")
    assert f"{path} is not a notebook (KeyError: 'cells')" in refused(capsys, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_no_folder_is_refused(notebooks, tmp_path, capsys):
    notebook(notebooks / "00_quick.ipynb", "x = 1")
    (tmp_path / "file").write_text("mine")
    error = refused(capsys, "--out", str(tmp_path / "file"))
    assert f"cannot write to {tmp_path / 'file'} (File exists): mend that, or name another folder with --out" in error
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def small(tmp_path):
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_and_a_read_only_folder_are_refused(notebooks, small, capsys):
    notebook(notebooks / "00_quick.ipynb", "x = 1")
    assert f"cannot write to {small} (No space left on device: 16 MiB are needed)" in refused(
        capsys, "--out", str(small)
    )
    assert list(small.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    assert f"cannot write to {small} (Read-only file system)" in refused(capsys, "--out", str(small))


def test_a_disk_that_fills_up_later_is_a_failure_with_its_reason(notebooks, small, monkeypatch, capsys):
    fill = "with open('large', 'wb') as file:\n    while True:\n        file.write(bytes(1000))\n        file.flush()"
    notebook(notebooks / "00_fills.ipynb", f"try:\n    {fill.replace(chr(10), chr(10) + '    ')}\nexcept OSError: pass")
    monkeypatch.setattr("dlt_core.reproduce.batch.check_writable", lambda folder, room=0: check_writable(folder, 1))
    with pytest.raises(SystemExit):
        main(["reproduce", "--preset", "smoke", "--out", str(small)])
    out, error = capsys.readouterr()
    assert "00_fills (smoke, seed 0): failed" in out
    assert "No space left on device" in out
    assert f"cannot write {small / 'summary.json'} ([Errno 28] No space left on device" in error
    assert error.count("\n") == 1


HOLD = """
import sys, time
from pathlib import Path
from dlt_core.reproduce.folder import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_that_another_batch_holds_is_refused_until_that_one_is_dead(notebooks, tmp_path, capsys):
    notebook(notebooks / "00_quick.ipynb", "x = 1")
    out = tmp_path / "out"
    out.mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            error = refused(capsys, "--out", str(out))
            assert f"another batch works in {out} (process {other.pid} on {os.uname().nodename}, since 2" in error
            began = time.monotonic()
            with pytest.raises(ValueError, match="another batch works"), held(out, wait=0.5):
                pass
            assert time.monotonic() - began > 0.5
        finally:
            other.send_signal(signal.SIGKILL)
    with held(out):
        assert json.loads((out / places.LOCK).read_text())[0] == os.getpid()
    with held(out):  # nothing is left of the hold
        pass


LOOK = """
import json, os
from pathlib import Path
executed = Path("{name}")
json.loads(executed.read_text())
Path(f"kept{{len(list(Path().glob('kept*')))}}").hardlink_to(executed)
Path("data").write_text(os.environ["DLT_DATA_DIR"] + " " + os.environ["DLT_CACHE_DIR"])
"""


def test_a_folder_with_any_name_goes_on_wherever_it_is_moved_and_whatever_is_damaged(
    notebooks, tmp_path, monkeypatch, capsys
):
    look = LOOK.format(name="00_looks.ipynb")
    notebook(notebooks / "00_looks.ipynb", look, look)
    notebook(notebooks / "01_good.ipynb", GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLT_DATA_DIR", "data")
    monkeypatch.setenv("DLT_CACHE_DIR", "~/cache")
    there = tmp_path / "a {folder}, {seed} {}"
    assert run(there)[0] == 0
    looks, good = (there / "out" / "smoke-seed0" / name for name in ("00_looks", "01_good"))
    assert (looks / "data").read_text() == f"{tmp_path / 'data'} {os.path.expanduser('~/cache')}"
    first, second = (looks / f"kept{n}" for n in (0, 1))
    assert first.stat().st_ino != second.stat().st_ino, "another file each time, so that it is whole at any time"

    moved = there.rename(tmp_path / "moved")
    looks, good = (moved / "out" / "smoke-seed0" / name for name in ("00_looks", "01_good"))
    (looks / "result.json").write_text((looks / "result.json").read_text()[:99])
    (good / "records" / "x.json").write_text('["no", "record"]')
    (good / "records" / "y.json").symlink_to("nowhere")
    capsys.readouterr()
    status, summary = run(moved)
    printed = capsys.readouterr().out
    assert "00_looks (smoke, seed 0): executed again, since " in printed
    assert f"{looks / 'result.json'} is not a result" in printed
    assert "01_good (smoke, seed 0): done before, skipped" in printed
    assert f"skipped a record: {good / 'records' / 'x.json'} is not a record" in printed
    assert "y.json" in printed
    assert status == 1
    assert [r["status"] for r in summary["notebooks"]] == ["done", "done"]
    again, skipped = summary["notebooks"]
    assert [len(again["unreadable"]), len(skipped["unreadable"])] == [0, 2]
    assert [run["perplexity"] for run in skipped["runs"]] == [20.0]
    assert skipped["folder"] == "smoke-seed0/01_good"
    assert skipped["figures"] == ["smoke-seed0/01_good/fig_x.png"]


@pytest.mark.parametrize("damaged", ["", "[]", "{}", '{"status": "done"}', "null", '{"status": 1, "fingerprint": 2}'])
def test_a_result_that_is_none_is_named(tmp_path, damaged):
    job = Job(tmp_path / "00.ipynb", "smoke", 0, {}, {}, tmp_path)
    assert job.before() is None
    job.folder.mkdir(parents=True)
    (job.folder / "result.json").write_text(damaged)
    with pytest.raises(ValueError, match=r"result\.json is not a result"):
        job.before()


def test_a_batch_says_what_runs_but_not_too_often(tmp_path, monkeypatch, capsys):
    (tmp_path / "times.json").write_text('{"03_x": 164}')
    said = Progress(expected_seconds(tmp_path / "times.json"))
    running = [Running(Job(tmp_path / f"{name}.ipynb", "laptop", 1, {}, {}, tmp_path)) for name in ("03_x", "04_y")]
    monkeypatch.setattr(progress, "SECONDS", 0.2)
    said.look([], 3)
    said.look(running, 3)
    running[0].job.folder.mkdir(parents=True)
    cells = [{"metadata": {"papermill": {"status": status}}} for status in ("completed", "running", "pending")]
    (running[0].job.folder / "03_x.ipynb").write_text(json.dumps({"cells": cells}))
    for _ in range(3):
        said.look(running, 0)
    time.sleep(0.2)
    said.look(running, 0)
    since = time.strftime("%H:%M:%S", time.localtime(running[0].since))
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        f"now: 03_x (laptop, seed 1) since {since}, 0 of about 164 s; 04_y (laptop, seed 1) since {since}, 0 s; "
        "3 to come"
    )
    assert second.startswith(f"now: 03_x (laptop, seed 1) since {since}, 0 of about 164 s, cell 2 of 3; 04_y")
    (tmp_path / "times.json").write_text("[]")
    assert expected_seconds(tmp_path / "times.json") == {}


def test_a_closed_terminal_does_not_end_a_batch(monkeypatch):
    class Closed:
        def write(self, _):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    say("nobody hears this")
    print("nor that")
