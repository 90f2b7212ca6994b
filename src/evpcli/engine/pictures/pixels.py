"""Batches: pictures decoded and shrunk once, then transformed, cropped and mirrored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from evpcli.engine.datasets.interface import Pictures
from evpcli.engine.pictures.decoder import crop_center, shrink_image

_KEEP_BYTES = 1 << 30
"""Shrunk pictures kept in memory by one source; what does not fit is decoded again."""

PictureTransform = Callable[[Tensor, int], Tensor]
"""(3, h, w) uint8 RGB and a seed give (3, h, w) uint8 RGB.

It is pure: equal pictures and seeds give equal results, the given pixels stay as they are, nobody
else's random numbers change, and several threads may call it at a time.
"""


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


class PixelSource:
    """The pictures of one split, shrunk so that the shorter side fits a square.

    Args:
        pictures: what to decode.
        side_px: side of the square that batches have.
        interpolation: how pictures are resized.
        threads: how many decode at a time.
        keep_bytes: how much of the shrunk pictures is kept in memory.
        working_px: shorter side of the pictures that transforms see, such as the canvas. They are
            shrunk to it first and from it to `side_px`; nothing for `side_px` at once.
    """

    def __init__(
        self,
        pictures: Pictures,
        side_px: int,
        interpolation: Literal["bicubic", "bilinear"] = "bicubic",
        *,
        threads: int = 2,
        keep_bytes: int = _KEEP_BYTES,
        working_px: int | None = None,
    ) -> None:
        self.side_px, self.working_px = side_px, working_px or side_px
        self.labels = torch.tensor(pictures.labels, dtype=torch.int64)
        self._pictures, self._interpolation = pictures, interpolation
        self._pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="decode")
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._kept: dict[int, Tensor] = {}
        self._room = keep_bytes

    def __len__(self) -> int:
        return len(self.labels)

    def center_batches(
        self, batch_size: int, transform: PictureTransform | None = None
    ) -> Iterator[Batch]:
        """All pictures in order, centre-cropped; the last batch may be smaller.

        Args:
            batch_size: pictures at a time.
            transform: applied at `working_px`; a picture's seed is its number.
        """
        parts = np.array_split(np.arange(len(self)), range(batch_size, len(self), batch_size))
        yield from self._one_ahead([_Cut(part, part) for part in parts], transform)

    def random_batches(
        self,
        plan: EpochPlan,
        batch_size: int,
        start: int = 0,
        transform: PictureTransform | None = None,
    ) -> Iterator[Batch]:
        """The epoch's batches from step `start` on, cropped and mirrored as planned.

        Args:
            plan: the epoch's random choices.
            batch_size: pictures at a time.
            start: the first step, from 0.
            transform: applied at `working_px`, before the crop, with the plan's seeds.
        """
        parts = [slice(i, i + batch_size) for i in range(0, len(self), batch_size)][start:]
        yield from self._one_ahead([_Cut.of_plan(plan, part) for part in parts], transform)

    def close(self) -> None:
        """End the decoding threads."""
        self._ahead.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _one_ahead(
        self, wanted: Sequence[_Cut], transform: PictureTransform | None
    ) -> Iterator[Batch]:
        """Build each batch while the one before it is being used."""
        waiting: Future[Batch] | None = None
        for cut in wanted:
            following = self._ahead.submit(self._build, cut, transform)
            if waiting:
                yield waiting.result()
            waiting = following
        if waiting:
            yield waiting.result()

    def _build(self, cut: _Cut, transform: PictureTransform | None) -> Batch:
        prepare = partial(self._prepare, transform)
        prepared = self._pool.map(prepare, cut.indices.tolist(), cut.seeds.tolist())
        squares = [cut.take(row, pixels, self.side_px) for row, pixels in enumerate(prepared)]
        return Batch(torch.stack(squares), self.labels[torch.from_numpy(cut.indices)])

    def _prepare(self, transform: PictureTransform | None, index: int, seed: int) -> Tensor:
        """(3, h, w) uint8 whose shorter side is `side_px`, transformed on its way there."""
        pixels = self._shrink(index)
        if transform:
            pixels = transform(pixels, seed)
        if self.working_px == self.side_px:
            return pixels
        return shrink_image(to_image(pixels), self.side_px, self._interpolation)

    def _shrink(self, index: int) -> Tensor:
        """(3, h, w) uint8 whose shorter side is `working_px`; kept while there is room."""
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        image = self._pictures.open_image(index)
        pixels = shrink_image(image, self.working_px, self._interpolation)
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._kept[index] = pixels
        return pixels


@dataclass(frozen=True)
class _Cut:
    """The pictures of one batch, and what is cut out of each; fields as in `EpochPlan`."""

    indices: np.ndarray
    seeds: np.ndarray
    mirrored: np.ndarray | None = None
    offsets: np.ndarray | None = None

    @classmethod
    def of_plan(cls, plan: EpochPlan, part: slice) -> _Cut:
        offsets = None if plan.offsets is None else plan.offsets[part]
        return cls(plan.order[part], plan.seeds[part], plan.mirrored[part], offsets)

    def take(self, row: int, pixels: Tensor, side_px: int) -> Tensor:
        """The square of the picture at `row`, mirrored or not."""
        if self.offsets is None:
            square = crop_center(pixels, side_px)
        else:
            square = _cut_square(pixels, side_px, self.offsets[row])
        return square.flip(-1) if self.mirrored is not None and self.mirrored[row] else square


def to_image(pixels: Tensor) -> Image.Image:
    """The picture that (3, h, w) uint8 RGB pixels are."""
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def to_pixels(image: Image.Image) -> Tensor:
    """(3, h, w) uint8 of an RGB picture."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _cut_square(pixels: Tensor, side_px: int, offset: np.ndarray) -> Tensor:
    """A square of (3, h, w) pixels; `offset` in [0, 1) is its place from the top and the left."""
    height, width = pixels.shape[1:]
    top = int(offset[0] * (height - side_px + 1))
    left = int(offset[1] * (width - side_px + 1))
    return pixels[:, top : top + side_px, left : left + side_px]
