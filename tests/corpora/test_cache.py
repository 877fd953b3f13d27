"""The cache: nothing in it is used unless it is what was written there under this name."""

import errno
import os
from pathlib import Path

import pytest

from dlt_core.corpora import cache
from dlt_core.corpora.cache import SEAL_BYTES, cache_dir, kept


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty DLT_CACHE_DIR."""
    monkeypatch.setenv("DLT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def never():
    raise AssertionError("it was made again")


def test_what_is_kept_is_made_once_and_its_size_may_be_any(folder, monkeypatch):
    monkeypatch.setattr(cache, "_AT_ONCE", 7)
    for size in (0, 1, 6, 7, 8, 100):
        content = bytes(range(size))
        assert kept(f"of-{size}", lambda content=content: [content[:5], content[5:]]).tobytes() == content
        again = kept(f"of-{size}", never)
        assert again.tobytes() == content
        assert not again.flags.writeable
        assert (folder / f"of-{size}").stat().st_size == size + SEAL_BYTES
    assert sorted(os.listdir(folder)) == sorted(f"of-{size}" for size in (0, 1, 6, 7, 8, 100))


def test_what_fails_while_it_is_made_is_raised_and_leaves_nothing(folder):
    def fails():
        yield b"half"
        raise ValueError("the text has changed")

    with pytest.raises(ValueError, match="has changed"):
        kept("half", fails)
    assert list(folder.iterdir()) == []

    def unreadable():
        yield b"half"
        raise PermissionError(errno.EACCES, "not yours", "/data/file")

    with pytest.raises(PermissionError, match="/data/file"):  # the text's, not the cache's
        kept("half", unreadable)
    assert list(folder.iterdir()) == []


def test_what_is_mapped_stays_when_another_takes_its_name(folder):
    first = kept("name", lambda: [b"first"])
    os.replace(folder / "name", folder / "away")
    kept("name", lambda: [b"other"])
    assert first.tobytes() == b"first"


def in_the_way(folder: Path, monkeypatch) -> None:
    folder.write_text("a file")


def full(folder: Path, monkeypatch) -> None:
    def write(path, name, content):
        with open(path, "wb") as file:
            file.write(next(iter(content)))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_write", write)


def read_only(folder: Path, monkeypatch) -> None:
    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(cache, "write_atomically", refuse)  # root may write everywhere: refuse on its behalf


def keeps_nothing(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(cache, "write_atomically", lambda path, write: None)


@pytest.mark.parametrize("broken", [in_the_way, full, read_only, keeps_nothing])
def test_without_a_cache_it_works_in_memory_and_one_sentence_says_so(broken, folder, monkeypatch):
    broken(folder, monkeypatch)
    with pytest.warns(UserWarning, match="set DLT_CACHE_DIR to a folder") as said:
        content = kept("name", lambda: [b"the ", b"content"])
    assert content.tobytes() == b"the content"
    (sentence,) = said
    assert str(folder) in str(sentence.message)
    assert not folder.is_dir() or list(folder.iterdir()) == []


def test_a_folder_in_the_place_of_the_file_is_said_and_worked_around(folder):
    (folder / "name").mkdir(parents=True)
    with pytest.warns(UserWarning, match="DLT_CACHE_DIR") as said:
        assert kept("name", lambda: [b"content"]).tobytes() == b"content"
    assert str(folder / "name") in str(said[0].message)


def test_a_relative_folder_is_refused_with_an_absolute_one_in_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLT_CACHE_DIR", "kept/here")
    with pytest.raises(ValueError, match=rf"DLT_CACHE_DIR=kept/here is a relative path: .*{tmp_path}/kept/here"):
        kept("name", never)
    monkeypatch.setenv("DLT_CACHE_DIR", "~/kept")
    assert cache_dir() == Path.home() / "kept"
    monkeypatch.setenv("DLT_CACHE_DIR", "")
    assert cache_dir().is_absolute()
