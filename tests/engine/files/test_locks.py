"""One writer at a time."""

import errno
import fcntl
import os
import re
import time

import pytest

from evpcli.domain.errors import StorageError
from evpcli.engine.files.locks import LockHeldError, NoLocksError, hold_lock
from tests.faults.injection import Child


def hold_for_a_while(path, seconds):
    with hold_lock(path):
        path.with_name("held").touch()
        time.sleep(seconds)
    return ""


def start_holder(path, seconds):
    child = Child(lambda: hold_for_a_while(path, seconds))
    while not path.with_name("held").exists():
        time.sleep(0.01)
    return child


def test_a_lock_is_free_again_afterwards(tmp_path):
    for _ in range(2):
        with hold_lock(tmp_path / "lock"):
            assert re.fullmatch(rf"{os.getpid()} on \S+", (tmp_path / "lock").read_text())
        assert (tmp_path / "lock").read_text() == ""


def test_a_held_lock_names_its_holder(tmp_path):
    child = start_holder(tmp_path / "lock", 5)
    with pytest.raises(LockHeldError) as caught, hold_lock(tmp_path / "lock"):
        pass
    assert caught.value.exit_code == 8
    assert f"pid {child.pid} on" in str(caught.value.found)
    child.kill()
    with hold_lock(tmp_path / "lock"):
        pass


def test_waiting_ends_when_the_holder_does_and_says_whom_it_waits_for(tmp_path):
    told = []
    child = start_holder(tmp_path / "lock", 1.4)
    with hold_lock(tmp_path / "lock", 60, told.append):
        pass
    (line,) = told
    assert f"pid {child.pid}" in line
    child.join()


def test_a_short_wait_is_not_told(tmp_path):
    told = []
    child = start_holder(tmp_path / "lock", 0.2)
    with hold_lock(tmp_path / "lock", 60, told.append):
        pass
    assert told == []
    child.join()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_nothing_is_held(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(NoLocksError) as caught, hold_lock(tmp_path / "lock", 60):
        pass
    assert caught.value.exit_code == 8
    assert "EVP_HOME" in str(caught.value.hint)


def test_a_lock_whose_file_was_replaced_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    path, real, calls = tmp_path / "lock", fcntl.flock, []

    def replace_file_first(handle, kind):
        calls.append(handle)
        if len(calls) == 1:
            path.unlink()
            path.touch()
        return real(handle, kind)

    monkeypatch.setattr(fcntl, "flock", replace_file_first)
    with hold_lock(path, 60):
        assert len(calls) == 2
        with pytest.raises(LockHeldError), hold_lock(path):
            pass


@pytest.mark.parametrize("text", ["\x1b[2J", "-1 on x", "12 on a b", "x" * 200])
def test_what_a_stranger_wrote_into_the_file_is_not_shown(tmp_path, text):
    path = tmp_path / "lock"
    child = start_holder(path, 5)
    path.write_text(text)
    with pytest.raises(LockHeldError, match="another process") as caught, hold_lock(path):
        pass
    assert "an unknown process" in str(caught.value.found)
    child.kill()


@pytest.mark.parametrize(
    "plant", [os.mkdir, os.mkfifo, lambda path: os.symlink("/etc/hosts", path)]
)
def test_only_a_regular_file_can_be_locked(tmp_path, plant):
    plant(tmp_path / "lock")
    with pytest.raises(StorageError), hold_lock(tmp_path / "lock"):
        pass
