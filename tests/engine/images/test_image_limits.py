"""What a picture may cost is settled on its header."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest

from evpcli.domain.errors import ImageError
from evpcli.engine.images.decoder import check_image, decode_picture
from evpcli.engine.images.image_limits import MAX_DECODED_BYTES
from tests.png_files import ROW, make_png


@pytest.mark.parametrize("check", [decode_picture, check_image])
@pytest.mark.parametrize(
    ("width", "height", "depth", "color", "limit"),
    [
        (1, 50_000_000, 8, 0, "65535"),
        (50_000_000, 1, 8, 0, "65535"),
        (65_536, 1, 8, 0, "65535"),
        (7_000, 7_000, 16, 6, "200000000"),
        (6_000, 6_000, 16, 2, "200000000"),
        (8_000, 8_000, 8, 2, "50 megapixels"),
    ],
)
def test_costly_pictures_are_refused_before_memory_is_taken(
    check: Any, width: int, height: int, depth: int, color: int, limit: str
) -> None:
    data = make_png(width, height, b"", depth, color)
    tracemalloc.start()
    with pytest.raises(ImageError) as caught:
        check(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert limit in f"{caught.value.what} {caught.value.found}"
    assert peak < 1_000_000


COST = """
import resource, sys
from pathlib import Path
from evpcli.engine.images.decoder import decode_picture
decode_picture(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_picture(Path(sys.argv[2]))
except Exception as error:
    print(type(error).__name__, end=" ")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("largest RGB", lambda: make_png(7_000, 7_000, bytes(7_000 * 21_001))),
        ("largest 16-bit RGBA", lambda: make_png(5_000, 5_000, bytes(5_000 * 40_001), 16, 6)),
        ("largest 16-bit gray", lambda: make_png(7_000, 7_000, bytes(7_000 * 14_001), 16, 0)),
        ("largest RGBA", lambda: make_png(7_000, 7_000, bytes(7_000 * 28_001), 8, 6)),
    ],
)
def test_the_largest_pictures_cost_at_most_three_times_the_budget(
    name: str, data: Any, tmp_path: Path
) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    small.write_bytes(make_png(64, 64, ROW * 64))
    large.write_bytes(data())
    told = subprocess.run(
        [sys.executable, "-c", COST, small, large], capture_output=True, text=True, check=True
    ).stdout
    assert int(told) < 3 * MAX_DECODED_BYTES / 2**20, name


def make_tiled_tiff(side_px: int) -> bytes:
    """A picture of 10 x 10 pixels in one deflated tile of so many pixels a side."""
    content = zlib.compress(bytes(1_000))
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1}
    tags |= {322: side_px, 323: side_px, 324: 134, 325: len(content)}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4) + content


def test_a_tile_far_larger_than_its_picture_is_refused() -> None:
    """The decoder would make room for the whole tile: a gigabyte."""
    with pytest.raises(ImageError, match="too large") as caught:
        check_image(make_tiled_tiff(32_768))
    assert str(MAX_DECODED_BYTES) in str(caught.value.found)
    assert len(make_tiled_tiff(16)) < 400
