"""What a user should know about a folder of images before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from evpcli.domain.counts import list_some, say_count
from evpcli.domain.names import sort_naturally
from evpcli.engine.datasets.folder_names import name_class, printable_name
from evpcli.engine.datasets.folder_scan import FolderScan
from evpcli.engine.datasets.mirroring import explain_no_mirroring
from evpcli.engine.datasets.preflight import CheckedFile

UNREAD_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("heic", "heif", "avif", "jxl", "jp2", "j2k", "svg", "psd", "eps"),
        *("dng", "cr2", "cr3", "nef", "arw", "raf", "orf", "rw2"),
    )
)
"""Images that the decoder does not read."""


def collect_warnings(
    scan: FolderScan,
    classes: Sequence[str],
    skipped: Sequence[str],
    unread: Sequence[str],
    checked: Sequence[CheckedFile],
) -> list[str]:
    """What bears on results."""
    warnings = []
    if unread:
        one = "image is in a format that evp does not read and was left out"
        several = "images are in a format that evp does not read and were left out"
        listed = _list_files(unread)
        warnings.append(f"{say_count(len(unread), one, several)}: {listed}; save them as JPEG")
    if skipped:
        one = "image cannot be decoded and was left out"
        several = "images cannot be decoded and were left out"
        warnings.append(f"{say_count(len(skipped), one, several)}: {_list_files(skipped)}")
    narrow = [file.note for file in checked if file.note]
    if narrow:
        more = f" ({len(narrow)} such images)" if len(narrow) > 1 else ""
        warnings.append(f"{narrow[0]}{more}")
    for split, by_class in scan.pictures.items():
        missing = sort_naturally(name for name in classes if not by_class.get(name))
        if missing:
            count = say_count(len(missing), "class", "classes")
            warnings.append(f"{split} has no images of {count}: {list_some(missing)}")
    same = [name for name, n in Counter(name_class(c) for c in classes).items() if n > 1]
    if same:
        warnings.append(f"several class folders read alike to the text tower: {list_some(same)}")
    return warnings


def collect_notes(
    root: Path, scan: FolderScan, classes: Sequence[str], unread: Sequence[str]
) -> list[str]:
    """What else the user should know."""
    notes = [
        f"{place.name}/ is used as {split}"
        for split, place in scan.places.items()
        if place != root and place.name != split
    ]
    if ignored := [name for name in scan.ignored if name not in set(unread)]:
        several = "files are no images of a class and were ignored"
        one = "file is no image of a class and was ignored"
        notes.append(f"{say_count(len(ignored), one, several)}: {_list_files(ignored)}")
    if scan.links:
        notes.append(_describe_links(scan.links))
    if aside := scan.aside:
        several = "folders beside the splits were ignored"
        one = "folder beside the splits was ignored"
        notes.append(f"{say_count(len(aside), one, several)}: {list_some(aside)}")
    if reason := explain_no_mirroring(classes):
        notes.append(f"images are not mirrored in training, since {reason}; --flip mirrors them")
    return notes


def _list_files(names: Sequence[str]) -> str:
    return list_some([printable_name(name) for name in sort_naturally(names)])


def _describe_links(links: Sequence[str]) -> str:
    shown = list_some([printable_name(link) for link in links])
    return (
        f"{say_count(len(links), 'link was', 'links were')} left out (to a folder, out of the "
        f"dataset, or to a picture that it has elsewhere): {shown}"
    )
