"""PNG files laid out by hand, with whatever rows and header a test needs."""

from __future__ import annotations

import struct
import zlib

ROW = b"\0" + bytes(range(1, 193))
"""One row of 64 RGB pixels, none of them black."""


def make_png(
    width: int, height: int, rows: bytes, depth: int = 8, color: int = 2, adam7: int = 0
) -> bytes:
    """A PNG with these bytes of pixels, however many they are."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, adam7)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
