"""What a stranger's zip may contain: stored entries of a torch file, end to end; torch-free."""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from dataclasses import dataclass
from typing import NoReturn

from evpcli.domain.errors import DamagedError

FileBytes = bytes | mmap.mmap
"""A file's content, read whole or mapped."""

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR64 = struct.Struct("<4sIQI")
_DESCRIPTOR = struct.Struct("<4sIII")
_TORCH_FLAGS = (0x0808, 0x0008)  # sizes follow the data; names are UTF-8 or plain
_END64_VERSIONS = (0x031E, 0x002D)  # what miniz, torch's zip writer, always puts there
_MAX_EXTRA = 1024
_DIRECTORY_ROOM = 64 << 10
_NAME = re.compile(
    r"data\.pkl|byteorder|version|\.format_version|\.storage_alignment"
    r"|\.data/serialization_id|data/(?:0|[1-9][0-9]{0,4})"
)


@dataclass(frozen=True)
class _Header:
    """One entry as the central directory tells it."""

    name: bytes
    flags: int
    crc: int
    size: int
    offset: int


def read_stored_entries(data: FileBytes, max_entries: int = 32) -> dict[str, memoryview]:
    """The entries of a file that `torch.save` wrote, by name without the archive's folder.

    Nothing is unpacked: entries are views into `data`. They lie end to end from the first byte
    to the directory, which lies before the end record, so nothing can hide between or around.

    Args:
        data: the whole file, read or mapped.
        max_entries: how many entries it may have.

    Raises:
        DamagedError: compressed, duplicate, foreign or overlapping entries, gaps, wrong sums.
    """
    try:
        return _read_entries(data, max_entries)
    except DamagedError as error:
        raise _name_stranger(data) or error from None


def _read_entries(data: FileBytes, max_entries: int) -> dict[str, memoryview]:
    headers, directory_at = _read_directory(data, max_entries)
    entries: dict[str, memoryview] = {}
    position = 0
    folder = None
    for header in headers:
        if header.offset != position:
            _refuse("bytes lie between its entries")
        content, position = _read_entry(data, header)
        first, name = _split_name(header.name)
        if folder not in (None, first) or name in entries:
            _refuse(f"entry {header.name[:80]!r} is misplaced or appears twice")
        folder, entries[name] = first, content
    if position != directory_at:
        _refuse("bytes lie between its entries and their directory")
    if "data.pkl" not in entries:
        _refuse("it has no data.pkl")
    return entries


def _read_directory(data: FileBytes, max_entries: int) -> tuple[list[_Header], int]:
    end_at = len(data) - _END.size
    if end_at < 0 or data[:4] != b"PK\x03\x04" or data[end_at : end_at + 4] != b"PK\x05\x06":
        raise DamagedError(
            "the file is cut off or damaged",
            found=f"{len(data)} bytes without the end record of a zip",
            hint="fetch or export the file again",
        )
    end = _END.unpack_from(data, end_at)
    _, disk, disk_start, count_here, count, size, at, comment = end
    if disk or disk_start or comment or count_here != count or not 0 < count <= max_entries:
        _refuse("its end record is not torch's")
    if at + size != _find_directory_end(data, end_at, count, size, at):
        _refuse("bytes follow its directory")
    headers, position = [], at
    for _ in range(count):
        header, position = _read_header(data, position, at + size)
        headers.append(header)
    if position != at + size:
        _refuse("bytes follow its directory")
    return headers, at


def _find_directory_end(data: FileBytes, end_at: int, count: int, size: int, at: int) -> int:
    """Where the directory must end: before the 64-bit records where there are any."""
    locator_at = end_at - _LOCATOR64.size
    if locator_at < 0 or data[locator_at : locator_at + 4] != b"PK\x06\x07":
        return end_at
    record_at = locator_at - _END64.size
    if record_at < 0 or data[record_at : record_at + 4] != b"PK\x06\x06":
        _refuse("its end record is not torch's")
    if _LOCATOR64.unpack_from(data, locator_at)[1:] != (0, record_at, 1):
        _refuse("its end records disagree")
    found = _END64.unpack_from(data, record_at)
    if found[1:] != (_END64.size - 12, *_END64_VERSIONS, 0, 0, count, count, size, at):
        _refuse("its end records disagree")
    return record_at


def _read_header(data: FileBytes, position: int, end: int) -> tuple[_Header, int]:
    if position + _CENTRAL.size > end or data[position : position + 4] != b"PK\x01\x02":
        _refuse("its directory is torn")
    fields = _CENTRAL.unpack_from(data, position)
    flags, method, crc, packed, size, n_name = *fields[3:5], *fields[7:11]
    always_zero = *fields[1:3], *fields[5:7], *fields[11:16]
    if method != 0 or packed != size:
        _refuse("an entry is compressed")
    if flags not in _TORCH_FLAGS or any(always_zero):
        _refuse("an entry is not as torch writes it")
    name_at = position + _CENTRAL.size
    position = name_at + n_name
    if position > end:
        _refuse("its directory is torn")
    return _Header(data[name_at:position], flags, crc, size, fields[16]), position


def _read_entry(data: FileBytes, header: _Header) -> tuple[memoryview, int]:
    start = header.offset + _LOCAL.size
    if start > len(data):
        _refuse("an entry is torn")
    *fixed, n_name, n_extra = _LOCAL.unpack_from(data, header.offset)
    name_end, content_at = start + n_name, start + n_name + n_extra
    if fixed != [b"PK\x03\x04", 0, header.flags, *[0] * 6] or data[start:name_end] != header.name:
        _refuse("an entry contradicts the directory")
    if n_extra > _MAX_EXTRA or not _is_filler(data[name_end:content_at]):
        _refuse("bytes lie between its entries")
    content = memoryview(data)[content_at : content_at + header.size]
    after = content_at + header.size
    if after + _DESCRIPTOR.size > len(data):
        _refuse("an entry is torn")
    told = (b"PK\x07\x08", header.crc, header.size, header.size)
    if _DESCRIPTOR.unpack_from(data, after) != told or zlib.crc32(content) != header.crc:
        _refuse("an entry's checksum is wrong")
    return content, after + _DESCRIPTOR.size


def _is_filler(extra: bytes) -> bool:
    """Whether this is the padding with which torch moves values to a round address."""
    filled = len(extra) - 4
    return not extra or extra == b"FB" + filled.to_bytes(2, "little", signed=True) + b"Z" * filled


def _split_name(raw: bytes) -> tuple[str, str]:
    try:
        folder, _, name = raw.decode("utf-8").partition("/")
    except UnicodeDecodeError:
        folder = name = ""
    if not folder.isprintable() or folder in ("", ".", "..") or not _NAME.fullmatch(name):
        _refuse(f"entry {raw[:80]!r} does not belong in a torch file")
    return folder, name


def _name_stranger(data: FileBytes) -> DamagedError | None:
    """What a refused zip is, when the names in its directory tell."""
    names = data[-_DIRECTORY_ROOM:]
    if b"/constants.pkl" in names or b"/code/" in names:
        return DamagedError(
            "this is a TorchScript program, not a prompt", hint="evp never runs code from a file"
        )
    if b".npy" in names:
        return DamagedError(
            "this is a NumPy archive, not a prompt", hint="evp reads .pt, .pth and .safetensors"
        )
    return None


def _refuse(problem: str) -> NoReturn:
    raise DamagedError("the file is damaged or not from torch.save", found=problem)
