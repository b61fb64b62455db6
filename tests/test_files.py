"""Files appear whole or not at all."""

import errno
import os
import stat

import pytest

from circuits.errors import InputError
from circuits.files import write_whole


def test_content_and_mode_are_as_if_written_plainly(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("x")
    with write_whole(tmp_path / "new" / "file") as temporary:
        temporary.write_text("whole")
    file = tmp_path / "new" / "file"
    assert file.read_text() == "whole"
    assert file.stat().st_mode == plain.stat().st_mode
    assert os.listdir(tmp_path / "new") == ["file"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(RuntimeError), write_whole(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_places_that_cannot_be_written_are_refused_in_one_line(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder", tmp_path / "file" / "below"):
        with pytest.raises(InputError) as error, write_whole(path):
            pytest.fail("reached the body")
        assert "cannot write" in str(error.value) and "\n" not in str(error.value)


def test_a_pipe_is_refused_and_stays_one(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(InputError, match="it is no ordinary file"), write_whole(path):
            pytest.fail("reached the body")
    assert stat.S_ISFIFO(pipe.stat().st_mode) and sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_link_stays_one_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("old", "new"):
        link, target = tmp_path / f"link-{name}", tmp_path / "there" / name
        if name == "old":
            target.write_text("old")
        link.symlink_to(target)
        with write_whole(link) as temporary:
            assert temporary.parent == target.parent  # where a move onto it cannot be half-done
            temporary.write_text("whole")
        assert link.is_symlink() and target.read_text() == "whole"
    assert sorted(os.listdir(tmp_path / "there")) == ["new", "old"]


def test_a_full_disk_leaves_the_old_file_and_one_line(tmp_path):
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(InputError) as error, write_whole(file) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(error.value) == f"cannot write {file}: No space left on device; free some space, or give another --out"
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["file"]
