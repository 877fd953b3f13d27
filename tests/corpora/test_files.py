"""Files are written whole or not at all, and one process at a time."""

import os
import subprocess
import sys
import threading

import pytest

from dlt_core.corpora.files import (
    held,
    remove_leftovers,
    write_atomically,
    write_json_atomically,
    write_text_atomically,
)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "file"
    write_text_atomically(path, "whole")

    def disk_full(beside):
        beside.write_text("half")
        assert beside != path
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, disk_full)
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_text_is_utf_8_and_its_newlines_stay(tmp_path):
    write_text_atomically(tmp_path / "text", "ε\r\n±\n")
    assert (tmp_path / "text").read_bytes() == b"\xce\xb5\r\n\xc2\xb1\n"
    write_json_atomically(tmp_path / "json", {"a": [1]})
    assert (tmp_path / "json").read_bytes() == b'{\n "a": [\n  1\n ]\n}\n'


def test_writers_at_the_same_time_are_not_in_each_others_way(tmp_path):
    """Threads here; processes and machines have no more in common."""
    path, meet, places = tmp_path / "file", threading.Barrier(8), []

    def write(beside, text):
        places.append(beside)
        beside.write_text(text)
        meet.wait(10)

    threads = [
        threading.Thread(target=write_atomically, args=(path, lambda beside, n=n: write(beside, f"{n}" * 1000)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(places)) == 8
    assert len(set(path.read_text())) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_place_of_a_writer_is_made_anew_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr("uuid.uuid4", lambda: type("", (), {"hex": "0" * 32}))
    (tmp_path / f"file.{'0' * 32}.part").mkdir()
    with pytest.raises(FileExistsError):
        write_text_atomically(tmp_path / "file", "")


def test_what_a_killed_writer_left_is_removed(tmp_path):
    path, program = tmp_path / "file", "import sys, os, pathlib; from dlt_core.corpora import files;"
    program += (
        "files.write_atomically(pathlib.Path(sys.argv[1]), lambda beside: (beside.write_text('half'), os._exit(9)))"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == 9
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".part")
    (tmp_path / "file.other.part").mkdir()  # nobody's of ours
    write_text_atomically(path, "whole")
    assert left.exists(), "another may be writing now"
    for one in (left, *left.iterdir()):
        os.utime(one, (0, 0))
    write_text_atomically(path, "whole")
    assert {p.name for p in tmp_path.iterdir()} == {"file", "file.other.part"}
    left.mkdir()
    remove_leftovers(path)  # as the one who holds the file
    assert not left.exists()


def test_the_file_and_then_its_folder_are_synced(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda d: (synced.append(os.readlink(f"/proc/self/fd/{d}")), fsync(d)))
    write_text_atomically(tmp_path / "file", "")
    assert [os.path.basename(name) for name in synced] == ["file", tmp_path.name]


def test_the_file_before_is_kept_under_another_name(tmp_path):
    for text in ("one", "two", "three"):
        write_atomically(tmp_path / "file", lambda beside, text=text: beside.write_text(text), keep=tmp_path / "before")
    assert [(tmp_path / name).read_text() for name in ("file", "before")] == ["three", "two"]


def test_a_file_is_held_by_one_until_its_end_however_it_ends(tmp_path):
    path = tmp_path / "new" / "file"
    program = "import sys, time, pathlib; from dlt_core.corpora.files import held\n"
    program += "with held(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match=f"another process is at work on {path}: wait"), held(path):
            pass
        process.kill()
    with held(path) as alone:
        assert alone
        with pytest.raises(ValueError, match="another process"), held(path):
            pass
    assert list(path.parent.iterdir()) == []


def test_a_file_system_without_locks_is_no_reason_to_stop(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def none(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    with held(tmp_path / "file") as alone:
        assert not alone
