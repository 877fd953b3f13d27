"""Files are written whole or not at all."""

import pytest

from dlt_core.corpora.files import write_atomically, write_json_atomically, write_text_atomically


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
