"""Image files one after another, from folders of any size, with little of them in memory."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evpcli.engine.files.durable import explain_storage
from evpcli.engine.images.decoder import IMAGE_SUFFIXES, expand_word
from evpcli.engine.images.file_walk import follow_link, is_hidden

NAMES_AT_ONCE = 50_000
"""Names of a folder that are kept at a time; a larger folder is read again for the next ones."""


@dataclass
class FileStream:
    """The images that words on a command line stand for, found while they are asked for.

    Args:
        words: files, folders and glob patterns, all of which must exist.

    Attributes:
        ignored: files in the folders that are no images by their names, so far.

    Raises:
        NotFoundError: a word matches nothing.
        UsageError: a word starts with the `~` of an unknown user.
    """

    words: Sequence[str]
    ignored: int = 0
    _given: list[list[Path]] = field(init=False)

    def __post_init__(self) -> None:
        self._given = [expand_word(word) for word in self.words]

    def __iter__(self) -> Iterator[Path]:
        """Each file once, the words in their order and the files of each folder sorted."""
        folders: list[Path] = []
        files: set[Path] = set()
        for path in (path for paths in self._given for path in paths):
            if path in files or any(path.is_relative_to(folder) for folder in folders):
                continue
            if os.path.isdir(path):
                yield from (file for file in self._walk(path) if file not in files)
                folders.append(path)
            else:
                files.add(path)
                yield path

    def _walk(self, folder: Path) -> Iterator[Path]:
        root, waiting = os.path.realpath(folder), [folder]
        while waiting:
            current, below = waiting.pop(), []
            for name in _list_sorted(current):
                path = current / name
                if os.path.isdir(path):  # a file in a folder that may not be entered is no folder
                    if not os.path.islink(path):
                        below.append(path)
                elif os.path.islink(path) and follow_link(path, root) is None:
                    continue
                elif path.suffix.lower() in IMAGE_SUFFIXES:
                    yield path
                else:
                    self.ignored += 1
            waiting += below[::-1]


def _list_sorted(folder: Path) -> Iterator[str]:
    """The names in a folder, sorted, hidden ones left out; at most NAMES_AT_ONCE in memory."""
    last = ""
    while True:
        with explain_storage(folder, reading=True), os.scandir(folder) as entries:
            names = heapq.nsmallest(NAMES_AT_ONCE, _names_after(entries, last))
        yield from names
        if len(names) < NAMES_AT_ONCE:
            return
        last = names[-1]


def _names_after(entries: Iterable[os.DirEntry[str]], last: str) -> Iterator[str]:
    return (e.name for e in entries if e.name > last and not is_hidden(e.name))
