"""Files that survive a crash."""

import errno
import os
import time

import pytest

from evpcli.domain.errors import NotFoundError, StorageError, UsageError
from evpcli.engine.files import durable
from evpcli.engine.files.durable import (
    publish_new,
    sweep_temporaries,
    write_durably,
    write_result,
)


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
    assert ("5 bytes needed" in caught.value.found) == (number == errno.ENOSPC)
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


def leave_temporary(folder):
    """What a writer leaves that is killed between writing and renaming."""
    child = os.fork()
    if child == 0:
        os.rename = lambda *_: os._exit(0)
        write_durably(folder / "file", b"half")
    os.waitpid(child, 0)
    (left,) = folder.iterdir()
    return left


def test_what_a_dead_writer_left_is_swept_by_the_next_one(tmp_path):
    leave_temporary(tmp_path)
    write_result(tmp_path / "file", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_living_writer_writes_is_never_swept(tmp_path, monkeypatch):
    def sweep_and_rename(source, target):
        os.utime(source, (0, 0))
        sweep_temporaries(tmp_path)
        os.link(source, target)
        os.unlink(source)

    monkeypatch.setattr(os, "rename", sweep_and_rename)
    write_durably(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"


@pytest.mark.parametrize(("age_h", "stays"), [(1, True), (25, False)])
@pytest.mark.parametrize("machine", ["", "0123abcd-"])
def test_what_came_from_another_machine_is_left_for_a_day(tmp_path, machine, age_h, stays):
    left = leave_temporary(tmp_path)
    _, _, pid, rest = left.name.split("-")
    name = left.rename(tmp_path / f".evp-{machine}{pid}-{rest}")
    then = time.time() - 3600 * age_h
    os.utime(name, (then, then))
    sweep_temporaries(tmp_path)
    assert name.exists() == stays


@pytest.mark.parametrize("name", [".evp-x", ".evp-1-zz", ".evp-1-0123456789abcdef0", "x.evp-1-00"])
def test_other_files_are_never_swept(tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    os.utime(tmp_path / name, (0, 0))
    sweep_temporaries(tmp_path)
    assert (tmp_path / name).exists()


def test_sweeping_a_folder_that_is_not_there_does_nothing(tmp_path):
    sweep_temporaries(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []
