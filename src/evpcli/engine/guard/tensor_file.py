"""Strangers' files of tensors: recognised, guarded, and only then read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from evpcli.domain.errors import DamagedError
from evpcli.engine.files.strict_json import MAX_JSON_BYTES, parse_strict_json
from evpcli.engine.guard.pickle_guard import plan_unpickling
from evpcli.engine.guard.pickle_rules import STRICT, PickleRules, TensorPlan, list_items
from evpcli.engine.guard.zip_guard import read_stored_entries

_ZIP_SIGNATURE = b"PK\x03\x04"
_STRANGERS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself", "run: git lfs pull"),
    (b"<!doctype", "a web page", "download the raw file, not the page that shows it"),
    (b"<html", "a web page", "download the raw file, not the page that shows it"),
    (b"\x93NUMPY", "a NumPy array", "evp reads .pt, .pth and .safetensors"),
    (b"\x80\x02", "a bare pickle", "save it again with today's torch.save"),
    (b"\x80\x04", "a bare pickle", "save it again with today's torch.save"),
    (b"\x89PNG", "a picture", "give the prompt file; a picture cannot hold its values"),
    (b"\xff\xd8\xff", "a picture", "give the prompt file; a picture cannot hold its values"),
)


@dataclass(frozen=True)
class TensorFile:
    """What a file holds: plain values and tensors.

    Args:
        values: dicts, text, numbers and tensors on the CPU, as the rules let them through.
        kind: which of the two layouts it had.
    """

    values: Mapping[str, Any]
    kind: str


def read_tensors(data: bytes, rules: PickleRules = STRICT) -> TensorFile:
    """The plain values and tensors of a `torch.save` or safetensors file.

    Args:
        data: the whole file.
        rules: what a `torch.save` file may hold; a safetensors file holds float32 only.

    Raises:
        DamagedError: the bytes are anything else; nothing of them was run.
    """
    if data.startswith(_ZIP_SIGNATURE):
        return TensorFile(_read_torch(data, rules), "torch")
    if data[8:9] == b"{":
        return TensorFile(_read_safetensors(data), "safetensors")
    raise _describe_stranger(data)


def _read_torch(data: bytes, rules: PickleRules) -> dict[str, Any]:
    entries = read_stored_entries(data, rules.max_entries)
    if bytes(entries.get("byteorder", b"little")) != b"little":
        raise DamagedError("the file holds big-endian tensors", hint="save it on a usual machine")
    sizes = {name[5:]: len(view) for name, view in entries.items() if name.startswith("data/")}
    plan = plan_unpickling(bytes(entries["data.pkl"]), sizes, rules)
    if not isinstance(plan, dict):
        raise DamagedError("the file holds no dict of tensors", found=type(plan).__name__)
    try:
        values = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # torch names no common type
        raise DamagedError("torch cannot read the file", found=str(error)[:120]) from error
    if not _matches(values, plan):
        raise DamagedError("torch reads another content than the file announces")
    return dict(values)


def _matches(value: Any, plan: Any) -> bool:
    """Whether torch built what was planned; the guard has limited how deep and how much it is."""
    if isinstance(plan, TensorPlan):
        return isinstance(value, Tensor) and _is_planned(value, plan)
    if type(value) is not type(plan):
        return False
    if isinstance(plan, dict):
        return list(value) == list(plan) and all(_matches(value[key], plan[key]) for key in plan)
    planned = list_items(plan)
    if planned is not None:
        return len(value) == len(planned) and all(map(_matches, value, planned))
    return bool(value == plan) or repr(value) == repr(plan) == "nan"


def _is_planned(value: Tensor, plan: TensorPlan) -> bool:
    if value.dtype is torch.bool and bool((value.view(torch.uint8) > 1).any()):
        return False
    told = (value.layout, value.dtype, value.device.type, tuple(value.shape))
    return told == (torch.strided, getattr(torch, plan.dtype), "cpu", plan.shape)


def _read_safetensors(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_JSON_BYTES, len(data) - 8):
        raise DamagedError("the safetensors file is cut off or damaged", found=f"{len(data)} bytes")
    header = parse_strict_json(data[8 : 8 + length], "the safetensors header")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or set(header) & set(metadata):
        raise DamagedError("the safetensors header is damaged")
    kinds = {entry.get("dtype") if isinstance(entry, dict) else None for entry in header.values()}
    if kinds != {"F32"}:
        raise DamagedError("the safetensors file holds other than float32 tensors")
    try:
        return {**metadata, **load_safetensors(data)}
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise DamagedError("the safetensors file is damaged", found=str(error)[:120]) from error


def _describe_stranger(data: bytes) -> DamagedError:
    if not data:
        return DamagedError("the prompt file is empty", hint="fetch or export the file again")
    start = data[:64].lstrip()
    for sign, kind, hint in _STRANGERS:
        if start.startswith(sign) or start.lower().startswith(sign):
            return DamagedError("this is no prompt file", found=kind, hint=hint)
    return DamagedError(
        "this is no prompt file",
        found=f"it starts with {data[:8]!r}",
        hint="evp reads .pt, .pth and .safetensors",
    )
