"""Splits carved by class and merged again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evpcli.domain.errors import UsageError
from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.datasets.splits import (
    PictureSubset,
    carve_validation,
    divide_by_class,
    merge_validation,
)
from evpcli.engine.datasets.stored import ArrayPictures


@pytest.fixture
def digits() -> Dataset:
    return load_dataset("digits", root=Path("unused"))


def test_validation_is_stratified_and_disjoint(digits: Dataset) -> None:
    carved = carve_validation(digits, 0.1, 0)
    train, val = carved.splits["train"], carved.splits["val"]
    assert len(train) + len(val) == 1437
    names = {part.describe(i) for part in (train, val) for i in range(len(part))}
    assert len(names) == 1437
    per_class = Counter(digits.splits["train"].labels)
    assert Counter(val.labels) == {label: round(0.1 * n) for label, n in per_class.items()}
    assert carved.splits["test"] is digits.splits["test"]
    assert carved.split_rule.endswith("; val is 10 % of train, by class, seed 0")


def test_the_seed_decides(digits: Dataset) -> None:
    first, again, other = (carve_validation(digits, 0.1, seed) for seed in (0, 0, 1))
    assert first.splits["val"].indices == again.splits["val"].indices
    assert first.splits["val"].indices != other.splits["val"].indices


def test_pixels_and_labels_stay_together(digits: Dataset) -> None:
    whole, val = digits.splits["train"], carve_validation(digits, 0.2, 3).splits["val"]
    assert isinstance(val, PictureSubset)
    for place in (0, 7, len(val) - 1):
        index = val.indices[place]
        assert val.labels[place] == whole.labels[index]
        assert val.open_image(place).tobytes() == whole.open_image(index).tobytes()


def test_the_division_of_one_class_does_not_depend_on_the_others() -> None:
    _, held = divide_by_class([0] * 10, 0.3, 5)
    _, more = divide_by_class([0] * 10 + [1] * 10, 0.3, 5)
    assert held == tuple(index for index in more if index < 10)


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 1), (3, 1), (10, 1), (100, 10)])
def test_small_classes_keep_at_least_one_picture(count: int, held: int) -> None:
    stays, out = divide_by_class([4] * count, 0.1, 0)
    assert (len(stays), len(out)) == (count - held, held)


def test_a_large_fraction_leaves_one_picture() -> None:
    stays, _ = divide_by_class([0] * 5 + [1] * 5, 0.999, 0)
    assert len(stays) == 2


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_senseless_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(UsageError):
        divide_by_class([0, 0], fraction, 0)


def test_an_official_validation_split_is_kept(digits: Dataset) -> None:
    carved = carve_validation(digits, 0.1, 0)
    assert carve_validation(carved, 0.5, 9) is carved


def test_merging_gives_every_training_picture_back(digits: Dataset) -> None:
    merged = merge_validation(carve_validation(digits, 0.1, 0))
    train = merged.splits["train"]
    assert set(merged.splits) == {"train", "test"}
    assert sorted(train.describe(i) for i in range(len(train))) == [
        f"train/{i:06d}" for i in range(1437)
    ]
    assert train.labels[-1] == digits.splits["train"].labels[int(train.describe(1436)[6:])]
    assert train.open_image(1436).size == (8, 8)
    assert merge_validation(digits) is digits


def test_nothing_to_spare_is_told(digits: Dataset) -> None:
    single = ArrayPictures(np.zeros((3, 2, 2), dtype=np.uint8), (0, 1, 2), "train")
    with pytest.raises(UsageError, match="has an image to spare"):
        carve_validation(replace(digits, splits={"train": single}), 0.1, 0)
