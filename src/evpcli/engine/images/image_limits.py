"""What a picture may cost, checked on its header before anything is decoded."""

from __future__ import annotations

import re
from typing import Any

from PIL import Image

from evpcli.domain.errors import ImageError

MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 256 * 2**20
MAX_SIDE_PX = 65_535
"""The longest side that a JPEG can have; each row costs some bytes beside its pixels."""

MAX_DECODED_BYTES = 200_000_000
"""Pixels times channels times bytes of a value: 50 megapixels of 8-bit RGBA, 33 of 16-bit RGB."""

_DEEP = re.compile(r";16")
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF 6.0, section 15
_VALUE_BYTES = {"I": 4, "F": 4}


def check_limits(opened: Image.Image, shown: str) -> None:
    """Raise unless a picture whose header was read is within every limit.

    Args:
        opened: not yet decoded.
        shown: what messages call it.

    Raises:
        ImageError: it is too large; the error gives the limit.
    """
    width, height = opened.size
    if max(width, height) > MAX_SIDE_PX:
        raise _refuse(
            shown, f"a side of {max(width, height)} pixels, at most {MAX_SIDE_PX} are read"
        )
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{shown} has more than {MAX_PIXELS // 10**6} megapixels",
            found=f"{width} x {height} pixels",
            hint="make it smaller first",
        )
    width, height = _find_decoded_size(opened)
    needed = width * height * len(opened.getbands()) * _count_value_bytes(opened)
    if needed > MAX_DECODED_BYTES:
        raise _refuse(shown, f"{needed} bytes once decoded, at most {MAX_DECODED_BYTES} are read")


def _find_decoded_size(opened: Image.Image) -> tuple[int, int]:
    """The picture's size, or that of one of its tiles, which is decoded whole."""
    tags: Any = getattr(opened, "tag_v2", {})
    tile = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)
    sides = [side if isinstance(side, int) else MAX_DECODED_BYTES for side in tile]
    return max((opened.size, (sides[0], sides[1])), key=lambda size: size[0] * size[1])


def _count_value_bytes(opened: Image.Image) -> int:
    """Bytes of one channel of one pixel, as the file has it or as Pillow keeps it."""
    layout = str(getattr(opened, "tile", ""))
    return 2 if _DEEP.search(f"{opened.mode} {layout}") else _VALUE_BYTES.get(opened.mode, 1)


def _refuse(shown: str, found: str) -> ImageError:
    return ImageError(f"{shown} is too large", found=found, hint="make it smaller first")
