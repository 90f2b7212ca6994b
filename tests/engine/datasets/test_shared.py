from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evpcli.domain.errors import IncompatibleError, UsageError
from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.datasets.shared import check_not_empty, share_classes
from evpcli.engine.datasets.splits import PictureSubset
from tests.small_data import write_digit_folder


@pytest.fixture
def numbers(tmp_path: Path) -> Dataset:
    folder = write_digit_folder(tmp_path / "numbers", 4, 6)
    return load_dataset(str(folder), root=tmp_path)  # one, three, two, zero


def test_every_picture_keeps_its_class_under_the_prompts_number(numbers: Dataset) -> None:
    names = ("nine", "Two", "zero", "eight")
    shared = share_classes(numbers, names)
    assert shared.kept == (1, 2)
    assert shared.dataset.class_names == ("Two", "zero")
    assert (shared.only_here, shared.only_there) == (("one", "three"), ("nine", "eight"))
    for split, pictures in shared.dataset.splits.items():
        before = numbers.splits[split]
        wanted = [
            i for i, n in enumerate(before.labels) if numbers.class_names[n] in ("zero", "two")
        ]
        assert len(pictures) == len(wanted) > 0
        for place, index in enumerate(wanted):
            word = numbers.class_names[before.labels[index]]
            assert shared.dataset.class_names[pictures.labels[place]].lower() == word
            assert pictures.describe(place) == before.describe(index)
            assert pictures.open_image(place).tobytes() == before.open_image(index).tobytes()


@pytest.mark.parametrize("name", ["ONE", " one ", "_one", "one-"])
def test_names_are_compared_as_words(numbers: Dataset, name: str) -> None:
    assert share_classes(numbers, ("cat", name)).kept == (1,)


def test_nothing_in_common_is_said_with_both_sides(numbers: Dataset) -> None:
    with pytest.raises(IncompatibleError, match="share no class") as caught:
        share_classes(numbers, ("cat", "dog"))
    assert "'one'" in str(caught.value.found)
    assert "'cat'" in str(caught.value.found)


def test_names_that_read_the_same_are_refused(numbers: Dataset) -> None:
    with pytest.raises(UsageError, match="read the same"):
        share_classes(numbers, ("big_dog", "big dog", "one"))


def test_a_split_without_a_picture_of_a_shared_class_is_refused(numbers: Dataset) -> None:
    """Its only shared class has training pictures only."""
    test = numbers.splits["test"]
    strangers = tuple(i for i, n in enumerate(test.labels) if numbers.class_names[n] != "two")
    parted = {**numbers.splits, "test": PictureSubset(test, strangers)}
    shared = share_classes(replace(numbers, splits=parted), ("cat", "two")).dataset
    check_not_empty(shared, "train")
    with pytest.raises(IncompatibleError, match="test split of numbers has no picture") as caught:
        check_not_empty(shared, "test")
    assert caught.value.found == "shared: 'two'"
    assert "--split train" in str(caught.value.hint)
