"""A dataset divided as a protocol asks, and part of it: shots or a fraction of each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from evpcli.domain.errors import UsageError
from evpcli.domain.settings import FitSettings
from evpcli.engine.datasets.interface import Dataset, Pictures, SplitName
from evpcli.engine.datasets.splits import PictureSubset, carve_validation, merge_validation

_CUT: tuple[SplitName, ...] = ("train", "val")
_STREAM = 1
"""Keeps these draws apart from those of a validation split with the same seed."""


def divide_dataset(dataset: Dataset, settings: FitSettings) -> Dataset:
    """The dataset with the splits that the protocol trains and selects on.

    `validation` keeps or carves out a validation split; `paper` trains on all of it and selects
    on test. Shots or a fraction then leave part of each class, drawn by the run's
    seed, so that several seeds learn from several draws.
    """
    if settings.protocol == "paper":
        dataset = merge_validation(dataset)
    else:
        dataset = carve_validation(dataset, settings.val_fraction, settings.split_seed)
    if settings.fraction is not None:
        dataset = take_fraction(dataset, settings.fraction, settings.seed)
    if settings.shots is not None:
        dataset = take_shots(dataset, settings.shots, settings.seed)
    return dataset


def take_shots(dataset: Dataset, shots: int, seed: int) -> Dataset:
    """The dataset with `shots` training pictures of each class, and at most as many in `val`.

    Sets of one seed are nested: what one shot takes, two shots take too. `test` stays whole.

    Args:
        dataset: already divided.
        shots: at least 1.
        seed: which pictures.

    Raises:
        UsageError: a class has fewer training pictures.
    """
    check_every_class(dataset)
    counts = np.bincount(dataset.splits["train"].labels, minlength=len(dataset.class_names))
    smallest = int(counts.argmin())
    if counts[smallest] < shots:
        raise UsageError(
            f"the class {dataset.class_names[smallest]!a} has too few training pictures",
            found=f"{counts[smallest]} for {shots} shots",
            hint=f"use --shots {counts[smallest]} or fewer",
        )
    rule = f"{shots} of each class in train and at most as many in val, seed {seed}"
    return _cut(dataset, lambda members: min(shots, members), seed, rule)


def take_fraction(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """The dataset with a share of each class in `train` and `val`, at least one picture.

    Sets of one seed are nested: what a small share takes, a larger one takes too.

    Args:
        dataset: already divided.
        fraction: above 0, at most 1, which gives the dataset back.
        seed: which pictures.

    Raises:
        UsageError: the fraction is out of range.
    """
    if not 0 < fraction <= 1:
        raise UsageError("a fraction must lie above 0 and be at most 1", found=f"{fraction:g}")
    if fraction == 1:
        return dataset
    rule = f"{100 * fraction:g} % of each class in train and val, seed {seed}"
    return _cut(dataset, lambda members: max(1, round(fraction * members)), seed, rule)


def check_every_class(dataset: Dataset) -> None:
    """Refuse a dataset with a class that has no training picture.

    Raises:
        UsageError: names the class.
    """
    present = set(dataset.splits["train"].labels)
    for number, name in enumerate(dataset.class_names):
        if number not in present:
            raise UsageError(
                f"the class {name!a} has no training picture",
                found=dataset.name,
                hint="add pictures of it to train, or leave the class out",
            )


def _cut(dataset: Dataset, count: Callable[[int], int], seed: int, rule: str) -> Dataset:
    splits: dict[SplitName, Pictures] = dict(dataset.splits)
    for split in _CUT:
        if split in splits:
            whole = splits[split]
            splits[split] = PictureSubset(whole, _draw(whole.labels, count, seed))
    return replace(dataset, splits=splits, split_rule=f"{dataset.split_rule}; {rule}")


def _draw(labels: Sequence[int], count: Callable[[int], int], seed: int) -> tuple[int, ...]:
    """Picture numbers, ascending; each class is shuffled by a generator of its own."""
    numbers = np.asarray(labels, dtype=np.int64)
    taken: list[int] = []
    for label in np.unique(numbers):
        members = np.flatnonzero(numbers == label)
        generator = np.random.Generator(np.random.PCG64([seed, int(label), _STREAM]))
        taken.extend(generator.permutation(members)[: count(len(members))].tolist())
    return tuple(sorted(taken))
