"""The layout of a saved training state, as far as it is read without torch: digest and numbers."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from evpcli.domain.errors import DamagedError
from evpcli.domain.manifest import EpochRecord
from evpcli.domain.statistics import SplitScore

MAX_STATE_BYTES = 512 << 20
"""Largest state: 144 MiB for two prompts for the largest canvas, 2048 px, and a velocity, 320 MiB
for five times the largest label map, and the rest for the history and an epoch's losses."""

STATE_HINT = "start the run again without --resume"

_DIGEST_CHARACTERS = 64
_Count = Annotated[int, Field(ge=0)]


class StateNumbers(BaseModel):
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


def seal_payload(payload: bytes) -> bytes:
    """The bytes of a state's file: a digest in front of a safetensors document."""
    return hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def open_payload(data: bytes, run_id: str) -> bytes:
    """The safetensors document behind the digest.

    Raises:
        DamagedError: the bytes are not those that were written.
    """
    digest, payload = data[:_DIGEST_CHARACTERS], data[_DIGEST_CHARACTERS + 1 :]
    parted = data[_DIGEST_CHARACTERS : _DIGEST_CHARACTERS + 1] == b"\n"
    if not parted or hashlib.sha256(payload).hexdigest().encode() != digest:
        raise DamagedError(
            f"the saved state of run {run_id} is damaged",
            found="other bytes than were written",
            hint=STATE_HINT,
        )
    return payload


def decode_numbers(payload: bytes) -> StateNumbers:
    """The numbers in the document's header.

    Raises:
        ValueError: they are not there, are of the wrong kind, or contradict each other; also a
            KeyError, TypeError or RecursionError.
    """
    header_size = int.from_bytes(payload[:8], "little")
    header: Any = json.loads(payload[8 : 8 + header_size])
    numbers = StateNumbers.model_validate(json.loads(header["__metadata__"]["state"]))
    _check_sums(numbers)
    return numbers


def read_numbers(data: bytes, run_id: str) -> StateNumbers:
    """The numbers of a state's file, every byte of which is checked; no tensor is made.

    Raises:
        DamagedError: the bytes are no state.
    """
    payload = open_payload(data, run_id)
    try:
        return decode_numbers(payload)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise explain_junk(error, run_id) from error


def explain_junk(error: Exception, run_id: str) -> DamagedError:
    """What to say of bytes under a right digest that are no state."""
    return DamagedError(
        f"the saved state of run {run_id} is no training state",
        found=f"{type(error).__name__}: {str(error)[:120]}",
        hint=STATE_HINT,
    )


def _check_sums(numbers: StateNumbers) -> None:
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
