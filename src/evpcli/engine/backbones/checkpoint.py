"""The tensors of a local file of weights; of a `torch.save` file nothing is unpickled."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evpcli.domain.errors import DamagedError, IncompatibleError
from evpcli.engine.backbones.file_kinds import find_file_kind
from evpcli.engine.guard.pickle_guard import plan_unpickling
from evpcli.engine.guard.pickle_rules import MODEL, TensorPlan
from evpcli.engine.guard.zip_guard import read_stored_entries

_STATE = "state_dict"
_CONVERT = "docs/backbones.md shows how to convert a file that you trust"
_WRAPPER = "module."  # what DistributedDataParallel puts before every name


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a model by name, on the CPU.

    Of a training checkpoint only `state_dict` counts. The tensors of a `torch.save` file are views
    of the mapped file: they take memory only while they are looked at.

    Raises:
        NotFoundError: there is no such file.
        IncompatibleError: it holds anything else than plain values and tensors, its bytes are
            damaged, or it holds no model.
    """
    if find_file_kind(path) == "safetensors":
        return _unwrap(_read_safetensors(path))
    try:
        return _unwrap(_read_torch(path))
    except DamagedError as error:
        raise _explain(path, error) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise IncompatibleError(
            "this file holds no weights", found=f"{path.name}: {lines[0][:160]}"
        ) from error
    return tensors


def _read_torch(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    entries = read_stored_entries(data, MODEL.max_entries)
    if bytes(entries.get("byteorder", b"little")) != b"little":
        raise DamagedError("the file holds big-endian tensors")
    sizes = {name[5:]: len(view) for name, view in entries.items() if name.startswith("data/")}
    pickle = entries["data.pkl"]
    if len(pickle) > MODEL.max_pickle_bytes:
        raise DamagedError("the file is no checkpoint", found=f"{len(pickle)} bytes of pickle")
    plans = _find_state(plan_unpickling(bytes(pickle), sizes, MODEL))
    return {name: _view(plan, entries[f"data/{plan.storage}"]) for name, plan in plans.items()}


def _find_state(plan: Any) -> dict[str, TensorPlan]:
    """The tensors of the model among everything that a checkpoint holds."""
    if not isinstance(plan, dict):
        raise DamagedError("the file holds no state dict", found=f"a {type(plan).__name__}")
    state = plan.get(_STATE, plan)
    if not isinstance(state, dict) or not any(isinstance(v, TensorPlan) for v in state.values()):
        keys = ", ".join(str(key)[:40] for key in list(plan)[:6]) or "nothing"
        raise DamagedError("the file holds no state dict", found=f"its keys: {keys}")
    for name, value in state.items():
        if not isinstance(value, TensorPlan):
            kind = type(value).__name__
            raise DamagedError("its state dict holds more than tensors", found=f"{name}: a {kind}")
    return {str(name): value for name, value in state.items()}


def _view(plan: TensorPlan, content: memoryview) -> Tensor:
    """The tensor that a plan describes, over the bytes of its zip entry."""
    dtype: torch.dtype = getattr(torch, plan.dtype)
    if not content:
        return torch.empty(plan.shape, dtype=dtype)
    values = torch.frombuffer(content, dtype=torch.uint8)
    if dtype is torch.bool and bool((values > 1).any()):
        raise DamagedError("a truth value is neither 0 nor 1")
    if values.data_ptr() % dtype.itemsize:
        values = values.clone()
    flat = values.view(dtype)
    return (
        flat.view(plan.shape) if plan.strides is None else flat.as_strided(plan.shape, plan.strides)
    )


def _unwrap(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefix of a wrapper, where every name carries it."""
    if not all(name.startswith(_WRAPPER) for name in tensors):
        return dict(tensors)
    return {name.removeprefix(_WRAPPER): tensor for name, tensor in tensors.items()}


def _explain(path: Path, error: DamagedError) -> IncompatibleError:
    """The guard's refusal as it concerns weights, with the mend."""
    if "TorchScript" in error.what:
        return IncompatibleError(
            "these weights are a TorchScript program, which evp never runs",
            found=str(path),
            hint='if you trust it, take its tensors: python -c "import torch; torch.save('
            f"torch.jit.load('{path.name}', map_location='cpu').state_dict(), 'new-{path.name}')\"",
        )
    found = error.summary
    return IncompatibleError(
        "evp cannot read weights from this file",
        found=f"{path}: {found}",
        hint=f"pass a plain state dict or a safetensors file; {_CONVERT}",
    )
