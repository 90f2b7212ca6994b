"""The only image decoder, and how a decoded picture becomes a square of pixels."""

from __future__ import annotations

import glob
import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image, UnidentifiedImageError

from evpcli.domain.errors import EvpError, ImageError, NotFoundError
from evpcli.engine.files.durable import has_name
from evpcli.engine.files.paths import expand_path
from evpcli.engine.files.regular_file import read_regular_file
from evpcli.engine.images.completeness import check_complete, check_pieces
from evpcli.engine.images.file_walk import is_hidden, walk_files
from evpcli.engine.images.image_limits import MAX_FILE_BYTES, check_limits
from evpcli.engine.images.jpeg_scans import check_scans
from evpcli.engine.images.quiet_pillow import quiet_pillow
from evpcli.engine.images.to_rgb import (
    check_mode,
    convert_to_rgb,
    describe_narrow_range,
    turn_upright,
)

if TYPE_CHECKING:
    from torch import Tensor

DECODER_POLICY = 1
"""Raised whenever the same file may decode to other pixels; kept in every manifest."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
IMAGE_SUFFIXES = frozenset(
    f".{ending}"
    for ending in ("jpg", "jpeg", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm")
)
MAX_ASPECT = 16
"""Pictures longer than this many times their width are first cropped to it, around the centre."""

Interpolation = Literal["bicubic", "bilinear"]

# What Pillow raises on hostile bytes; it promises no common class.
_PILLOW_FAILURES = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class Decoded:
    """A decoded picture and what the user should know about it.

    Args:
        image: upright, RGB, 8 bits a channel.
        note: one sentence, such as that only the first frame was used.
    """

    image: Image.Image
    note: str | None = None


@dataclass(frozen=True)
class ImageFiles:
    """What the words on a command line came to.

    Args:
        files: pictures, sorted, each once.
        ignored: files in the given folders that are no pictures by their names.
    """

    files: tuple[Path, ...]
    ignored: tuple[Path, ...]


def decode_image(source: Path | bytes, *, name: str | None = None) -> Image.Image:
    """The picture, upright, in RGB with 8 bits a channel; see `decode_picture`."""
    return decode_picture(source, name=name).image


def decode_picture(source: Path | bytes, *, name: str | None = None) -> Decoded:
    """The picture and what was left out of it, by one policy for every file.

    Transparency is laid on white, 16-bit gray is scaled to 8 bits, CMYK is converted, the EXIF
    orientation is applied, and of an animation the first frame is taken. Colour profiles are
    not applied.

    Args:
        source: a file, or its contents.
        name: what messages call it; the path when left out.

    Raises:
        ImageError: not a regular file, not one of `FORMATS`, damaged, cut off, of floating point,
            over a limit of `image_limits.py`, or a JPEG of too many scans.
    """
    shown = _name_source(source, name)
    with _open_image(source, shown) as (opened, data):
        opened.load()
        check_complete(opened, data, shown)
        image = turn_upright(convert_to_rgb(opened, shown), opened, _PILLOW_FAILURES)
        several = opened.format != "MPO" and getattr(opened, "is_animated", False)
        note = describe_narrow_range(opened, shown)
    if several:
        note = f"{shown} has several frames: only the first is used"
    return Decoded(image, note)


def check_image(source: Path | bytes, *, name: str | None = None) -> str | None:
    """Read a picture to its end as `decode_picture` would, four times faster for a JPEG.

    A JPEG is decoded at an eighth of its size: every byte is parsed, few pixels are computed.

    Returns:
        What the user should know about its values, if anything.

    Raises:
        ImageError: as `decode_picture` does.
    """
    shown = _name_source(source, name)
    with _open_image(source, shown) as (opened, data):
        opened.draft("RGB", (1, 1))
        opened.load()
        check_complete(opened, data, shown)
        check_mode(opened, shown)
        return describe_narrow_range(opened, shown)


def shrink_image(
    image: Image.Image, side_px: int, interpolation: Interpolation = "bicubic"
) -> Tensor:
    """(3, h, w) uint8 whose shorter side is `side_px`, antialiased; RGB in 0..255.

    The longer side is `int(side_px * longer / shorter)`, as torchvision's `Resize` has it. A
    picture longer than 16 times its width loses its ends first, so that one strip cannot fill
    the memory; the centre crop that follows sees no more than this anyway.

    Args:
        image: RGB, 8 bits, upright, at least 1x1.
        side_px: at least 1.
        interpolation: Pillow's filter of that name.
    """
    width, height = _limit_aspect(image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    box = (left, top, left + width, top + height)
    if width <= height:
        size = (side_px, int(side_px * height / width))
    else:
        size = (int(side_px * width / height), side_px)
    resample = {
        "bicubic": Image.Resampling.BICUBIC,
        "bilinear": Image.Resampling.BILINEAR,
    }[interpolation]
    return _to_tensor(image.convert("RGB").resize(size, resample, box=box))


def crop_center(pixels: Tensor, side_px: int) -> Tensor:
    """The (..., side_px, side_px) centre of (..., h, w), both sides at least `side_px`.

    An odd remainder is divided as torchvision's `CenterCrop` does: the half is rounded to even.
    """
    height, width = pixels.shape[-2:]
    top, left = round((height - side_px) / 2), round((width - side_px) / 2)
    return pixels[..., top : top + side_px, left : left + side_px]


def load_square(
    image: Image.Image, side_px: int, interpolation: Interpolation = "bicubic"
) -> Tensor:
    """(3, side_px, side_px) uint8: the picture shrunk to its shorter side, then its centre."""
    return crop_center(shrink_image(image, side_px, interpolation), side_px).contiguous()


def list_image_files(words: Sequence[str | Path]) -> ImageFiles:
    """The pictures that files, folders and glob patterns stand for.

    A file that is named is taken whatever its name ends in; a folder gives every picture below
    it, hidden ones, linked folders and links that lead out of it left out.

    Raises:
        NotFoundError: a word matches nothing.
        UsageError: a word starts with the `~` of an unknown user.
    """
    files: set[Path] = set()
    ignored: set[Path] = set()
    for word in words:
        for path in expand_word(word):
            if os.path.isdir(path):
                for file in walk_files(path):
                    (files if file.suffix.lower() in IMAGE_SUFFIXES else ignored).add(file)
            else:
                files.add(path)
    return ImageFiles(tuple(sorted(files)), tuple(sorted(ignored - files)))


def expand_word(word: str | Path) -> list[Path]:
    """The file or folder of that name, or what the pattern matches.

    Raises:
        NotFoundError: nothing.
        UsageError: the word starts with the `~` of an unknown user.
    """
    path = expand_path(word)
    if has_name(path):
        return [path]
    found = _match_pattern(path)
    if not found:
        raise NotFoundError(
            "no such image, folder or pattern", found=str(word)[:200], hint="check the path"
        )
    return found


def _match_pattern(pattern: Path) -> list[Path]:
    """Paths that match; hidden ones only if the pattern asks for them.

    The matching is pathlib's, whose `**` follows no linked folder and so ends where links loop.
    """
    first = next((i for i, part in enumerate(pattern.parts) if glob.has_magic(part)), None)
    if first is None:
        return []
    top, wanted = Path(*pattern.parts[:first]), pattern.parts[first:]
    try:
        found = list(top.glob(str(Path(*wanted))))
    except (OSError, ValueError):  # too long, `**` beside other characters
        return []
    if any(part.startswith(".") for part in wanted):
        return found
    return [path for path in found if not any(map(is_hidden, path.relative_to(top).parts))]


def _name_source(source: Path | bytes, name: str | None) -> str:
    return name or (str(source) if isinstance(source, Path) else "the image")


@contextmanager
def _open_image(source: Path | bytes, shown: str) -> Iterator[tuple[Image.Image, bytes]]:
    """The opened picture, its limits checked, and its file's contents.

    What Pillow raises inside the block becomes an ImageError.
    """
    data = _read_file(source, shown) if isinstance(source, Path) else source
    if not data:
        raise ImageError(f"{shown} is empty", hint="replace or remove the file")
    try:
        with quiet_pillow(), Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            check_limits(opened, shown)
            check_scans(data, opened.size, shown)
            check_pieces(opened, shown)
            yield opened, data
    except _PILLOW_FAILURES as error:
        raise ImageError(
            f"{shown} cannot be decoded",
            found=_explain(error, data),
            hint=f"evp reads {', '.join(FORMATS[:-1])} and {FORMATS[-1]} files",
        ) from error


def _read_file(path: Path, shown: str) -> bytes:
    """A regular file's contents; pipes and devices are refused before they are opened."""
    try:
        return read_regular_file(path, MAX_FILE_BYTES, follow=True)
    except EvpError as error:
        raise ImageError(f"{shown} cannot be read as an image", found=error.found) from error


def _explain(error: BaseException, data: bytes) -> str:
    if isinstance(error, UnidentifiedImageError):
        if data.startswith(b"version https://git-lfs"):
            return "a git-lfs pointer, not the file itself"
        return f"unknown format, it starts with {data[:16]!r}"
    if isinstance(error, Image.DecompressionBombError):
        return "far too many pixels"
    return str(error)[:200] or type(error).__name__


def _limit_aspect(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    return min(width, MAX_ASPECT * height), min(height, MAX_ASPECT * width)


def _to_tensor(image: Image.Image) -> Tensor:
    import numpy as np
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()  # (3, h, w)
