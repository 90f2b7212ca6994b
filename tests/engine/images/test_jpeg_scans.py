"""Scan bombs: small progressive JPEGs that repeat a scan thousands of times."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from evpcli.domain.errors import ImageError
from evpcli.engine.images.decoder import check_image, decode_image
from evpcli.engine.images.jpeg_scans import MAX_SCANS, count_scans

_END = b"\xff\xd9"


def encode_progressive(width: int, height: int, **options: object) -> bytes:
    """A plain picture in Pillow's ten scans."""
    buffer = io.BytesIO()
    image = Image.new("RGB", (width, height), (90, 120, 200))
    image.save(buffer, "JPEG", progressive=True, **options)
    return buffer.getvalue()


def repeat_last_scan(data: bytes, times: int) -> bytes:
    """The same picture with its last scan, a refinement, written `times` more."""
    scan = data[data.rindex(b"\xff\xda") : -len(_END)]
    return data[: -len(_END)] + scan * times + _END


def test_scans_of_a_real_picture_are_counted() -> None:
    data = encode_progressive(64, 48)
    assert count_scans(data) == 10
    assert count_scans(repeat_last_scan(data, 7)) == 17


@pytest.mark.parametrize("check", [decode_image, check_image])
def test_a_scan_bomb_is_refused_before_it_is_decoded(check: object) -> None:
    data = repeat_last_scan(encode_progressive(6000, 6000), 2000)
    before = time.monotonic()
    with pytest.raises(ImageError, match="bomb is a JPEG of too many scans") as caught:
        check(data, name="bomb")
    assert time.monotonic() - before < 1
    assert "2010 scans of 6000 x 6000 pixels" in str(caught.value.found)


def test_the_limit_falls_with_the_size() -> None:
    small, large = encode_progressive(64, 48), encode_progressive(5000, 5000)
    assert decode_image(repeat_last_scan(small, MAX_SCANS - 10)).size == (64, 48)
    with pytest.raises(ImageError, match="too many scans"):
        decode_image(repeat_last_scan(small, MAX_SCANS - 9))
    assert decode_image(repeat_last_scan(large, 30)).size == (5000, 5000)
    with pytest.raises(ImageError, match="too many scans"):
        decode_image(repeat_last_scan(large, 31))


def test_markers_in_comments_and_behind_the_end_do_not_count() -> None:
    data = encode_progressive(64, 48, comment=b"\xff\xda" * 500) + b"\xff\xda" * 500
    assert count_scans(data) == 10
    assert decode_image(data).size == (64, 48)


@pytest.mark.parametrize("filler", [b"\xff\x01", b"\xff\xd3", b"\xff\xff\xff", b"rubbish"])
def test_scans_cannot_hide_behind_bytes_that_the_decoder_skips(filler: bytes) -> None:
    data = encode_progressive(64, 48)
    scan = filler + data[data.rindex(b"\xff\xda") : -len(_END)]
    assert count_scans(data[: -len(_END)] + scan * 200 + _END) == 210


def test_a_noisy_picture_is_counted_rightly() -> None:
    values = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", quality=95)
    assert count_scans(buffer.getvalue()) == 1
