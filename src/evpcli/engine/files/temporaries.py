"""Files that are being written: whose they are, and which of them nobody will finish."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

TEMPORARY_PREFIX = ".evp-"
_PRIVATE = 0o600
_OLD_S = 24 * 3600
_TEMPORARY = re.compile(r"\.evp-(?:([0-9a-f]{8})-)?([0-9]{1,10})-[0-9a-f]{16}")


def write_temporary(folder: Path, data: bytes, mode: int) -> Path:
    """A new file in a folder, with its bytes synchronised and its writer in its name.

    Raises:
        OSError: any call failed; the file is gone.
    """
    name = f"{TEMPORARY_PREFIX}{_name_machine()}-{os.getpid()}-{os.urandom(8).hex()}"
    temporary = folder / name
    with removed_on_failure(temporary):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(temporary, flags, _PRIVATE)
        try:
            _write_all(handle, data)
            os.fchmod(handle, mode)
            os.fsync(handle)
        finally:
            os.close(handle)
    return temporary


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        written = os.write(handle, rest)
        if written <= 0:
            raise OSError(errno.EIO, "nothing was written")
        rest = rest[written:]


@contextmanager
def removed_on_failure(temporary: Path) -> Iterator[None]:
    """Remove a file when the block fails, also by Ctrl-C."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def sweep_temporaries(folder: Path) -> None:
    """Remove what killed writers left half-written in a folder.

    A writer of this machine that is running keeps its file, whatever its age. Where nobody can
    know, as with a writer on another machine that shares the folder, a file is left for a day.
    Nothing is raised: what cannot be removed harms nobody.
    """
    with suppress(OSError):
        for name in os.listdir(folder):
            if (found := _TEMPORARY.fullmatch(name)) and _is_abandoned(folder / name, found):
                with suppress(OSError):
                    os.unlink(folder / name)


def _is_abandoned(path: Path, name: re.Match[str]) -> bool:
    if name[1] == _name_machine():
        return not is_running(int(name[2]))
    age_s = time.time() - os.stat(path, follow_symlinks=False).st_mtime
    return age_s > _OLD_S and not is_running(int(name[2]))


def is_running(pid: int) -> bool:
    """Whether a process of that number lives on this machine; 0 and impossible numbers do not."""
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


@cache
def _name_machine() -> str:
    """Eight digits for the machine, or the container, in which a process number means something."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.sha256(f"{os.uname().nodename} {numbers}".encode()).hexdigest()[:8]
