"""Canvases as pictures and as exact numbers: prompted images, signed views, lossless files.

A canvas here is (3, canvas, canvas) float32, RGB in pixel space: images lie in [0, 1], the border
is not limited. A picture is its 8-bit copy, which holds only what lies in [0, 1].
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from evpcli.domain.errors import ImageError
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.prompts.visual_prompt import VisualPrompt, pad_to_canvas
from evpcli.engine.rendering.output_names import FileKind

_SIGNED_QUANTILE = 0.995
_HALF_BLOCK = "▀"


def render_canvas(square: Tensor, geometry: FrameGeometry) -> Tensor:
    """Set an image into a black canvas, without the prompt.

    Args:
        square: (3, window, window) uint8, RGB, as `pictures.load_square` gives it.
        geometry: canvas, border and window sizes.

    Returns:
        (3, canvas, canvas) float32 in [0, 1], zero on the border.

    Raises:
        ImageError: `square` does not fill the window.
    """
    window = geometry.image_px
    if tuple(square.shape) != (3, window, window):
        raise ImageError(
            f"the image must be (3, {window}, {window}) to fill the window",
            found=f"shape {tuple(square.shape)}",
        )
    return pad_to_canvas(square.cpu().float() / 255, geometry)  # (3, canvas, canvas)


def render_prompt(prompt: VisualPrompt) -> Tensor:
    """(3, canvas, canvas) float32: the border's exact values around a window of zeros."""
    return prompt.pixels.detach().to("cpu", torch.float32).clone()


def render_prompted(square: Tensor, prompt: VisualPrompt) -> Tensor:
    """What the backbone is given before its normalisation: the image inside the learned border.

    Args:
        square: (3, window, window) uint8, RGB.
        prompt: the learned border.

    Returns:
        (3, canvas, canvas) float32; the border is not limited to [0, 1].

    Raises:
        ImageError: `square` does not fill the window.
    """
    return render_canvas(square, prompt.geometry) + render_prompt(prompt)


def to_picture(canvas: Tensor) -> Image.Image:
    """An 8-bit RGB picture of a canvas: clipped to [0, 1], then rounded half up.

    Args:
        canvas: (3, height, width), RGB in pixel space, unbounded, finite.
    """
    levels = (canvas.detach().cpu().float().clamp(0, 1) * 255 + 0.5).floor()
    return Image.fromarray(levels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


def to_signed_picture(canvas: Tensor) -> tuple[Image.Image, float]:
    """A picture in which mid-grey is zero, so that negative values can be seen too.

    Args:
        canvas: (3, height, width), RGB in pixel space, unbounded, finite.

    Returns:
        The picture, and the value shown as full brightness (its negative is black): the 99.5 %
        quantile of the absolute values that are not zero, 1 when there are none.
    """
    amounts = canvas.detach().cpu().float()
    changed = amounts[amounts != 0].abs()
    limit = float(torch.quantile(changed, _SIGNED_QUANTILE)) if changed.numel() else 1.0
    return to_picture(0.5 + amounts / (2 * limit)), limit


def encode_picture(picture: Image.Image) -> bytes:
    """The bytes of a PNG file, without metadata."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")  # `optimize` takes twice the time for a thousandth less
    return buffer.getvalue()


def encode_canvas(canvas: Tensor, kind: FileKind, notes: Mapping[str, str]) -> bytes:
    """The bytes of a file that holds a canvas.

    Args:
        canvas: (3, canvas, canvas) float32, RGB in pixel space.
        kind: `png` clips to [0, 1] and rounds to 8 bits; `safetensors` and `npz` keep every value
            under the name `canvas`.
        notes: short descriptions, kept as metadata by `safetensors` and as text entries by `npz`.
    """
    exact = canvas.detach().to("cpu", torch.float32).contiguous()
    if kind == "png":
        return encode_picture(to_picture(exact))
    if kind == "safetensors":
        from safetensors.torch import save

        return bytes(save({"canvas": exact}, metadata=dict(notes)))
    import numpy as np

    buffer = io.BytesIO()
    arrays: dict[str, Any] = {key: np.array(text) for key, text in notes.items()}
    np.savez(buffer, canvas=exact.numpy(), **arrays)
    return buffer.getvalue()


def render_half_blocks(picture: Image.Image, columns: int) -> str:
    """A picture as lines of 24-bit coloured half blocks for a terminal, two pixels a character.

    Args:
        picture: RGB; shrunk to `columns` pixels of width if it is wider, never enlarged.
        columns: widest line in characters, at least 1.

    Returns:
        Lines without a last line end; each line resets its colours.
    """
    width = min(columns, picture.width)
    height = max(2, 2 * round(picture.height * width / picture.width / 2))
    small = picture.convert("RGB").resize((width, height), Image.Resampling.BOX)
    rows = [small.crop((0, y, width, y + 1)).tobytes() for y in range(height)]
    return "\n".join(
        "".join(_paint_cell(upper[x : x + 3], lower[x : x + 3]) for x in range(0, 3 * width, 3))
        + "\x1b[0m"
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )


def _paint_cell(upper: bytes, lower: bytes) -> str:
    above, below = (";".join(map(str, colour)) for colour in (upper, lower))
    return f"\x1b[38;2;{above};48;2;{below}m{_HALF_BLOCK}"
