"""What lies in the registry: sound versions, damaged ones, and what nobody needs any more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evpcli.domain.errors import DamagedError, EvpError, NotFoundError, StorageError
from evpcli.domain.reference import KeyRef
from evpcli.engine.prompts.registry.layout import (
    ENTRY_NAME,
    FOLDER_NAME,
    REMOVED_NAME,
    RegistryLayout,
)
from evpcli.engine.prompts.registry.reading import load_entry, read_blob, read_tag_file
from evpcli.engine.prompts.registry.record import Entry

_HEX_PAIR = re.compile(r"[0-9a-f]{2}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FOREIGN = "nothing of this name belongs here"
_FAULTS = ("damaged", "unreadable")

Level = Literal["damaged", "unreadable", "dangling", "unused"]


@dataclass(frozen=True)
class Finding:
    """Something in the registry that is not as it should be.

    Args:
        level: `damaged` cannot be used as it is; `unreadable` may be sound, and the system does
            not let it be read; `dangling` is a tag whose version was removed, and `unused` a
            sound prompt file that nothing refers to: neither is a fault.
        path: where it lies.
        problem: what is wrong, on one line.
        ref: the version it should be, where that is known.
    """

    level: Level
    path: Path
    problem: str
    ref: KeyRef | None = None

    @property
    def is_fault(self) -> bool:
        """Whether something is wrong, rather than left over."""
        return self.level in _FAULTS


@dataclass(frozen=True)
class Survey:
    """Every sound version by key and number, and what among the versions is at fault."""

    entries: tuple[Entry, ...]
    faults: tuple[Finding, ...]


def survey_entries(layout: RegistryLayout) -> Survey:
    """Read every entry; no prompt file is opened, only its size is compared.

    A fault counts when two looks in a row see it: the first may have met a writer halfway.

    Raises:
        StorageError: the registry cannot be read.
    """
    first = _look_at_entries(layout)
    if not first.faults:
        return first
    second = _look_at_entries(layout)
    return Survey(second.entries, tuple(f for f in second.faults if f in first.faults))


def survey_tags(layout: RegistryLayout) -> list[Finding]:
    """What is at fault among the tags, or dangles, as two looks in a row see it.

    Raises:
        StorageError: the folder of the tags cannot be read.
    """
    first = list(_look_at_tags(layout))
    return [found for found in _look_at_tags(layout) if found in first] if first else []


def survey_all(layout: RegistryLayout) -> list[Finding]:
    """Read everything in the registry, prompt files too, and tell what is not as it should be.

    Faults and dangling tags count when two looks in a row see them.

    Raises:
        StorageError: the registry cannot be read.
    """
    first = _look_at_all(layout)
    if all(finding.level == "unused" for finding in first):
        return first
    return [found for found in _look_at_all(layout) if found in first]


def _look_at_all(layout: RegistryLayout) -> list[Finding]:
    try:
        survey = _look_at_entries(layout)
    except StorageError as error:
        survey = Survey((), (_report(layout.entries, error),))
    found = list(survey.faults)
    used = {entry.digest: entry.ref for entry in survey.entries}
    looks: dict[Path, Callable[[], Iterator[Finding]]] = {
        layout.blobs: lambda: _look_at_blobs(layout, used),
        layout.tags: lambda: _look_at_tags(layout),
    }
    for folder, look in looks.items():
        try:
            found += list(look())
        except StorageError as error:
            found.append(_report(folder, error))
    if survey.faults:  # a version that cannot be read may need what looks unused
        found = [finding for finding in found if finding.level != "unused"]
    return found


def _look_at_entries(layout: RegistryLayout) -> Survey:
    entries: list[Entry] = []
    faults: list[Finding] = []
    for folder in layout.list_names(layout.entries):
        where = layout.entries / folder
        try:
            if not FOLDER_NAME.fullmatch(folder):
                raise DamagedError(_FOREIGN)
            sound, broken = _look_at_key(layout, where)
        except EvpError as error:
            faults.append(_report(where, error))
        else:
            entries += sound
            faults += broken
    entries.sort(key=lambda entry: (entry.key.dataset, entry.key.backbone, entry.version))
    return Survey(tuple(entries), tuple(faults))


def _look_at_key(layout: RegistryLayout, where: Path) -> tuple[list[Entry], list[Finding]]:
    sound: list[Entry] = []
    broken: list[tuple[int | None, str, EvpError]] = []
    for name in layout.list_names(where):
        if REMOVED_NAME.fullmatch(name):
            continue
        found = ENTRY_NAME.fullmatch(name)
        number = int(found[1]) if found else None
        try:
            if number is None:
                raise DamagedError(_FOREIGN)
            sound.append(load_entry(layout, where / name, number))
        except NotFoundError:
            continue  # another process removed it just now
        except EvpError as error:
            broken.append((number, name, error))
    key = sound[0].key if sound else None
    return sound, [
        _report(where / name, error, KeyRef(key, n) if key and n else None)
        for n, name, error in broken
    ]


def _look_at_blobs(layout: RegistryLayout, used: dict[str, KeyRef]) -> Iterator[Finding]:
    for pair in layout.list_names(layout.blobs):
        folder = layout.blobs / pair
        try:
            names = layout.list_names(folder) if _HEX_PAIR.fullmatch(pair) else None
        except StorageError as error:
            yield _report(folder, error)
            continue
        if names is None:
            yield Finding("damaged", folder, _FOREIGN)
        for name in names or ():
            if not _DIGEST.fullmatch(name) or name[:2] != pair:
                yield Finding("damaged", folder / name, _FOREIGN)
                continue
            try:
                read_blob(layout, name)
            except EvpError as error:
                yield _report(folder / name, error, used.get(name))
            else:
                if name not in used:
                    text = "no version uses this prompt file; evp import brings it back"
                    yield Finding("unused", folder / name, text)


def _look_at_tags(layout: RegistryLayout) -> Iterator[Finding]:
    for folder in layout.list_names(layout.tags):
        where = layout.tags / folder
        try:
            names = layout.list_names(where)
        except StorageError as error:
            yield _report(where, error)
            continue
        for name in names:
            finding = _look_at_tag(layout, where / name)
            if finding:
                yield finding


def _look_at_tag(layout: RegistryLayout, path: Path) -> Finding | None:
    try:
        key, version = read_tag_file(path)
        if layout.has_entry(key, version):
            return None  # what may be wrong with that is told elsewhere
    except NotFoundError:
        return None  # another process removed it just now
    except EvpError as error:
        return _report(path, error)
    forget = f"evp tag {key} {path.stem} --delete"
    return Finding("dangling", path, f"version {version} was removed: {forget} forgets the tag")


def _report(path: Path, error: EvpError, ref: KeyRef | None = None) -> Finding:
    """A fault, with whether it lies in the bytes or in reading them."""
    unreadable = isinstance(error, StorageError) and isinstance(error.__cause__, OSError)
    return Finding("unreadable" if unreadable else "damaged", path, error.summary, ref)
