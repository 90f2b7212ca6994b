"""Where a checkpoint's border lies, and its values brought to evp's pixel space."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evpcli.domain.errors import DamagedError
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.prompts.importers.foreign_names import Triple
from evpcli.engine.prompts.visual_prompt import build_border_mask

_MIN_CANVAS, _MAX_CANVAS = 3, 2048


def read_square(value: Any) -> Tensor:
    """A checkpoint's (3, side, side) values as float32.

    Raises:
        DamagedError: it is no such tensor.
    """
    if not isinstance(value, Tensor) or value.ndim != 3 or not value.is_floating_point():
        raise DamagedError("the checkpoint's prompt is no (3, side, side) tensor")
    channels, height, width = value.shape
    if channels != 3 or height != width or not _MIN_CANVAS <= height <= _MAX_CANVAS:
        raise DamagedError(
            "the checkpoint's prompt is no (3, side, side) tensor", found=f"{tuple(value.shape)}"
        )
    return value.detach().float().contiguous()


def read_frame(pixels: object) -> FrameGeometry:
    """The border of a prompt without a manifest, read from where its values are zero.

    Args:
        pixels: (3, canvas, canvas) float32, zeros in the window and nowhere on the border's
            innermost ring.

    Raises:
        DamagedError: the zeros are not one centred square.
    """
    values = read_square(pixels)
    side = values.shape[-1]
    filled = (values != 0).any(dim=0)  # (side, side)
    border = next((i for i in range(side) if not filled[i, side // 2]), side)
    if not 1 <= border <= (side - 1) // 2:
        raise DamagedError("the checkpoint's zeros are no window within a border")
    geometry = FrameGeometry(side, border)
    inner = filled[border : side - border, border : side - border]
    ring = filled[border - 1 : side - border + 1, border - 1 : side - border + 1]
    ring_pixels = (geometry.window_px + 2) ** 2 - geometry.window_px**2
    if bool(inner.any()) or int(ring.sum()) < 0.5 * ring_pixels:
        raise DamagedError(
            "the checkpoint's zeros are no window within a border",
            found=f"canvas {side} px, border {border} px at the middle of its upper edge",
        )
    return geometry


def read_mask(mask: object, side: int) -> int:
    """The border's width in pixels, from a mask that is one on it and zero in the window.

    Args:
        mask: (3, side, side).
        side: of the prompt's canvas.

    Raises:
        DamagedError: the zeros are not one centred square, the same in each colour.
    """
    values = read_square(mask)
    if values.shape[-1] != side:
        raise DamagedError("the checkpoint's mask has another size than its prompt")
    middle = values[0, :, side // 2].tolist()
    border = next((i for i, value in enumerate(middle) if value == 0), side)
    if not 1 <= border <= (side - 1) // 2 or not _is_frame(values, FrameGeometry(side, border)):
        raise DamagedError(
            "the checkpoint's mask is no border of equal width around a square window",
            found=f"canvas {side} px, {int((values == 0).any(dim=0).sum())} pixels left free",
            hint="evp frames pictures evenly; an uneven, round or full mask has no place in it",
        )
    return border


def _is_frame(mask: Tensor, geometry: FrameGeometry) -> bool:
    return torch.equal(mask, build_border_mask(geometry).expand_as(mask).float())


def clear_window(values: Tensor, geometry: FrameGeometry) -> Tensor:
    """(3, canvas, canvas): the values on the border, exact zeros in the window."""
    return torch.where(build_border_mask(geometry), values, torch.zeros(()))


def denormalise_added(values: Tensor, std: Triple) -> Tensor:
    """Values that were added to a normalised picture, as they are added in [0, 1] space.

    (x - mean) / std + v is (x + v * std - mean) / std: the mean has no part in it.
    """
    return values * torch.tensor(std)[:, None, None]


def denormalise_shown(values: Tensor, mean: Triple, std: Triple) -> Tensor:
    """Normalised values that stand alone, beside the picture, as they are in [0, 1] space."""
    return values * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
