"""Run folders: what a training run was asked, how it went, and the state to go on from."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from evpcli.domain.errors import DamagedError, NotFoundError, StorageError
from evpcli.domain.manifest import EpochRecord, canonical_json
from evpcli.domain.names import check_name
from evpcli.domain.statistics import Accuracy, SplitScore
from evpcli.engine.storage.durable import write_durably
from evpcli.engine.training import TrainingState

_DIGEST_CHARACTERS = 64


@dataclass(frozen=True)
class Run:
    """One run's folder: `config.json`, `metrics.jsonl`, `state.evp`, `status.json`."""

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name, which `--resume` takes."""
        return self.folder.name

    def read_config(self) -> dict[str, Any]:
        """The request that the run was started with.

        Raises:
            DamagedError: the file is missing or no JSON object.
        """
        try:
            config = json.loads((self.folder / "config.json").read_bytes())
        except (OSError, ValueError) as error:
            raise DamagedError(
                f"the configuration of run {self.id} cannot be read", found=type(error).__name__
            ) from error
        if not isinstance(config, dict):
            raise DamagedError(f"the configuration of run {self.id} is no object")
        return config

    def write_status(self, status: str, **details: object) -> None:
        """Say how the run stands: running, stopped, failed or finished."""
        document = {"status": status, "at": now_utc(), "pid": os.getpid(), **details}
        write_durably(self.folder / "status.json", json.dumps(document, indent=1).encode())

    def read_status(self) -> str:
        """How the run stood when it last said so; `unknown` if that cannot be read."""
        try:
            return str(json.loads((self.folder / "status.json").read_bytes())["status"])
        except (OSError, ValueError, KeyError, TypeError):
            return "unknown"

    def append_metrics(self, record: EpochRecord) -> None:
        """Add an epoch to `metrics.jsonl`, for people and plots; resuming does not read it."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(canonical_json(record.model_dump()) + "\n")

    def save_state(self, state: TrainingState) -> None:
        """Replace the kept state; a crash leaves the old one or the new one, whole."""
        payload = _encode_state(state)
        digest = hashlib.sha256(payload).hexdigest().encode()
        write_durably(self.folder / "state.evp", digest + b"\n" + payload)

    def load_state(self) -> TrainingState | None:
        """The kept state, or nothing if the run never saved one.

        Raises:
            DamagedError: its bytes are not what was written.
        """
        path = self.folder / "state.evp"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        digest, payload = data[:_DIGEST_CHARACTERS], data[_DIGEST_CHARACTERS + 1 :]
        if (
            data[_DIGEST_CHARACTERS : _DIGEST_CHARACTERS + 1] != b"\n"
            or hashlib.sha256(payload).hexdigest().encode() != digest
        ):
            raise DamagedError(
                f"the saved state of run {self.id} is damaged",
                found=str(path),
                hint="start the run again without --resume",
            )
        return _decode_state(payload)


def create_run(root: Path, config: dict[str, Any]) -> Run:
    """Make a folder for a new run and keep its request there."""
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
    run = Run(root / name)
    try:
        run.folder.mkdir(parents=True)
    except OSError as error:
        raise StorageError(
            "the run's folder cannot be made", found=f"{run.folder}: {error.strerror}"
        ) from error
    write_durably(run.folder / "config.json", json.dumps(config, indent=1).encode())
    run.write_status("running")
    return run


def find_run(root: Path, name: str) -> Run:
    """The run of that name, or for `last` the newest that is not finished.

    Raises:
        NotFoundError: there is none.
    """
    if name == "last":
        for folder in sorted(root.glob("2*"), reverse=True):
            if Run(folder).read_status() not in ("finished", "unknown"):
                return Run(folder)
        raise NotFoundError("there is no unfinished run", hint="start one with evp fit")
    run = Run(root / check_name(name, "run"))
    if not (run.folder / "config.json").is_file():
        raise NotFoundError("there is no such run", found=name, hint=f"runs are kept in {root}")
    return run


def now_utc() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _encode_state(state: TrainingState) -> bytes:
    plain = {
        "best_score": asdict(state.best_score),
        "best_epoch": state.best_epoch,
        "epochs_done": state.epochs_done,
        "losses": list(state.losses),
        "correct": state.correct,
        "seen": state.seen,
        "history": [record.model_dump() for record in state.history],
        "elapsed_s": state.elapsed_s,
    }
    tensors = {"pixels": state.pixels.contiguous(), "best_pixels": state.best_pixels.clone()}
    payload: bytes = save(tensors, {"state": canonical_json(plain)})
    return payload


def _decode_state(payload: bytes) -> TrainingState:
    header_size = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + header_size])
    plain = json.loads(header["__metadata__"]["state"])
    tensors = load(payload)
    score = plain.pop("best_score")
    return TrainingState(
        pixels=tensors["pixels"],
        best_pixels=tensors["best_pixels"],
        best_score=SplitScore(Accuracy(**score["top1"]), score["loss"]),
        losses=tuple(plain.pop("losses")),
        history=tuple(EpochRecord(**record) for record in plain.pop("history")),
        **plain,
    )
