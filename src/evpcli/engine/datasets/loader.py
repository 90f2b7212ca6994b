"""Batches: pictures decoded and shrunk once, then transformed, cropped and mirrored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from evpcli.domain.errors import ImageError
from evpcli.domain.events import ReadingEvent, Trouble, WorkProgress
from evpcli.engine.compute.distributed import ALONE, World
from evpcli.engine.datasets.cache_filling import StoreFiller
from evpcli.engine.datasets.crops import Cut, DevicePixels, EpochPlan
from evpcli.engine.datasets.interface import Pictures
from evpcli.engine.datasets.pixel_cache import PixelCache
from evpcli.engine.images.decoder import Interpolation, shrink_image

_KEEP_BYTES = 1 << 30
"""Shrunk pictures kept in memory by one source; what does not fit is decoded again."""

_DEVICE_SHARE = 0.25
"""Of a GPU's free memory: what one source's pictures may take."""

UNREADABLE = -100
"""Label of a picture that cannot be decoded; the cross-entropy of torch leaves it out."""

_CPU = torch.device("cpu")

PictureTransform = Callable[[Tensor, int], Tensor]
"""(3, h, w) uint8 RGB and a seed give (3, h, w) uint8 RGB.

It is pure: equal pictures and seeds give equal results, the given pixels stay as they are, nobody
else's random numbers change, and several threads may call it at a time.
"""

EventCallback = Callable[[ReadingEvent], None]


@dataclass(frozen=True)
class Batch:
    """Some pictures of one size with their labels.

    Args:
        images: (batch, 3, side, side) uint8, RGB.
        labels: (batch,) int64; `UNREADABLE` for a gray square in a broken picture's place.
        readable: how many labels are not `UNREADABLE`; all when left out.
    """

    images: Tensor
    labels: Tensor
    readable: int = -1

    def __post_init__(self) -> None:
        if self.readable < 0:
            object.__setattr__(self, "readable", len(self.labels))

    def split(self, parts: int) -> list[Batch]:
        """The batch in at most so many parts of nearly equal size, in order."""
        if parts == 1 or len(self.labels) < 2:
            return [self]
        pairs = zip(self.images.tensor_split(parts), self.labels.tensor_split(parts), strict=True)
        found = [(images, labels) for images, labels in pairs if len(labels)]
        if self.readable == len(self.labels):
            return [Batch(images, labels) for images, labels in found]
        return [Batch(i, labels, int((labels != UNREADABLE).sum())) for i, labels in found]

    def to(self, device: torch.device) -> Batch:
        """The same on a device; what the host has pinned is copied while it goes on.

        Only CUDA keeps what it still copies; elsewhere memory could be used again too early.
        """
        eager = device.type == "cuda"
        images = self.images.to(device, non_blocking=eager)
        return Batch(images, self.labels.to(device, non_blocking=eager), self.readable)


@dataclass(frozen=True)
class Reading:
    """How pictures become pixels.

    Args:
        interpolation: how pictures are resized.
        threads: how many decode at a time.
        cache: where shrunk pictures are kept from run to run; nowhere when left out.
        device: where batches are needed; pictures that fit there are cut there.
        on_event: told how decoding and `center_batches` go, and of each picture that cannot be
            decoded, once.
        world: who shares the work; each process gets its own rows of every batch.
    """

    interpolation: Interpolation = "bicubic"
    threads: int = 2
    cache: PixelCache | None = None
    device: torch.device = _CPU
    on_event: EventCallback = lambda event: None
    world: World = ALONE


class PixelSource:
    """The pictures of one split, shrunk so that the shorter side fits a square.

    Args:
        pictures: what to decode.
        side_px: side of the square that batches have.
        reading: how.
        keep_bytes: how much of the shrunk pictures is kept in memory where no cache holds them.
        working_px: shorter side of the pictures that transforms see, such as the canvas. They are
            shrunk to it first and from it to `side_px`; nothing for `side_px` at once.
    """

    def __init__(
        self,
        pictures: Pictures,
        side_px: int,
        reading: Reading = Reading(),
        *,
        keep_bytes: int = _KEEP_BYTES,
        working_px: int | None = None,
    ) -> None:
        self.side_px, self.working_px = side_px, working_px or side_px
        self.labels = torch.tensor(pictures.labels, dtype=torch.int64)
        self._pictures, self._reading = pictures, reading
        self._pool = ThreadPoolExecutor(max(1, reading.threads), thread_name_prefix="decode")
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._kept: dict[int, Tensor] = {}
        self._broken: dict[int, str] = {}
        self._room = keep_bytes
        self._on_device: DevicePixels | None = None
        self._is_filled = False

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of the pictures that could not be decoded so far."""
        return tuple(self._broken.values())

    def fill(self) -> None:
        """Decode now what the cache lacks, so that every later batch only copies.

        A cache that has no room or cannot be written is told once, and done without. Does
        nothing without a cache, and at the second call.
        """
        if self._is_filled:
            return
        self._is_filled = True
        if self._reading.cache is None:
            return
        identities = list(self._pool.map(self._pictures.identify, range(len(self))))
        cache, on_event = self._reading.cache, self._reading.on_event
        store = cache.open_store(self.working_px, self._reading.interpolation)
        filler = StoreFiller(store, self._shrink, self._pool, on_event, cache.is_told)
        self._kept = filler.fill(identities, self._reading.world)
        if self._reading.device.type == "cuda" and self.working_px == self.side_px:
            self._move_to_device()

    def center_batches(
        self, batch_size: int, transform: PictureTransform | None = None
    ) -> Iterator[Batch]:
        """All pictures in order, centre-cropped; the last batch may be smaller, none is empty.

        Args:
            batch_size: pictures at a time.
            transform: applied at `working_px`; a picture's seed is its number.
        """
        parts, done = self._split(batch_size), 0
        batches = self._one_ahead([Cut(part, part) for part in parts], transform)
        for part, batch in zip(parts, batches, strict=True):
            if len(batch.labels):
                yield batch
            done += len(part)
            self._reading.on_event(WorkProgress(done, len(self)))

    def merge(self, values: Tensor, batch_size: int) -> Tensor:
        """What every process found for its rows of `center_batches`, put together in each.

        Args:
            values: (own rows, ...), of a type that can be summed, in the order of the batches.
            batch_size: as it was for `center_batches`.

        Returns:
            (pictures, ...) on the device of `values`, in picture order.
        """
        world = self._reading.world
        if world.is_alone:
            return values
        own = [part[world.rank :: world.size] for part in self._split(batch_size)]
        whole = values.new_zeros((len(self), *values.shape[1:]))
        whole[torch.from_numpy(np.concatenate(own)).to(values.device)] = values
        world.sum_in_place(whole)
        return whole

    def _split(self, batch_size: int) -> list[np.ndarray]:
        """Picture numbers of each batch in order; every process has a part of the first."""
        batch_size = max(batch_size, self._reading.world.size)
        return np.array_split(np.arange(len(self)), range(batch_size, len(self), batch_size))

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
        yield from self._one_ahead([Cut.of_plan(plan, part) for part in parts], transform)

    def close(self) -> None:
        """End the decoding threads."""
        self._ahead.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _shrink(self, index: int) -> Tensor | None:
        """(3, h, w) uint8 whose shorter side is `working_px`; nothing for a broken picture."""
        try:
            image = self._pictures.open_image(index)
        except ImageError as error:
            if index not in self._broken:
                self._broken[index] = self._pictures.describe(index)
                self._reading.on_event(Trouble(_describe_broken(error)))
            return None
        return shrink_image(image, self.working_px, self._reading.interpolation)

    def _move_to_device(self) -> None:
        """Copy all pictures to the GPU if they are whole and leave most of its memory free."""
        free, _ = torch.cuda.mem_get_info(self._reading.device)
        needed = sum(pixels.nbytes for pixels in self._kept.values())
        if len(self._kept) == len(self) and needed <= _DEVICE_SHARE * free:
            pictures = [self._kept[index] for index in range(len(self))]
            self._on_device = DevicePixels(pictures, self._reading.device)

    def _one_ahead(
        self, wanted: Sequence[Cut], transform: PictureTransform | None
    ) -> Iterator[Batch]:
        """Build each batch while the one before it is being used."""
        self.fill()
        world = self._reading.world
        world.check_share(len(self), "of one split")
        if not world.is_alone:
            wanted = [cut.share(world.rank, world.size) for cut in wanted]
        if self._on_device and transform is None:
            yield from (self._build_on_device(cut, self._on_device) for cut in wanted)
            return
        waiting: Future[Batch] | None = None
        for cut in wanted:
            following = self._ahead.submit(self._build, cut, transform)
            if waiting:
                yield waiting.result()
            waiting = following
        if waiting:
            yield waiting.result()

    def _build_on_device(self, cut: Cut, pixels: DevicePixels) -> Batch:
        labels = self.labels[torch.from_numpy(cut.indices)]
        return Batch(pixels.take(cut, self.side_px), labels)

    def _build(self, cut: Cut, transform: PictureTransform | None) -> Batch:
        prepared = self._prepare_all(cut, transform)
        labels = self.labels[torch.from_numpy(cut.indices)]
        side, is_pinned = self.side_px, self._reading.device.type == "cuda"
        images = torch.empty((len(labels), 3, side, side), dtype=torch.uint8, pin_memory=is_pinned)
        readable = len(labels)
        for row, pixels in enumerate(prepared):
            if pixels is None:
                images[row], labels[row] = 128, UNREADABLE
                readable -= 1
            else:
                images[row] = cut.take(row, pixels, side)
        return Batch(images, labels, readable)

    def _prepare_all(self, cut: Cut, transform: PictureTransform | None) -> Iterable[Tensor | None]:
        """Each picture of the cut; threads share what is more than a look."""
        indices, seeds = cut.indices.tolist(), cut.seeds.tolist()
        is_ready = transform is None and self.working_px == self.side_px
        if is_ready and all(index in self._kept for index in indices):
            return (self._kept[index] for index in indices)
        return self._pool.map(partial(self._prepare, transform), indices, seeds)

    def _prepare(self, transform: PictureTransform | None, index: int, seed: int) -> Tensor | None:
        """(3, h, w) uint8 whose shorter side is `side_px`, transformed on its way there."""
        pixels = self._kept.get(index)
        if pixels is None:
            pixels = self._shrink(index)
            if pixels is None:
                return None
            if pixels.nbytes <= self._room:
                self._room -= pixels.nbytes
                self._kept[index] = pixels
        if transform:
            pixels = transform(pixels, seed)
        if self.working_px == self.side_px:
            return pixels
        return shrink_image(to_image(pixels), self.side_px, self._reading.interpolation)


def _describe_broken(error: ImageError) -> str:
    found = f" ({error.found})" if error.found else ""
    return f"{error.what}{found}: not learned from, and wrong where accuracy is measured"


def to_image(pixels: Tensor) -> Image.Image:
    """The picture that (3, h, w) uint8 RGB pixels are."""
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def to_pixels(image: Image.Image) -> Tensor:
    """(3, h, w) uint8 of an RGB picture."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
