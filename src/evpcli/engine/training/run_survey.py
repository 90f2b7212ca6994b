"""Every run on this machine: how it stands, how far it came, what it takes; and its removal."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evpcli.domain.errors import EvpError, NotFoundError, UsageError
from evpcli.domain.names import check_name
from evpcli.engine.files.durable import explain_storage, sync_folder
from evpcli.engine.files.locks import NoLocksError
from evpcli.engine.files.temporaries import is_running
from evpcli.engine.training.run_folder import Run, RunConfig, list_runs
from evpcli.engine.training.run_lock import LOCK_NAME, find_running
from evpcli.engine.training.state_layout import StateNumbers

RunState = Literal["running", "stopped", "finished", "failed", "damaged"]

_KNOWN: tuple[RunState, ...] = ("finished", "failed")
_GRAVE = ".removed-"


@dataclass(frozen=True)
class RunFacts:
    """One run as it is found.

    Args:
        run: its folder.
        state: `running` only while its process lives; `stopped` however it ended before its end.
        config: what it was started with, if that can be read.
        numbers: of its saved state, if there is one.
        process: that works on it, if one does.
        problem: what is damaged, or why it ended.
        size_bytes: of all its files.
        changed_at: seconds since 1970 when one of them last changed.
    """

    run: Run
    state: RunState
    config: RunConfig | None
    numbers: StateNumbers | None
    process: str | None
    problem: str | None
    size_bytes: int
    changed_at: float

    @property
    def epochs_done(self) -> int:
        """Whole epochs behind it."""
        return self.numbers.epochs_done if self.numbers else 0

    @property
    def epochs(self) -> int | None:
        """Length of its schedule, where that is known."""
        return self.config.request.settings.epochs if self.config else None


def survey_runs(root: Path) -> Iterator[RunFacts]:
    """Every run below `root`, the newest first."""
    return map(survey_run, list_runs(root))


def find_surveyed(root: Path, name: str) -> RunFacts:
    """The run of that name, damaged or not; `last` is the newest.

    Raises:
        NotFoundError: there is none.
    """
    if name == "last":
        newest = next(survey_runs(root), None)
        if newest is None:
            raise NotFoundError("there is no run yet", hint="start one with evp fit")
        return newest
    folder = root / check_name(name, "run")
    if folder.is_symlink() or not folder.is_dir():
        raise NotFoundError(
            "there is no such run", found=name, hint="evp runs list shows what there is"
        )
    return survey_run(Run(folder))


def survey_run(run: Run) -> RunFacts:
    """How one run stands; every byte of its state is checked."""
    config, numbers, process, problem = None, None, None, None
    try:
        process = find_process(run)
        config = run.read_config()
        numbers = run.read_numbers()
    except EvpError as error:
        problem = error.summary
    state = _settle_state(run, process, problem)
    size_bytes, changed_at = _measure(run.folder)
    if problem is None and state in ("failed", "stopped"):
        problem = run.read_failure()
    return RunFacts(run, state, config, numbers, process, problem, size_bytes, changed_at)


def find_process(run: Run) -> str | None:
    """The process that works on a run; without locks the one that it names, if that lives here.

    Raises:
        StorageError: the lock's file cannot be read.
    """
    try:
        return find_running(run.folder)
    except NoLocksError:
        pid = run.read_process() if run.read_status() == "running" else None
        return f"pid {pid}" if pid and is_running(pid) else None


def remove_run(run: Run) -> None:
    """Remove a run's folder for good; it is either all there or not found any more.

    Raises:
        UsageError: the run is running.
        StorageError: it cannot be removed.
    """
    if process := find_process(run):
        raise UsageError(
            f"run {run.id} is running ({process})", hint="wait for its end, or stop it first"
        )
    root = run.folder.parent
    grave = root / f"{_GRAVE}{run.id}-{secrets.token_hex(4)}"
    with run.hold(), explain_storage(run.folder):
        os.rename(run.folder, grave)
        sync_folder(root)
    with explain_storage(grave):
        shutil.rmtree(grave)
    for left_over in root.glob(f"{_GRAVE}*"):  # of a removal that was killed
        shutil.rmtree(left_over, ignore_errors=True)


def _settle_state(run: Run, process: str | None, problem: str | None) -> RunState:
    if process:
        return "running"
    if problem:
        return "damaged"
    status = run.read_status()
    return next((known for known in _KNOWN if known == status), "stopped")


def _measure(folder: Path) -> tuple[int, float]:
    """Bytes of the files, and when the last of them changed; a lock is taken, not changed."""
    size_bytes, changed_at = 0, 0.0
    try:
        with os.scandir(folder) as found:
            for entry in found:
                facts = entry.stat(follow_symlinks=False)
                size_bytes += facts.st_size
                if entry.name != LOCK_NAME:
                    changed_at = max(changed_at, facts.st_mtime)
        return size_bytes, changed_at or folder.stat().st_mtime
    except OSError:  # told as damage by whoever reads the files
        return size_bytes, changed_at
