"""Pillow's warnings switched off while any thread decodes; its errors are untouched."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class _WarningFilter:
    """One filter, set by the first thread to enter and lifted by the last to leave.

    `warnings.catch_warnings` alone is not safe among threads: the last to leave would restore
    what the first had already changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved = warnings.catch_warnings()

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._saved.__exit__(None, None, None)


_pillow_warnings = _WarningFilter()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """A block in which Pillow warns nobody, on any thread."""
    _pillow_warnings.enter()
    try:
        yield
    finally:
        _pillow_warnings.leave()
