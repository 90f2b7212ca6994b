"""Which input size a backbone is used at: its own, or another that was asked for."""

from __future__ import annotations

from evpcli.domain.errors import UsageError

MAX_CANVAS_PX = 2048
"""Largest canvas that a prompt file can hold."""

_MIN_CANVAS_PX = 16


def settle_canvas(name: str, own_px: int, asked_px: int | None, *, any_size: bool) -> int:
    """The side of the canvas that a backbone is used at.

    Args:
        name: of the backbone, for errors.
        own_px: what the model was trained at.
        asked_px: what the user wants, if anything.
        any_size: whether the model takes other sizes than its own.

    Raises:
        UsageError: another size than its own was asked, and the model or a prompt file cannot.
    """
    if asked_px is None or asked_px == own_px:
        return own_px
    if not any_size:
        raise UsageError(
            f"{name} takes one canvas only",
            found=f"{asked_px} px asked, {own_px} px is its own",
            hint=f"leave the canvas away, or ask for {own_px}",
        )
    if not _MIN_CANVAS_PX <= asked_px <= MAX_CANVAS_PX:
        raise UsageError(
            "this canvas cannot be",
            found=f"{asked_px} px",
            hint=f"ask for {_MIN_CANVAS_PX} to {MAX_CANVAS_PX} px",
        )
    return asked_px
