"""Reading a file that a stranger may have planted: regular, limited in size, read once."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from evpcli.domain.errors import DamagedError, NotFoundError, StorageError
from evpcli.engine.files.durable import describe_fault

MAX_PROMPT_BYTES = 256 << 20
"""Largest prompt file: 48 MiB for the largest canvas, 2048 px, 64 MiB for the largest label map,
and 4 MiB for the longest manifest, with room to spare."""

_CHUNK = 1 << 20
_LINK_ERRORS = (errno.ELOOP, errno.EMLINK)
_MISSING = (errno.ENOENT, errno.ENOTDIR)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def read_regular_file(path: Path, limit_bytes: int, *, follow: bool = False) -> bytes:
    """The whole content of a regular file, read once.

    A pipe or device is never waited for: it is refused by its kind before it is opened.

    Args:
        path: the file.
        limit_bytes: largest size that is read at all.
        follow: accept a symbolic link to a regular file.

    Raises:
        NotFoundError: there is no such file.
        DamagedError: it is no regular file, or larger than the limit.
        StorageError: it cannot be read.
    """
    try:
        _check_kind(path, os.stat(path, follow_symlinks=follow), limit_bytes)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        handle = os.open(path, flags)
        try:
            found = os.fstat(handle)
            _check_kind(path, found, limit_bytes)
            return _read_all(handle, path, found.st_size, limit_bytes)
        finally:
            os.close(handle)
    except OSError as error:
        raise _describe(error, path) from error
    except ValueError as error:  # a NUL in the name
        raise NotFoundError("there is no such file", found=repr(str(path)[:120])) from error


def read_regular_start(path: Path, count: int) -> bytes:
    """The first bytes of a regular file of any size, at most `count`; a link to one is followed.

    Nothing where it is no regular file, which is never waited for, or cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            return file.read(count) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    except (OSError, ValueError):
        return b""


def _check_kind(path: Path, found: os.stat_result, limit_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "a device")
        raise DamagedError("this is no regular file", found=f"{path} is {kind}")
    if found.st_size > limit_bytes:
        raise _too_large(path, found.st_size, limit_bytes)


def _read_all(handle: int, path: Path, size_bytes: int, limit_bytes: int) -> bytes:
    data = os.read(handle, size_bytes + 1)  # most often all there is, and then never copied
    while chunk := os.read(handle, _CHUNK):
        data += chunk
        if len(data) > limit_bytes:
            raise _too_large(path, len(data), limit_bytes)
    return data


def _too_large(path: Path, size_bytes: int, limit_bytes: int) -> DamagedError:
    return DamagedError(
        "the file is too large", found=f"{path}: {size_bytes} bytes, at most {limit_bytes} are read"
    )


def _describe(error: OSError, path: Path) -> DamagedError | NotFoundError | StorageError:
    if error.errno in _MISSING:
        return NotFoundError("there is no such file", found=str(path))
    if error.errno in _LINK_ERRORS:
        return DamagedError("this is no regular file", found=f"{path} is a symbolic link")
    if error.errno == errno.ENAMETOOLONG:
        return NotFoundError("there is no such file", found=f"{str(path)[:120]}...")
    return describe_fault(error, path, reading=True)
