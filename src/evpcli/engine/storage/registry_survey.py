"""What lies in the registry: sound versions, damaged ones, and prompt files nobody needs."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evpcli.domain.errors import DamagedError, EvpError, NotFoundError, StorageError
from evpcli.domain.names import check_tag
from evpcli.domain.reference import KeyRef, PromptKey
from evpcli.engine.prompt_files.manifest_json import MAX_JSON_BYTES
from evpcli.engine.storage.registry_layout import (
    ENTRY_NAME,
    FOLDER_NAME,
    REMOVED_NAME,
    RegistryLayout,
    name_folder,
)
from evpcli.engine.storage.registry_record import Entry, decode_entry, decode_tag
from evpcli.engine.storage.regular_file import MAX_PROMPT_BYTES, read_regular_file

_HEX_PAIR = re.compile(r"[0-9a-f]{2}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FOREIGN = "nothing of this name belongs here"


@dataclass(frozen=True)
class Finding:
    """Something in the registry that is not as it should be.

    Args:
        level: `damaged` cannot be used as it is; `unused` is sound but nothing refers to it.
        path: where it lies.
        problem: what is wrong, on one line.
        ref: the version it should be, where that is known.
    """

    level: Literal["damaged", "unused"]
    path: Path
    problem: str
    ref: KeyRef | None = None


@dataclass(frozen=True)
class Survey:
    """Every sound version by key and number, and what is damaged."""

    entries: tuple[Entry, ...]
    damaged: tuple[Finding, ...]


def survey_entries(layout: RegistryLayout) -> Survey:
    """Read every entry; no prompt file is opened, only its size is compared.

    Raises:
        StorageError: the registry cannot be read.
    """
    entries: list[Entry] = []
    damaged: list[Finding] = []
    for folder in layout.list_names(layout.entries):
        where = layout.entries / folder
        try:
            if not FOLDER_NAME.fullmatch(folder):
                raise DamagedError(_FOREIGN)
            sound, broken = _survey_folder(layout, where)
        except EvpError as error:
            damaged.append(Finding("damaged", where, describe(error)))
        else:
            entries += sound
            damaged += broken
    entries.sort(key=lambda entry: (entry.key.dataset, entry.key.backbone, entry.version))
    return Survey(tuple(entries), tuple(damaged))


def _survey_folder(layout: RegistryLayout, where: Path) -> tuple[list[Entry], list[Finding]]:
    sound: list[Entry] = []
    broken: list[tuple[int | None, str, str]] = []
    for name in layout.list_names(where):
        if REMOVED_NAME.fullmatch(name):
            continue
        found = ENTRY_NAME.fullmatch(name)
        number = int(found[1]) if found else None
        try:
            if number is None:
                raise DamagedError(_FOREIGN)
            sound.append(load_entry(layout, where / name, number))
        except EvpError as error:
            if os.path.lexists(where / name):  # else another process removed it just now
                broken.append((number, name, describe(error)))
    key = sound[0].key if sound else None
    return sound, [
        Finding("damaged", where / name, text, KeyRef(key, n) if key and n else None)
        for n, name, text in broken
    ]


def load_entry(
    layout: RegistryLayout, path: Path, version: int, key: PromptKey | None = None
) -> Entry:
    """The entry in a file, checked against its name, its folder and its prompt file's size.

    Raises:
        DamagedError: it is damaged, misfiled, or its prompt file is missing or cut off.
        StorageError: it cannot be read.
    """
    entry = decode_entry(read_regular_file(path, MAX_JSON_BYTES), key, version)
    if path.parent.name != name_folder(entry.key):
        raise DamagedError("the entry lies in another key's folder", found=str(entry.ref))
    blob = layout.blob(entry.digest)
    try:
        found = os.stat(blob, follow_symlinks=False)
    except OSError as error:
        raise DamagedError("its prompt file is missing", found=str(blob)) from error
    if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size_bytes:
        raise DamagedError("its prompt file has another size", found=str(blob))
    return entry


def read_blob(layout: RegistryLayout, digest: str) -> bytes:
    """The prompt file with this SHA-256, recomputed.

    Raises:
        DamagedError: it is missing, no regular file, or holds other bytes.
        StorageError: it cannot be read.
    """
    blob = layout.blob(digest)
    try:
        layout.has_folder(blob.parent)
        data = read_regular_file(blob, MAX_PROMPT_BYTES)
    except NotFoundError as error:
        raise DamagedError("its prompt file is missing", found=str(blob)) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise DamagedError("its prompt file was changed since it was filed", found=str(blob))
    return data


def survey_all(layout: RegistryLayout) -> list[Finding]:
    """Read everything in the registry, prompt files too, and tell what is not as it should be.

    Raises:
        StorageError: the registry cannot be read.
    """
    survey = survey_entries(layout)
    used = {entry.digest: entry.ref for entry in survey.entries}
    return [*survey.damaged, *_check_blobs(layout, used), *_check_tags(layout, survey.entries)]


def _check_blobs(layout: RegistryLayout, used: dict[str, KeyRef]) -> Iterator[Finding]:
    for pair in layout.list_names(layout.blobs):
        folder = layout.blobs / pair
        try:
            names = layout.list_names(folder) if _HEX_PAIR.fullmatch(pair) else None
        except StorageError as error:
            yield Finding("damaged", folder, describe(error))
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
                yield Finding("damaged", folder / name, describe(error), used.get(name))
            else:
                if name not in used:
                    text = "no version uses this prompt file; evp import brings it back"
                    yield Finding("unused", folder / name, text)


def _check_tags(layout: RegistryLayout, entries: tuple[Entry, ...]) -> Iterator[Finding]:
    keys = {name_folder(entry.key): entry.key for entry in entries}
    versions = {(entry.key, entry.version) for entry in entries}
    for folder in layout.list_names(layout.tags):
        where = layout.tags / folder
        try:
            names = layout.list_names(where)
        except StorageError as error:
            yield Finding("damaged", where, describe(error))
            continue
        for name in names:
            try:
                if folder not in keys:
                    raise DamagedError("this tag's key has no sound version")
                version = read_tag(layout, keys[folder], name.removesuffix(".json"))
                if (keys[folder], version) not in versions:
                    raise DamagedError(f"this tag names version {version}, which is not sound")
            except EvpError as error:
                yield Finding("damaged", where / name, describe(error))


def read_tag(layout: RegistryLayout, key: PromptKey, tag: str) -> int:
    """The version that a tag names.

    Raises:
        UsageError: this can be no tag.
        NotFoundError: the key has no such tag.
        DamagedError: its file is damaged.
    """
    return decode_tag(read_regular_file(layout.tag(key, check_tag(tag)), MAX_JSON_BYTES), key, tag)


def describe(error: EvpError) -> str:
    """An error as half a line, for use inside another message."""
    return f"{error.what}: {error.found}" if error.found else error.what
