"""Where the border, the window and the image lie on a backbone's canvas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evpcli.domain.errors import UsageError

Composition = Literal["frame", "overlay"]
"""`frame`: the image is shrunk into the window (EVP); `overlay`: it fills the canvas and the border
is added on top of it (VP)."""

PAPER_BORDER_SHARE = 30 / 224
"""Border width over canvas width in the paper: 30 of 224 pixels."""


@dataclass(frozen=True)
class FrameGeometry:
    """A square canvas with a border of equal width on each side.

    Args:
        canvas_px: side of the backbone's square input, at least 3.
        border_px: width of the learned border, so that at least one pixel of window is left.
        composition: how image and border meet.
    """

    canvas_px: int
    border_px: int
    composition: Composition = "frame"

    def __post_init__(self) -> None:
        if self.border_px < 1 or self.window_px < 1:
            raise UsageError(
                f"a border of {self.border_px} px does not fit a canvas of {self.canvas_px} px",
                hint=f"choose --border between 1 and {(self.canvas_px - 1) // 2}",
            )

    @classmethod
    def for_canvas(
        cls, canvas_px: int, border_px: int | None = None, composition: Composition = "frame"
    ) -> FrameGeometry:
        """The geometry asked for, or the paper's border share of this canvas, rounded."""
        if border_px is None:
            border_px = round(canvas_px * PAPER_BORDER_SHARE)
        return cls(canvas_px, border_px, composition)

    @property
    def window_px(self) -> int:
        """Side of the square that the border leaves free."""
        return self.canvas_px - 2 * self.border_px

    @property
    def image_px(self) -> int:
        """Side of the square that an image is brought to: the window, or the canvas if overlaid."""
        return self.window_px if self.composition == "frame" else self.canvas_px

    @property
    def learned_values(self) -> int:
        """How many numbers are learned: three colours of every border pixel."""
        return 3 * (self.canvas_px**2 - self.window_px**2)
