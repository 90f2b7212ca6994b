"""Which files lie below a folder: hidden ones left out, links followed only inside, loops cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from evpcli.domain.errors import StorageError

_NOT_DATA = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "Icon\r"})


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is never data: `.git`, `.DS_Store`, `__MACOSX`."""
    return name.startswith(".") or name in _NOT_DATA


def walk_files(folder: Path, inside: Path | None = None) -> Iterator[Path]:
    """Each file below `folder` once, in sorted order, as a path that starts with `folder`.

    Args:
        folder: where to start.
        inside: symbolic links are followed only if they end inside this folder; `folder` itself
            when left out.

    Raises:
        StorageError: a folder cannot be listed.
    """
    root = Path(os.path.realpath(inside or folder))
    yield from _walk(folder, root, set())


def list_folders(folder: Path, inside: Path) -> list[Path]:
    """The folders directly in `folder` that are not hidden and do not lead out of `inside`."""
    root = Path(os.path.realpath(inside))
    return [
        Path(entry.path)
        for entry in _scan(folder)
        if not is_hidden(entry.name) and _is_within(entry, root) and entry.is_dir()
    ]


def list_files(folder: Path, inside: Path) -> list[Path]:
    """The files directly in `folder` that are not hidden and do not lead out of `inside`."""
    root = Path(os.path.realpath(inside))
    return [
        Path(entry.path)
        for entry in _scan(folder)
        if not is_hidden(entry.name) and _is_within(entry, root) and not entry.is_dir()
    ]


def _walk(folder: Path, root: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:  # a second way to the same folder, or a loop
        return
    seen.add(real)
    for entry in _scan(folder):
        if is_hidden(entry.name) or not _is_within(entry, root):
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), root, seen)
        else:
            yield Path(entry.path)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise StorageError(
            "a folder cannot be listed", found=f"{folder}: {error.strerror}"
        ) from error


def _is_within(entry: os.DirEntry[str], root: Path) -> bool:
    """Whether an entry is no link, or a link that ends inside `root`."""
    return not entry.is_symlink() or Path(os.path.realpath(entry.path)).is_relative_to(root)
