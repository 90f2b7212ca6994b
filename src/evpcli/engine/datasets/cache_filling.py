"""What a store lacks, decoded by several threads and kept as it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from evpcli.domain.counts import say_count
from evpcli.domain.errors import StorageError
from evpcli.domain.events import ReadingEvent, Trouble, WorkProgress
from evpcli.engine.compute.distributed import ALONE, World
from evpcli.engine.datasets.pixel_cache import SEGMENT_BYTES, PixelStore

_AT_A_TIME = 256


class StoreFiller:
    """Fills a store, a segment at a time: what is stopped half-way goes on where it was.

    Args:
        store: to fill.
        shrink: picture number to (3, h, w) uint8, or to nothing for a broken picture.
        pool: threads that call it.
        on_event: told how far it is, of damage, and once that nothing can be kept.
        is_told: set when that was told.
    """

    def __init__(
        self,
        store: PixelStore,
        shrink: Callable[[int], Tensor | None],
        pool: ThreadPoolExecutor,
        on_event: Callable[[ReadingEvent], None],
        is_told: threading.Event,
    ) -> None:
        self._store, self._shrink, self._pool = store, shrink, pool
        self._on_event, self._is_told = on_event, is_told
        self._pending: dict[bytes, Tensor] = {}
        self._pending_bytes = 0

    def fill(self, identities: Sequence[bytes], world: World = ALONE) -> dict[int, Tensor]:
        """(3, h, w) uint8 views of the store by picture number, as far as they could be kept.

        Args:
            identities: of all pictures, by number.
            world: the processes of a machine decode a part each.
        """
        self._store.refresh()
        list(self._pool.map(self._store.check, identities))  # a bad segment goes as a whole
        world.wait()  # nobody writes before everybody has looked
        missing = [n for n, identity in enumerate(identities) if self._store.find(identity) is None]
        if self._store.removed:
            files = say_count(self._store.removed, "file")
            self._on_event(Trouble(f"{files} of the pixel store damaged: decoding again"))
        self._add_missing(identities, missing[world.local_rank :: world.local_size])
        world.wait()
        self._store.refresh()
        found = ((number, self._store.find(key)) for number, key in enumerate(identities))
        return {number: pixels for number, pixels in found if pixels is not None}

    def _add_missing(self, identities: Sequence[bytes], missing: Sequence[int]) -> None:
        try:
            for done, (number, pixels) in enumerate(self._decode(missing), 1):
                if pixels is not None:
                    self._take(identities[number], pixels)
                self._on_event(WorkProgress(done, len(missing), "decoding"))
            self._write()
        except StorageError as error:
            if self._is_told.is_set():
                return
            self._is_told.set()
            found = f": {error.found}" if error.found else ""
            what = f"decoded pictures cannot be kept ({error.what}{found})"
            self._on_event(Trouble(f"{what}; going on without, as with --no-store"))

    def _decode(self, missing: Sequence[int]) -> Iterator[tuple[int, Tensor | None]]:
        """Pictures in order, with a limited number of them waiting."""
        for first in range(0, len(missing), _AT_A_TIME):
            numbers = missing[first : first + _AT_A_TIME]
            yield from zip(numbers, self._pool.map(self._shrink, numbers), strict=True)

    def _take(self, identity: bytes, pixels: Tensor) -> None:
        if self._pending and self._pending_bytes + pixels.nbytes > SEGMENT_BYTES:
            self._write()
        self._pending[identity] = pixels
        self._pending_bytes += pixels.nbytes

    def _write(self) -> None:
        if self._pending:
            self._store.add(self._pending)
            self._pending, self._pending_bytes = {}, 0
