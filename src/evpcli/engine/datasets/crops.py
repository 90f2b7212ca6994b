"""Which square is taken out of which picture: the random choices of an epoch, and the centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_GATHERED_ROWS = 64
"""Squares gathered at a time: the numbers of their pixels take 8 bytes each."""


@dataclass(frozen=True)
class EpochPlan:
    """Every random choice of one epoch, drawn before it begins, so that it can be re-entered.

    Args:
        order: (n,) picture numbers.
        mirrored: (n,) bool, by position in `order`.
        offsets: (n, 2) in [0, 1), where the crop lies: from the top and from the left; nothing for
            the centre.
        seeds: (n,) from 0 to 2**32 - 1, what a transform draws from, by position in `order`.
    """

    order: np.ndarray
    mirrored: np.ndarray
    offsets: np.ndarray | None
    seeds: np.ndarray

    @classmethod
    def draw(cls, n: int, *, seed: int, epoch: int, flip: bool, crop: bool) -> EpochPlan:
        """The plan of one epoch; equal for equal arguments on every machine.

        What is drawn, and in which order, must stay: runs are resumed and numbers repeated by it.
        """
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(n)
        mirrored = generator.random(n) < 0.5
        offsets = generator.random((n, 2)) if crop else None
        return cls(order, mirrored & flip, offsets, generator.integers(2**32, size=n))


@dataclass(frozen=True)
class Cut:
    """The pictures of one batch, and what is cut out of each; fields as in `EpochPlan`."""

    indices: np.ndarray
    seeds: np.ndarray
    mirrored: np.ndarray | None = None
    offsets: np.ndarray | None = None

    @classmethod
    def of_plan(cls, plan: EpochPlan, part: slice) -> Cut:
        """The cut of some positions of an epoch."""
        offsets = None if plan.offsets is None else plan.offsets[part]
        return cls(plan.order[part], plan.seeds[part], plan.mirrored[part], offsets)

    def share(self, rank: int, size: int) -> Cut:
        """Every `size`th row, from `rank` on: one process's part of the batch."""
        return Cut(
            self.indices[rank::size],
            self.seeds[rank::size],
            None if self.mirrored is None else self.mirrored[rank::size],
            None if self.offsets is None else self.offsets[rank::size],
        )

    def place(self, row: int, height: int, width: int, side_px: int) -> tuple[int, int]:
        """Top and left of the square in the picture at `row`, of the size given.

        The centre of an odd remainder is where torchvision's `CenterCrop` has it: the half is
        rounded to even.
        """
        if self.offsets is None:
            return round((height - side_px) / 2), round((width - side_px) / 2)
        down, right = self.offsets[row]
        return int(down * (height - side_px + 1)), int(right * (width - side_px + 1))

    def place_all(
        self, heights: np.ndarray, widths: np.ndarray, side_px: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n,) int64 tops and lefts, the same as `place` gives for each row."""
        if self.offsets is None:
            centres = (np.rint((sizes - side_px) / 2) for sizes in (heights, widths))
            tops, lefts = (centre.astype(np.int64) for centre in centres)
            return tops, lefts
        down = self.offsets[:, 0] * (heights - side_px + 1)
        right = self.offsets[:, 1] * (widths - side_px + 1)
        return down.astype(np.int64), right.astype(np.int64)

    def is_mirrored(self, row: int) -> bool:
        """Whether the square at `row` is taken from right to left."""
        return self.mirrored is not None and bool(self.mirrored[row])

    def take(self, row: int, pixels: Tensor, side_px: int) -> Tensor:
        """The (3, side, side) square of the (3, h, w) picture at `row`, mirrored or not."""
        height, width = pixels.shape[1:]
        top, left = self.place(row, height, width, side_px)
        square = pixels[:, top : top + side_px, left : left + side_px]
        return square.flip(-1) if self.is_mirrored(row) else square


class DevicePixels:
    """All pictures of a source in one piece of a device's memory, cut there.

    Args:
        pictures: (3, h, w) uint8, in picture order; read once, one after the other.
        device: where they will be.
    """

    def __init__(self, pictures: list[Tensor], device: torch.device) -> None:
        sizes = np.array([pixels.shape[1:] for pixels in pictures], dtype=np.int64)
        self._heights, self._widths = sizes[:, 0], sizes[:, 1]
        lengths = 3 * self._heights * self._widths
        self._starts = np.concatenate([[0], lengths.cumsum()[:-1]])
        self._flat = torch.empty(int(lengths.sum()), dtype=torch.uint8, device=device)
        for start, pixels in zip(self._starts.tolist(), pictures, strict=True):
            self._flat[start : start + pixels.numel()] = pixels.flatten()

    def take(self, cut: Cut, side_px: int) -> Tensor:
        """(batch, 3, side, side) uint8 on the device, the very pixels that `Cut.take` gives."""
        heights, widths = self._heights[cut.indices], self._widths[cut.indices]
        tops, lefts = cut.place_all(heights, widths, side_px)
        flipped = np.zeros(len(heights), bool) if cut.mirrored is None else cut.mirrored
        columns = (self._starts[cut.indices], heights, widths, tops, lefts, flipped)
        numbers = torch.from_numpy(np.stack(columns, axis=1).astype(np.int64))
        if self._flat.device.type == "cuda":
            numbers = numbers.pin_memory()  # so that nobody waits for the copy
        numbers = numbers.to(self._flat.device, non_blocking=self._flat.device.type == "cuda")
        parts = [self._gather(part, side_px) for part in torch.split(numbers, _GATHERED_ROWS)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _gather(self, numbers: Tensor, side_px: int) -> Tensor:
        """(batch, 6) of start, height, width, top, left and mirrored to the squares."""
        start, height, width, top, left, mirrored = (
            column.view(-1, 1, 1, 1) for column in numbers.unbind(1)
        )
        along = torch.arange(side_px, device=numbers.device)
        channel = torch.arange(3, device=numbers.device).view(1, 3, 1, 1)
        across = torch.where(mirrored.bool(), side_px - 1 - along, along)  # (batch, 1, 1, side)
        down = (top + along.view(1, 1, -1, 1)) * width
        return self._flat[start + channel * (height * width) + down + left + across]
