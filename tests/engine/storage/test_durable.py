"""Files that survive a crash."""

import errno
import os

import pytest

from evpcli.domain.errors import NotFoundError, StorageError, UsageError
from evpcli.engine.storage import durable
from evpcli.engine.storage.durable import publish_new, write_durably, write_result


def fail_with(monkeypatch, name, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(os, name, fail)


def test_write_replaces_the_whole_content(tmp_path):
    path = tmp_path / "state"
    write_durably(path, b"long old content")
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_write_sets_the_mode(tmp_path):
    write_durably(tmp_path / "blob", b"x", mode=0o444)
    assert (tmp_path / "blob").stat().st_mode & 0o777 == 0o444


def test_write_replaces_a_link_and_leaves_its_target(tmp_path):
    (tmp_path / "canary").write_bytes(b"canary")
    (tmp_path / "link").symlink_to("canary")
    write_durably(tmp_path / "link", b"new")
    assert (tmp_path / "canary").read_bytes() == b"canary"
    assert not (tmp_path / "link").is_symlink()


def test_file_and_folder_reach_the_disk_in_this_order(tmp_path, monkeypatch):
    calls = []
    for name in ("write", "fsync", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, n=name, r=real, **k: (calls.append(n), r(*a, **k))[1]
        )
    write_durably(tmp_path / "file", b"data")
    assert calls == ["write", "fsync", "rename", "fsync"]


def test_publish_never_replaces(tmp_path):
    publish_new(tmp_path / "v1", b"first")
    with pytest.raises(FileExistsError):
        publish_new(tmp_path / "v1", b"second")
    assert (tmp_path / "v1").read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["v1"]


STEPS = ("open", "write", "fsync", "fchmod")
FAILURES = [(write_durably, name) for name in (*STEPS, "rename")]
FAILURES += [(publish_new, name) for name in (*STEPS, "link")]


@pytest.mark.parametrize(("write", "name"), FAILURES)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_failures_are_storage_errors_that_leave_nothing(tmp_path, monkeypatch, write, name, number):
    with monkeypatch.context() as patch:
        fail_with(patch, name, OSError(number, os.strerror(number)))
        with pytest.raises(StorageError) as caught:
            write(tmp_path / "file", b"12345")
    assert str(tmp_path / "file") in caught.value.found
    assert "5 bytes needed" in caught.value.found
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["write", "fsync", "rename"])
def test_ctrl_c_leaves_no_temporary_file(tmp_path, monkeypatch, name):
    with monkeypatch.context() as patch:
        fail_with(patch, name, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            write_durably(tmp_path / "file", b"data")
    assert list(tmp_path.iterdir()) == []


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:3]))
    write_durably(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="cannot write"):
        write_durably(tmp_path / "absent" / "file", b"data")


def test_make_folder_refuses_a_link_below_the_top(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    top = tmp_path / "top"
    top.mkdir()
    (top / "entries").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="real folder"):
        durable.make_folder(top / "entries" / "x", top)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_make_folder_accepts_a_top_that_is_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "top").symlink_to("disk")
    durable.make_folder(tmp_path / "top" / "a" / "b", tmp_path / "top")
    assert (tmp_path / "disk" / "a" / "b").is_dir()


def test_a_result_needs_its_folder(tmp_path):
    with pytest.raises(NotFoundError, match="no such folder"):
        write_result(tmp_path / "absent" / "file", b"data")


def test_a_result_never_replaces_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError):
        write_result(tmp_path / "pipe", b"data")
