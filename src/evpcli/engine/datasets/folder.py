"""Anybody's folder of class folders as a dataset."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evpcli.domain.counts import list_some, say_count
from evpcli.domain.errors import ImageError, UsageError
from evpcli.domain.manifest import canonical_json
from evpcli.domain.names import sort_naturally
from evpcli.engine.datasets.copies import describe_copies
from evpcli.engine.datasets.folder_names import name_class, name_folder, printable_name
from evpcli.engine.datasets.folder_notes import UNREAD_SUFFIXES, collect_notes, collect_warnings
from evpcli.engine.datasets.folder_scan import (
    FolderScan,
    describe_files,
    mention_links,
    scan_folder,
)
from evpcli.engine.datasets.interface import Dataset, SplitName
from evpcli.engine.datasets.mirroring import explain_no_mirroring
from evpcli.engine.datasets.preflight import CheckedFile, check_pictures, hash_files
from evpcli.engine.datasets.splits import carve_split
from evpcli.engine.datasets.stored import FilePictures
from evpcli.engine.images.file_walk import list_folder

if TYPE_CHECKING:
    from evpcli.engine.files.download import ProgressCallback

TEST_FRACTION = 0.2
TEST_SEED = 0
_ENDINGS_HINT = (
    "fill it or remove it; evp takes files by their ending: .jpg, .jpeg, .png, .webp, .bmp, .gif, "
    ".tif, .tiff, .ppm"
)


def load_folder(
    root: Path,
    *,
    name: str | None = None,
    bad_images: Literal["error", "skip"] = "error",
    cache: Path | None = None,
    on_progress: ProgressCallback | None = None,
    keep_whole: bool = False,
) -> Dataset:
    """The dataset in a folder of class folders, in `train`/`val`/`test` or in one level.

    The fingerprint is over paths, sizes, labels and class order, not over contents.

    Args:
        root: the folder.
        name: what to file it under; the folder's own name when left out.
        bad_images: refuse pictures that cannot be decoded, or leave them out.
        cache: a folder where the check of the pictures is remembered.
        on_progress: told about the check.
        keep_whole: take no test split out of a folder that has none: all of it is `train`.

    Raises:
        UsageError: the folder has not the shape of a dataset; each case has its own hint.
        StorageError: a folder in it cannot be listed.
        ImageError: a picture cannot be decoded and `bad_images` is `error`.
    """
    scan = scan_folder(root)
    classes = _agree_on_classes(root, scan)
    checked = check_pictures(root, scan.names, cache=cache, on_progress=on_progress)
    skipped = _judge(root, checked, bad_images)
    unread = tuple(name for name in scan.ignored if Path(name).suffix.lower() in UNREAD_SUFFIXES)
    splits = {
        split: _label(root, by_class, classes, set(skipped))
        for split, by_class in scan.pictures.items()
    }
    _check_left_over(root, splits["train"], classes)
    dataset = Dataset(
        name=name or name_folder(root),
        class_names=tuple(name_class(folder) for folder in classes),
        splits=splits,
        fingerprint=_hash_files(splits, classes, checked),
        split_rule=_describe_splits(root, scan),
        source_classes=tuple(printable_name(folder) for folder in classes),
        flip=explain_no_mirroring(classes) is None,
        skipped=(*skipped, *map(printable_name, unread)),
        warnings=tuple(collect_warnings(scan, classes, skipped, unread, checked)),
        notes=tuple(collect_notes(root, scan, classes, unread)),
    )
    if not keep_whole:
        dataset = carve_test(dataset)
    return _with_copies_told(dataset, root, checked, cache)


def _describe_splits(root: Path, scan: FolderScan) -> str:
    if scan.places["train"] == root:
        return "one folder a class, without splits"
    return f"the folders {', '.join(place.name for place in scan.places.values())}"


def _agree_on_classes(root: Path, scan: FolderScan) -> tuple[str, ...]:
    """Class folders of `train` in order; the other splits may lack some but not have more."""
    classes = tuple(scan.pictures["train"])
    if len(classes) < 2:
        raise _explain_one_class(root, classes[0], scan.links)
    empty = sort_naturally(name for name, files in scan.pictures["train"].items() if not files)
    if empty:
        what = f"{empty[0]} {describe_files(scan.places['train'] / empty[0])}"
        raise UsageError(
            say_count(len(empty), "class folder has no images", "class folders have no images"),
            found=f"{list_some(empty)}; {what}",
            hint=mention_links(_ENDINGS_HINT, scan.links),
        )
    for split, part in scan.pictures.items():
        more = sort_naturally(n for n, files in part.items() if files and n not in classes)
        if more:
            raise UsageError(
                f"{split} has classes that train has not",
                found=list_some(more),
                hint="class folders must have the same names in every split",
            )
    return classes


def _explain_one_class(root: Path, name: str, links: Sequence[str]) -> UsageError:
    inner = list_folder(root / name).folders if os.path.isdir(root / name) else ()
    hint = mention_links("a classifier needs at least two class folders", links)
    if len(inner) > 1:
        hint = f"did you mean {root / name}? It has {len(inner)} folders"
    return UsageError("there is only one class", found=name, hint=hint)


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


def _label(
    root: Path, by_class: dict[str, list[str]], classes: Sequence[str], skipped: set[str]
) -> FilePictures:
    rows = [
        (name, label)
        for label, folder in enumerate(classes)
        for name in sorted(by_class.get(folder, []))
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


def carve_test(dataset: Dataset) -> Dataset:
    """The dataset with a test split: its own, or a fifth of each class.

    Raises:
        UsageError: no class has an image to spare.
    """
    if "test" in dataset.splits and len(dataset.splits["test"]):
        return dataset
    rule = f"test is {100 * TEST_FRACTION:g} % of each class, seed {TEST_SEED}"
    splits = {name: part for name, part in dataset.splits.items() if len(part)}
    return carve_split(replace(dataset, splits=splits), "test", TEST_FRACTION, TEST_SEED, rule)


def _with_copies_told(
    dataset: Dataset, root: Path, checked: Sequence[CheckedFile], cache: Path | None
) -> Dataset:
    sizes = {file.name: file.size for file in checked}
    found = describe_copies(
        dataset.splits, sizes, lambda names: hash_files(root, names, cache=cache)
    )
    return replace(dataset, warnings=(*dataset.warnings, *found))


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
