"""A file that is replaced is the old one or the new one, whatever goes wrong."""

import errno
import os
import stat

import pytest

from edgesnn import whole_files
from edgesnn.errors import OutputError
from edgesnn.whole_files import make_folder, replace_file, write_whole


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_and_its_folders_appear_and_are_replaced(tmp_path):
    target = tmp_path / "deep" / "er" / "file.json"
    for content in (b"first", b""):
        write_whole(target, content)
        assert target.read_bytes() == content
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert [path.name for path in target.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("step", ["replace", "fsync", "chmod"])
def test_the_old_file_stays_when_anything_fails_and_nothing_else_does(tmp_path, monkeypatch, step):
    target = tmp_path / "file.json"
    write_whole(target, b"first")
    monkeypatch.setattr(whole_files.os, step, full)
    with pytest.raises(OutputError, match="cannot write '.*file.json'; actual: No space left") as caught:
        write_whole(target, b"second")
    assert caught.value.exit_code == 1
    assert target.read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(whole_files.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []


def test_who_does_not_need_the_disk_does_not_wait_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    replace_file(tmp_path / "file", b"content", to_disk=False)
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_folder_that_cannot_be_made_is_an_error_of_the_output(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot create the folder"):
        make_folder(tmp_path / "file" / "folder")
