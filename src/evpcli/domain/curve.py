"""A learning curve made short: fewer points, and one line of block characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

_BLOCKS = "▁▂▃▄▅▆▇█"

T = TypeVar("T")


def thin_out(points: Sequence[T], limit: int) -> tuple[T, ...]:
    """At most `limit` points, evenly spaced, with the first and the last; `limit` is at least 2."""
    if len(points) <= limit:
        return tuple(points)
    step = (len(points) - 1) / (limit - 1)
    return tuple(points[round(index * step)] for index in range(limit))


def describe_curve(values: Sequence[float], *, low_is_best: bool, drawn: bool) -> str:
    """First, best and last value; with `drawn` behind a line of blocks.

    Args:
        values: at least one.
        low_is_best: as for a loss.
        drawn: whether the line is wanted.
    """
    best = min(values) if low_is_best else max(values)
    text = f"first {values[0]:.4g}, best {best:.4g}, last {values[-1]:.4g}"
    return f"{draw_sparkline(values)}  {text}" if drawn else text


def draw_sparkline(values: Sequence[float], columns: int = 40) -> str:
    """Values as block characters from their lowest to their highest, at most `columns` long."""
    if not values:
        return ""
    shown = thin_out(values, columns)
    low, high = min(shown), max(shown)
    if high == low:
        return _BLOCKS[3] * len(shown)
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[round(top * (value - low) / (high - low))] for value in shown)
