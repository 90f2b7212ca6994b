"""Where the border and the window lie on a backbone's canvas."""

from __future__ import annotations

from dataclasses import dataclass

from evpcli.domain.errors import UsageError

PAPER_BORDER_SHARE = 30 / 224
"""Border width over canvas width in the paper: 30 of 224 pixels."""


@dataclass(frozen=True)
class FrameGeometry:
    """A square canvas with a border of equal width on each side.

    Args:
        canvas_px: side of the backbone's square input, at least 3.
        border_px: width of the learned border, so that at least one pixel of window is left.
    """

    canvas_px: int
    border_px: int

    def __post_init__(self) -> None:
        if self.border_px < 1 or self.window_px < 1:
            raise UsageError(
                f"a border of {self.border_px} px does not fit a canvas of {self.canvas_px} px",
                hint=f"choose --border between 1 and {(self.canvas_px - 1) // 2}",
            )

    @classmethod
    def for_canvas(cls, canvas_px: int, border_px: int | None = None) -> FrameGeometry:
        """The geometry asked for, or the paper's border share of this canvas, rounded."""
        if border_px is None:
            border_px = round(canvas_px * PAPER_BORDER_SHARE)
        return cls(canvas_px, border_px)

    @property
    def window_px(self) -> int:
        """Side of the square in which the shrunk image sits."""
        return self.canvas_px - 2 * self.border_px

    @property
    def learned_values(self) -> int:
        """How many numbers are learned: three colours of every border pixel."""
        return 3 * (self.canvas_px**2 - self.window_px**2)
