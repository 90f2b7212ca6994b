"""Pictures as they are kept: one file each, or all in one array."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from evpcli.domain.errors import ImageError
from evpcli.domain.manifest import canonical_json
from evpcli.engine.datasets.interface import Pictures, SplitName
from evpcli.engine.images.decoder import decode_image


@dataclass(frozen=True)
class FilePictures:
    """One image file a picture.

    Args:
        root: the dataset's folder.
        names: paths below `root`.
        labels: class number of each.
    """

    root: Path
    names: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.names)

    def open_image(self, index: int) -> Image.Image:
        """Decode one file; see `Pictures`."""
        return decode_image(self.root / self.names[index], name=self.names[index])

    def describe(self, index: int) -> str:
        """The file's path below the dataset's folder."""
        return self.names[index]

    def identify(self, index: int) -> bytes:
        """Hash of the file's path, size, time and number; see `Pictures`."""
        path = self.root / self.names[index]
        try:
            info = path.stat()
            stamp = (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
        except OSError:
            stamp = (-1, 0, 0, 0)
        return _hash_parts(os.fsencode(os.path.abspath(path)), repr(stamp).encode())


@dataclass(frozen=True)
class ArrayPictures:
    """All pictures in one array.

    Args:
        values: (n, h, w) gray or (n, h, w, 3) RGB, uint8 in 0..255; may be read from disk
            piece by piece.
        labels: class number of each.
        prefix: what names begin with, such as `train`.
    """

    values: np.ndarray
    labels: tuple[int, ...]
    prefix: str

    def __len__(self) -> int:
        return len(self.labels)

    def open_image(self, index: int) -> Image.Image:
        """One picture in RGB; see `Pictures`."""
        if not 0 <= index < len(self):
            raise ImageError(f"there is no picture {index} in {self.prefix}")
        return Image.fromarray(np.ascontiguousarray(self.values[index])).convert("RGB")

    def describe(self, index: int) -> str:
        """The split and the picture's number in it."""
        return f"{self.prefix}/{index:06d}"

    def identify(self, index: int) -> bytes:
        """Hash of the picture's values and shape; see `Pictures`."""
        values = np.ascontiguousarray(self.values[index])
        return _hash_parts(repr(values.shape).encode(), values.tobytes())


@dataclass(frozen=True)
class Reading:
    """What a reader finds in a dataset's folder.

    Args:
        splits: the pictures.
        source_classes: class names as found there, in label order.
    """

    splits: Mapping[SplitName, Pictures]
    source_classes: tuple[str, ...]


def _hash_parts(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def label_files(
    root: Path, pairs: Iterable[tuple[str, str]], classes: Sequence[str]
) -> FilePictures:
    """Pictures from (path below `root`, class name) pairs, sorted by path."""
    numbers = {name: number for number, name in enumerate(classes)}
    ordered = sorted(pairs)
    return FilePictures(
        root, tuple(path for path, _ in ordered), tuple(numbers[name] for _, name in ordered)
    )


def hash_listing(
    splits: Mapping[SplitName, Pictures], source_classes: Sequence[str], extra: Sequence[str] = ()
) -> str:
    """SHA-256 over the classes in order, each picture's name and label, and `extra` facts."""
    digest = hashlib.sha256(canonical_json([list(source_classes), list(extra)]).encode())
    for name in sorted(splits):
        part = splits[name]
        rows = [[part.describe(i), label] for i, label in enumerate(part.labels)]
        digest.update(canonical_json([name, rows]).encode())
    return digest.hexdigest()
