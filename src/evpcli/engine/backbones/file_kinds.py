"""Which kind of file local weights are in, by its first bytes. Torch-free."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from evpcli.domain.errors import IncompatibleError, NotFoundError

FileKind = Literal["safetensors", "torch"]
"""A safetensors file, or the zip archive that `torch.save` writes."""

MAX_TORCH_BYTES = (4 << 30) - 1
"""Largest `torch.save` file of weights; beyond it the archive counts in 64 bits."""

_MAX_HEADER_BYTES = 100_000_000
"""What the safetensors library itself reads."""

_METADATA = "__metadata__"
_HOW_TO_CONVERT = "if you trust the file, convert it as docs/backbones.md shows"
_STRANGERS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself", "run: git lfs pull"),
    (b"<!doctype", "a web page", "download the raw file, not the page that shows it"),
    (b"<html", "a web page", "download the raw file, not the page that shows it"),
    (b"\x93NUMPY", "a NumPy array", _HOW_TO_CONVERT),
    (b"\x89HDF", "an HDF5 file", _HOW_TO_CONVERT),
)


def find_file_kind(path: Path) -> FileKind:
    """What a file of weights is; its name is not looked at.

    Raises:
        NotFoundError: there is no such file.
        IncompatibleError: it is a folder, too large, or no file of weights that evp reads.
    """
    if os.path.isdir(path):
        raise IncompatibleError(
            "only a timm model's weights may be a folder",
            found=str(path),
            hint="pass the file of weights in it",
        )
    if not os.path.isfile(path):
        raise NotFoundError("there is no such weights file", found=str(path))
    with path.open("rb") as file:
        start = file.read(64)
    size = path.stat().st_size
    if is_safetensors(start, size):
        return "safetensors"
    if start.startswith(b"PK\x03\x04"):
        if size <= MAX_TORCH_BYTES:
            return "torch"
        raise IncompatibleError(
            "a file of torch.save is read up to 4 GiB",
            found=f"{path}: {size / (1 << 30):.1f} GiB",
            hint="save the weights alone, without the optimizer, "
            "or convert them as docs/backbones.md shows",
        )
    raise _name_stranger(path, start)


def is_safetensors(start: bytes, size: int) -> bool:
    """Whether a file begins with a safetensors header of a size that fits into it.

    Args:
        start: its first bytes, at least nine where it has them.
        size: of the whole file in bytes.
    """
    header_bytes = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 8 + header_bytes <= size


def is_whole_safetensors(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says, and not cut off."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(9)
            header_bytes = int.from_bytes(start[:8], "little")
            if not is_safetensors(start, size) or header_bytes > _MAX_HEADER_BYTES:
                return False
            file.seek(8)
            header = json.loads(file.read(header_bytes))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != _METADATA]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False
    return size == 8 + header_bytes + max(ends, default=0)


def _name_stranger(path: Path, start: bytes) -> IncompatibleError:
    what = "this is no file of weights that evp reads"
    if start.startswith(b"\x80"):
        name = path.name
        return IncompatibleError(
            "these weights are in torch's old layout, a bare pickle, which evp does not read",
            found=str(path),
            hint="save them again: python -c \"import torch; torch.save(torch.load('"
            f"{name}', map_location='cpu', weights_only=True), 'new-{name}')\"",
        )
    for sign, kind, hint in _STRANGERS:
        if start.lstrip().lower().startswith(sign.lower()):
            return IncompatibleError(what, found=f"{path} is {kind}", hint=hint)
    return IncompatibleError(
        what,
        found=f"{path} starts with {start[:8]!r}" if start else f"{path} is empty",
        hint="pass a safetensors file or a state dict written by torch.save (.pt, .pth, .bin)",
    )
