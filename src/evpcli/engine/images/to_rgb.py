"""A decoded picture as 8-bit RGB, upright; some rows at a time where copies would pile up."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from evpcli.domain.errors import ImageError

_ORIENTATION_TAG = 0x0112  # EXIF 2.3, table 4
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PART_PIXELS = 1 << 20
_NARROW = (1 << 14) - 1


def check_mode(image: Image.Image, shown: str) -> None:
    """Raise ImageError for floating-point values, whose range nobody can know."""
    if image.mode == "F":
        raise ImageError(
            f"{shown} holds floating-point values, whose range nobody can know",
            hint="save it with 8 or 16 bits a channel",
        )


def describe_narrow_range(image: Image.Image, shown: str) -> str | None:
    """What to say of a 16-bit image that uses a quarter of its range at most: it looks black.

    Cameras and scanners put 10, 12 or 14 bits into 16 without scaling them.
    """
    if not image.mode.startswith("I"):
        return None
    _, most = image.getextrema()
    if not isinstance(most, int | float) or not 0 < most <= _NARROW:
        return None
    return (
        f"{shown} uses values up to {most:.0f} of 65535, so it is almost black: "
        f"it may hold {int(most).bit_length()}-bit values; scale them to 16 bits"
    )


def convert_to_rgb(image: Image.Image, shown: str) -> Image.Image:
    """The picture in 8-bit RGB: transparency on white, 16-bit gray scaled.

    Raises:
        ImageError: floating-point values, or gray values outside 16 bits.
    """
    check_mode(image, shown)
    if image.mode.startswith("I"):
        return _convert_parts(image, lambda part: _scale_16_bits(part, shown))
    if image.has_transparency_data:
        return _convert_parts(image, _lay_on_white)
    return image.convert("RGB")


def _convert_parts(
    image: Image.Image, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    width, height = image.size
    whole = Image.new("RGB", image.size)
    rows = max(1, _PART_PIXELS // width)
    for top in range(0, height, rows):
        part = image.crop((0, top, width, min(height, top + rows)))
        whole.paste(convert(part), (0, top))
    return whole


def _lay_on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def _scale_16_bits(image: Image.Image, shown: str) -> Image.Image:
    """Gray values 0..65535 divided by 257 and rounded: 65535 becomes 255."""
    import numpy as np

    values = np.asarray(image)
    if values.size and (int(values.min()) < 0 or int(values.max()) > 65535):
        raise ImageError(
            f"{shown} has gray values outside 16 bits",
            found=f"{values.min()} to {values.max()}",
            hint="save it with 8 or 16 bits a channel",
        )
    scaled = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")


def turn_upright(
    image: Image.Image, opened: Image.Image, failures: tuple[type[Exception], ...]
) -> Image.Image:
    """Apply the EXIF orientation of the opened file; damaged EXIF data count as upright.

    Args:
        image: decoded.
        opened: the file that it came from.
        failures: what reading damaged EXIF data may raise.
    """
    try:
        turn = _UPRIGHT.get(opened.getexif().get(_ORIENTATION_TAG, 1))
    except failures:
        return image
    return image if turn is None else image.transpose(turn)
