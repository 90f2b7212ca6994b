"""What lies below a folder: hidden names left out, links to folders never followed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from evpcli.domain.errors import StorageError

_NOT_DATA = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "Icon\r"})


@dataclass(frozen=True)
class Listing:
    """What a folder holds, sorted, as paths that start with that folder.

    A link to a folder is left out, and so is any link that ends outside. A link that leads
    nowhere counts as a file: whoever opens it names it.

    Args:
        folders: real folders; of a whole tree they are walked and none are left.
        files: files, and links that end inside.
        targets: where each link among `files` ends, with every link on the way resolved.
        left_out: links that are not followed.
    """

    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    targets: dict[Path, str]
    left_out: tuple[Path, ...]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is never data: `.git`, `.DS_Store`, `__MACOSX`."""
    return name.startswith(".") or name in _NOT_DATA


def walk_files(folder: Path, inside: Path | None = None) -> tuple[Path, ...]:
    """Each file below `folder` once, in sorted order; see `list_tree`."""
    return list_tree(folder, inside).files


def list_folder(folder: Path, inside: Path | None = None) -> Listing:
    """What lies directly in `folder`.

    Args:
        folder: where to look.
        inside: links to files are followed only if they end inside this folder; `folder`
            itself when left out.

    Raises:
        StorageError: the folder cannot be listed.
    """
    return _sort_out(_scan(folder), os.path.realpath(inside or folder))


def list_tree(folder: Path, inside: Path | None = None) -> Listing:
    """What lies in `folder` and in every real folder below it, as deep as it goes.

    Args:
        folder: where to start.
        inside: as for `list_folder`.

    Raises:
        StorageError: a folder cannot be listed.
    """
    entries: list[os.DirEntry[str]] = []
    waiting = _scan(folder)[::-1]
    while waiting:
        entry = waiting.pop()
        if _is_real_folder(entry):
            waiting.extend(_scan(entry.path)[::-1])
        else:
            entries.append(entry)
    return _sort_out(entries, os.path.realpath(inside or folder))


def _sort_out(entries: list[os.DirEntry[str]], root: str) -> Listing:
    folders, files, left_out = [], [], []
    targets: dict[Path, str] = {}
    for entry in entries:
        path = Path(entry.path)
        if _is_real_folder(entry):
            folders.append(path)
        elif not _is_link(entry):
            files.append(path)
        elif (target := follow_link(path, root)) is None:
            left_out.append(path)
        else:
            files.append(path)
            targets[path] = target
    return Listing(tuple(folders), tuple(files), targets, tuple(left_out))


def _scan(folder: Path | str) -> list[os.DirEntry[str]]:
    """The entries of a folder by name, hidden ones left out."""
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        raise StorageError(
            "a folder cannot be listed", found=f"{folder}: {error.strerror}"
        ) from error
    return sorted(shown, key=lambda entry: entry.name)


def follow_link(link: Path, root: str) -> str | None:
    """Where a link ends, unless that is a folder or outside `root`; its own path for a loop."""
    try:
        target = os.path.realpath(link)
    except OSError:  # some links may not be read, such as /proc/1/cwd
        return None
    outside = not Path(target).is_relative_to(root)
    return None if outside or os.path.isdir(target) else target


def _is_real_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # it went away, or the file system does not say
        return False


def _is_link(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink()
    except OSError:
        return False
