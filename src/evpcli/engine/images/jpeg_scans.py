"""A JPEG's scans are counted before it is decoded: each costs a pass over the whole picture."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evpcli.domain.errors import ImageError

MAX_SCANS = 100
MAX_SCAN_MEGAPIXELS = 1000
"""Scans times megapixels: about half a second of passes; a real progressive JPEG has ten scans."""

_START = b"\xff\xd8"
_SOS = 0xDA
_EOI = 0xD9
# Markers with a length: no stuffed zero, no restart, no TEM (T.81, table B.1).
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])", re.DOTALL)


def check_scans(data: bytes, size: tuple[int, int], shown: str) -> None:
    """Refuse a JPEG that would be passed over far more often than any camera's.

    Args:
        data: the file's contents; anything but a JPEG is let through.
        size: width and height as the header has them.
        shown: what messages call the picture.

    Raises:
        ImageError: more than `MAX_SCANS`, or `MAX_SCAN_MEGAPIXELS` for its size.
    """
    megapixels = size[0] * size[1] / 1e6
    limit = min(MAX_SCANS, int(MAX_SCAN_MEGAPIXELS / max(megapixels, 1)))
    if not data.startswith(_START) or data.count(b"\xff\xda") <= limit:
        return  # the quick count sees the scans of thumbnails too, so it is never too low
    scans = count_scans(data)
    if scans > limit:
        raise ImageError(
            f"{shown} is a JPEG of too many scans",
            found=f"{scans} scans of {size[0]} x {size[1]} pixels, at most {limit} are read",
            hint="save it again without the progressive option",
        )


def count_scans(data: bytes) -> int:
    """Start-of-scan markers from a JPEG's beginning to its end marker, thumbnails left out."""
    return sum(marker == _SOS for _, marker in _list_markers(data))


def find_end(data: bytes) -> int:
    """Where a JPEG's own end marker begins; the end of the data if it has none."""
    return next((place for place, marker in _list_markers(data) if marker == _EOI), len(data))


def _list_markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Place and code of each marker with a length, up to the end marker."""
    place = len(_START)
    while found := _MARKER.search(data, place):
        marker = found[1][0]
        yield found.start(), marker
        if marker == _EOI:
            return
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        place = found.end() + max(length, 2)
