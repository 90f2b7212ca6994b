"""One writer at a time: a lock on a file that the kernel gives back when its process ends."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evpcli.domain.errors import StorageError
from evpcli.engine.files.durable import describe_fault, explain_storage

_PAUSE_S = 0.02
_QUIET_S = 1.0
_HOLDER_BYTES = 100
_HOLDER = re.compile(rb"[0-9]{1,10} on [A-Za-z0-9._-]{1,64}")
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


class LockHeldError(StorageError):
    """Another process holds the lock.

    Args:
        path: the lock's file.
        holder: such as "pid 4711 on node3".
    """

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            "another process is writing",
            found=f"{path} is held by {holder}",
            hint="wait for it, or stop it, and try again",
        )
        self.holder = holder


class NoLocksError(StorageError):
    """The file system knows no locks."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            "this file system has no locks, and nothing is written without one",
            found=str(path),
            hint="point EVP_HOME at another disk",
        )


@contextmanager
def hold_lock(
    path: Path, wait_s: float = 0, on_wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold an exclusive lock during the block.

    Args:
        path: the lock's file; made where it is missing. It names its holder for others' messages.
        wait_s: how long to wait for another process.
        on_wait: told once who holds the lock, when the wait is longer than a second.

    Raises:
        LockHeldError: another process still holds it; the error names that process.
        NoLocksError: the file system has no locks.
        StorageError: the file cannot be opened, or is no regular file.
    """
    handle = _take(path, wait_s, on_wait)
    try:
        _write_holder(handle, f"{os.getpid()} on {os.uname().nodename}")
        yield
        _write_holder(handle, "")
    finally:
        _close(handle)


def find_holder(path: Path) -> str | None:
    """Who holds the lock, such as "pid 4711 on node3"; nothing where it is free.

    Looks without making or changing the file.

    Raises:
        NoLocksError: the file system has no locks.
        StorageError: the file cannot be opened, or is no regular file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with explain_storage(path, reading=True):
        try:
            handle = os.open(path, flags)
        except FileNotFoundError:
            return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_holder(handle)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocksError(path) from error
        raise describe_fault(error, path, reading=True) from error
    finally:
        _close(handle)
    return None


def _take(path: Path, wait_s: float, on_wait: Callable[[str], None] | None) -> int:
    begin = time.monotonic()
    while True:
        handle = _open(path)
        try:
            if _try(handle, path):
                return handle
            holder = _read_holder(handle)
        except BaseException:
            _close(handle)
            raise
        _close(handle)
        waited_s = time.monotonic() - begin
        if waited_s >= wait_s:
            raise LockHeldError(path, holder)
        if on_wait and waited_s >= _QUIET_S:
            on_wait(f"waiting for {holder}, which is writing (at most {wait_s:g} s)")
            on_wait = None
        time.sleep(_PAUSE_S)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with explain_storage(path):
        handle = os.open(path, flags, 0o644)
    try:
        with explain_storage(path):
            is_file = stat.S_ISREG(os.fstat(handle).st_mode)
        if not is_file:
            raise StorageError("this must be a regular file", found=str(path), hint="remove it")
    except BaseException:
        _close(handle)
        raise
    return handle


def _try(handle: int, path: Path) -> bool:
    """Whether the lock is ours now, and that of the file that still has this name."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocksError(path) from error
        raise describe_fault(error, path) from error


def _write_holder(handle: int, name: str) -> None:
    """Write down who holds the lock; only other processes' messages need it."""
    with suppress(OSError):
        if os.fstat(handle).st_nlink == 1:  # else these bytes are somebody's who planted a link
            os.ftruncate(handle, 0)
            os.pwrite(handle, name.encode(), 0)


def _read_holder(handle: int) -> str:
    """Who wrote its name into the file; whatever else stands there is not shown."""
    with suppress(OSError):
        text = os.pread(handle, _HOLDER_BYTES, 0)
        if _HOLDER.fullmatch(text):
            return f"pid {text.decode()}"
    return "an unknown process"


def _close(handle: int) -> None:
    """Give the lock back: the kernel does even where it reports a fault."""
    with suppress(OSError):
        os.close(handle)
