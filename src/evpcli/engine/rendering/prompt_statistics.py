"""What the learned border looks like in numbers: each side, each channel, and its spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.prompts.visual_prompt import VisualPrompt

Side = Literal["top", "bottom", "left", "right", "all"]
Channel = Literal["red", "green", "blue", "all"]

SIDES: tuple[Side, ...] = ("top", "bottom", "left", "right")
CHANNELS: tuple[Channel, ...] = ("red", "green", "blue")


@dataclass(frozen=True)
class BorderStatistics:
    """Numbers over one part of the border, in pixel values before normalisation.

    Args:
        side: which side; top and bottom own the corners, so that no value is counted twice.
        channel: which colour.
        count: how many values.
        minimum: smallest value.
        maximum: largest value.
        mean: arithmetic mean.
        std: population standard deviation.
        outside_share: share of values outside [0, 1], which a picture file cannot hold.
        l2: Euclidean length of the values.
    """

    side: Side
    channel: Channel
    count: int
    minimum: float
    maximum: float
    mean: float
    std: float
    outside_share: float
    l2: float


def measure_border(prompt: VisualPrompt) -> tuple[BorderStatistics, ...]:
    """Statistics of every side and channel, then of each channel, then of the whole border."""
    pixels = prompt.pixels.detach().cpu().double()
    parts = cut_sides(pixels, prompt.geometry)
    whole = torch.cat([parts[side] for side in SIDES], dim=1)  # (3, border values)
    rows = [
        _summarise(side, channel, parts[side][index])
        for side in SIDES
        for index, channel in enumerate(CHANNELS)
    ]
    rows += [_summarise("all", channel, whole[index]) for index, channel in enumerate(CHANNELS)]
    return (*rows, _summarise("all", "all", whole))


def cut_sides(pixels: Tensor, geometry: FrameGeometry) -> dict[Side, Tensor]:
    """The border's values by side, each (3, values); top and bottom own the corners.

    Args:
        pixels: (3, canvas, canvas), RGB.
        geometry: canvas, border and window sizes.
    """
    border, end = geometry.border_px, geometry.canvas_px - geometry.border_px
    middle = pixels[:, border:end]
    return {
        "top": pixels[:, :border].flatten(1),
        "bottom": pixels[:, end:].flatten(1),
        "left": middle[:, :, :border].flatten(1),
        "right": middle[:, :, end:].flatten(1),
    }


def _summarise(side: Side, channel: Channel, values: Tensor) -> BorderStatistics:
    return BorderStatistics(
        side=side,
        channel=channel,
        count=values.numel(),
        minimum=float(values.min()),
        maximum=float(values.max()),
        mean=float(values.mean()),
        std=float(values.std(correction=0)),
        outside_share=float(((values < 0) | (values > 1)).double().mean()),
        l2=float(values.norm()),
    )


def measure_spectrum(prompt: VisualPrompt) -> Tensor:
    """Amplitude of each spatial frequency of the prompt, the window's zeros included.

    Returns:
        (canvas, canvas) float32: |FFT| averaged over the three channels, frequency zero in the
        middle (row and column `canvas // 2`), axes in cycles per canvas.
    """
    pixels = prompt.pixels.detach().cpu().double()
    amplitude: Tensor = torch.fft.fft2(pixels).abs().mean(0)
    return torch.roll(amplitude, [length // 2 for length in amplitude.shape], (0, 1)).float()
