"""Where results go: file names that do not clash, and nothing overwritten unasked."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from evpcli.domain.errors import EvpError, UsageError
from evpcli.engine.files.durable import has_name
from evpcli.engine.files.paths import expand_path

What = Literal["prompted", "canvas", "prompt", "sheet"]
FileKind = Literal["png", "safetensors", "npz"]

_LONGEST_LABEL_BYTES = 180
_LONGEST_NAME_BYTES = 255  # of ext4, xfs, APFS and NTFS
_LONGEST_PATH_BYTES = 4095  # PATH_MAX of Linux less its final zero
_LOSSY_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif")

_FINER_LABELS: tuple[Callable[[Path], str], ...] = (
    lambda path: f"{path.parent.name}-{path.stem}",
    lambda path: path.name,
    lambda path: f"{path.parent.name}-{path.name}",
)


def plan_outputs(paths: Sequence[Path], output: str | None, what: str, kind: str) -> list[Path]:
    """One output file for each image, in their order; nothing is written.

    Args:
        paths: the images; only their names and folders' names are used.
        output: a folder, or for one image a file that ends in `kind`. One image may do without:
            it goes to the current folder, under a name like `cat.prompted.png`.
        what: the word between the image's name and the ending.
        kind: the ending, without its dot.

    Raises:
        UsageError: `output` is left out for several images, has another ending, is one file for
            several images, starts with the `~` of an unknown user, or leads through `..` to a
            folder that does not exist.
    """
    if output is None and len(paths) > 1:
        raise UsageError(
            f"{len(paths)} images need a folder to go to",
            hint="add -o FOLDER/ (-o . is the current folder)",
        )
    path = expand_path(output or ".")
    if output and not _is_folder(output, path):
        if len(paths) > 1:
            raise UsageError(
                f"{len(paths)} images do not fit into one file",
                found=output,
                hint="give -o a folder, with a / at its end",
            )
        _check_folder(path.parent)
        return [check_ending(path, kind)]
    _check_folder(path)
    return [path / f"{label}.{what}.{kind}" for label in choose_labels(paths)]


def check_ending(path: Path, kind: str) -> Path:
    """Give `path` back if its name ends in `.kind`.

    Raises:
        UsageError: it ends in something else; lossy picture formats are told why not.
    """
    suffix = path.suffix.lower()
    if suffix == f".{kind}":
        return path
    if kind == "png" and suffix in _LOSSY_SUFFIXES:
        raise UsageError(
            f"a prompted image is not written as {suffix}: lossy compression damages the prompt "
            "(JPEG at quality 95 changes a noisy border by 32 to 78 % of its size)",
            found=str(path),
            hint="let the name end in .png, or use --to safetensors for the exact values",
        )
    raise UsageError(
        f"the output's name must end in .{kind}",
        found=str(path),
        hint="rename it, choose another --to, or put a / at its end to mean a folder",
    )


def check_replaceable(
    outputs: Sequence[Path], force: bool, inputs: Sequence[Path] = (), *, option: str = "-o"
) -> None:
    """Refuse outputs that exist, unless `force` is set; refuse to replace an input in any case.

    Args:
        outputs: files that shall be written.
        force: whether files that exist may be replaced.
        inputs: files that are read.
        option: which one named the outputs, for the hint.

    Raises:
        UsageError: an output is one of the inputs, or its name is too long for a file.
        EvpError: an output exists and `force` is not set.
    """
    for path in outputs:
        _check_length(path)
    existing = [path for path in outputs if has_name(path)]
    originals = {_resolve(path) for path in inputs}
    for path in existing:
        if _resolve(path) in originals:
            raise UsageError("the output would replace its own input", found=str(path))
    if existing and not force:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise EvpError(
            "the output exists already",
            found=f"{existing[0]}{more}",
            hint=f"add --force to replace it, or choose another place with {option}",
        )


def choose_labels(paths: Sequence[Path]) -> list[str]:
    """A short name for each path, no two alike even where letter case does not count.

    The stem where it is alone; else with the folder's name, with the suffix, with both, and at
    last with a number.
    """
    labels = [_shorten(path.stem) for path in paths]
    for indices in _group_alike(labels):
        group = [Path(os.path.abspath(paths[index])) for index in indices]
        for finer in _FINER_LABELS:
            attempt = [_shorten(finer(path)) for path in group]
            if len({_fold(label) for label in attempt}) == len(group):
                break
        for index, label in zip(indices, attempt, strict=True):
            labels[index] = label
    return _number_alike(labels)


def _is_folder(output: str, path: Path) -> bool:
    return output.endswith(("/", os.sep)) or os.path.isdir(path) or not path.suffix


def _check_folder(folder: Path) -> None:
    """Folders are made as needed, but not where `..` leads: that is most often a slip."""
    if ".." in folder.parts and not os.path.isdir(folder):
        raise UsageError("there is no such output folder", found=str(folder), hint="make it first")


def _check_length(path: Path) -> None:
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > _LONGEST_NAME_BYTES or len(os.fsencode(path)) > _LONGEST_PATH_BYTES:
        raise UsageError(
            "the output's name is too long for a file",
            found=f"{str(path)[:80]}...",
            hint=f"use at most {_LONGEST_NAME_BYTES} bytes for each part of it",
        )


def _resolve(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except OSError:  # some links may not be read, such as /proc/1/cwd
        return os.path.abspath(path)


def _group_alike(labels: Sequence[str]) -> list[list[int]]:
    groups = defaultdict(list)
    for index, label in enumerate(labels):
        groups[_fold(label)].append(index)
    return [indices for indices in groups.values() if len(indices) > 1]


def _number_alike(labels: Sequence[str]) -> list[str]:
    taken: set[str] = set()
    numbered = []
    for label in labels:
        number, attempt = 1, label
        while _fold(attempt) in taken:
            number += 1
            attempt = f"{label}-{number}"
        taken.add(_fold(attempt))
        numbered.append(attempt)
    return numbered


def _fold(label: str) -> str:
    return unicodedata.normalize("NFC", label).casefold()


def _shorten(label: str) -> str:
    """The label's beginning, cut between characters, as names of files are encoded here."""
    label = label[:_LONGEST_LABEL_BYTES]
    while len(os.fsencode(label)) > _LONGEST_LABEL_BYTES:
        label = label[:-1]
    return label
