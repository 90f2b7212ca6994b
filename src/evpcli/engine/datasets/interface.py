"""What the engine asks of labelled pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from PIL import Image

SplitName = Literal["train", "val", "test"]


class Pictures(Protocol):
    """Pictures with labels, decoded one at a time."""

    @property
    def labels(self) -> tuple[int, ...]:
        """Class number of each picture, from 0, in picture order."""

    def __len__(self) -> int:
        """How many pictures there are."""

    def open_image(self, index: int) -> Image.Image:
        """Decode one picture: upright, RGB, 8 bits.

        Raises:
            ImageError: the picture cannot be decoded; the message names it.
        """

    def describe(self, index: int) -> str:
        """A name for one picture, such as its path below the dataset's folder."""

    def identify(self, index: int) -> bytes:
        """16 bytes that only this picture has, and that change when it does.

        For a file they come from its place, size and time; a file that cannot be looked at has an
        identity, too, and fails when it is opened.
        """


@dataclass(frozen=True)
class Dataset:
    """A classification task: pictures in up to three splits and the classes' names.

    Args:
        name: what the registry files it under: only `[A-Za-z0-9._-]`.
        class_names: cleaned for the text tower, in label order.
        splits: `train` always; `val` and `test` where they exist (a missing `val` is carved
            out of `train` by the caller, see `carve_validation`).
        fingerprint: SHA-256 over file names, sizes or contents, labels and class order.
        split_rule: one sentence on where the splits come from.
        templates: sentences with `{}` that fit these classes; empty means the default.
        flip: whether a mirrored picture keeps its class (false for digits and signs).
        licence: of the pictures, or `unknown`.
        source_classes: class names as found on disk, in label order.
        skipped: images left out because they cannot be decoded, by name.
        warnings: what bears on results: images left out, copies of train in test.
        notes: what else the user should know, such as files that are no images.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[SplitName, Pictures]
    fingerprint: str
    split_rule: str
    templates: tuple[str, ...] = ()
    flip: bool = True
    licence: str = "unknown"
    source_classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
