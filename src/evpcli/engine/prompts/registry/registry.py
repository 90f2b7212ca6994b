"""The registry: keep, find, list and remove prompts; torch-free."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from evpcli.domain.errors import DamagedError, EvpError, NotFoundError, StorageError
from evpcli.domain.manifest import Manifest
from evpcli.domain.reference import DigestRef, KeyRef, PromptKey
from evpcli.engine.files.durable import (
    count_free_bytes,
    explain_storage,
    publish_new,
    sync_file,
    sync_folder,
    write_durably,
)
from evpcli.engine.prompts.registry.layout import (
    ENTRY_NAME,
    REMOVED_NAME,
    RegistryLayout,
)
from evpcli.engine.prompts.registry.lookup import find_entry
from evpcli.engine.prompts.registry.reading import (
    list_tags,
    load_entry,
    load_version,
    read_blob,
    read_entry,
    read_prompt,
    read_tag,
)
from evpcli.engine.prompts.registry.record import Entry, encode_entry, encode_tag
from evpcli.engine.prompts.registry.survey import (
    Finding,
    Survey,
    survey_all,
    survey_entries,
    survey_tags,
)

_NEEDED_BYTES = 1 << 20


@dataclass(frozen=True)
class Filed:
    """A version, and whether it was made just now rather than there before."""

    entry: Entry
    is_new: bool


class Registry:
    """Prompts below one folder, each immutable, filed by dataset and backbone.

    Reading needs no lock and makes no folder. Whatever changes something waits for its turn, and
    then looks again whether what it was told, such as that a version exists, still holds.
    `docs/registry.md` tells the layout, the order of writing and what is promised.

    Args:
        root: the registry's folder; need not exist.
        on_wait: told who is writing, when this process waits for that longer than a second.
    """

    def __init__(self, root: Path, on_wait: Callable[[str], None] | None = None) -> None:
        self.layout = RegistryLayout(root)
        self._on_wait = on_wait

    def publish(self, data: bytes, manifest: Manifest) -> Entry:
        """The version under which a prompt is filed; see `file_once`."""
        return self.file_once(data, manifest).entry

    def file_once(self, data: bytes, manifest: Manifest) -> Filed:
        """File a prompt as the next version of its key, unless it has a version already.

        A prompt that is there already is compared byte by byte, written again where it was
        damaged, and synchronised. When this returns, the version survives a power cut. When it
        raises or the process dies, every earlier version is as it was, and the new one is there
        whole or not at all.

        Args:
            data: the prompt file's bytes, from `encode_prompt`.
            manifest: the one inside `data`.

        Raises:
            StorageError: the registry cannot be written, or another process writes.
        """
        layout, key = self.layout, manifest.key
        digest = hashlib.sha256(data).hexdigest()
        with layout.write(self._on_wait):
            layout.make(layout.blob(digest).parent)
            layout.make(layout.entry(key, 1).parent)
            self._keep_blob(digest, data)
            kept = self._find_kept(digest, manifest)
            if kept:
                with explain_storage(layout.entry(key, kept.version)):
                    sync_file(layout.entry(key, kept.version))
                return Filed(kept, is_new=False)
            moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            draft = Entry(key, 0, digest, len(data), moment, manifest)
            return Filed(self._publish_entry(draft), is_new=True)

    def _keep_blob(self, digest: str, data: bytes) -> None:
        blob = self.layout.blob(digest)
        try:
            read_blob(self.layout, digest)
        except EvpError:  # missing, damaged or unreadable: these bytes are the right ones
            write_durably(blob, data, mode=0o444, scratch=self.layout.scratch)
        else:
            with explain_storage(blob):
                sync_file(blob)  # an earlier writer may have died before it did

    def _find_kept(self, digest: str, manifest: Manifest) -> Entry | None:
        """The oldest version that has this very prompt, and says of it what the prompt says."""
        key = manifest.key
        for number in self.list_versions(key):
            with suppress(DamagedError):
                entry = read_entry(self.layout.entry(key, number), number, key)
                if (entry.digest, entry.manifest) == (digest, manifest):
                    return entry
        return None

    def _publish_entry(self, draft: Entry) -> Entry:
        numbers = self.list_versions(draft.key) + self.layout.list_numbers(draft.key, REMOVED_NAME)
        version = max(numbers, default=0)
        while True:  # an evp of before this lock may take a number meanwhile
            version += 1
            entry = dataclasses.replace(draft, version=version)
            with suppress(FileExistsError):
                path = self.layout.entry(entry.key, version)
                publish_new(path, encode_entry(entry), scratch=self.layout.scratch)
                return entry

    def survey(self) -> Survey:
        """Every sound version, by key and number, and what among the versions is at fault."""
        return survey_entries(self.layout)

    def entries(self) -> list[Entry]:
        """Every sound version, by key and number."""
        return list(self.survey().entries)

    def list_versions(self, key: PromptKey) -> list[int]:
        """Numbers of a key's versions, sound or damaged, ascending."""
        return self.layout.list_numbers(key, ENTRY_NAME)

    def survey_tags(self) -> list[Finding]:
        """What is at fault among the tags, or dangles."""
        return survey_tags(self.layout)

    def verify(self) -> list[Finding]:
        """Everything that is not as it should be, each prompt file's SHA-256 recomputed."""
        return survey_all(self.layout)

    def find(self, ref: KeyRef | DigestRef) -> Entry:
        """The version that a reference means; see `find_entry`."""
        return find_entry(self.layout, ref)

    def read(self, entry: Entry) -> bytes:
        """The prompt file of a version, its SHA-256 recomputed.

        Raises:
            NotFoundError: the version was removed.
            DamagedError: the bytes are not those that were filed; names a sound version to use.
            StorageError: they cannot be read.
        """
        return read_prompt(self.layout, entry)

    def tags_of(self, key: PromptKey, version: int) -> tuple[str, ...]:
        """The tags of a version, sorted; damaged tags are left to `verify`."""
        return list_tags(self.layout, key, version)

    def remove(self, key: PromptKey, version: int, named: str | None = None) -> tuple[str, ...]:
        """Remove one version, sound or damaged, and its tags; its number is never given again.

        Its number is kept first, then tags go, so that none is ever left without its version. The
        prompt file goes last, unless another version has the same one, or some entry cannot be used
        and might.

        Args:
            key: dataset and backbone.
            version: its number.
            named: the tag by which it was meant, which must still mean it.

        Returns:
            The tags that went with it.

        Raises:
            NotFoundError: there is no such version.
            StorageError: the registry cannot be written, or another process writes.
        """
        layout = self.layout
        with layout.write(self._on_wait):
            if named and read_tag(layout, key, named) != version:
                raise NotFoundError(
                    "the tag was moved meanwhile", found=f"{key}:{named}", hint="see evp list"
                )
            digest = self._read_digest(key, version)
            tags = self.tags_of(key, version)
            with suppress(FileExistsError):  # needs space: without it nothing is changed yet
                publish_new(layout.removed(key, version), b"", scratch=layout.scratch)
            for tag in tags:
                self._unlink(layout.tag(key, tag))
            self._unlink(layout.entry(key, version))
            survey = self.survey()
            needed = survey.faults or digest in {entry.digest for entry in survey.entries}
            if digest and not needed:
                self._unlink(layout.blob(digest))
        return tags

    def _read_digest(self, key: PromptKey, version: int) -> str | None:
        """The prompt file of a version that is to be removed; nothing where nobody can know."""
        path = self.layout.entry(key, version)
        if not self.layout.has_entry(key, version):
            raise NotFoundError("no such version", found=f"{key}:v{version}", hint="see evp list")
        try:
            return load_entry(self.layout, path, version, key).digest
        except DamagedError:
            return None

    def tag(self, entry: Entry, name: str) -> None:
        """Let `name` mean this version of the key, whatever it meant before.

        Raises:
            UsageError: it cannot be a tag.
            NotFoundError: the version was removed.
            StorageError: the registry cannot be written, or another process writes.
        """
        layout, path = self.layout, self.layout.tag(entry.key, name)
        with layout.write(self._on_wait):
            load_version(layout, entry.key, entry.version)
            layout.make(path.parent)
            data = encode_tag(entry.key, name, entry.version)
            write_durably(path, data, scratch=layout.scratch)

    def untag(self, key: PromptKey, name: str, version: int | None = None) -> None:
        """Forget a tag, also one that is damaged or whose version was removed.

        Args:
            key: dataset and backbone.
            name: the tag.
            version: what it must mean; anything when left out.

        Raises:
            NotFoundError: the key has no such tag, or it means another version.
            StorageError: the registry cannot be written, or another process writes.
        """
        path = self.layout.tag(key, name)
        with self.layout.write(self._on_wait):
            if path.name not in self.layout.list_names(path.parent):
                raise NotFoundError("no such tag", found=f"{key}:{name}", hint="see evp list")
            if version and (named := read_tag(self.layout, key, name)) != version:
                raise NotFoundError(
                    f"{key}:v{version} has no such tag", found=f"{name} means v{named}"
                )
            self._unlink(path)

    def check_writable(self, needed_bytes: int = _NEEDED_BYTES) -> None:
        """Raise unless a prompt can be filed now; makes the registry's folder.

        Args:
            needed_bytes: room that the prompt will take.

        Raises:
            StorageError: the disk is full, read-only, has no locks, or is closed to this user.
        """
        self.layout.check_writing()
        scratch = self.layout.scratch
        free = count_free_bytes(scratch)
        if free is not None and free < needed_bytes:
            raise StorageError(
                "the disk is too full to keep a prompt",
                found=f"{scratch}: {needed_bytes} bytes needed, {free} free",
                hint="free some space, or point EVP_HOME at another disk",
            )

    def _unlink(self, path: Path) -> None:
        """Remove a file for good; nothing happens when there is none."""
        if self.layout.has_folder(path.parent):
            with explain_storage(path):
                with suppress(FileNotFoundError):
                    os.unlink(path)
                sync_folder(path.parent)
