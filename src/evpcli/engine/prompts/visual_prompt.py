"""VisualPrompt: the learned border and how an image is set into it."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn
from torch.nn import functional

from evpcli.domain.errors import ImageError, IncompatibleError
from evpcli.domain.geometry import FrameGeometry


class VisualPrompt(nn.Module):
    """A border of free pixel values around a window that stays zero.

    Args:
        geometry: canvas, border and window sizes.
        pixels: (3, canvas, canvas) float32, RGB, added in pixel space before the backbone's
            normalisation; not limited to [0, 1]; exact zeros in the window. Zeros when left out.

    Raises:
        IncompatibleError: `pixels` has another shape or is not zero in the window.
    """

    pixels: nn.Parameter
    mask: Tensor

    def __init__(self, geometry: FrameGeometry, pixels: Tensor | None = None) -> None:
        super().__init__()
        side = geometry.canvas_px
        mask = build_border_mask(geometry)
        start = torch.zeros(3, side, side) if pixels is None else pixels.detach().float().clone()
        if start.shape != (3, side, side):
            raise IncompatibleError(
                "the prompt's pixels do not fill its canvas",
                found=f"shape {tuple(start.shape)} for a canvas of {side} px",
            )
        if bool((start * ~mask).any()):
            raise IncompatibleError("the prompt has values where the image should be")
        self.geometry = geometry
        self.pixels = nn.Parameter(start)
        self.register_buffer("mask", mask, persistent=False)

    def frame(self, images: Tensor) -> Tensor:
        """Set each image into the window and the learned border around it.

        An overlaid prompt is added on top of an image that fills the canvas.

        Args:
            images: (batch, 3, image_px, image_px) of the geometry, RGB in [0, 1], not yet
                normalised.

        Returns:
            (batch, 3, canvas, canvas) on the images' device; border values are not limited to
            [0, 1]. The gradient reaches every value of `pixels`, the window's too: the EVP step
            needs its length before it is masked.

        Raises:
            ImageError: `images` is not 4-dimensional with 3 channels of that size.
        """
        side = self.geometry.image_px
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, side, side):
            raise ImageError(
                f"images must be (batch, 3, {side}, {side}) to fit the prompt",
                found=f"shape {tuple(images.shape)}",
                hint="a single image needs a batch axis: image[None]"
                if images.ndim == 3
                else f"shrink and crop them to {side} px, as a loaded prompt's `preprocess` does",
            )
        return pad_to_canvas(images, self.geometry) + self.pixels  # (batch, 3, canvas, canvas)

    def forward(self, images: Tensor) -> Tensor:
        """The same as `frame`, so that the prompt can stand in a `nn.Sequential`."""
        return self.frame(images)


def build_border_mask(geometry: FrameGeometry) -> Tensor:
    """(1, canvas, canvas) bool, true on the border and false in the window."""
    side, border = geometry.canvas_px, geometry.border_px
    mask = torch.ones(1, side, side, dtype=torch.bool)
    mask[:, border : side - border, border : side - border] = False
    return mask


def pad_to_canvas(images: Tensor, geometry: FrameGeometry) -> Tensor:
    """(batch, 3, image_px, image_px) in [0, 1] to (batch, 3, canvas, canvas).

    A frame's images get a black border; overlaid ones fill the canvas as they are.
    """
    if geometry.composition == "overlay":
        return images
    return functional.pad(images, [geometry.border_px] * 4)


def hash_pixels(pixels: Tensor) -> str:
    """SHA-256 over the values as little-endian float32 in (3, canvas, canvas) order."""
    array = pixels.detach().to("cpu", torch.float32).contiguous().numpy()
    return hashlib.sha256(array.astype("<f4", copy=False).data).hexdigest()


def clipped_share(prompt: VisualPrompt) -> float:
    """Share of border values outside [0, 1], which a picture file cannot hold; in [0, 1]."""
    border = prompt.pixels.detach()[prompt.mask.expand_as(prompt.pixels)]
    return float(((border < 0) | (border > 1)).float().mean())
