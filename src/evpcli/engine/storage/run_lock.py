"""One process a run: a lock on its folder, which the kernel gives back when the process dies."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evpcli.domain.errors import StorageError, UsageError
from evpcli.engine.storage.durable import explain_storage

_NAME = "run.lock"
_PID_BYTES = 20


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep other processes off a run's folder until the block ends.

    On a file system without locks nothing is held.

    Raises:
        UsageError: the run is running; the error names its process.
        StorageError: the lock's file cannot be opened.
    """
    handle = _open_lock(folder / _NAME)
    try:
        _take_lock(handle, folder.name)
        yield
    finally:
        os.close(handle)


def _open_lock(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with explain_storage(path):
        handle = os.open(path, flags, 0o644)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StorageError("this must be a regular file", found=str(path), hint="remove it")
    return handle


def _take_lock(handle: int, run_id: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"run {run_id} is running (pid {_read_pid(handle)})",
            hint="wait for its end, or stop it first",
        ) from error
    except OSError:  # a file system without locks
        return
    with suppress(OSError):  # only other processes' messages need it
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)


def _read_pid(handle: int) -> str:
    text = os.pread(handle, _PID_BYTES, 0)
    return text.decode() if text.isdigit() else "unknown"
