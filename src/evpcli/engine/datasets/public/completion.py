"""Whether a downloaded dataset is whole: a marker with counts, written last."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from evpcli.domain.errors import StorageError
from evpcli.engine.datasets.public.spec import DatasetSpec, DatasetState

_MARKER = ".evp-complete.json"


@dataclass(frozen=True)
class Completion:
    """What a dataset's folder held when it was complete.

    Args:
        files: how many, without the marker.
        total_bytes: of all files together.
        sources: downloaded files and their SHA-256.
        left_out: links and devices in the archives, which are never unpacked.
        origin: repository and commit of a copy on the hub.
    """

    files: int
    total_bytes: int
    sources: dict[str, str]
    left_out: int = 0
    origin: str = ""


def dataset_folder(root: Path, spec: DatasetSpec) -> Path:
    """Where a dataset's files lie below the folder of all datasets.

    A copy from the hub has a folder of its own, so that it never replaces the source's files.
    """
    return root / (f"{spec.name}-hub" if uses_hub_copy(root, spec) else spec.name)


def uses_hub_copy(root: Path, spec: DatasetSpec) -> bool:
    """Whether the copy on the hub is what is read: not where the source's own files are here."""
    if spec.hub is None or read_completion(root / spec.name):
        return False
    return not spec.needed or bool(missing_files(spec, root))


def download_folder(root: Path, spec: DatasetSpec) -> Path:
    """Where its archives wait until they are unpacked."""
    return root / ".downloads" / spec.name


def write_completion(
    folder: Path, sources: dict[str, str], left_out: int, origin: str = ""
) -> None:
    """Count what is in `folder` and write the marker, the last file that is written."""
    files, total_bytes = count_files(folder)
    record = asdict(Completion(files, total_bytes, sources, left_out, origin))
    part = folder / f"{_MARKER}.part"
    try:
        with open(part, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, folder / _MARKER)
    except OSError as error:
        raise StorageError(
            "cannot finish a dataset", found=f"{folder}: {error.strerror}"
        ) from error


def read_completion(folder: Path) -> Completion | None:
    """The marker, or nothing where there is none that can be read."""
    try:
        record = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        return Completion(**record)
    except (OSError, ValueError, TypeError):
        return None


def count_files(folder: Path) -> tuple[int, int]:
    """Files below a folder and their bytes, the marker left out; links count as nothing."""
    files = total = 0
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and not entry.name.startswith(_MARKER):
                    files += 1
                    total += entry.stat(follow_symlinks=False).st_size
    return files, total


def find_state(spec: DatasetSpec, root: Path) -> DatasetState:
    """`ready`, `partial` (begun, cut off or altered), `absent`, or `manual` (place files)."""
    folder = dataset_folder(root, spec)
    if spec.needed and not missing_files(spec, root):
        return "ready"
    if not (spec.files or spec.hub):
        return "manual" if spec.needed else "ready"
    try:
        found = read_completion(folder)
        if found and (found.files, found.total_bytes) == count_files(folder):
            return "ready"
        begun = folder.exists() or any(download_folder(root, spec).glob("*"))
    except OSError as error:
        raise StorageError(
            "cannot read a dataset's folder", found=f"{folder}: {error.strerror}"
        ) from error
    return "partial" if begun or leftovers(root, spec) else "absent"


def missing_files(spec: DatasetSpec, root: Path) -> list[str]:
    """The source's files and class folders that nobody has placed by hand."""
    return [name for name in spec.needed if not (root / spec.name / name).exists()]


def leftovers(root: Path, spec: DatasetSpec) -> list[Path]:
    """Folders that an interrupted unpacking left behind."""
    return sorted(root.glob(f".unpacking-{spec.name}-*"))
