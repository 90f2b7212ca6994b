"""Batches: pictures decoded and shrunk once, then cropped and mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from evpcli.engine.datasets.interface import Pictures
from evpcli.engine.pictures.decoder import crop_center, shrink_image

_KEEP_BYTES = 1 << 30
"""Shrunk pictures kept in memory by one source; what does not fit is decoded again."""


@dataclass(frozen=True)
class Batch:
    """Some pictures of one size with their labels.

    Args:
        images: (batch, 3, side, side) uint8, RGB.
        labels: (batch,) int64.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class EpochPlan:
    """Every random choice of one epoch, drawn before it begins, so that it can be re-entered.

    Args:
        order: (n,) picture numbers.
        mirrored: (n,) bool, by position in `order`.
        offsets: (n, 2) in [0, 1), where the crop lies: from the top and from the left; nothing for
            the centre.
    """

    order: np.ndarray
    mirrored: np.ndarray
    offsets: np.ndarray | None

    @classmethod
    def draw(cls, n: int, *, seed: int, epoch: int, flip: bool, crop: bool) -> EpochPlan:
        """The plan of one epoch; equal for equal arguments on every machine."""
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(n)
        mirrored = generator.random(n) < 0.5
        return cls(order, mirrored & flip, generator.random((n, 2)) if crop else None)


class PixelSource:
    """The pictures of one split, shrunk so that the shorter side fits a square.

    Args:
        pictures: what to decode.
        side_px: side of the square that batches have.
        interpolation: how pictures are resized.
        threads: how many decode at a time.
        keep_bytes: how much of the shrunk pictures is kept in memory.
    """

    def __init__(
        self,
        pictures: Pictures,
        side_px: int,
        interpolation: Literal["bicubic", "bilinear"] = "bicubic",
        *,
        threads: int = 2,
        keep_bytes: int = _KEEP_BYTES,
    ) -> None:
        self.side_px = side_px
        self.labels = torch.tensor(pictures.labels, dtype=torch.int64)
        self._pictures, self._interpolation = pictures, interpolation
        self._pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="decode")
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._kept: dict[int, Tensor] = {}
        self._room = keep_bytes

    def __len__(self) -> int:
        return len(self.labels)

    def center_batches(self, batch_size: int) -> Iterator[Batch]:
        """All pictures in order, centre-cropped; the last batch may be smaller."""
        parts = np.array_split(np.arange(len(self)), range(batch_size, len(self), batch_size))
        yield from self._one_ahead([(part, None, None) for part in parts])

    def random_batches(self, plan: EpochPlan, batch_size: int, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches from step `start` on, cropped and mirrored as planned."""
        parts = [slice(i, i + batch_size) for i in range(0, len(self), batch_size)][start:]
        offsets = [None if plan.offsets is None else plan.offsets[part] for part in parts]
        yield from self._one_ahead(
            [(plan.order[p], o, plan.mirrored[p]) for p, o in zip(parts, offsets, strict=True)]
        )

    def close(self) -> None:
        """End the decoding threads."""
        self._ahead.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _one_ahead(self, wanted: Sequence[_Cut]) -> Iterator[Batch]:
        """Build each batch while the one before it is being used."""
        waiting: Future[Batch] | None = None
        for cut in wanted:
            following = self._ahead.submit(self._build, *cut)
            if waiting:
                yield waiting.result()
            waiting = following
        if waiting:
            yield waiting.result()

    def _build(
        self, indices: np.ndarray, offsets: np.ndarray | None, mirrored: np.ndarray | None
    ) -> Batch:
        shrunk = list(self._pool.map(self._shrink, indices.tolist()))
        squares = []
        for row, pixels in enumerate(shrunk):
            square = (
                crop_center(pixels, self.side_px)
                if offsets is None
                else _cut_square(pixels, self.side_px, offsets[row])
            )
            squares.append(square.flip(-1) if mirrored is not None and mirrored[row] else square)
        return Batch(torch.stack(squares), self.labels[torch.from_numpy(indices)])

    def _shrink(self, index: int) -> Tensor:
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        image = self._pictures.open_image(index)
        pixels = shrink_image(image, self.side_px, self._interpolation)
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._kept[index] = pixels
        return pixels


_Cut = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


def _cut_square(pixels: Tensor, side_px: int, offset: np.ndarray) -> Tensor:
    """A square of (3, h, w) pixels; `offset` in [0, 1) is its place from the top and the left."""
    height, width = pixels.shape[1:]
    top = int(offset[0] * (height - side_px + 1))
    left = int(offset[1] * (width - side_px + 1))
    return pixels[:, top : top + side_px, left : left + side_px]
