"""Files that survive a crash: write, fsync, rename or link, fsync the folder."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from evpcli.domain.errors import NotFoundError, StorageError, UsageError

TEMPORARY_PREFIX = ".evp-"
_PRIVATE = 0o600
_OLD_S = 24 * 3600
_TEMPORARY = re.compile(r"\.evp-(?:([0-9a-f]{8})-)?([0-9]{1,10})-[0-9a-f]{16}")
_HINTS = {
    errno.ENOSPC: "free some space, or point EVP_HOME at another disk",
    errno.EDQUOT: "your quota is used up: free some space, or point EVP_HOME at another disk",
    errno.EFBIG: "the file-size limit is too small: see ulimit -f",
    errno.EROFS: "the file system is read-only: point EVP_HOME at one that can be written",
    errno.EACCES: "you may not write there: check the folder's owner and mode, or set EVP_HOME",
    errno.EPERM: "you may not write there: check the folder's owner and mode, or set EVP_HOME",
    errno.EIO: "the disk reports a fault: check it, or point EVP_HOME at another one",
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
        temporary = _write_temporary(scratch or path.parent, data, mode)
        with _removed_on_failure(temporary):
            os.rename(temporary, path)
        sync_folder(path.parent)


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
        if not check_folder(path.parent, follow=True):
            raise NotFoundError(
                "there is no such folder", found=str(path.parent), hint=f"mkdir -p {path.parent}"
            )
        if has_name(path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError("only a file can be replaced", found=str(path))
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
        temporary = _write_temporary(scratch or path.parent, data, mode)
        with _removed_on_failure(temporary):
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
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
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
    if needed_bytes and free is not None:
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
    """Raise StorageError unless a small file can be written there; it is gone afterwards."""
    with explain_storage(folder, 1):
        temporary = _write_temporary(folder, b"\n", _PRIVATE)
        with _removed_on_failure(temporary):
            os.unlink(temporary)


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
        return not _is_running(int(name[2]))
    age_s = time.time() - os.stat(path, follow_symlinks=False).st_mtime
    return age_s > _OLD_S and not _is_running(int(name[2]))


def _is_running(pid: int) -> bool:
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


def _write_temporary(folder: Path, data: bytes, mode: int) -> Path:
    name = f"{TEMPORARY_PREFIX}{_name_machine()}-{os.getpid()}-{os.urandom(8).hex()}"
    temporary = folder / name
    with _removed_on_failure(temporary):
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
def _removed_on_failure(temporary: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:  # Ctrl-C too
        with suppress(OSError):
            os.unlink(temporary)
        raise
