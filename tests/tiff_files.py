"""TIFF files laid out by hand, with as many strips or tiles as a test needs."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_SHORT = {258, 259, 262, 277}
"""Tags whose values are of 16 bits; the others' are of 32 (TIFF 6.0, section 8)."""


def make_tiff(
    width: int,
    height: int,
    pieces: Sequence[bytes],
    *,
    rows_a_strip: int | None = None,
    tile: tuple[int, int] | None = None,
    compression: int = 1,
) -> bytes:
    """A little-endian gray TIFF of 8 bits that lists these strips or tiles, too few or not."""
    places = [8 + sum(map(len, pieces[:number])) for number in range(len(pieces))]
    sizes = list(map(len, pieces))
    tags = {256: [width], 257: [height], 258: [8], 259: [compression], 262: [1], 277: [1]}
    if tile:
        tags |= {322: [tile[0]], 323: [tile[1]], 324: places, 325: sizes}
    else:
        tags |= {273: places, 278: [rows_a_strip or height], 279: sizes}
    body = b"".join(pieces)
    body += bytes(len(body) % 2)
    start = 8 + len(body)
    end = start + 2 + 12 * len(tags) + 4
    entries = values = b""
    for tag in sorted(tags):
        kind, letter = (3, "H") if tag in _SHORT else (4, "I")
        raw = struct.pack(f"<{len(tags[tag])}{letter}", *tags[tag])
        entries += struct.pack("<HHI", tag, kind, len(tags[tag]))
        entries += raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", end + len(values))
        values += raw if len(raw) > 4 else b""
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", start) + body + directory + values
