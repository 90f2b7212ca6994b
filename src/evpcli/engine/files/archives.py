"""Unpacking an archive that may be hostile: plain files and folders below a fresh folder only."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from evpcli.domain.errors import DamagedError, StorageError

_CHUNK_BYTES = 1 << 18
LARGEST_HEADER = 32 << 10
"""Bytes of one tar header: long names need hundreds, a Mac's extended attributes thousands."""

HEADER_CREDIT = 128 << 10
HEADER_BYTES_A_MEMBER = 4 << 10
"""Bytes of all tar headers: a credit, and so many more for each member that comes of them."""

LONGEST_NUMBER = 64
"""Digits in a row in a tar header: `tarfile` takes the square of their number in time."""

_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (LONGEST_NUMBER + 1))
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
# Names that clash or are too long are the archive's fault; so is a file that is no gzip (None).
_NAME_FAULTS = (None, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)
_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may cost.

    Args:
        files: most members.
        total_bytes: most bytes unpacked.
        ratio: most bytes unpacked for a byte of archive, checked beyond `ratio_from`.
        ratio_from: unpacked bytes below which the ratio does not matter.
        depth: most folders above a file.
    """

    files: int = 2_000_000
    total_bytes: int = 100 * 2**30
    ratio: int = 100
    ratio_from: int = 64 * 2**20
    depth: int = 32


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive; `left_out` are links and devices, which are never made."""

    files: int
    total_bytes: int
    left_out: int


def is_archive(name: str) -> bool:
    """Whether a file of that name is unpacked into several files."""
    return name.endswith((*_TAR_ENDINGS, ".zip"))


def unpack_archive(
    archive: Path,
    folder: Path,
    *,
    limits: ArchiveLimits | None = None,
    on_file: Callable[[int], None] | None = None,
) -> Unpacked:
    """Unpack a tar or zip file, or a single gzipped file, below `folder`.

    Args:
        archive: `.tar`, `.tgz`, `.tar.gz`, `.tar.bz2`, `.tar.xz`, `.zip` or `.gz`.
        folder: made if it is not there; nothing outside it is written, and nothing that
            somebody else may reach should be in it.
        limits: what it may cost.
        on_file: told the number of files after each.

    Raises:
        DamagedError: broken, leaving the folder, or over a limit; what was already unpacked
            stays, so unpack into a folder that can be thrown away.
        StorageError: the disk is full or closed.
    """
    target = _Target(folder, archive, limits or ArchiveLimits(), on_file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if archive.name.endswith(".zip"):
            _unpack_zip(archive, target)
        elif archive.name.endswith(_TAR_ENDINGS):
            _unpack_tar(archive, target)
        else:
            with _open_plain(archive) as file:
                target.add_file(archive.name.removesuffix(".gz"), file)
    except _BROKEN as error:
        raise DamagedError(
            f"the archive {archive.name} is damaged", found=str(error)[:200]
        ) from error
    except OSError as error:
        if error.errno in _NAME_FAULTS:
            raise DamagedError(
                f"the archive {archive.name} is damaged", found=str(error)[:200]
            ) from error
        raise StorageError(
            f"cannot unpack {archive.name}",
            found=f"{error.strerror} in {folder}",
            hint="make room, or move the cache with EVP_HOME",
        ) from error
    return Unpacked(target.files, target.total_bytes, target.left_out)


class _Target:
    """The fresh folder: checks each name and counts what is written."""

    def __init__(
        self,
        folder: Path,
        archive: Path,
        limits: ArchiveLimits,
        on_file: Callable[[int], None] | None,
    ) -> None:
        self.files = self.total_bytes = self.left_out = 0
        self._folder, self._archive, self._limits = folder, archive, limits
        self._allowed = max(limits.ratio_from, limits.ratio * archive.stat().st_size)
        self._on_file = on_file

    @property
    def most_bytes(self) -> int:
        """How much may come out of this archive in all."""
        return min(self._allowed, self._limits.total_bytes)

    def add_folder(self, name: str) -> None:
        self._place(name).mkdir(parents=True, exist_ok=True)

    def add_file(self, name: str, content: IO[bytes]) -> None:
        self.files += 1
        if self.files > self._limits.files:
            raise self._refuse(f"more than {self._limits.files} files")
        path = self._place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a name given twice: the later one counts, as in tar
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, 0o644), "wb") as file:
            while chunk := content.read(_CHUNK_BYTES):
                self.total_bytes += len(chunk)
                if self.total_bytes > self.most_bytes:
                    raise self._refuse(f"it unpacks to more than {self.most_bytes} bytes")
                file.write(chunk)
        if self._on_file:
            self._on_file(self.files)

    def _place(self, name: str) -> Path:
        """The path of a member; only our own folders lie above it, for links are never made."""
        parts = PurePosixPath(name).parts
        unsafe = not parts or name.startswith("/") or ".." in parts or "\0" in name
        if unsafe or len(parts) > self._limits.depth:
            raise self._refuse(f"a member named {name[:120]!r}")
        return self._folder.joinpath(*parts)

    def _refuse(self, found: str) -> DamagedError:
        return DamagedError(
            f"the archive {self._archive.name} is not what a dataset looks like", found=found
        )


def _unpack_zip(archive: Path, target: _Target) -> None:
    with zipfile.ZipFile(archive) as source:
        for member in source.infolist():
            mode = member.external_attr >> 16
            if member.is_dir():
                target.add_folder(member.filename)
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                target.left_out += 1
            else:
                with source.open(member) as content:
                    target.add_file(member.filename, content)


def _unpack_tar(archive: Path, target: _Target) -> None:
    with _open_plain(archive) as plain:
        stream = _BoundedReader(plain, 2 * target.most_bytes)
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as source:
            _unpack_members(source, stream, target)


def _unpack_members(source: tarfile.TarFile, stream: _BoundedReader, target: _Target) -> None:
    while member := _read_header(source, stream):
        source.members = []  # type: ignore[attr-defined]  # else every header stays in memory
        content = source.extractfile(member) if member.isreg() else None
        if member.isdir():
            if PurePosixPath(member.name).parts:  # not the "." that stands for all
                target.add_folder(member.name)
        elif content is None or member.issparse():
            target.left_out += 1
        else:
            target.add_file(member.name, content)


def _read_header(source: tarfile.TarFile, stream: _BoundedReader) -> tarfile.TarInfo | None:
    with stream.reading_header():
        return source.next()


def _open_plain(archive: Path) -> IO[bytes]:
    """The archive without its compression."""
    if archive.name.endswith((".gz", ".tgz")):
        return cast("IO[bytes]", gzip.open(archive, "rb"))
    if archive.name.endswith(".bz2"):
        return cast("IO[bytes]", bz2.open(archive, "rb"))
    if archive.name.endswith(".xz"):
        return lzma.open(archive, "rb")
    return open(archive, "rb")


class _BoundedReader:
    """A stream in which no position exceeds a limit, and headers cost little.

    A tar header may claim a name of gigabytes, which `tarfile` would read at once; and it takes
    quadratic time over long numbers, over records that overlap, and over maps of sparse files.
    """

    def __init__(self, stream: IO[bytes], most_bytes: int) -> None:
        self._stream, self._most = stream, most_bytes
        self._in_header = True  # opening the archive reads the first one
        self._header_bytes = HEADER_CREDIT

    @contextmanager
    def reading_header(self) -> Iterator[None]:
        """Count what the block reads as headers."""
        self._in_header = True
        self._header_bytes += HEADER_BYTES_A_MEMBER
        yield
        self._in_header = False

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= (LARGEST_HEADER if self._in_header else _CHUNK_BYTES):
            raise ValueError(f"a header asks for {size} bytes, at most {LARGEST_HEADER} are read")
        data = self._stream.read(size)
        self._check(self._stream.tell())
        if self._in_header:
            self._count_header(data)
        return data

    def _count_header(self, data: bytes) -> None:
        self._header_bytes -= len(data)
        if self._header_bytes < 0:
            raise ValueError(
                f"its headers take more than {HEADER_BYTES_A_MEMBER} bytes a member "
                f"(and {HEADER_CREDIT} in all)"
            )
        if len(data) > tarfile.BLOCKSIZE and _LONG_NUMBER.search(data):
            raise ValueError(f"a header holds a number of more than {LONGEST_NUMBER} digits")

    def seek(self, position: int, whence: int = 0) -> int:
        self._check(position)
        return self._stream.seek(position, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._most:
            raise ValueError(f"it is longer than {self._most} bytes")
