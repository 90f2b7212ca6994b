"""What lies in anybody's dataset folder: splits, classes, pictures, and what is passed over."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evpcli.domain.counts import list_some, say_count
from evpcli.domain.errors import UsageError
from evpcli.domain.names import sort_naturally
from evpcli.engine.datasets.interface import SplitName
from evpcli.engine.images.decoder import IMAGE_SUFFIXES
from evpcli.engine.images.file_walk import Listing, list_folder, list_tree

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
_LAYOUT_HINT = "make one folder a class, either directly in it or in train/, val/ and test/"


@dataclass(frozen=True)
class FolderScan:
    """A dataset folder as it was found.

    Args:
        places: the folder of each split; all of it is `train` if there are no splits.
        pictures: by split, then by class folder in order: paths below the root, sorted.
        ignored: files that are no pictures of a class, as paths below the root.
        aside: folders beside the splits.
        links: links that were left out, as paths below the root.
    """

    places: dict[SplitName, Path]
    pictures: dict[SplitName, dict[str, list[str]]]
    ignored: tuple[str, ...]
    aside: tuple[str, ...]
    links: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Every picture of every split."""
        return [
            name for part in self.pictures.values() for files in part.values() for name in files
        ]


@dataclass(frozen=True)
class _ClassFolder:
    """One class folder of one split."""

    split: SplitName
    name: str
    listing: Listing


def scan_folder(root: Path) -> FolderScan:
    """Find the splits, classes and pictures in `root`; no picture is opened.

    No link to a folder is followed, and none that leads out. A link to a picture counts only
    if nothing else in the dataset is that picture, so that none has two labels or splits.

    Raises:
        UsageError: there are no splits or classes to be found, or loose pictures beside them.
        StorageError: a folder cannot be listed.
    """
    top = list_folder(root)
    places = _find_splits(root, top)
    tops = {
        split: top if place == root else list_folder(place, root) for split, place in places.items()
    }
    for split, place in places.items():
        _check_split(root, place, tops[split])
    classes = _list_classes(root, tops)
    outer = [top, *(part for part in tops.values() if part is not top)]
    shared = _find_shared_links(root, classes)
    left_out = [link for part in outer for link in part.left_out]
    left_out += [link for part in classes for link in part.listing.left_out]
    strange = [f for part in classes for f in part.listing.files if not is_picture(f.name)]
    in_splits = places["train"] != root
    return FolderScan(
        places=places,
        pictures=_gather_pictures(root, classes, shared),
        ignored=tuple(
            path.relative_to(root).as_posix()
            for path in (*(file for part in outer for file in part.files), *strange)
        ),
        aside=tuple(f.name for f in top.folders if in_splits and f not in places.values()),
        links=tuple(sorted(link.relative_to(root).as_posix() for link in {*left_out, *shared})),
    )


def is_picture(name: str) -> bool:
    """Whether a file is a picture by its name."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def mention_links(hint: str, links: Sequence[str]) -> str:
    """The hint, and that links were left out if any were."""
    if not links:
        return hint
    return (
        f"{hint}; links to folders and out of the dataset are not followed, such as {links[0]}: "
        "copy what they lead to with cp -rL"
    )


def _find_splits(root: Path, top: Listing) -> dict[SplitName, Path]:
    """Where each split lies; all of it is `train` if there are no folders named like splits.

    Folders named like splits that hold images, beside others that do, are classes: `train` beside
    `bus` and `car`.
    """
    places: dict[SplitName, Path] = {}
    named = [folder for folder in top.folders if folder.name.lower() in SPLIT_NAMES]
    others = [folder for folder in top.folders if folder not in named]
    if named and others and all(_holds_pictures(folder, root) for folder in [*named, others[0]]):
        return {"train": root}
    for folder in named:
        split = SPLIT_NAMES[folder.name.lower()]
        if split in places:
            raise UsageError(
                f"two folders are both the {split} split",
                found=f"{places[split].name} and {folder.name} in {root}",
                hint="keep one of them",
            )
        places[split] = folder
    if places and "train" not in places:
        beside = list_some(sort_naturally(folder.name for folder in others))
        raise UsageError(
            "the folder has no train/",
            found=f"only {', '.join(place.name for place in places.values())} in {root}"
            + (f", beside {beside}" if beside else ""),
            hint=mention_links(
                "add train/, or rename the folder if it is a class", _name_links(top)
            ),
        )
    return {split: places[split] for split in _ORDER if split in places} or {"train": root}


def name_class_folders(root: Path) -> list[str]:
    """The class folders of a dataset's folder, in label order; no image is looked for in train/.

    Raises:
        UsageError: there is no folder of training images.
        StorageError: a folder cannot be listed.
    """
    top = list_folder(root)
    place = _find_splits(root, top)["train"]
    listing = top if place == root else list_folder(place, root)
    return [unicodedata.normalize("NFC", folder.name) for folder in listing.folders]


def describe_files(folder: Path) -> str:
    """How many files lie in a folder that has no image by its name, and how they are named."""
    files = list_tree(folder).files if os.path.isdir(folder) else ()
    if not files:
        return "is empty"
    suffix = files[0].suffix
    ending = f"whose name ends in {suffix}" if suffix else "whose name has no ending"
    return f"holds {say_count(len(files), 'file')}, such as {files[0].name[:60]!r}, {ending}"


def _holds_pictures(folder: Path, root: Path) -> bool:
    """Whether images lie directly in a folder, and no folders do."""
    listing = list_folder(folder, root)
    return not listing.folders and any(is_picture(path.name) for path in listing.files)


def _check_split(root: Path, place: Path, listing: Listing) -> None:
    """Refuse a split without class folders, or with pictures beside them."""
    if not listing.folders:
        raise _explain_no_classes(root, place, listing)
    loose = [path.name for path in listing.files if is_picture(path.name)]
    if loose:
        raise UsageError(
            "there are pictures beside the class folders",
            found=f"{loose[0]} in {place}",
            hint="move each into the folder of its class, or out of the dataset",
        )


def _explain_no_classes(root: Path, place: Path, listing: Listing) -> UsageError:
    hint = mention_links(_LAYOUT_HINT, _name_links(listing))
    if any(is_picture(path.name) for path in listing.files):
        return UsageError(
            "the folder has pictures but no class folders",
            found=f"{say_count(len(listing.files), 'file')} in {place}",
            hint=hint,
        )
    if not listing.files and not listing.left_out:
        what = "the folder is empty" if place == root else f"{place.name}/ is empty"
        return UsageError(what, found=str(place), hint=hint)
    return UsageError(
        "the folder has no class folders",
        found=f"{say_count(len(listing.files), 'file')}, no pictures, in {place}",
        hint=hint,
    )


def _name_links(listing: Listing) -> list[str]:
    return [link.name for link in listing.left_out]


def _list_classes(root: Path, tops: dict[SplitName, Listing]) -> list[_ClassFolder]:
    return [
        _ClassFolder(split, unicodedata.normalize("NFC", folder.name), list_tree(folder, root))
        for split, top in tops.items()
        for folder in top.folders
    ]


def _find_shared_links(root: Path, classes: Sequence[_ClassFolder]) -> set[Path]:
    """Links to pictures that some other file or link of a class leads to as well."""
    real_root = Path(os.path.realpath(root))
    links = {link: target for part in classes for link, target in part.listing.targets.items()}
    if not links:
        return set()
    ends = Counter(
        links.get(file) or str(real_root / file.relative_to(root))
        for part in classes
        for file in part.listing.files
    )
    return {link for link, target in links.items() if ends[target] > 1}


def _gather_pictures(
    root: Path, classes: Sequence[_ClassFolder], shared: set[Path]
) -> dict[SplitName, dict[str, list[str]]]:
    """By split and class, both in order: the pictures as sorted paths below the root."""
    found: dict[SplitName, dict[str, list[str]]] = {}
    for part in sorted(classes, key=lambda part: (_ORDER.index(part.split), part.name)):
        names = [
            file.relative_to(root).as_posix()
            for file in part.listing.files
            if is_picture(file.name) and file not in shared
        ]
        found.setdefault(part.split, {}).setdefault(part.name, []).extend(names)
    return found
