"""Reading one thing from the registry: an entry, a prompt file, a tag; without a lock."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from evpcli.domain.errors import DamagedError, EvpError, NotFoundError, UsageError
from evpcli.domain.names import check_tag
from evpcli.domain.reference import PromptKey
from evpcli.engine.files.durable import explain_storage
from evpcli.engine.files.regular_file import MAX_PROMPT_BYTES, read_regular_file
from evpcli.engine.files.strict_json import MAX_JSON_BYTES
from evpcli.engine.prompts.registry.layout import ENTRY_NAME, RegistryLayout, name_folder
from evpcli.engine.prompts.registry.record import Entry, decode_entry, decode_tag


def load_entry(
    layout: RegistryLayout, path: Path, version: int, key: PromptKey | None = None
) -> Entry:
    """The entry in a file, checked against its name, its folder and its prompt file's size.

    Raises:
        NotFoundError: there is none, or it was removed during the call.
        DamagedError: it is damaged, misfiled, or its prompt file is missing or cut off.
        StorageError: it cannot be read.
    """
    entry = read_entry(path, version, key)
    try:
        _check_size(layout.blob(entry.digest), entry.size_bytes)
    except DamagedError:
        if not layout.has_entry(entry.key, version):
            raise _tell_removed(entry.key, version) from None
        raise
    return entry


def read_entry(path: Path, version: int, key: PromptKey | None = None) -> Entry:
    """The entry in a file, whatever became of its prompt file; raises as `load_entry`."""
    entry = decode_entry(read_regular_file(path, MAX_JSON_BYTES), key, version)
    if path.parent.name != name_folder(entry.key):
        raise DamagedError("the entry lies in another key's folder", found=str(entry.ref))
    return entry


def _check_size(blob: Path, size_bytes: int) -> None:
    with explain_storage(blob, reading=True):
        try:
            found = os.stat(blob, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DamagedError("its prompt file is missing", found=str(blob)) from error
    if not stat.S_ISREG(found.st_mode) or found.st_size != size_bytes:
        raise DamagedError("its prompt file has another size", found=str(blob))


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


def load_version(layout: RegistryLayout, key: PromptKey, version: int) -> Entry:
    """One version, sound as far as its entry and its prompt file's size tell.

    Raises:
        NotFoundError: there is none.
        DamagedError: it is damaged; names another version that is sound to the bytes.
        StorageError: it cannot be read.
    """
    try:
        return load_entry(layout, layout.entry(key, version), version, key)
    except NotFoundError as error:
        raise _tell_removed(key, version) from error
    except DamagedError as error:
        raise _explain_damage(layout, key, version, error) from error


def read_prompt(layout: RegistryLayout, entry: Entry) -> bytes:
    """The prompt file of a version, its SHA-256 recomputed; raises as `load_version`."""
    try:
        return read_blob(layout, entry.digest)
    except DamagedError as error:
        if not layout.has_entry(entry.key, entry.version):
            raise _tell_removed(entry.key, entry.version) from error
        raise _explain_damage(layout, entry.key, entry.version, error) from error


def _tell_removed(key: PromptKey, version: int) -> NotFoundError:
    return NotFoundError("no such version", found=f"{key}:v{version}", hint="see evp list")


def _explain_damage(
    layout: RegistryLayout, key: PromptKey, version: int, error: DamagedError
) -> DamagedError:
    hint = "it has no other sound version; see evp verify"
    for number in reversed(layout.list_numbers(key, ENTRY_NAME)):
        with suppress(EvpError):
            path = layout.entry(key, number)
            if number != version:
                read_blob(layout, load_entry(layout, path, number, key).digest)
                hint = f"use {key}:v{number}, which is sound; see evp verify"
                break
    found = error.summary
    return DamagedError(f"{key}:v{version} is damaged", found=found, hint=hint)


def read_tag(layout: RegistryLayout, key: PromptKey, tag: str) -> int:
    """The version that a tag names, whether or not that is still there.

    Raises:
        UsageError: this can be no tag.
        NotFoundError: the key has no such tag.
        DamagedError: its file is damaged.
        StorageError: it cannot be read.
    """
    try:
        return read_tag_file(layout.tag(key, check_tag(tag)))[1]
    except DamagedError as error:
        found = error.summary
        forget = f"evp tag {key} {tag} --delete forgets it"
        raise DamagedError(f"the tag {key}:{tag} is damaged", found=found, hint=forget) from error


def read_tag_file(path: Path) -> tuple[PromptKey, int]:
    """What a tag's file names, checked against the file's place; raises as `read_tag`."""
    if path.suffix != ".json":
        raise DamagedError("nothing of this name belongs here")
    key, version = decode_tag(read_regular_file(path, MAX_JSON_BYTES), check_tag(path.stem))
    if path.parent.name != name_folder(key):
        raise DamagedError("the tag belongs elsewhere", found=f"{key}:{path.stem}"[:200])
    return key, version


def list_tags(layout: RegistryLayout, key: PromptKey, version: int) -> tuple[str, ...]:
    """The tags that name a version, sorted; damaged ones are left out.

    Raises:
        StorageError: one cannot be read.
    """
    found = []
    for name in layout.list_names(layout.tags / name_folder(key)):
        tag, _, ending = name.rpartition(".")
        with suppress(DamagedError, NotFoundError, UsageError):
            if ending == "json" and read_tag(layout, key, tag) == version:
                found.append(tag)
    return tuple(found)
