"""Pictures made worse on purpose, in ten ways and five severities; `docs/corruptions.md`.

The strengths are this project's own: not those of ImageNet-C or CIFAR-C.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageFilter
from torch import Tensor

from evpcli.domain.errors import UsageError
from evpcli.engine.datasets.loader import PictureTransform, to_image, to_pixels
from evpcli.engine.images.corruption_names import SEVERITIES, check_corruption_name

_Edit = Callable[[Image.Image, int], Image.Image]
"""An RGB picture and a seed give an RGB picture of the same size."""


def build_corruption(name: str, severity: int) -> PictureTransform:
    """The transform of a corruption at one severity; it runs in the thread that calls it.

    Args:
        name: one of `CORRUPTIONS`.
        severity: 1, the mildest, to 5.

    Raises:
        UsageError: there is no such corruption or severity.
    """
    build = CORRUPTIONS[check_corruption_name(name)]
    if severity not in SEVERITIES:
        raise UsageError(
            f"{name} has no such severity",
            found=str(severity),
            hint="use 1, the mildest, to 5, the hardest",
        )
    return partial(_corrupt, build(severity))


def _corrupt(edit: _Edit, pixels: Tensor, seed: int) -> Tensor:
    return to_pixels(edit(to_image(pixels), seed))


def _build_noise(severity: int) -> _Edit:
    """Normal noise, drawn for each value by itself and added; the deviation is out of 255."""
    deviation = (8, 16, 26, 40, 60)[severity - 1]

    def edit(image: Image.Image, seed: int) -> Image.Image:
        values = np.asarray(image, dtype=np.float32)  # (h, w, 3)
        drawn = np.random.default_rng(seed).standard_normal(values.shape, dtype=np.float32)
        noisy = np.rint(values + deviation * drawn).clip(0, 255)
        return Image.fromarray(noisy.astype(np.uint8))

    return edit


def _build_blur(severity: int) -> _Edit:
    """A Gaussian whose deviation is a share of the shorter side."""
    share = (0.005, 0.01, 0.015, 0.025, 0.04)[severity - 1]
    return lambda image, _: image.filter(ImageFilter.GaussianBlur(share * min(image.size)))


def _build_brightness(severity: int) -> _Edit:
    return _scale_brightness((1.25, 1.5, 1.8, 2.2, 2.8)[severity - 1])


def _build_darkness(severity: int) -> _Edit:
    return _scale_brightness((0.8, 0.6, 0.45, 0.3, 0.15)[severity - 1])


def _scale_brightness(factor: float) -> _Edit:
    from torchvision.transforms.v2.functional import adjust_brightness

    return lambda image, _: adjust_brightness(image, factor)


def _build_contrast(severity: int) -> _Edit:
    """Every value drawn towards the picture's mean gray."""
    from torchvision.transforms.v2.functional import adjust_contrast

    factor = (0.8, 0.6, 0.45, 0.3, 0.15)[severity - 1]
    return lambda image, _: adjust_contrast(image, factor)


def _build_saturation(severity: int) -> _Edit:
    """Every colour drawn towards its gray; the last severity leaves gray alone."""
    from torchvision.transforms.v2.functional import adjust_saturation

    factor = (0.8, 0.6, 0.4, 0.2, 0.0)[severity - 1]
    return lambda image, _: adjust_saturation(image, factor)


def _build_jpeg(severity: int) -> _Edit:
    """Saved and read once, with colours at half the resolution; the blocks are of 8 pixels."""
    from torchvision.transforms.v2.functional import jpeg

    quality = (40, 25, 15, 9, 5)[severity - 1]
    return lambda image, _: jpeg(image, quality)


def _build_pixelate(severity: int) -> _Edit:
    """Each block replaced by its mean colour; so many blocks along the shorter side."""
    blocks = (48, 32, 20, 14, 9)[severity - 1]

    def edit(image: Image.Image, _: int) -> Image.Image:
        share = min(1.0, blocks / min(image.size))
        width, height = (round(share * side) for side in image.size)
        small = image.resize((width, height), Image.Resampling.BOX)
        return small.resize(image.size, Image.Resampling.NEAREST)

    return edit


def _build_posterize(severity: int) -> _Edit:
    """Only the highest bits of every value kept."""
    from torchvision.transforms.v2.functional import posterize

    bits = (5, 4, 3, 2, 1)[severity - 1]
    return lambda image, _: posterize(image, bits)


def _build_rotation(severity: int) -> _Edit:
    """Turned around the centre to the side that the seed says; black where nothing was."""
    degrees = (5, 10, 20, 35, 60)[severity - 1]

    def edit(image: Image.Image, seed: int) -> Image.Image:
        sign = 1 if np.random.default_rng(seed).random() < 0.5 else -1
        return image.rotate(sign * degrees, Image.Resampling.BILINEAR)

    return edit


CORRUPTIONS: Mapping[str, Callable[[int], _Edit]] = MappingProxyType(
    {
        "gaussian-noise": _build_noise,
        "gaussian-blur": _build_blur,
        "brightness": _build_brightness,
        "darkness": _build_darkness,
        "contrast": _build_contrast,
        "saturation": _build_saturation,
        "jpeg": _build_jpeg,
        "pixelate": _build_pixelate,
        "posterize": _build_posterize,
        "rotation": _build_rotation,
    }
)
