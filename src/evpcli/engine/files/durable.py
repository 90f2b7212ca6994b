"""Files that survive a crash: write, fsync, rename or link, fsync the folder."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evpcli.domain.errors import NotFoundError, StorageError, UsageError
from evpcli.engine.files.temporaries import (
    removed_on_failure,
    sweep_temporaries,
    write_temporary,
)

_PRIVATE = 0o600
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_HINTS = {
    errno.ENOSPC: "free some space, or point EVP_HOME at another disk",
    errno.EDQUOT: "your quota is used up: free some space, or point EVP_HOME at another disk",
    errno.EFBIG: "the file-size limit is too small: see ulimit -f",
    errno.EROFS: "the file system is read-only: point EVP_HOME at one that can be written",
    errno.EACCES: "you may not write there: check the folder's owner and mode, or set EVP_HOME",
    errno.EPERM: "you may not write there: check the folder's owner and mode, or set EVP_HOME",
    errno.EIO: "the disk reports a fault: check it, or point EVP_HOME at another one",
    errno.EISDIR: "a folder stands where a file should be: move it out of the way",
    errno.ELOOP: "a link stands where a file should be: move it out of the way",
    errno.ENXIO: "this must be a regular file: move what is there out of the way",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a file stands where a folder should be",
}
_READING_HINTS = {
    errno.EACCES: "you may not read it: check its owner and mode, and those of its folder",
    errno.EPERM: "you may not read it: check its owner and mode, and those of its folder",
    errno.EIO: "the disk reports a fault: check it",
    errno.ENOTDIR: "a file stands where a folder should be",
}


def write_durably(path: Path, data: bytes, mode: int = 0o644, scratch: Path | None = None) -> None:
    """Make `path` hold `data`: afterwards it holds all of it, before and on failure what it held.

    When this returns, the bytes survive a power cut. What `path` is a link to stays untouched.

    Args:
        path: its folder must exist.
        data: the whole content.
        mode: permission bits of the new file.
        scratch: where the temporary file lives; on the same file system. The folder of `path`
            when left out.

    Raises:
        StorageError: any call to the file system failed; the temporary file is gone.
    """
    with explain_storage(path, len(data)):
        temporary = write_temporary(scratch or path.parent, data, mode)
        with removed_on_failure(temporary):
            os.rename(temporary, path)
        sync_folder(path.parent)


def check_target(path: Path) -> None:
    """Refuse a file that `write_result` could not write, before the work for it is done.

    Raises:
        NotFoundError: its folder does not exist.
        UsageError: a folder, pipe or device has that name.
        StorageError: nothing can be written into its folder.
    """
    with explain_storage(path):
        _check_place(path)
        os.unlink(write_temporary(path.parent, b"", _PRIVATE))


def _check_place(path: Path) -> None:
    if not check_folder(path.parent, follow=True):
        raise NotFoundError(
            "there is no such folder", found=str(path.parent), hint=f"mkdir -p {path.parent}"
        )
    if has_name(path) and not stat.S_ISREG(os.stat(path).st_mode):
        raise UsageError("only a file can be replaced", found=str(path))


def write_result(path: Path, data: bytes) -> None:
    """Write a file that the user asked for, durably, replacing a file of that name.

    Args:
        path: where the user wants it.
        data: the whole content.

    What an earlier writer left half-written in that folder when it was killed is removed.

    Raises:
        NotFoundError: its folder does not exist.
        UsageError: a folder, pipe or device has that name.
        StorageError: it cannot be written; what was there is untouched.
    """
    with explain_storage(path, len(data)):
        _check_place(path)
    sweep_temporaries(path.parent)
    write_durably(path, data)


def publish_new(path: Path, data: bytes, mode: int = 0o444, scratch: Path | None = None) -> None:
    """Make `path` hold `data` unless something of that name is there; never replaces.

    When this returns, the bytes survive a power cut. Of several writers exactly one succeeds.

    Args:
        path: its folder must exist.
        data: the whole content.
        mode: permission bits of the new file.
        scratch: as in `write_durably`.

    Raises:
        FileExistsError: the name is taken; nothing was changed.
        StorageError: any other call to the file system failed; the temporary file is gone.
    """
    with explain_storage(path, len(data)):
        temporary = write_temporary(scratch or path.parent, data, mode)
        with removed_on_failure(temporary):
            os.link(temporary, path)
        with suppress(OSError):  # the new name counts; a left-over is swept by the next writer
            os.unlink(temporary)
        sync_folder(path.parent)


def make_folder(path: Path, top: Path) -> None:
    """Make `path` and its missing parents, and make all their names survive a power cut.

    A folder that is there already is synchronised too: whoever made it may have died before.

    Raises:
        StorageError: a folder cannot be made, or something below `top` is no real folder.
    """
    if path == top:
        return _make_top(path)
    make_folder(path.parent, top)
    with explain_storage(path):
        try:
            os.mkdir(path)
        except FileExistsError:
            check_folder(path)
        sync_folder(path.parent)
    return None


def _make_top(path: Path) -> None:
    """Make a folder that may be a link or lie below links."""
    if not check_folder(path, follow=True):
        if path.parent != path:
            _make_top(path.parent)
        with explain_storage(path), suppress(FileExistsError):
            os.mkdir(path)
    with explain_storage(path), suppress(PermissionError):  # others' folders, such as /home
        sync_folder(path.parent)


def check_folder(path: Path, follow: bool = False) -> bool:
    """Whether the folder exists.

    Args:
        path: the folder.
        follow: accept a symbolic link to a folder.

    Raises:
        StorageError: something else stands there.
    """
    with explain_storage(path, reading=True):
        try:
            found = os.stat(path, follow_symlinks=follow)
        except FileNotFoundError:
            if follow and os.path.islink(path):
                raise StorageError(
                    "this link leads nowhere", found=str(path), hint="mount what it leads to"
                ) from None
            return False
    if not stat.S_ISDIR(found.st_mode):
        raise StorageError(
            "this must be a real folder",
            found=str(path),
            hint="move what is there out of the way",
        )
    return True


def has_name(path: Path) -> bool:
    """Whether anything of that name is there; StorageError where nobody can know."""
    with explain_storage(path, reading=True):
        try:
            os.stat(path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError, ValueError):  # or a NUL in the name
            return False
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return False
    return True


def sync_file(path: Path) -> None:
    """Make the bytes of a file, whoever wrote them, and its name survive a power cut."""
    _sync(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot
            raise
    finally:
        os.close(handle)


@contextmanager
def explain_storage(path: Path, needed_bytes: int = 0, *, reading: bool = False) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError; FileExistsError passes.

    Args:
        path: what was to be written or read.
        needed_bytes: size of what was to be written.
        reading: whether it was to be read.
    """
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise describe_fault(error, path, needed_bytes, reading=reading) from error


def describe_fault(
    error: OSError, path: Path, needed_bytes: int = 0, *, reading: bool = False
) -> StorageError:
    """What a failed call to the file system means to the user; arguments as `explain_storage`."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    found = f"{path}: {reason}"
    if reading:
        return StorageError("cannot read", found=found, hint=_READING_HINTS.get(error.errno or 0))
    free = count_free_bytes(path)
    if needed_bytes and free is not None and error.errno in _FULL:
        found += f" ({needed_bytes} bytes needed, {free} free)"
    return StorageError("cannot write", found=found, hint=_HINTS.get(error.errno or 0))


def count_free_bytes(path: Path) -> int | None:
    """Bytes this user may still write where `path` is or will be; None when nobody knows."""
    for folder in (path, *path.parents):
        with suppress(OSError):
            found = os.statvfs(folder)
            return found.f_bavail * found.f_frsize
    return None


def check_writing(folder: Path) -> None:
    """Raise StorageError unless a small file can be written and linked there; it is gone then."""
    with explain_storage(folder, 1):
        temporary, second = (write_temporary(folder, b"\n", _PRIVATE) for _ in range(2))
        with removed_on_failure(temporary), removed_on_failure(second):
            os.unlink(second)
            _check_link(temporary, second)
            os.unlink(second)
            os.unlink(temporary)


def _check_link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise StorageError(
            "this file system has no hard links, without which nothing is published",
            found=str(source.parent),
            hint="point EVP_HOME at another disk",
        ) from error
