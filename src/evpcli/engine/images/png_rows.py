"""Whether a PNG holds every row: Pillow leaves the rest black where its data end early."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from PIL import Image

from evpcli.domain.errors import ImageError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: PNG, table 11.1
# Adam7's seven passes: first column and row, steps between columns and rows (PNG, section 8.2).
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_PART_BYTES = 1 << 20


def check_rows(data: bytes, decoded: Image.Image, shown: str) -> None:
    """Refuse a PNG whose data end before its last row.

    Only a picture with a black row among the last two (in an interlaced file either may be the
    one that is written last) can be such a one, so that no other is looked at.

    Args:
        data: the file's contents; anything but a PNG is let through.
        decoded: the picture that Pillow made of it.
        shown: what messages call it.

    Raises:
        ImageError: rows are missing.
    """
    width, height = decoded.size
    last = range(max(0, height - 2), height)
    rows = [decoded.crop((0, row, width, row + 1)).tobytes() for row in last]
    if not data.startswith(_SIGNATURE) or all(map(any, rows)):
        return
    found, needed = _count_bytes(data)
    if found < needed:
        raise ImageError(
            f"{shown} is cut off",
            found=f"{found} of {needed} bytes of pixels",
            hint="fetch or save the file again",
        )


def _count_bytes(data: bytes) -> tuple[int, int]:
    """Bytes of pixels in the file, counted until there are enough, and those it should have."""
    needed, found, unpacker = 0, 0, zlib.decompressobj()
    for kind, content in _list_chunks(data):
        if kind == b"IHDR":
            needed = _count_needed(content)
        elif kind == b"IDAT":
            found += _unpack(unpacker, content, needed - found)
        if needed and found >= needed:
            break
    return found, needed


def _unpack(unpacker: zlib._Decompress, content: bytes, wanted: int) -> int:
    found = 0
    while content and found < wanted and not unpacker.eof:
        try:
            found += len(unpacker.decompress(content, _PART_BYTES))
        except zlib.error:
            break
        content = unpacker.unconsumed_tail
    return found


def _list_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_SIGNATURE)
    while place + 8 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += length + 12  # its length, kind and checksum


def _count_needed(header: bytes) -> int:
    """Bytes of pixels with a filter byte a row (PNG, sections 7.2 and 8)."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * _CHANNELS[header[9]]
    if not header[12]:
        return height * (1 + (width * bits + 7) // 8)
    needed = 0
    for left, top, across, down in _PASSES:
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0 and rows > 0:
            needed += rows * (1 + (columns * bits + 7) // 8)
    return needed
