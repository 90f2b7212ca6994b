"""Prompts out in other formats."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save as save_safetensors

from evpcli.domain.errors import EvpError, UsageError
from evpcli.domain.manifest import SCHEMA_VERSION
from evpcli.engine.prompts.importers.foreign_frames import read_frame
from evpcli.engine.prompts.importers.foreign_layouts import REFERENCE_KEY
from evpcli.engine.prompts.importers.foreign_names import find_target
from evpcli.engine.prompts.manifest_json import format_manifest
from evpcli.engine.prompts.prompt_file import FORMAT, StoredPrompt
from evpcli.engine.prompts.safetensors_seal import BLANK_SEAL, SEAL_KEY, seal
from evpcli.engine.prompts.visual_prompt import clipped_share


@dataclass(frozen=True)
class Exported:
    """A prompt in another format.

    Args:
        data: the file's bytes.
        lost_share: share of border values that were cut to [0, 1], in [0, 1]; 0 where the format
            keeps every value.
        importable: whether `evp import` can make a prompt of the file again.
    """

    data: bytes
    lost_share: float = 0.0
    importable: bool = True


def export_prompt(prompt: StoredPrompt, format_name: str) -> Exported:
    """The prompt in one of `EXPORT_FORMATS`.

    Raises:
        UsageError: there is no such format.
    """
    write = EXPORT_FORMATS.get(format_name)
    if write is None:
        raise UsageError(
            "no such format", found=format_name, hint=f"choose from: {', '.join(EXPORT_FORMATS)}"
        )
    return write(prompt)


def _export_pt(prompt: StoredPrompt) -> Exported:
    return Exported(prompt.encode())


def _export_safetensors(prompt: StoredPrompt) -> Exported:
    metadata = {
        "format": FORMAT,
        "schema_version": str(SCHEMA_VERSION),
        "manifest": format_manifest(prompt.manifest),
        SEAL_KEY: BLANK_SEAL,
    }
    return Exported(seal(save_safetensors(prompt.list_tensors(), metadata)))


def _export_npz(prompt: StoredPrompt) -> Exported:
    memory = io.BytesIO()
    manifest = np.array(format_manifest(prompt.manifest))
    arrays: dict[str, Any] = {n: values.numpy() for n, values in prompt.list_tensors().items()}
    np.savez(memory, manifest=manifest, **arrays)
    return Exported(memory.getvalue(), importable=False)


def _export_png(prompt: StoredPrompt) -> Exported:
    levels = prompt.pixels.clamp(0, 1).mul(255).round().to(torch.uint8)  # (3, canvas, canvas)
    memory = io.BytesIO()
    Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy()).save(memory, "PNG")
    lost = clipped_share(prompt.to_visual_prompt())
    return Exported(memory.getvalue(), lost, importable=False)


def _export_reference(prompt: StoredPrompt) -> Exported:
    if prompt.manifest.composition != "frame":
        raise UsageError(
            "the reference layout cannot say that a prompt lies on top of the picture",
            found=f"method {prompt.manifest.method}, composition {prompt.manifest.composition}",
            hint="--format pt or --format safetensors keeps everything",
        )
    memory = io.BytesIO()
    torch.save({REFERENCE_KEY: prompt.pixels.clone()}, memory)
    return Exported(memory.getvalue(), importable=_fits_reference(prompt))


def _fits_reference(prompt: StoredPrompt) -> bool:
    """Whether the import of a reference checkpoint would take this prompt."""
    try:
        target = find_target(prompt.manifest.backbone.name)
        target.check_canvas(read_frame(prompt.pixels))
    except EvpError:
        return False
    return target.is_clip


EXPORT_FORMATS: Mapping[str, Callable[[StoredPrompt], Exported]] = {
    "pt": _export_pt,
    "safetensors": _export_safetensors,
    "npz": _export_npz,
    "png": _export_png,
    "reference": _export_reference,
}
