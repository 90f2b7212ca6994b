"""Run folders: what a training run was asked, how it went, and the state to go on from."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from evpcli.domain.errors import DamagedError, EvpError, NotFoundError
from evpcli.domain.manifest import EpochRecord, canonical_json
from evpcli.domain.names import check_name
from evpcli.domain.settings import Arithmetic, FitRequest
from evpcli.engine.files.durable import has_name, make_folder, write_durably
from evpcli.engine.files.regular_file import MAX_PROMPT_BYTES, read_regular_file
from evpcli.engine.training.run_lock import hold_folder
from evpcli.engine.training.state_layout import MAX_STATE_BYTES, StateNumbers, read_numbers

if TYPE_CHECKING:
    from evpcli.engine.training.state import TrainingState

MAX_CONFIG_BYTES = 64 << 20
_MAX_STATUS_BYTES = 1 << 20
_UNFINISHED = ("running", "stopped")
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class RunConfig(BaseModel):
    """What a run was started with, and the data and weights that it must find again.

    `launch` names the launcher whose workers made it, see `name_launch`; `arithmetic` is what the
    model computed in.
    """

    model_config = ConfigDict(frozen=True)

    evp: str
    request: FitRequest
    dataset_fingerprint: str
    weights_sha256: str | None
    launch: str | None = None
    arithmetic: Arithmetic = "float32"


@dataclass(frozen=True)
class Run:
    """One run's folder: `config.json`, `metrics.jsonl`, `state.evp`, `status.json`, `run.lock`."""

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name, which `--resume` takes."""
        return self.folder.name

    def hold(self) -> AbstractContextManager[None]:
        """Keep other processes off the run; see `hold_folder`."""
        return hold_folder(self.folder)

    def read_config(self) -> RunConfig:
        """What the run was started with.

        Raises:
            NotFoundError: the file is missing.
            DamagedError: the file is no such configuration.
            StorageError: it cannot be read.
        """
        data = read_regular_file(self.folder / "config.json", MAX_CONFIG_BYTES)
        try:
            return RunConfig.model_validate(json.loads(data))
        except (ValueError, RecursionError) as error:  # pydantic's errors are ValueErrors
            raise DamagedError(
                f"the configuration of run {self.id} cannot be used",
                found=f"{type(error).__name__} in {self.folder / 'config.json'}",
                hint="start the run again without --resume",
            ) from error

    def write_config(self, config: RunConfig) -> None:
        """Keep what the run is asked, in place of what it was asked before."""
        document = json.dumps(config.model_dump(), indent=1)
        write_durably(self.folder / "config.json", document.encode())

    def write_status(self, status: str, **details: object) -> None:
        """Say how the run stands: running, stopped, failed or finished."""
        document = {"status": status, "at": now_utc(), "pid": os.getpid(), **details}
        write_durably(self.folder / "status.json", json.dumps(document, indent=1).encode())

    def read_status(self) -> str:
        """How the run stood when it last said so; `unknown` if that cannot be read."""
        return self._read_status_field("status") or "unknown"

    def read_prompt_name(self) -> str | None:
        """The reference of the prompt that a finished run made."""
        return self._read_status_field("prompt")

    def read_failure(self) -> str | None:
        """What ended a run that failed, or that stopped at an error."""
        return self._read_status_field("error")

    def read_process(self) -> int | None:
        """The number of the process that last said how the run stands."""
        text = self._read_status_field("pid") or ""
        return int(text) if text.isascii() and text.isdecimal() and int(text) else None

    def _read_status_field(self, name: str) -> str | None:
        try:
            data = read_regular_file(self.folder / "status.json", _MAX_STATUS_BYTES)
            return str(json.loads(data)[name])
        except (EvpError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def read_parent(self) -> bytes:
        """The file of the prompt that the run started from.

        Raises:
            DamagedError: it is not there any more, or too large.
            StorageError: it cannot be read.
        """
        try:
            return read_regular_file(self.folder / "parent.pt", MAX_PROMPT_BYTES)
        except NotFoundError as error:
            raise DamagedError(
                f"run {self.id} lacks the prompt that it started from",
                found=f"no {self.folder / 'parent.pt'}",
                hint="start the run again without --resume",
            ) from error

    def append_metrics(self, record: EpochRecord) -> None:
        """Add an epoch to `metrics.jsonl`, for people and plots; resuming does not read it.

        Raises:
            OSError: it cannot be written.
        """
        handle = os.open(self.folder / "metrics.jsonl", _APPEND, 0o644)  # a pipe is not waited for
        with os.fdopen(handle, "a", encoding="utf-8") as file:
            file.write(canonical_json(record.model_dump()) + "\n")

    def save_state(self, state: TrainingState) -> None:
        """Replace the kept state; a crash leaves the old one or the new one, whole."""
        from evpcli.engine.training.state_file import encode_state

        write_durably(self.folder / "state.evp", encode_state(state))

    def load_state(self) -> TrainingState | None:
        """The kept state, or nothing if the run never saved one.

        Raises:
            DamagedError: its bytes are not what was written.
            StorageError: they cannot be read.
        """
        data = self._read_state()
        if data is None:
            return None
        from evpcli.engine.training.state_file import decode_state

        return decode_state(data, self.id)

    def read_numbers(self) -> StateNumbers | None:
        """The kept state without its tensors, for which torch is not loaded; errors alike."""
        data = self._read_state()
        return None if data is None else read_numbers(data, self.id)

    def _read_state(self) -> bytes | None:
        try:
            return read_regular_file(self.folder / "state.evp", MAX_STATE_BYTES)
        except NotFoundError:
            return None


def create_run(root: Path, config: RunConfig, parent: bytes | None = None) -> Run:
    """Make a folder for a new run and keep its request there.

    It has no status yet, so that `last` passes it over until whoever holds it says "running".

    Args:
        root: the folder of runs.
        config: what it is started with.
        parent: the file of the prompt that it starts from, if any.
    """
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
    run = Run(root / name)
    make_folder(run.folder, root)
    if parent is not None:
        write_durably(run.folder / "parent.pt", parent)
    run.write_config(config)
    return run


def find_run(root: Path, name: str) -> Run:
    """The run of that name.

    Raises:
        NotFoundError: there is none.
    """
    run = Run(root / check_name(name, "run"))
    if not has_name(run.folder / "config.json"):
        raise NotFoundError("there is no such run", found=name, hint=f"runs are kept in {root}")
    return run


def list_runs(root: Path) -> Iterator[Run]:
    """Every run, the newest first; whatever is no folder is passed over."""
    for folder in sorted(root.glob("2*"), reverse=True):
        if folder.is_dir() and not folder.is_symlink():
            yield Run(folder)


def list_unfinished(root: Path, *, or_finished: bool = False) -> Iterator[Run]:
    """The runs that stopped, or were running when last heard of; newest first.

    A run that failed is none of them: going on would only fail again.

    Args:
        root: the folder of runs.
        or_finished: also those that reached their last epoch.
    """
    wanted = (*_UNFINISHED, "finished") if or_finished else _UNFINISHED
    yield from (run for run in list_runs(root) if run.read_status() in wanted)


def now_utc() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
