"""What a power cut could still take: names and bytes that no fsync has covered yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evpcli.engine.files.temporaries import TEMPORARY_PREFIX


class Ledger:
    """A hook for `between` that books each change and each fsync.

    Args:
        root: only what lies below counts. Names of files that are being written do not, for
            nobody looks for them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[int, Path] = {}
        self._unsafe_bytes: set[Path] = set()
        self._unsafe_names: dict[Path, set[str]] = {}
        self.synced: set[Path] = set()
        self.too_early: list[str] = []

    def __call__(
        self, number: int, name: str, real: Callable[..., Any], args: tuple[Any, ...]
    ) -> Any:
        given = real()
        book = getattr(self, f"_after_{name}", None)
        if book:
            book(given, *args)
        return given

    def list_unsafe(self) -> list[str]:
        """What a power cut could take now."""
        names = {f"{folder}/{n}" for folder, told in self._unsafe_names.items() for n in told}
        return sorted(names | {f"bytes of {path}" for path in self._unsafe_bytes})

    def _after_open(self, handle: int, path: Any, *_: Any) -> None:
        self._open[handle] = Path(path)

    def _after_write(self, _: int, handle: int, *__: Any) -> None:
        if self._counts(self._open[handle], half_written=True):
            self._unsafe_bytes.add(self._open[handle])

    def _after_fsync(self, _: None, handle: int) -> None:
        path = self._open[handle]
        self.synced.add(path)
        self._unsafe_bytes.discard(path)
        self._unsafe_names.pop(path, None)

    def _after_mkdir(self, _: None, path: Any, *__: Any) -> None:
        self._change(Path(path))

    def _after_unlink(self, _: None, path: Any) -> None:
        self._unsafe_bytes.discard(Path(path))
        self._change(Path(path))

    def _after_link(self, _: None, source: Any, path: Any) -> None:
        self._publish(Path(source), Path(path))

    def _after_rename(self, _: None, source: Any, path: Any) -> None:
        self._publish(Path(source), Path(path))

    def _publish(self, source: Path, path: Path) -> None:
        if source in self._unsafe_bytes:
            self.too_early.append(f"{path.name} before its bytes")
        self._change(path)

    def _change(self, path: Path) -> None:
        """A name comes or goes: only when everything before it is safe, so that order holds."""
        if not self._counts(path):
            return
        others = {f for f in self._unsafe_names if f != path.parent}
        self.too_early += [f"{path.name} before {other.name}" for other in sorted(others)]
        self._unsafe_names.setdefault(path.parent, set()).add(path.name)

    def _counts(self, path: Path, *, half_written: bool = False) -> bool:
        temporary = path.name.startswith(TEMPORARY_PREFIX)
        return self._root in path.parents and (half_written or not temporary)


def list_folders(top: Path, folder: Path) -> set[Path]:
    """The folders from `top` down to `folder`, both included."""
    return {folder, *(above for above in folder.parents if top in (above, *above.parents))}
