"""The learning rate of each epoch."""

from __future__ import annotations

import math


def cosine_rate(base: float, epoch: int, epochs: int) -> float:
    """Learning rate of `epoch` (from 0) when `base` falls to 0 along a half cosine (EVP code).

    Args:
        base: rate of the first epoch.
        epoch: 0 to `epochs - 1`.
        epochs: length of the whole run.
    """
    return base * (1 + math.cos(math.pi * epoch / epochs)) / 2
