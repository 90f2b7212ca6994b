"""A PNG whose data end before its last row is refused, and no other."""

from __future__ import annotations

from typing import Any

import pytest

from evpcli.domain.errors import ImageError
from evpcli.engine.images.decoder import check_image, decode_picture
from tests.png_files import ROW, make_png


@pytest.mark.parametrize("check", [decode_picture, check_image])
@pytest.mark.parametrize("rows", [1, 2, 62, 63])
def test_a_png_whose_rows_end_early_is_refused(check: Any, rows: int) -> None:
    with pytest.raises(ImageError, match="cut off") as caught:
        check(make_png(64, 64, ROW * rows))
    assert f"of {64 * 193} bytes" in str(caught.value.found)


@pytest.mark.parametrize("check", [decode_picture, check_image])
@pytest.mark.parametrize(
    "data",
    [
        make_png(64, 64, ROW * 64),
        make_png(64, 64, ROW * 70),
        make_png(64, 64, bytes(193 * 64)),
        make_png(5, 1, bytes(16)),
        make_png(3, 3, bytes(6), depth=1, color=0),
    ],
    ids=["whole", "more than needed", "black", "one row", "bits"],
)
def test_a_png_with_every_row_is_read_though_it_be_black(check: Any, data: bytes) -> None:
    check(data)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 9), (8, 8), (33, 17)])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P"])
def test_interlaced_black_pictures_are_whole(size: tuple[int, int], mode: str) -> None:
    """Pillow writes none, so the seven passes are laid out here, by their definition."""
    depth, color = {"1": (1, 0), "L": (8, 0), "RGB": (8, 2), "RGBA": (8, 6), "P": (4, 0)}[mode]
    bits = depth * {0: 1, 2: 3, 6: 4}[color]
    order = [(x, y) for y in range(size[1]) for x in range(size[0])]
    rows = b""
    for number in range(1, 8):
        taken = [(x, y) for x, y in order if ADAM7[y % 8][x % 8] == number]
        for row in sorted({y for _, y in taken}):
            columns = sum(y == row for _, y in taken)
            rows += bytes(1 + -(-columns * bits // 8))
    check_image(make_png(*size, rows, depth, color, adam7=1))
    if len(rows) > 8:
        with pytest.raises(ImageError):
            check_image(make_png(*size, rows[: len(rows) // 2], depth, color, adam7=1))


ADAM7 = (  # the pass in which each pixel of an 8 x 8 square comes: PNG, section 8.2
    (1, 6, 4, 6, 2, 6, 4, 6),
    (7,) * 8,
    (5, 6, 5, 6, 5, 6, 5, 6),
    (7,) * 8,
    (3, 6, 4, 6, 3, 6, 4, 6),
    (7,) * 8,
    (5, 6, 5, 6, 5, 6, 5, 6),
    (7,) * 8,
)
