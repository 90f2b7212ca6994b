"""Where the registry keeps what, and what may stand there; keys from outside never become paths."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from evpcli.domain.names import check_tag, make_slug
from evpcli.domain.reference import PromptKey
from evpcli.engine.files.durable import (
    check_folder,
    check_writing,
    explain_storage,
    has_name,
    make_folder,
)
from evpcli.engine.files.locks import LockHeldError, hold_lock
from evpcli.engine.files.temporaries import sweep_temporaries
from evpcli.engine.prompts.registry.record import hash_key

_NUMBER = r"v(0[0-9]{5}|[1-9][0-9]{5,8})"  # each number has one name
ENTRY_NAME = re.compile(_NUMBER + r"\.json")
REMOVED_NAME = re.compile(_NUMBER + r"\.removed")
FOLDER_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}--[0-9a-f]{16}")
LOCK_WAIT_S = 30.0
"""A writer needs some milliseconds: whoever is slower was stopped, or has a sick disk."""


@dataclass(frozen=True)
class RegistryLayout:
    """The folders and file names below the registry's root.

    Args:
        root: need not exist; may itself be a symbolic link, while nothing below it may be one.
    """

    root: Path

    @property
    def blobs(self) -> Path:
        """Prompt files by their SHA-256."""
        return self.root / "blobs" / "sha256"

    @property
    def entries(self) -> Path:
        """One folder a key, with one file a version."""
        return self.root / "entries"

    @property
    def tags(self) -> Path:
        """One folder a key, with one file a tag."""
        return self.root / "tags"

    @property
    def scratch(self) -> Path:
        """Files that are being written."""
        return self.root / "tmp"

    def blob(self, digest: str) -> Path:
        """The file of a prompt with this SHA-256, 64 hexadecimal digits."""
        return self.blobs / digest[:2] / digest

    def entry(self, key: PromptKey, version: int) -> Path:
        """The file of one version."""
        return self.entries / name_folder(key) / f"v{version:06}.json"

    def removed(self, key: PromptKey, version: int) -> Path:
        """The empty file that keeps a removed version's number from being given again."""
        return self.entries / name_folder(key) / f"v{version:06}.removed"

    def tag(self, key: PromptKey, tag: str) -> Path:
        """The file of one tag; `tag` is checked."""
        return self.tags / name_folder(key) / f"{check_tag(tag)}.json"

    def make(self, folder: Path) -> None:
        """Make a folder below the root, with its parents; none of them may be a link."""
        make_folder(folder, self.root)

    def has_folder(self, folder: Path) -> bool:
        """Whether a folder below the root exists.

        Raises:
            StorageError: it, or a folder above it, is no real folder.
        """
        if not check_folder(self.root, follow=True):
            return False
        above = [p for p in folder.parents if p != self.root and self.root in p.parents]
        return all(map(check_folder, [*reversed(above), folder]))

    def list_names(self, folder: Path) -> list[str]:
        """Names in a folder below the root, sorted; none when it does not exist.

        Raises:
            StorageError: it, or a folder above it, is no real folder or cannot be read.
        """
        if not self.has_folder(folder):
            return []
        with explain_storage(folder, reading=True):
            return sorted(os.listdir(folder))

    def list_numbers(self, key: PromptKey, pattern: re.Pattern[str]) -> list[int]:
        """Version numbers among the file names of a key that match, ascending."""
        names = self.list_names(self.entries / name_folder(key))
        return sorted(int(found[1]) for name in names if (found := pattern.fullmatch(name)))

    def has_entry(self, key: PromptKey, version: int) -> bool:
        """Whether something stands in the place of a version, sound or not.

        Raises:
            StorageError: nobody can know.
        """
        path = self.entry(key, version)
        return self.has_folder(path.parent) and has_name(path)

    @contextmanager
    def write(self, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
        """Be the only writer during the block; readers need no leave.

        Makes the root and the folder for files that are being written, and removes what killed
        writers left there.

        Args:
            on_wait: told who is writing, when that takes longer than a second.

        Raises:
            StorageError: another process writes for longer than `LOCK_WAIT_S`, the file system
                has no locks, or the registry cannot be written.
        """
        self.make(self.scratch)
        with hold_lock(self.root / "lock", LOCK_WAIT_S, on_wait):
            sweep_temporaries(self.scratch)
            yield

    def check_writing(self) -> None:
        """Raise StorageError where nothing can be written, or never without another writer."""
        self.make(self.scratch)
        with suppress(LockHeldError), hold_lock(self.root / "lock"):
            pass  # one who holds it shows that there are locks
        check_writing(self.scratch)


def name_folder(key: PromptKey) -> str:
    """The folder name of a key: a slug for people, a hash of the exact key for machines."""
    return f"{make_slug(f'{key.dataset}-{key.backbone}')}--{hash_key(key)[:16]}"
