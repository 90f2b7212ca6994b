"""The classes that a dataset shares with a prompt, by name: pictures of another domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from PIL import Image

from evpcli.domain.counts import list_some
from evpcli.domain.errors import IncompatibleError, UsageError
from evpcli.domain.names import clean_class_name
from evpcli.engine.datasets.interface import Dataset, Pictures, SplitName
from evpcli.engine.datasets.splits import PictureSubset


@dataclass(frozen=True)
class RenumberedPictures:
    """Pictures of some classes, under other class numbers."""

    whole: PictureSubset
    numbers: Mapping[int, int]

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """New class number of each picture."""
        return tuple(self.numbers[label] for label in self.whole.labels)

    def __len__(self) -> int:
        return len(self.whole)

    def open_image(self, index: int) -> Image.Image:
        """Decode one picture; see `Pictures`."""
        return self.whole.open_image(index)

    def describe(self, index: int) -> str:
        """The picture's name in the split it was taken from."""
        return self.whole.describe(index)

    def identify(self, index: int) -> bytes:
        """The picture's identity in the split it was taken from."""
        return self.whole.identify(index)


@dataclass(frozen=True)
class SharedClasses:
    """What two sets of classes have in common.

    Args:
        dataset: only its pictures of shared classes; a label is a place in `kept`.
        kept: numbers of the shared classes among the prompt's, ascending.
        only_here: names of the dataset's other classes.
        only_there: names of the prompt's other classes.
    """

    dataset: Dataset
    kept: tuple[int, ...]
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]


def share_classes(dataset: Dataset, class_names: Sequence[str]) -> SharedClasses:
    """Keep the pictures whose class is also one of a prompt's, by its name in words.

    Args:
        dataset: already divided.
        class_names: of the prompt, in label order.

    Raises:
        IncompatibleError: no class is shared.
        UsageError: two classes of one side read the same.
    """
    here = _number_by_words(dataset.class_names, dataset.name)
    there = _number_by_words(class_names, "the prompt")
    kept = tuple(number for words, number in there.items() if words in here)
    if not kept:
        raise IncompatibleError(
            "the dataset and the prompt share no class",
            found=f"{_list_some(dataset.class_names)} in {dataset.name}, "
            f"{_list_some(class_names)} in the prompt",
        )
    shared = [words for words in there if words in here]
    numbers = {here[words]: place for place, words in enumerate(shared)}
    splits = {name: _choose(pictures, numbers) for name, pictures in dataset.splits.items()}
    return SharedClasses(
        dataset=replace(
            dataset, class_names=tuple(class_names[number] for number in kept), splits=splits
        ),
        kept=kept,
        only_here=tuple(
            n for w, n in zip(here, dataset.class_names, strict=True) if w not in there
        ),
        only_there=tuple(n for w, n in zip(there, class_names, strict=True) if w not in here),
    )


def check_not_empty(shared: Dataset, split: SplitName) -> None:
    """Refuse a split of which no picture was kept.

    Args:
        shared: as `share_classes` left it.
        split: of it.

    Raises:
        IncompatibleError: no picture of the split is of a shared class.
    """
    if not len(shared.splits[split]):
        others = [name for name, pictures in sorted(shared.splits.items()) if len(pictures)]
        raise IncompatibleError(
            f"the {split} split of {shared.name} has no picture of a class that the prompt knows",
            found=f"shared: {_list_some(shared.class_names)}",
            hint=f"choose --split {' or '.join(others)}, or name another dataset",
        )


def _choose(pictures: Pictures, numbers: Mapping[int, int]) -> Pictures:
    indices = tuple(i for i, label in enumerate(pictures.labels) if label in numbers)
    return RenumberedPictures(PictureSubset(pictures, indices), numbers)


def _number_by_words(names: Sequence[str], owner: str) -> dict[str, int]:
    """Class numbers by name in words, in label order."""
    found: dict[str, int] = {}
    for number, name in enumerate(names):
        words = clean_class_name(name).replace(" ", "")  # `annualcrop` is `annual crop`
        if words in found:
            raise UsageError(
                f"two classes of {owner} read the same", found=f"{names[found[words]]!a}, {name!a}"
            )
        found[words] = number
    return found


def _list_some(names: Sequence[str]) -> str:
    return list_some([ascii(name[:40]) for name in names], 3)
