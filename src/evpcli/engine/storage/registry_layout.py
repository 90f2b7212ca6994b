"""Where the registry keeps what, and what may stand there; keys from outside never become paths."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from evpcli.domain.errors import StorageError
from evpcli.domain.names import check_tag, make_slug
from evpcli.domain.reference import PromptKey
from evpcli.engine.storage.durable import (
    TEMPORARY_PREFIX,
    check_folder,
    explain_storage,
    make_folder,
)
from evpcli.engine.storage.registry_record import hash_key

ENTRY_NAME = re.compile(r"v([0-9]{6,9})\.json")
REMOVED_NAME = re.compile(r"v([0-9]{6,9})\.removed")
FOLDER_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}--[0-9a-f]{16}")
_LOCK_PAUSE_S = 0.02


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
        above = [p for p in folder.parents if p != self.root and self.root in p.parents]
        return all(map(check_folder, [*reversed(above), folder]))

    def list_names(self, folder: Path) -> list[str]:
        """Names in a folder below the root, sorted; none when it does not exist.

        Raises:
            StorageError: it, or a folder above it, is no real folder or cannot be read.
        """
        if not self.has_folder(folder):
            return []
        with explain_storage(folder):
            return sorted(os.listdir(folder))

    def list_numbers(self, key: PromptKey, pattern: re.Pattern[str]) -> list[int]:
        """Version numbers among the file names of a key that match, ascending."""
        names = self.list_names(self.entries / name_folder(key))
        return sorted(int(found[1]) for name in names if (found := pattern.fullmatch(name)))

    def sweep_scratch(self) -> None:
        """Remove what dead writers left; only for the one who holds the lock."""
        for name in self.list_names(self.scratch):
            if name.startswith(TEMPORARY_PREFIX):
                with suppress(OSError):
                    os.unlink(self.scratch / name)

    @contextmanager
    def lock(self, wait_s: float) -> Iterator[bool]:
        """Hold the writers' lock during the block; readers need none.

        Args:
            wait_s: how long to wait for another writer.

        Yields:
            Whether the lock is held: not when another writer keeps it for longer, nor on a file
            system without locks.
        """
        path = self.root / "lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with explain_storage(path):
            handle = os.open(path, flags, 0o644)
        try:
            with explain_storage(path):
                is_file = stat.S_ISREG(os.fstat(handle).st_mode)
            if not is_file:
                raise StorageError("this must be a regular file", found=str(path))
            yield _try_lock(handle, wait_s)
        finally:
            with suppress(OSError):
                os.close(handle)  # gives the lock back


def name_folder(key: PromptKey) -> str:
    """The folder name of a key: a slug for people, a hash of the exact key for machines."""
    return f"{make_slug(f'{key.dataset}-{key.backbone}')}--{hash_key(key)[:16]}"


def _try_lock(handle: int, wait_s: float) -> bool:
    end = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_LOCK_PAUSE_S)
        except OSError:  # a file system without locks
            return False
        else:
            return True
