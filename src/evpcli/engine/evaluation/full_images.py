"""What the trained baselines learn from: full pictures of splits that are fit for it."""

from __future__ import annotations

from collections.abc import Iterable

from evpcli.domain.errors import UsageError
from evpcli.engine.backbones.interface import BackboneCard
from evpcli.engine.datasets.interface import Dataset, Pictures, SplitName
from evpcli.engine.datasets.loader import PixelSource, Reading

KEPT_BYTES = 1 << 30
"""Shrunk pictures that a source keeps when it is read again and again."""


def open_full_pictures(
    pictures: Pictures, card: BackboneCard, reading: Reading, *, once: bool = False
) -> PixelSource:
    """Pictures that fill the backbone's canvas: shorter side to the canvas, then a square crop.

    Args:
        pictures: of one split.
        card: of the backbone.
        reading: how they become pixels.
        once: nothing is kept in memory, since every picture is read one time only.
    """
    keep_bytes = 0 if once else KEPT_BYTES
    return PixelSource(pictures, card.canvas_px, reading, keep_bytes=keep_bytes)


def check_task(
    dataset: Dataset,
    what: str,
    splits: Iterable[SplitName],
    *,
    hint: str = "use --protocol validation, which takes some out of train",
) -> None:
    """Refuse a dataset that a baseline cannot be learned from and selected on.

    Args:
        dataset: already divided.
        what: the baseline, as messages name it.
        splits: what it is measured on, besides the `train` and `val` that it is made with.
        hint: how the user of this verb gets validation pictures, or does without.

    Raises:
        UsageError: a split is missing or empty, or a class has no training picture.
    """
    present = [split for split, pictures in dataset.splits.items() if len(pictures)]
    if "val" not in present:
        raise UsageError(
            f"{what} is chosen on validation pictures, and {dataset.name} has none",
            found=f"splits {', '.join(sorted(present))}",
            hint=hint,
        )
    missing = [split for split in splits if split not in present]
    if missing:
        raise UsageError(
            f"{dataset.name} has no {missing[0]} split",
            found=f"splits {', '.join(sorted(present))}",
        )
    _check_classes(dataset, what)


def _check_classes(dataset: Dataset, what: str) -> None:
    present = set(dataset.splits["train"].labels)
    absent = [name for number, name in enumerate(dataset.class_names) if number not in present]
    if absent:
        raise UsageError(
            f"{what} needs training pictures of every class",
            found=f"none of {', '.join(absent[:5])}{' and others' if len(absent) > 5 else ''}",
            hint="add pictures of the class to train, or take its folder out of the dataset",
        )
