"""Every picture of a folder read once before training; what was read is remembered."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from evpcli.domain.errors import ImageError
from evpcli.engine.files.download import Progress, ProgressCallback
from evpcli.engine.images.decoder import DECODER_POLICY, check_image

_THREADS = max(2, min(8, os.cpu_count() or 2))


@dataclass(frozen=True)
class CheckedFile:
    """One file as it was found.

    Args:
        name: path below the dataset's folder.
        size: bytes; -1 where it cannot be looked at.
        fault: why it cannot be decoded, or nothing.
        note: what the user should know about it, or nothing.
    """

    name: str
    size: int
    fault: str | None
    note: str | None = None


def check_pictures(
    root: Path,
    names: Sequence[str],
    *,
    cache: Path | None = None,
    on_progress: ProgressCallback | None = None,
) -> list[CheckedFile]:
    """Decode each picture, or trust an earlier check of the same path, size and time.

    Decoding to the end is the only check that finds a flipped or missing byte; JPEGs are
    decoded at an eighth of their size, which is about four times faster. Results are kept in
    `cache`, so that only new and changed files are decoded the next time.

    Args:
        root: the dataset's folder.
        names: paths below it.
        cache: a folder for what was found; nothing is kept when left out.
        on_progress: told after every hundredth file.
    """
    memory = _Memory(root, cache)
    done = 0
    checked: list[CheckedFile] = []
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="check") as pool:
        for found in pool.map(memory.check, names):
            checked.append(found)
            done += 1
            if on_progress and (done % 100 == 0 or done == len(names)):
                on_progress(Progress("check", root.name, done, len(names)))
    memory.save()
    return checked


def hash_files(root: Path, names: Sequence[str], *, cache: Path | None = None) -> dict[str, str]:
    """BLAKE2b of each file's bytes, 32 digits, or what an earlier call found for the same file.

    Args:
        root: the dataset's folder.
        names: paths below it; those that cannot be read are left out.
        cache: a folder for what was found; nothing is kept when left out.
    """
    memory = _Memory(root, cache)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="hash") as pool:
        found = dict(zip(names, pool.map(memory.hash, names), strict=True))
    memory.save()
    return {name: value for name, value in found.items() if value is not None}


class _Memory:
    """What earlier checks of one folder found, by file."""

    def __init__(self, root: Path, cache: Path | None) -> None:
        self._root = root
        key = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
        self._path = cache / ".checks" / f"{key}.json" if cache else None
        self._known, self._hashes = self._load("files", 4), self._load("hashes", 3)
        self._found: dict[str, list[object]] = {}
        self._is_changed = False

    def check(self, name: str) -> CheckedFile:
        """Safe among threads: each name is checked once and written to its own key."""
        path = self._root / name
        try:
            info = path.stat()
        except OSError as error:
            return CheckedFile(name, -1, f"{name} cannot be read: {_explain(path, error)}")
        stamp = [info.st_size, info.st_mtime_ns]
        known = self._known.get(name)
        if not (known and known[:2] == stamp):
            known, self._is_changed = [*stamp, *_find_fault(path, name)], True
        self._found[name] = known
        fault, note = (None if value is None else str(value) for value in known[2:])
        return CheckedFile(name, info.st_size, fault, note)

    def hash(self, name: str) -> str | None:
        """The hash of a file; nothing where it cannot be read. Safe among threads, as `check`."""
        path = self._root / name
        try:
            info = path.stat()
            stamp: list[object] = [info.st_size, info.st_mtime_ns]
            known = self._hashes.get(name)
            if not (known and known[:2] == stamp):
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
                known, self._is_changed = [*stamp, digest.hexdigest()], True
        except OSError:
            return None
        self._hashes[name] = known
        return str(known[2])

    def save(self) -> None:
        """Keep what was found; a cache that cannot be written is no error."""
        found = self._found or self._known
        if self._path is None or not (self._is_changed or len(found) < len(self._known)):
            return
        part = self._path.with_suffix(f".{os.getpid()}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            record = {"policy": DECODER_POLICY, "files": found, "hashes": self._hashes}
            part.write_text(json.dumps(record), encoding="utf-8")
            os.replace(part, self._path)
        except OSError:
            return

    def _load(self, part: str, width: int) -> dict[str, list[object]]:
        try:
            record = json.loads(self._path.read_text(encoding="utf-8")) if self._path else {}
            rows = record[part] if record.get("policy") == DECODER_POLICY else {}
            return {str(name): list(row) for name, row in rows.items() if len(row) == width}
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return {}


def _explain(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"a link to nothing ({reason})" if os.path.islink(path) else reason


def _find_fault(path: Path, name: str) -> tuple[str | None, str | None]:
    """Why a file cannot be decoded, and what else the user should know about it."""
    try:
        return None, check_image(path, name=name)
    except ImageError as error:
        return error.summary, None
