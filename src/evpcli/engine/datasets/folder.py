"""Anybody's folder of class folders as a dataset."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evpcli.domain.counts import say_count
from evpcli.domain.errors import ImageError, UsageError
from evpcli.domain.manifest import canonical_json
from evpcli.domain.names import clean_class_name, make_slug
from evpcli.engine.datasets.folder_scan import FolderScan, mention_links, scan_folder
from evpcli.engine.datasets.interface import Dataset, SplitName
from evpcli.engine.datasets.preflight import CheckedFile, check_pictures
from evpcli.engine.datasets.splits import carve_split
from evpcli.engine.datasets.stored import FilePictures
from evpcli.engine.datasets.table import CATALOG
from evpcli.engine.pictures.file_walk import list_folder

if TYPE_CHECKING:
    from evpcli.engine.datasets.download import ProgressCallback

TEST_FRACTION = 0.2
TEST_SEED = 0
_LONGEST_NAME = 200


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
        StorageError: a folder in it cannot be listed.
        ImageError: a picture cannot be decoded and `bad_images` is `error`.
    """
    scan = scan_folder(root)
    classes = _agree_on_classes(root, scan)
    checked = check_pictures(root, scan.names, cache=cache, on_progress=on_progress)
    skipped = _judge(root, checked, bad_images)
    splits = {
        split: _label(root, by_class, classes, set(skipped))
        for split, by_class in scan.pictures.items()
    }
    _check_left_over(root, splits["train"], classes)
    dataset = Dataset(
        name=name or name_folder(root),
        class_names=tuple(_name_class(folder) for folder in classes),
        splits=splits,
        fingerprint=_hash_files(splits, classes, checked),
        split_rule=_describe_splits(root, scan),
        source_classes=tuple(_printable_name(folder) for folder in classes),
        skipped=skipped,
        notes=tuple(_collect_notes(root, scan, classes, skipped)),
    )
    return _with_test(dataset)


def name_folder(root: Path) -> str:
    """A safe dataset name from a folder's own; never one that the catalog has.

    Where letters are lost on the way to ASCII, a hash of the name keeps two folders apart.
    """
    exact = unicodedata.normalize("NFC", Path(os.path.abspath(root)).name)
    slug = make_slug(exact).lstrip("_") or "unnamed"
    if slug == "unnamed" or _loses_letters(exact):
        slug = f"{slug}-{hashlib.sha256(os.fsencode(exact)).hexdigest()[:8]}"
    return f"{slug}-folder" if slug.lower() in CATALOG else slug


def _loses_letters(name: str) -> bool:
    """Whether ASCII has no letter for some character, accents apart: `日`, but not `é`."""
    plain = unicodedata.normalize("NFKD", name)
    return any(not c.isascii() and not unicodedata.combining(c) for c in plain)


def _describe_splits(root: Path, scan: FolderScan) -> str:
    if scan.places["train"] == root:
        return "one folder a class, without splits"
    return f"the folders {', '.join(place.name for place in scan.places.values())}"


def _agree_on_classes(root: Path, scan: FolderScan) -> tuple[str, ...]:
    """Class folders of `train` in order; the other splits may lack some but not have more."""
    classes = tuple(scan.pictures["train"])
    if len(classes) < 2:
        raise _explain_one_class(root, classes[0], scan.links)
    empty = [name for name, files in scan.pictures["train"].items() if not files]
    if empty:
        raise UsageError(
            say_count(len(empty), "class folder has no pictures", "class folders have no pictures"),
            found=", ".join(empty[:5]),
            hint=mention_links("fill it or remove it", scan.links),
        )
    for split, part in scan.pictures.items():
        more = sorted(name for name, files in part.items() if files and name not in classes)
        if more:
            raise UsageError(
                f"{split} has classes that train has not",
                found=", ".join(more[:5]),
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
    root: Path, scan: FolderScan, classes: Sequence[str], skipped: Sequence[str]
) -> list[str]:
    notes = [
        f"{place.name}/ is used as {split}"
        for split, place in scan.places.items()
        if place != root and place.name != split
    ]
    if scan.ignored:
        several = "files are no pictures of a class and were ignored"
        one = "file is no picture of a class and was ignored"
        notes.append(say_count(scan.ignored, one, several))
    if scan.links:
        notes.append(_describe_links(scan.links))
    if skipped:
        several = "pictures cannot be decoded and were left out"
        one = "picture cannot be decoded and was left out"
        notes.append(say_count(len(skipped), one, several))
    if aside := scan.aside:
        several = "folders beside the splits were ignored"
        one = "folder beside the splits was ignored"
        notes.append(f"{say_count(len(aside), one, several)}: {', '.join(aside[:5])}")
    for split, by_class in scan.pictures.items():
        missing = [name for name in classes if not by_class.get(name)]
        if missing:
            count = say_count(len(missing), "class", "classes")
            notes.append(f"{split} has no pictures of {count}: {', '.join(missing[:5])}")
    same = [name for name, n in Counter(_name_class(c) for c in classes).items() if n > 1]
    if same:
        notes.append(f"several class folders read alike to the text tower: {', '.join(same[:5])}")
    return notes


def _describe_links(links: Sequence[str]) -> str:
    shown = ", ".join(_printable_name(link) for link in links[:5])
    return (
        f"{say_count(len(links), 'link was', 'links were')} left out (to a folder, out of the "
        f"dataset, or to a picture that it has elsewhere): {shown}"
    )
