"""Pictures decoded and shrunk once, kept on disk as flat bytes that every later run maps."""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evpcli.domain.errors import StorageError
from evpcli.engine.files.durable import count_free_bytes, make_folder, publish_new
from evpcli.engine.files.temporaries import sweep_temporaries
from evpcli.engine.images.decoder import DECODER_POLICY, Interpolation

SEGMENT_BYTES = 32 << 20
"""Pixels of one segment file at most, unless one picture alone has more."""

LEAVE_FREE_BYTES = 1 << 30
"""The cache never takes the last of a disk."""

IDENTITY_BYTES = 16
_FORMAT = "evp-pixels-1"
_COLUMNS = 4  # offset, height, width, CRC-32


@dataclass(frozen=True)
class PixelCache:
    """Where the shrunk pictures of one dataset are kept.

    Args:
        root: the folder of all pixel stores.
        fingerprint: of the dataset.
        is_told: set when the user knows that nothing can be kept.
    """

    root: Path
    fingerprint: str
    is_told: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)

    def open_store(self, side_px: int, interpolation: Interpolation) -> PixelStore:
        """The dataset's pictures whose shorter side is `side_px`, as far as they are kept."""
        key = f"{self.fingerprint}/{side_px}/{interpolation}/{DECODER_POLICY}/{_FORMAT}"
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        return PixelStore(self.root / name, self.root)


class PixelStore:
    """Pictures of one size, by identity, in segment files that are written once and never changed.

    A segment is a safetensors file: `pixels`, all pictures' (3, h, w) uint8 one after the other,
    `identities`, (n, 16) uint8, and `table`, (n, 4) int64: offset, height, width, CRC-32. Several
    processes may write at a time; what two of them wrote twice is read once. A segment that is
    damaged in any way is removed, and its pictures are missing again.

    Args:
        folder: of this store; it need not exist.
        top: the folder above it that may be made on the way.
    """

    def __init__(self, folder: Path, top: Path) -> None:
        self._folder, self._top = folder, top
        self._segments: dict[str, Tensor] = {}
        self._places: dict[bytes, _Place] = {}
        self._removed = 0
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where the segments are."""
        return self._folder

    @property
    def removed(self) -> int:
        """How many segments were found damaged and removed so far."""
        return self._removed

    def refresh(self) -> None:
        """Look for segments that were written since the last look, by whomever."""
        with self._lock:
            for path in sorted(self._folder.glob("*.safetensors")):
                if path.name not in self._segments:
                    self._read_segment(path)

    def find(self, identity: bytes) -> Tensor | None:
        """(3, h, w) uint8, a view of the mapped file, not to be written to; nothing if missing."""
        place = self._places.get(identity)
        if place is None:
            return None
        flat = self._segments[place.segment]
        size = 3 * place.height * place.width
        return flat[place.offset : place.offset + size].view(3, place.height, place.width)

    def check(self, identity: bytes) -> bool:
        """Whether the picture is kept and its bytes are those that were written.

        The whole segment of a picture that fails is removed.
        """
        place, pixels = self._places.get(identity), self.find(identity)
        if place is None or pixels is None:
            return False
        if zlib.crc32(pixels.numpy().data) == place.crc:
            return True
        with self._lock:
            self._drop(place.segment)
        return False

    def add(self, pictures: Mapping[bytes, Tensor]) -> None:
        """Keep pictures as one new segment, durably.

        Args:
            pictures: (3, h, w) uint8 by identity, at least one.

        Raises:
            StorageError: there is no room, or the folder cannot be written.
        """
        from safetensors.torch import save

        rows, offset = [], 0
        for pixels in pictures.values():
            crc = zlib.crc32(pixels.contiguous().numpy().data)
            rows.append((offset, *pixels.shape[1:], crc))
            offset += pixels.numel()
        self._check_room(offset)
        identities = np.frombuffer(b"".join(pictures), dtype=np.uint8).reshape(-1, IDENTITY_BYTES)
        data = save(
            {
                "pixels": torch.cat([pixels.flatten() for pixels in pictures.values()]),
                "identities": torch.from_numpy(identities.copy()),
                "table": torch.tensor(rows, dtype=torch.int64),
            },
            {"format": _FORMAT},
        )
        make_folder(self._folder, self._top)
        sweep_temporaries(self._folder)
        publish_new(self._folder / f"{os.urandom(8).hex()}.safetensors", data, mode=0o644)
        self.refresh()

    def _check_room(self, needed_bytes: int) -> None:
        free = count_free_bytes(self._folder)
        if free is not None and free - needed_bytes < LEAVE_FREE_BYTES:
            raise StorageError(
                "there is no room to keep decoded pictures",
                found=f"{self._top}: {free / 1e9:.1f} GB free",
                hint="free some space, or point EVP_HOME at another disk",
            )

    def _read_segment(self, path: Path) -> None:
        """Take up a segment, or remove it if it is not whole."""
        try:
            found = _load_segment(path)
        except (OSError, RuntimeError):  # it may be whole, but cannot be mapped now
            return
        if found is None:
            self._remove(path.name)
            return
        self._segments[path.name], identities, table = found
        for identity, (offset, height, width, crc) in zip(identities, table.tolist(), strict=True):
            place = _Place(path.name, offset, height, width, crc)
            self._places.setdefault(identity.tobytes(), place)

    def _drop(self, segment: str) -> None:
        self._remove(segment)
        for identity in [k for k, place in self._places.items() if place.segment == segment]:
            del self._places[identity]  # the mapped bytes stay, for those who hold a view

    def _remove(self, segment: str) -> None:
        with suppress(OSError):  # another process was sooner, or may not
            os.unlink(self._folder / segment)
            self._removed += 1


@dataclass(frozen=True, slots=True)
class _Place:
    segment: str
    offset: int
    height: int
    width: int
    crc: int


def _load_segment(path: Path) -> tuple[Tensor, np.ndarray, np.ndarray] | None:
    """Pixels, identities and table of a segment file; nothing if it is not whole.

    Raises:
        OSError: it cannot be opened now.
        RuntimeError: torch cannot map it now.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("format") != _FORMAT:
                return None
            pixels, identities, table = (
                file.get_tensor(name) for name in ("pixels", "identities", "table")
            )
    except (SafetensorError, ValueError):
        return None
    return (pixels, identities.numpy(), table.numpy()) if _fits(pixels, identities, table) else None


def _fits(pixels: Tensor, identities: Tensor, table: Tensor) -> bool:
    """Whether every row of the table lies within the pixels."""
    rows = len(table)
    if (pixels.dtype, identities.dtype, table.dtype) != (torch.uint8, torch.uint8, torch.int64):
        return False
    if pixels.ndim != 1 or identities.shape != (rows, IDENTITY_BYTES):
        return False
    if table.shape != (rows, _COLUMNS) or (table < 0).any() or (table[:, 1:3] > 1 << 20).any():
        return False
    ends = table[:, 0] + 3 * table[:, 1] * table[:, 2]
    return bool((ends <= len(pixels)).all())
