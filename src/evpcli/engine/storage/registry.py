"""The registry: keep, find, list and remove prompts; torch-free."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from evpcli.domain.errors import DamagedError, EvpError, NotFoundError, StorageError, UsageError
from evpcli.domain.manifest import Manifest
from evpcli.domain.names import suggest
from evpcli.domain.reference import DigestRef, KeyRef, PromptKey
from evpcli.engine.storage.durable import (
    TEMPORARY_PREFIX,
    count_free_bytes,
    explain_storage,
    publish_new,
    sync_folder,
    write_durably,
)
from evpcli.engine.storage.registry_layout import (
    ENTRY_NAME,
    REMOVED_NAME,
    RegistryLayout,
    name_folder,
)
from evpcli.engine.storage.registry_record import Entry, encode_entry, encode_tag
from evpcli.engine.storage.registry_survey import (
    Finding,
    describe,
    load_entry,
    read_blob,
    read_tag,
    survey_all,
    survey_entries,
)

_LOCK_WAIT_S = 10.0
_PROBE_BYTES = 1 << 20


class Registry:
    """Prompts below one folder, each immutable, filed by dataset and backbone.

    Reading needs no lock and makes no folder. `docs/registry.md` tells the layout and the order
    of writing.

    Args:
        root: the registry's folder; need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.layout = RegistryLayout(root)

    def publish(self, data: bytes, manifest: Manifest) -> Entry:
        """File a prompt as the next version of its key.

        When this returns, the version survives a power cut. When it raises or the process dies,
        every earlier version is as it was, and the new one is there whole or not at all.

        Args:
            data: the prompt file's bytes, from `encode_prompt`.
            manifest: the one inside `data`.

        Raises:
            StorageError: the registry cannot be written.
        """
        layout, key = self.layout, manifest.key
        digest = hashlib.sha256(data).hexdigest()
        blob = layout.blob(digest)
        for folder in (layout.entries / name_folder(key), blob.parent, layout.scratch):
            layout.make(folder)
        with layout.lock(_LOCK_WAIT_S) as alone:
            if alone:
                layout.sweep_scratch()
            if not self._holds_blob(digest):
                write_durably(blob, data, mode=0o444, scratch=layout.scratch)
            with explain_storage(blob):
                sync_folder(blob.parent)  # an earlier writer may have died before it did
            moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return self._publish_entry(Entry(key, 0, digest, len(data), moment, manifest))

    def _publish_entry(self, draft: Entry) -> Entry:
        numbers = self.list_versions(draft.key) + self.layout.list_numbers(draft.key, REMOVED_NAME)
        entry = dataclasses.replace(draft, version=max(numbers, default=0))
        while True:
            entry = dataclasses.replace(entry, version=entry.version + 1)
            path = self.layout.entry(entry.key, entry.version)
            with suppress(FileExistsError):
                publish_new(path, encode_entry(entry), scratch=self.layout.scratch)
                return entry

    def entries(self) -> list[Entry]:
        """Every sound version, by key and number; see `damaged` for the others."""
        return list(survey_entries(self.layout).entries)

    def damaged(self) -> list[Finding]:
        """What among the versions cannot be used; `verify` looks at everything."""
        return list(survey_entries(self.layout).damaged)

    def list_versions(self, key: PromptKey) -> list[int]:
        """Numbers of a key's versions, sound or damaged, ascending."""
        return self.layout.list_numbers(key, ENTRY_NAME)

    def verify(self) -> list[Finding]:
        """Everything that is not as it should be, each prompt file's SHA-256 recomputed."""
        return survey_all(self.layout)

    def find(self, ref: KeyRef | DigestRef) -> Entry:
        """The version that a reference means.

        A key alone means its newest version. `:best` is the version with the highest lower bound
        of the 95 % interval of its prompted accuracy: on validation where any version has that,
        else on test; the newer one of equals.

        Raises:
            NotFoundError: there is none; the error suggests the nearest name.
            UsageError: several prompts start with these digits.
            DamagedError: it is there but damaged; the error names a sound version to use.
        """
        if isinstance(ref, DigestRef):
            return self._find_digest(ref)
        numbers = self.list_versions(ref.key)
        if not numbers:
            known = {str(entry.key) for entry in self.entries()}
            hint = suggest(str(ref.key), known) or "see evp list"
            raise NotFoundError("no such prompt", found=str(ref), hint=hint)
        if ref.tag == "best":
            return self._find_best(ref.key, numbers)
        version = self._read_tag(ref) if ref.tag else ref.version or numbers[-1]
        if version not in numbers:
            raise NotFoundError(
                "no such version",
                found=f"{ref.key}:v{version}",
                hint=f"the newest is {ref.key}:v{numbers[-1]}",
            )
        return self._load(ref.key, version)

    def _find_digest(self, ref: DigestRef) -> Entry:
        survey = survey_entries(self.layout)
        found = [entry for entry in survey.entries if entry.digest.startswith(ref.prefix)]
        if len({entry.digest for entry in found}) > 1:
            names = ", ".join(f"{entry.digest[:16]} ({entry.ref})" for entry in found[:4])
            raise UsageError(f"several prompts start with {ref}", found=names, hint="add digits")
        if not found:
            hint = "some versions are damaged: see evp verify" if survey.damaged else "see evp list"
            raise NotFoundError("no prompt has this digest", found=str(ref), hint=hint)
        return found[-1]

    def _find_best(self, key: PromptKey, numbers: list[int]) -> Entry:
        entries = [self._load(key, number) for number in numbers]
        for split in ("val", "test"):
            rated = [
                (measured.interval[0], entry.version, entry)
                for entry in entries
                if (measured := entry.manifest.find_measurement("prompted", split))
            ]
            if rated:
                return max(rated, key=lambda item: item[:2])[2]
        raise NotFoundError(
            f"no version of {key} has a measured accuracy", hint=f"name one, such as {key}:v1"
        )

    def _read_tag(self, ref: KeyRef) -> int:
        tag = str(ref.tag)
        try:
            return read_tag(self.layout, ref.key, tag)
        except NotFoundError as error:
            folder = self.layout.tag(ref.key, tag).parent
            known = [name.removesuffix(".json") for name in self.layout.list_names(folder)]
            hint = suggest(tag, known) or f"{ref.key} has the tags: {', '.join(known) or 'none'}"
            raise NotFoundError("no such tag", found=str(ref), hint=hint) from error

    def _load(self, key: PromptKey, version: int) -> Entry:
        try:
            return load_entry(self.layout, self.layout.entry(key, version), version, key)
        except (DamagedError, NotFoundError) as error:
            raise self._explain_damage(key, version, error) from error

    def read(self, entry: Entry) -> bytes:
        """The prompt file of a version, its SHA-256 recomputed.

        Raises:
            DamagedError: the bytes are not those that were filed; names a sound version to use.
            StorageError: they cannot be read.
        """
        try:
            return read_blob(self.layout, entry.digest)
        except DamagedError as error:
            raise self._explain_damage(entry.key, entry.version, error) from error

    def _explain_damage(self, key: PromptKey, version: int, error: EvpError) -> DamagedError:
        """The damage of one version, with the newest other version that is sound to the bytes."""
        hint = "it has no other sound version; see evp verify"
        for number in reversed(self.list_versions(key)):
            with suppress(EvpError):
                path = self.layout.entry(key, number)
                if number != version:
                    read_blob(self.layout, load_entry(self.layout, path, number, key).digest)
                    hint = f"use {key}:v{number}, which is sound; see evp verify"
                    break
        return DamagedError(f"{key}:v{version} is damaged", found=describe(error), hint=hint)

    def remove(self, entry: Entry) -> None:
        """Remove one version and its tags; its number is never given again.

        The prompt file goes too, unless another version has the same one, or some entry of the
        registry is damaged and might.

        Raises:
            StorageError: the registry cannot be written, or another process is writing.
        """
        self._discard(entry.key, entry.version, entry.digest)

    def discard(self, key: PromptKey, version: int) -> None:
        """Remove a damaged version, keeping its prompt file; raises as `remove`."""
        self._discard(key, version, None)

    def _discard(self, key: PromptKey, version: int, digest: str | None) -> None:
        layout = self.layout
        layout.make(layout.scratch)
        with layout.lock(_LOCK_WAIT_S) as alone:
            if not alone:
                raise StorageError("another process is writing to the registry", hint="try again")
            with suppress(FileExistsError):
                publish_new(layout.removed(key, version), b"", scratch=layout.scratch)
            self._unlink(layout.entry(key, version))
            for tag in self._tags(key, version):
                self._unlink(layout.tag(key, tag))
            survey = survey_entries(layout)
            needed = survey.damaged or digest in {entry.digest for entry in survey.entries}
            if digest and not needed:
                self._unlink(layout.blob(digest))

    def tag(self, entry: Entry, name: str) -> None:
        """Let `name` mean this version of the key, whatever it meant before.

        Raises:
            UsageError: it cannot be a tag.
            StorageError: the registry cannot be written.
        """
        layout, path = self.layout, self.layout.tag(entry.key, name)
        layout.make(layout.scratch)
        layout.make(path.parent)
        write_durably(path, encode_tag(entry.key, name, entry.version), scratch=layout.scratch)

    def untag(self, key: PromptKey, name: str) -> None:
        """Forget a tag; NotFoundError when the key has none of that name."""
        path = self.layout.tag(key, name)
        if path.name not in self.layout.list_names(path.parent):
            raise NotFoundError("no such tag", found=f"{key}:{name}", hint="see evp list")
        self._unlink(path)

    def tags_of(self, entry: Entry) -> tuple[str, ...]:
        """The tags of a version, sorted; damaged tags are left to `verify`."""
        return self._tags(entry.key, entry.version)

    def check_writable(self, needed_bytes: int = _PROBE_BYTES) -> None:
        """Raise unless a prompt can be filed now; makes the registry's folder.

        Args:
            needed_bytes: room that the prompt will take.

        Raises:
            StorageError: the disk is full, read-only, or closed to this user.
        """
        scratch = self.layout.scratch
        self.layout.make(scratch)
        probe = scratch / f"{TEMPORARY_PREFIX}probe-{os.getpid()}"
        write_durably(probe, b"evp", scratch=scratch)
        self._unlink(probe)
        free = count_free_bytes(scratch)
        if free is not None and free < needed_bytes:
            raise StorageError(
                "the disk is too full to keep a prompt",
                found=f"{scratch}: {needed_bytes} bytes needed, {free} free",
                hint="free some space, or point EVP_HOME at another disk",
            )

    def _tags(self, key: PromptKey, version: int) -> tuple[str, ...]:
        found = []
        for name in self.layout.list_names(self.layout.tags / name_folder(key)):
            tag = name.removesuffix(".json")
            with suppress(EvpError):
                if read_tag(self.layout, key, tag) == version:
                    found.append(tag)
        return tuple(found)

    def _holds_blob(self, digest: str) -> bool:
        try:
            return bool(read_blob(self.layout, digest))
        except EvpError:
            return False

    def _unlink(self, path: Path) -> None:
        """Remove a file for good; nothing happens when there is none."""
        if self.layout.has_folder(path.parent):
            with explain_storage(path), suppress(FileNotFoundError):
                os.unlink(path)
                sync_folder(path.parent)
