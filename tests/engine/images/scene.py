"""A picture with what photographs have: slopes, edges, colours, fine stripes; no symmetry."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def paint_scene(height: int, width: int) -> Tensor:
    """(3, height, width) uint8, RGB."""
    rows, columns = np.mgrid[:height, :width] / min(height, width)
    waves = 0.5 + 0.5 * np.sin(12 * columns * rows)
    values = 200 * np.stack([rows, 0.1 + 0.8 * columns * (1 - rows), waves], -1).clip(0, 1)
    values[(rows > 0.2) & (rows < 0.5) & (columns > 0.3) & (columns < 0.45)] = (250, 240, 30)
    values[(rows - 0.7) ** 2 + (columns - 0.65) ** 2 < 0.03] = (20, 60, 220)
    values[((30 * columns).astype(int) % 3 == 0) & (rows < 0.15)] = (5, 5, 5)
    return torch.from_numpy(values.astype(np.uint8)).permute(2, 0, 1).contiguous()
