"""A training state as bytes that notice damage: a digest, then tensors and exact numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from evpcli.domain.errors import DamagedError, StorageError
from evpcli.domain.manifest import EpochRecord, canonical_json
from evpcli.domain.statistics import SplitScore
from evpcli.engine.label_map import LabelMap
from evpcli.engine.training_state import TrainingState

MAX_STATE_BYTES = 512 << 20
"""Largest state: 144 MiB for two prompts for the largest canvas, 2048 px, and a velocity, 320 MiB
for five times the largest label map, and the rest for the history and an epoch's losses."""

_DIGEST_CHARACTERS = 64
_MEMORY = "memory."
_HINT = "start the run again without --resume"

_Count = Annotated[int, Field(ge=0)]


class _Numbers(BaseModel):
    """A state without its tensors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    best_score: SplitScore
    best_epoch: _Count
    epochs_done: _Count
    losses: tuple[FiniteFloat, ...]
    correct: _Count
    seen: _Count
    history: tuple[EpochRecord, ...]
    elapsed_s: Annotated[FiniteFloat, Field(ge=0)]


def encode_state(state: TrainingState) -> bytes:
    """The bytes of a state; `decode_state` gives the same state back, to the last bit.

    Raises:
        StorageError: they are more than are read again.
    """
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
    tensors |= {_MEMORY + name: value.contiguous() for name, value in state.memory.items()}
    if state.best_map is not None:
        tensors |= {"best_map.weight": state.best_map.weight, "best_map.bias": state.best_map.bias}
    payload: bytes = save(tensors, {"state": canonical_json(plain)})
    data = hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload
    if len(data) > MAX_STATE_BYTES:
        raise StorageError(
            "the run's state is too large to be kept",
            found=f"{len(data)} bytes, at most {MAX_STATE_BYTES} are read again",
        )
    return data


def decode_state(data: bytes, run_id: str) -> TrainingState:
    """The state that the bytes hold.

    Args:
        data: what `encode_state` gave.
        run_id: names the run in errors.

    Raises:
        DamagedError: the bytes are anything else.
    """
    digest, payload = data[:_DIGEST_CHARACTERS], data[_DIGEST_CHARACTERS + 1 :]
    parted = data[_DIGEST_CHARACTERS : _DIGEST_CHARACTERS + 1] == b"\n"
    if not parted or hashlib.sha256(payload).hexdigest().encode() != digest:
        raise DamagedError(
            f"the saved state of run {run_id} is damaged",
            found="other bytes than were written",
            hint=_HINT,
        )
    try:
        return _decode_payload(payload)
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        raise DamagedError(
            f"the saved state of run {run_id} is no training state",
            found=f"{type(error).__name__}: {str(error)[:120]}",
            hint=_HINT,
        ) from error


def _decode_payload(payload: bytes) -> TrainingState:
    header_size = int.from_bytes(payload[:8], "little")
    header: Any = json.loads(payload[8 : 8 + header_size])
    numbers = _Numbers.model_validate(json.loads(header["__metadata__"]["state"]))
    tensors = load(payload)
    _check_sums(numbers)
    return TrainingState(
        pixels=_check_pixels(tensors["pixels"]),
        best_pixels=_check_pixels(tensors["best_pixels"]),
        memory=_read_memory(tensors),
        best_map=_read_best_map(tensors),
        **{name: getattr(numbers, name) for name in _Numbers.model_fields},
    )


def _check_sums(numbers: _Numbers) -> None:
    """Refuse counts that contradict each other, before they are divided by."""
    is_sound = (
        numbers.epochs_done == len(numbers.history)
        and numbers.best_epoch <= numbers.epochs_done
        and numbers.correct <= numbers.seen
        and bool(numbers.seen) == bool(numbers.losses)
        and 0 <= numbers.best_score.top1.correct <= numbers.best_score.top1.n != 0
    )
    if not is_sound:
        raise ValueError("its counts contradict each other")


def _read_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(_MEMORY): v for n, v in tensors.items() if n.startswith(_MEMORY)}


def _read_best_map(tensors: dict[str, Tensor]) -> LabelMap | None:
    if "best_map.weight" not in tensors:
        return None
    return LabelMap(tensors["best_map.weight"], tensors["best_map.bias"])


def _check_pixels(pixels: Tensor) -> Tensor:
    sizes = pixels.shape
    if len(sizes) != 3 or sizes[0] != 3 or sizes[1] != sizes[2] or pixels.dtype != torch.float32:
        raise ValueError(f"a prompt of shape {tuple(sizes)}, {pixels.dtype}")
    if not bool(pixels.isfinite().all()):
        raise ValueError("a prompt with values that are not finite")
    return pixels
