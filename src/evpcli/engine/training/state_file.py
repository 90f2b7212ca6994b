"""A training state as bytes that notice damage: a digest, then tensors and exact numbers."""

from __future__ import annotations

from dataclasses import asdict

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from evpcli.domain.errors import StorageError
from evpcli.domain.manifest import canonical_json
from evpcli.engine.prompts.label_map import LabelMap
from evpcli.engine.training.state import TrainingState
from evpcli.engine.training.state_layout import (
    MAX_STATE_BYTES,
    StateNumbers,
    decode_numbers,
    explain_junk,
    open_payload,
    seal_payload,
)

_MEMORY = "memory."


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
    data = seal_payload(payload)
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
    payload = open_payload(data, run_id)
    try:
        return _decode_payload(payload)
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        raise explain_junk(error, run_id) from error


def _decode_payload(payload: bytes) -> TrainingState:
    numbers = decode_numbers(payload)
    tensors = load(payload)
    return TrainingState(
        pixels=_check_pixels(tensors["pixels"]),
        best_pixels=_check_pixels(tensors["best_pixels"]),
        memory=_read_memory(tensors),
        best_map=_read_best_map(tensors),
        **{name: getattr(numbers, name) for name in StateNumbers.model_fields},
    )


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
