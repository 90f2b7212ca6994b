"""One process a run: its folder is locked until the process ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from evpcli.domain.errors import UsageError
from evpcli.engine.files.locks import LockHeldError, NoLocksError, find_holder, hold_lock
from evpcli.engine.files.temporaries import sweep_temporaries

LOCK_NAME = "run.lock"
_LOOK_S = 0.3
"""Longer than `find_running` takes to look at the lock, for which it holds it."""


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep other processes off a run's folder until the block ends.

    What a dead process left half-written in the folder is removed first. On a file system
    without locks nothing is held.

    Raises:
        UsageError: the run is running; the error names its process.
        StorageError: the lock's file cannot be opened.
    """
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(folder / LOCK_NAME, _LOOK_S))
        except LockHeldError as error:
            raise UsageError(
                f"run {folder.name} is running ({error.holder})",
                hint="wait for its end, or stop it first",
            ) from error
        except NoLocksError:
            pass
        sweep_temporaries(folder)
        yield


def find_running(folder: Path) -> str | None:
    """The process that works on a run, such as "pid 4711 on node3"; nothing where none does.

    Raises:
        NoLocksError: the file system has no locks.
        StorageError: the lock's file cannot be read.
    """
    return find_holder(folder / LOCK_NAME)
