"""Files under DLT_DATA_DIR: their text, or an error that names the file, what is wrong with it and the remedy."""

import bz2
import errno
import gzip
import io
import lzma
import os
import zipfile
from pathlib import Path

import pytest

from dlt_core.corpora import local
from dlt_core.corpora.local import folder_of, local_files, read_blocks

TEXT = " \n = Title = \n caf\u00e9 \n"


def zipped(text: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("wiki.train.tokens", text)
    return file.getvalue()


PLAIN = TEXT.encode()
REFUSED = {  # what a file holds, and what is said of it
    "latin-1": (TEXT.encode("latin-1"), r"not UTF-8 text \(byte 0xe9 at 18\): copy it again, .* iconv -f LATIN1"),
    "utf-16": (TEXT.encode("utf-16"), "UTF-16: convert it with iconv"),
    "utf-16, big": (b"\xfe\xff" + TEXT.encode("utf-16-be"), "UTF-16: convert it with iconv"),
    "utf-16, unmarked": (TEXT[:9].encode("utf-16-le"), r"damaged, or UTF-16: byte 1 is NUL\. Copy it again"),
    "nul": (PLAIN + b"and \0 more\n", rf"damaged, or UTF-16: byte {len(PLAIN) + 4} is NUL\. Copy it again"),
    "crlf": (PLAIN.replace(b"\n", b"\r\n"), "line ends of Windows .* copy it again as it is, or .* dos2unix"),
    "cut short": (PLAIN[:-3], "cut off in the middle of a character, or not UTF-8: copy it again"),
    "gzip": (gzip.compress(PLAIN), "a gzip archive: unpack it"),
    "half a gzip": (gzip.compress(PLAIN)[:20], "a gzip archive: unpack it"),
    "zip": (zipped(PLAIN), "a zip archive: unpack it"),
    "half a zip": (zipped(PLAIN)[:30], "a zip archive: unpack it"),
    "bzip2": (bz2.compress(PLAIN), "a bzip2 archive: unpack it"),
    "xz": (lzma.compress(PLAIN), "an xz archive: unpack it"),
    "parquet": (b"PAR1" + bytes(range(200)) + b"PAR1", "a parquet file: write its column of text"),
}


def read(path: Path) -> str:
    return "".join(read_blocks(path))


@pytest.mark.parametrize("piece", [1, 5, 2**16])
@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_is_not_the_published_text_is_refused_by_its_name(kind, piece, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "PIECE", piece)
    content, said = REFUSED[kind]
    path = tmp_path / "wiki.train.tokens"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as error:
        read(path)
    assert str(error.value).startswith(f"{path} ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("piece", [1, 2, 2**16])
def test_what_is_text_is_read_as_it_is(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "PIECE", piece)
    path = tmp_path / "text"
    for text in (TEXT, "one line", "one line\n", "\n", "PAR1 and BZh are words\n", "a\rb\nc\r\n", "\r", ""):
        path.write_bytes(text.encode())
        assert read(path) == text
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())  # as some editors save it
        assert read(path) == text


def test_a_file_that_cannot_be_read_is_refused_by_its_name(tmp_path, monkeypatch):
    path = tmp_path / "text"
    with pytest.raises(ValueError, match="No such file") as error:
        read(path)
    assert str(path) in str(error.value)
    path.write_text("text")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything: refuse on its behalf

        def refuse(name, *_):
            raise PermissionError(errno.EACCES, "Permission denied", str(name))

        monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ValueError, match=rf"{path} cannot be read \(Permission denied\): see to it that you may"):
        read(path)


def test_a_folder_with_the_name_of_a_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path))
    (tmp_path / "novels" / "one.txt").mkdir(parents=True)
    for pattern in ("novels/one.txt", "novels/**/*.txt"):
        with pytest.raises(ValueError, match=r"one.txt is a folder: put the file itself there"):
            local_files(pattern)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is no file"):
        local_files("pipe")


def test_the_folder_of_data_is_absolute_or_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLT_DATA_DIR", "data")
    with pytest.raises(ValueError, match=rf"DLT_DATA_DIR=data is a relative path: .*{tmp_path}/data"):
        local_files("any")
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "data"))
    for there in (False, True):  # nothing, then a file: the hub is not asked instead
        with pytest.raises(ValueError, match=rf"DLT_DATA_DIR={tmp_path}/data: there is no such folder. Correct it, or"):
            local_files("any")
        assert there or (tmp_path / "data").write_text("x")
    monkeypatch.setenv("DLT_DATA_DIR", "~/data")
    assert folder_of("DLT_DATA_DIR") == Path.home() / "data"
    monkeypatch.setenv("DLT_DATA_DIR", "")
    assert folder_of("DLT_DATA_DIR") is None
    assert local_files("any") == []
