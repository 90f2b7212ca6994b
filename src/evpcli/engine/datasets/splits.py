"""Splits made from other splits: carved by class and seed, or merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from PIL import Image

from evpcli.domain.counts import say_count
from evpcli.domain.errors import UsageError
from evpcli.engine.datasets.interface import Dataset, Pictures, SplitName


@dataclass(frozen=True)
class PictureSubset:
    """Some of the pictures of another split, in the order given."""

    whole: Pictures
    indices: tuple[int, ...]

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """Class number of each picture."""
        labels = self.whole.labels
        return tuple(labels[index] for index in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def open_image(self, index: int) -> Image.Image:
        """Decode one picture; see `Pictures`."""
        return self.whole.open_image(self.indices[index])

    def describe(self, index: int) -> str:
        """The picture's name in the split it was taken from."""
        return self.whole.describe(self.indices[index])

    def identify(self, index: int) -> bytes:
        """The picture's identity in the split it was taken from."""
        return self.whole.identify(self.indices[index])


@dataclass(frozen=True)
class JoinedPictures:
    """Two splits as one, the first one's pictures first."""

    first: Pictures
    second: Pictures

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """Class number of each picture."""
        return (*self.first.labels, *self.second.labels)

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def open_image(self, index: int) -> Image.Image:
        """Decode one picture; see `Pictures`."""
        part, place = self._find(index)
        return part.open_image(place)

    def describe(self, index: int) -> str:
        """The picture's name in the split it came from."""
        part, place = self._find(index)
        return part.describe(place)

    def identify(self, index: int) -> bytes:
        """The picture's identity in the split it came from."""
        part, place = self._find(index)
        return part.identify(place)

    def _find(self, index: int) -> tuple[Pictures, int]:
        cut = len(self.first)
        return (self.first, index) if index < cut else (self.second, index - cut)


def divide_by_class(
    labels: Sequence[int], fraction: float, seed: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Picture numbers that stay and picture numbers that are held out, both ascending.

    Each class is shuffled by its own PCG64 generator, seeded with the seed and the class number,
    so that pictures added to one class leave the others' division alone. Of a class with two
    or more pictures at least one is held out and at least one stays; a single picture stays.

    Args:
        labels: class number of each picture.
        fraction: share of each class to hold out, above 0 and below 1.
        seed: at least 0.
    """
    if not 0 < fraction < 1:
        raise UsageError("a split's fraction must lie between 0 and 1", found=str(fraction))
    numbers = np.asarray(labels, dtype=np.int64)
    held: list[int] = []
    for label in np.unique(numbers):
        members = np.flatnonzero(numbers == label)
        generator = np.random.Generator(np.random.PCG64([seed, int(label)]))
        wanted = max(1, round(fraction * len(members)))
        count = min(wanted, len(members) - 1)
        held.extend(generator.permutation(members)[:count].tolist())
    stays = np.setdiff1d(np.arange(len(numbers)), held)
    return tuple(stays.tolist()), tuple(sorted(held))


def carve_split(
    dataset: Dataset, target: SplitName, fraction: float, seed: int, rule: str
) -> Dataset:
    """The dataset with `target` taken out of `train` by class; `rule` ends its split rule.

    Raises:
        UsageError: no class has a picture to spare.
    """
    train = dataset.splits["train"]
    stays, held = divide_by_class(train.labels, fraction, seed)
    if not held:
        raise _explain_no_spare(dataset, target)
    splits = dict(dataset.splits)
    splits["train"] = PictureSubset(train, stays)
    splits[target] = PictureSubset(train, held)
    return replace(dataset, splits=splits, split_rule=f"{dataset.split_rule}; {rule}")


def _explain_no_spare(dataset: Dataset, target: SplitName) -> UsageError:
    """Say how many images a class needs: one for each split that is taken from the same ones."""
    train, classes = dataset.splits["train"], len(dataset.class_names)
    found = f"{say_count(len(train), 'image')} in {classes} classes"
    test = dataset.splits.get("test") if target == "val" else None
    needed = "three images, for train, val and test" if target == "test" else "two images"
    if isinstance(train, PictureSubset) and isinstance(test, PictureSubset):
        whole = say_count(len(train) + len(test), "image")
        found = f"{whole} in {classes} classes, {len(test)} of them held out for test"
        needed = "three images, for train, val and test"
    return UsageError(
        f"no class of {dataset.name} has an image to spare for {target}",
        found=found,
        hint=f"each class needs at least {needed}",
    )


def carve_validation(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """The dataset with a validation split: its own one, or one taken out of `train`.

    Args:
        dataset: with `train`; given back as it is if it has `val`.
        fraction: share of each class's training pictures, above 0 and below 1.
        seed: which pictures; at least 0.
    """
    if "val" in dataset.splits:
        return dataset
    rule = f"val is {100 * fraction:g} % of train, by class, seed {seed}"
    return carve_split(dataset, "val", fraction, seed, rule)


def merge_validation(dataset: Dataset) -> Dataset:
    """The dataset with `val` put back into `train`, as the paper trains; `test` is untouched."""
    if "val" not in dataset.splits:
        return dataset
    joined = JoinedPictures(dataset.splits["train"], dataset.splits["val"])
    splits = dict(dataset.splits)
    splits["train"] = joined
    del splits["val"]
    rule = f"{dataset.split_rule}; val merged into train"
    return replace(dataset, splits=splits, split_rule=rule)
