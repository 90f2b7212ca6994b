"""Images that lack rows or blocks are refused, however neatly their data end."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from evpcli.domain.errors import ImageError
from evpcli.engine.images.decoder import check_image, decode_image
from evpcli.engine.images.jpeg_scans import find_end
from tests.tiff_files import make_tiff

GREY_ROW = b"\x80" * 64
END = b"\xff\xd9"


def encode(image_format: str, mode: str = "RGB", side_px: int = 64, **options: object) -> bytes:
    shape = (side_px, side_px, 3)
    values = np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).convert(mode).save(buffer, image_format, **options)
    return buffer.getvalue()


def cut_jpeg(share: float, **options: object) -> bytes:
    data = encode("JPEG", **options)
    start = data.index(b"\xff\xda")
    return data[: start + int(share * (len(data) - start))].rstrip(b"\xff") + END


LACKING = {
    **{
        f"{strips} strips.tif": make_tiff(64, 64, [GREY_ROW * 8] * strips, rows_a_strip=8)
        for strips in (1, 4, 7)
    },
    "short strip.tif": make_tiff(64, 64, [GREY_ROW * 8] * 7 + [GREY_ROW], rows_a_strip=8),
    "packed.tif": make_tiff(
        64, 64, [zlib.compress(GREY_ROW * 8)] * 7, rows_a_strip=8, compression=8
    ),
    "tiles.tif": make_tiff(64, 64, [b"\x80" * 1024] * 3, tile=(32, 32)),
    **{f"{share}.jpg": cut_jpeg(share) for share in (0.05, 0.3, 0.6, 0.9)},
    "gray.jpg": cut_jpeg(0.5, mode="L"),
    "cmyk.jpg": cut_jpeg(0.5, mode="CMYK"),
    "first scan.jpg": cut_jpeg(0.05, progressive=True),
}
ENCODINGS: list[tuple[str, dict[str, object]]] = [
    *((name, {}) for name in ("PNG", "GIF", "BMP", "PPM", "WEBP", "JPEG", "TIFF")),
    ("PNG", {"mode": "P"}),
    ("WEBP", {"lossless": True}),
    ("JPEG", {"progressive": True}),
    *(("TIFF", {"compression": how}) for how in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")),
]


@pytest.mark.parametrize("name", LACKING)
@pytest.mark.parametrize("read", [decode_image, check_image])
def test_files_that_end_neatly_but_early_are_refused(
    name: str, read: Callable[..., object]
) -> None:
    with pytest.raises(ImageError, match=name):
        read(LACKING[name], name=name)


@pytest.mark.parametrize(("image_format", "options"), ENCODINGS)
def test_a_file_cut_anywhere_is_refused_or_shows_every_pixel(
    image_format: str, options: dict[str, object]
) -> None:
    data = encode(image_format, **options)
    whole = decode_image(data).tobytes()
    refused = 0
    for place in {*range(1, len(data), max(1, len(data) // 40)), *range(len(data) - 9, len(data))}:
        try:
            shown = decode_image(data[:place]).tobytes()
        except ImageError:
            refused += 1
            with pytest.raises(ImageError):
                check_image(data[:place])
            continue
        check_image(data[:place])
        assert shown == whole
    assert refused >= 20


@pytest.mark.parametrize("read", [decode_image, check_image])
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (8, 8), (13, 17), (64, 64)])
def test_a_black_or_grey_jpeg_is_no_less_whole(
    read: Callable[..., object], size: tuple[int, int]
) -> None:
    for colour in ((0, 0, 0), (128, 128, 128)):
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, "JPEG")
        read(buffer.getvalue())


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"mode": "L"}, {"mode": "CMYK"}])
def test_a_grey_corner_does_not_make_a_jpeg_suspect(options: dict[str, object]) -> None:
    with Image.open(io.BytesIO(encode("JPEG", side_px=57, **options))) as opened:
        image = opened.copy()
    image.paste((128,) * len(image.getbands()), (40, 40, 57, 57))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", progressive="progressive" in options)
    assert decode_image(buffer.getvalue() + b"trailing bytes").size == (57, 57)
    check_image(buffer.getvalue())


def test_the_end_of_a_jpeg_is_its_own_not_a_thumbnails() -> None:
    data = encode("JPEG")
    assert find_end(data + data) == len(data) - 2
    assert find_end(data[:-2]) == len(data) - 2
