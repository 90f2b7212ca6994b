"""Anybody's folder of class folders as a dataset."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evpcli.domain.errors import ImageError, UsageError
from evpcli.domain.manifest import canonical_json
from evpcli.domain.names import clean_class_name, make_slug
from evpcli.engine.datasets.interface import Dataset, SplitName
from evpcli.engine.datasets.preflight import CheckedFile, check_pictures
from evpcli.engine.datasets.splits import carve_split
from evpcli.engine.datasets.stored import FilePictures
from evpcli.engine.datasets.table import CATALOG
from evpcli.engine.pictures.decoder import IMAGE_SUFFIXES
from evpcli.engine.pictures.file_walk import list_files, list_folders, walk_files

if TYPE_CHECKING:
    from evpcli.engine.datasets.download import ProgressCallback

SPLIT_NAMES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_ORDER: tuple[SplitName, ...] = ("train", "val", "test")
TEST_FRACTION = 0.2
TEST_SEED = 0
_LONGEST_NAME = 200
_LAYOUT_HINT = "make one folder a class, either directly in it or in train/, val/ and test/"


@dataclass(frozen=True)
class _Found:
    """The picture files of one split folder, by class, and what was ignored."""

    by_class: dict[str, list[str]]
    ignored: int


def load_folder(
    root: Path,
    *,
    name: str | None = None,
    bad_images: Literal["error", "skip"] = "error",
    cache: Path | None = None,
    on_progress: ProgressCallback | None = None,
) -> Dataset:
    """The dataset in a folder of class folders, in `train`/`val`/`test` or in one level.

    The fingerprint is over paths, sizes, labels and class order, not over contents.

    Args:
        root: the folder.
        name: what to file it under; the folder's own name when left out.
        bad_images: refuse pictures that cannot be decoded, or leave them out.
        cache: a folder where the check of the pictures is remembered.
        on_progress: told about the check.

    Raises:
        UsageError: the folder has not the shape of a dataset; each case has its own hint.
        ImageError: a picture cannot be decoded and `bad_images` is `error`.
    """
    places = _find_splits(root)
    found = {split: _read_split(root, place) for split, place in places.items()}
    classes = _agree_on_classes(root, found)
    names = [file for part in found.values() for files in part.by_class.values() for file in files]
    checked = check_pictures(root, names, cache=cache, on_progress=on_progress)
    skipped = _judge(root, checked, bad_images)
    splits = {split: _label(root, part, classes, set(skipped)) for split, part in found.items()}
    _check_left_over(root, splits["train"], classes)
    dataset = Dataset(
        name=name or name_folder(root),
        class_names=tuple(_name_class(folder) for folder in classes),
        splits=splits,
        fingerprint=_hash_files(splits, classes, checked),
        split_rule=_describe_splits(root, places),
        source_classes=tuple(_printable_name(folder) for folder in classes),
        skipped=skipped,
        notes=tuple(_collect_notes(root, places, found, classes, skipped)),
    )
    return _with_test(dataset)


def name_folder(root: Path) -> str:
    """A safe dataset name from a folder's own; never one that the catalog has."""
    slug = make_slug(Path(os.path.abspath(root)).name).lstrip("_") or "unnamed"
    return f"{slug}-folder" if slug in CATALOG else slug


def _find_splits(root: Path) -> dict[SplitName, Path]:
    """Where each split lies; all of it is `train` if there are no folders named like splits."""
    folders = list_folders(root, root)
    named = [(SPLIT_NAMES.get(folder.name.lower()), folder) for folder in folders]
    places: dict[SplitName, Path] = {}
    for split, folder in named:
        if split in places:
            raise UsageError(
                f"two folders are both the {split} split",
                found=f"{places[split].name} and {folder.name} in {root}",
                hint="keep one of them",
            )
        if split:
            places[split] = folder
    if places and "train" not in places:
        raise UsageError(
            "the folder has no train/",
            found=f"only {', '.join(place.name for place in places.values())} in {root}",
            hint="add train/, or rename the folder if it is a class",
        )
    return {split: places[split] for split in _ORDER if split in places} or {"train": root}


def _describe_splits(root: Path, places: dict[SplitName, Path]) -> str:
    if places["train"] == root:
        return "one folder a class, without splits"
    return f"the folders {', '.join(place.name for place in places.values())}"


def _read_split(root: Path, place: Path) -> _Found:
    """The class folders of one split and the pictures below each, sorted."""
    by_class: dict[str, list[str]] = {}
    ignored = 0
    for folder in list_folders(place, root):
        files = [path.relative_to(root).as_posix() for path in walk_files(folder, inside=root)]
        pictures = [file for file in files if _is_picture(file)]
        ignored += len(files) - len(pictures)
        key = unicodedata.normalize("NFC", folder.name)
        by_class.setdefault(key, []).extend(pictures)
    loose = [path.name for path in list_files(place, root)]
    if not by_class:
        raise _explain_no_classes(root, place, loose)
    if any(_is_picture(name) for name in loose):
        raise UsageError(
            "there are pictures beside the class folders",
            found=f"{next(filter(_is_picture, loose))} in {place}",
            hint="move each into the folder of its class, or out of the dataset",
        )
    return _Found(dict(sorted(by_class.items())), ignored + len(loose))


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _explain_no_classes(root: Path, place: Path, loose: Sequence[str]) -> UsageError:
    if any(_is_picture(name) for name in loose):
        return UsageError(
            "the folder has pictures but no class folders",
            found=f"{len(loose)} files in {place}",
            hint=_LAYOUT_HINT,
        )
    if not loose:
        what = "the folder is empty" if place == root else f"{place.name}/ is empty"
        return UsageError(what, found=str(place), hint=_LAYOUT_HINT)
    return UsageError(
        "the folder has no class folders",
        found=f"{len(loose)} files that are no pictures in {place}",
        hint=_LAYOUT_HINT,
    )


def _agree_on_classes(root: Path, found: dict[SplitName, _Found]) -> tuple[str, ...]:
    """Class folders of `train` in order; the other splits may lack some but not have more."""
    classes = tuple(found["train"].by_class)
    if len(classes) < 2:
        inner = list_folders(root / classes[0], root) if (root / classes[0]).is_dir() else []
        hint = "a classifier needs at least two class folders"
        if len(inner) > 1:
            hint = f"did you mean {root / classes[0]}? It has {len(inner)} folders"
        raise UsageError("there is only one class", found=classes[0], hint=hint)
    empty = [name for name, files in found["train"].by_class.items() if not files]
    if empty:
        raise UsageError(
            f"{len(empty)} class folder{'s have' if len(empty) > 1 else ' has'} no pictures",
            found=", ".join(empty[:5]),
            hint="fill it or remove it",
        )
    for split, part in found.items():
        more = sorted(
            name for name, files in part.by_class.items() if files and name not in classes
        )
        if more:
            raise UsageError(
                f"{split} has classes that train has not",
                found=", ".join(more[:5]),
                hint="class folders must have the same names in every split",
            )
    return classes


def _judge(
    root: Path, checked: Sequence[CheckedFile], bad_images: Literal["error", "skip"]
) -> tuple[str, ...]:
    """Names to leave out; with `error` the first bad picture ends it."""
    bad = [file for file in checked if file.fault]
    if bad and bad_images == "error":
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ImageError(
            f"{len(bad)} of {len(checked)} pictures cannot be used",
            found=f"{bad[0].fault}{more} (in {root})",
            hint="remove them, or leave them out with --bad-images skip",
        )
    return tuple(file.name for file in bad)


def _label(root: Path, part: _Found, classes: Sequence[str], skipped: set[str]) -> FilePictures:
    rows = [
        (name, label)
        for label, folder in enumerate(classes)
        for name in sorted(part.by_class.get(folder, []))
        if name not in skipped
    ]
    return FilePictures(root, tuple(name for name, _ in rows), tuple(label for _, label in rows))


def _check_left_over(root: Path, train: FilePictures, classes: Sequence[str]) -> None:
    """Skipping bad pictures must not empty a class."""
    present = set(train.labels)
    gone = [name for label, name in enumerate(classes) if label not in present]
    if gone:
        raise UsageError(
            "no picture of a class can be decoded",
            found=f"{gone[0]} in {root}",
            hint="replace them",
        )


def _with_test(dataset: Dataset) -> Dataset:
    """The dataset with a test split: its own, or a fifth of each class."""
    if "test" in dataset.splits and len(dataset.splits["test"]):
        return dataset
    rule = f"test is {100 * TEST_FRACTION:g} % of each class, seed {TEST_SEED}"
    splits = {name: part for name, part in dataset.splits.items() if len(part)}
    return carve_split(replace(dataset, splits=splits), "test", TEST_FRACTION, TEST_SEED, rule)


def _printable_name(folder: str) -> str:
    """A folder's name that any file can hold: lone surrogates escaped."""
    return folder.encode("utf-8", "backslashreplace").decode()


def _name_class(folder: str) -> str:
    """Words for the text tower; control characters become spaces."""
    plain = "".join(c if c.isprintable() else " " for c in _printable_name(folder))
    return (clean_class_name(plain) or plain.strip() or "unnamed")[:_LONGEST_NAME]


def _hash_files(
    splits: dict[SplitName, FilePictures], classes: Sequence[str], checked: Sequence[CheckedFile]
) -> str:
    sizes = {file.name: file.size for file in checked}
    digest = hashlib.sha256(canonical_json(list(classes)).encode())
    for split in sorted(splits):
        part = splits[split]
        rows = [[n, sizes[n], label] for n, label in zip(part.names, part.labels, strict=True)]
        digest.update(canonical_json([split, rows]).encode())
    return digest.hexdigest()


def _collect_notes(
    root: Path,
    places: dict[SplitName, Path],
    found: dict[SplitName, _Found],
    classes: Sequence[str],
    skipped: Sequence[str],
) -> list[str]:
    notes = [
        f"{place.name}/ is used as {split}"
        for split, place in places.items()
        if place != root and place.name != split
    ]
    ignored = sum(part.ignored for part in found.values())
    if places["train"] != root:
        ignored += len(list_files(root, root))
    if ignored:
        notes.append(f"{ignored} files are no pictures of a class and were ignored")
    if skipped:
        notes.append(f"{len(skipped)} pictures cannot be decoded and were left out")
    aside = [f.name for f in list_folders(root, root) if f not in places.values()]
    if aside and places["train"] != root:
        notes.append(f"{len(aside)} folders beside the splits were ignored: {', '.join(aside[:5])}")
    for split, part in found.items():
        missing = [name for name in classes if not part.by_class.get(name)]
        if missing:
            notes.append(f"{split} has no pictures of {len(missing)} classes: {missing[0]} ...")
    same = [name for name, n in Counter(_name_class(c) for c in classes).items() if n > 1]
    if same:
        notes.append(f"several class folders read alike to the text tower: {', '.join(same[:5])}")
    return notes
