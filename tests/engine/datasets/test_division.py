from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from evpcli.domain.errors import UsageError
from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.datasets.division import check_every_class, take_fraction, take_shots
from evpcli.engine.datasets.interface import Dataset, Pictures
from evpcli.engine.datasets.splits import PictureSubset, carve_validation

SHOTS = (1, 2, 4, 8, 16)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return carve_validation(load_dataset("digits", root=Path("unused")), 0.1, 0)


def list_names(pictures: Pictures) -> set[str]:
    return {pictures.describe(index) for index in range(len(pictures))}


@pytest.mark.parametrize("seed", [0, 7])
def test_more_shots_hold_the_pictures_of_fewer(digits: Dataset, seed: int) -> None:
    drawn = [take_shots(digits, shots, seed).splits["train"] for shots in SHOTS]
    for shots, train in zip(SHOTS, drawn, strict=True):
        assert Counter(train.labels) == dict.fromkeys(range(10), shots)
    names = [list_names(train) for train in drawn]
    assert all(fewer < more for fewer, more in itertools.pairwise(names))
    assert names[-1] < list_names(digits.splits["train"])


def test_another_seed_draws_others(digits: Dataset) -> None:
    first, other = (list_names(take_shots(digits, 4, seed).splits["train"]) for seed in (0, 1))
    assert first != other


def test_val_gets_at_most_as_many_and_test_stays(digits: Dataset) -> None:
    few = take_shots(digits, 16, 0)
    whole = Counter(digits.splits["val"].labels)
    assert Counter(few.splits["val"].labels) == {c: min(16, n) for c, n in whole.items()}
    assert few.splits["test"] is digits.splits["test"]
    assert "16 of each class in train" in few.split_rule
    assert list_names(few.splits["val"]).isdisjoint(list_names(few.splits["train"]))


def test_a_class_is_drawn_alone(digits: Dataset) -> None:
    """Leaving other classes out changes nothing for those that stay."""
    train = digits.splits["train"]
    places = tuple(i for i, label in enumerate(train.labels) if label in (3, 4))
    part = PictureSubset(train, places)
    alone = Dataset("x", digits.class_names, {"train": part}, "f", "")
    chosen = list_names(take_fraction(alone, 0.1, 5).splits["train"])
    among = take_fraction(digits, 0.1, 5).splits["train"]
    assert chosen == {among.describe(i) for i, label in enumerate(among.labels) if label in (3, 4)}


def test_fractions_are_nested_and_keep_one_of_each_class(digits: Dataset) -> None:
    shares = (0.001, 0.05, 0.3)
    drawn = [take_fraction(digits, share, 0).splits["train"] for share in shares]
    counts = Counter(digits.splits["train"].labels)
    for share, train in zip(shares, drawn, strict=True):
        assert Counter(train.labels) == {c: max(1, round(share * n)) for c, n in counts.items()}
    assert list_names(drawn[0]) < list_names(drawn[1]) < list_names(drawn[2])
    assert take_fraction(digits, 1, 0) is digits


def test_too_many_shots_name_the_smallest_class(digits: Dataset) -> None:
    counts = Counter(digits.splits["train"].labels)
    smallest = min(counts.values())
    name = digits.class_names[min(counts, key=lambda c: (counts[c], c))]
    with pytest.raises(UsageError, match=name) as caught:
        take_shots(digits, smallest + 1, 0)
    assert f"{smallest} for {smallest + 1} shots" in str(caught.value.found)
    assert f"--shots {smallest}" in str(caught.value.hint)
    assert len(take_shots(digits, smallest, 0).splits["train"]) == 10 * smallest


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_fraction_out_of_range_is_refused(digits: Dataset, fraction: float) -> None:
    with pytest.raises(UsageError, match="fraction"):
        take_fraction(digits, fraction, 0)


def test_a_class_without_a_training_picture_is_named(digits: Dataset) -> None:
    train = digits.splits["train"]
    places = tuple(i for i, label in enumerate(train.labels) if label != 6)
    lacking = Dataset("x", digits.class_names, {"train": PictureSubset(train, places)}, "f", "")
    with pytest.raises(UsageError, match="'six' has no training picture"):
        check_every_class(lacking)
    with pytest.raises(UsageError, match="six"):
        take_shots(lacking, 1, 0)
    check_every_class(digits)
