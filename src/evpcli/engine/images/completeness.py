"""Whether an image file holds every pixel: Pillow shows black or grey where some data end early."""

from __future__ import annotations

import io

from PIL import Image

from evpcli.domain.errors import ImageError
from evpcli.engine.images.jpeg_scans import find_end
from evpcli.engine.images.png_rows import check_rows

_GREY, _NEAR_GREY = 128, 16
_PADDING = bytes(range(1, 128, 2))
"""No marker (0xFF) is in it; where data are missing it decodes to other blocks than grey."""


def check_pieces(opened: Image.Image, shown: str) -> None:
    """Refuse, before it is loaded, a file whose strips or tiles do not cover the image.

    A TIFF may list fewer strips than it has rows. GIF and WebP files list nothing here, and the
    frame of a GIF may be smaller than its screen.

    Raises:
        ImageError: a part of the image is in no piece.
    """
    if opened.format in ("GIF", "WEBP"):
        return
    width, height = opened.size
    boxes: list[tuple[int, int, int, int]] = [tile[1] for tile in getattr(opened, "tile", ())]
    area = sum((right - left) * (lower - upper) for left, upper, right, lower in boxes)
    if not area or area % (width * height):  # planes are listed one after the other
        raise _make_error(shown, f"strips or tiles for {area} of {width * height} pixels")


def check_complete(opened: Image.Image, data: bytes, shown: str) -> None:
    """Refuse a loaded PNG or JPEG that lacks rows or blocks.

    Args:
        opened: the image, loaded.
        data: the file's contents.
        shown: what messages call it.

    Raises:
        ImageError: something is missing.
    """
    if opened.format == "PNG":
        check_rows(data, opened, shown)
    elif opened.format in ("JPEG", "MPO") and _lacks_blocks(opened, data):
        raise _make_error(shown, "an end marker before the last block")


def _lacks_blocks(opened: Image.Image, data: bytes) -> bool:
    """Whether bytes put before the end marker change the image: then it wanted more of them.

    Missing blocks are mid-grey, so that only images with such a corner are decoded again, at an
    eighth of their size. In a progressive JPEG they are smoothed at full size.
    """
    if not _ends_grey(_sketch(data) if opened.info.get("progressive") else opened):
        return False
    end = find_end(data)
    padded = data[:end] + _PADDING + data[end:]
    return _sketch(data).tobytes() != _sketch(padded).tobytes()


def _ends_grey(image: Image.Image) -> bool:
    width, height = image.size
    corner = image.crop((width - 1, height - 1, width, height)).tobytes()
    return all(abs(value - _GREY) <= _NEAR_GREY for value in corner)


def _sketch(data: bytes) -> Image.Image:
    """A JPEG at an eighth of its size."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
        opened.draft("RGB", (1, 1))
        opened.load()
        return opened


def _make_error(shown: str, found: str) -> ImageError:
    return ImageError(f"{shown} is cut off", found=found, hint="fetch or save the file again")
