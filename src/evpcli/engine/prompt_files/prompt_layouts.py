"""Other projects' checkpoints in, and prompts out in other formats."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save as save_safetensors
from torch import Tensor

from evpcli import __version__
from evpcli.domain.errors import DamagedError, EvpError, IncompatibleError, UsageError
from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.manifest import (
    SCHEMA_VERSION,
    BackboneRecord,
    DatasetRecord,
    GeometryRecord,
    Manifest,
    PreprocessingRecord,
    Provenance,
)
from evpcli.domain.settings import DEFAULT_TEMPLATE
from evpcli.engine.backbones.catalog import find_entry
from evpcli.engine.prompt import clipped_share, hash_pixels
from evpcli.engine.prompt_files.manifest_json import format_manifest
from evpcli.engine.prompt_files.prompt_file import (
    FORMAT,
    StoredPrompt,
    decode_prompt,
    encode_prompt,
)
from evpcli.engine.prompt_files.tensor_file import read_tensors

REFERENCE_KEY = "perturbation"
_MIN_CANVAS, _MAX_CANVAS = 3, 2048
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ImportNames:
    """What a checkpoint without a manifest cannot tell.

    Args:
        dataset: name of the dataset it was learned on.
        backbone: name of the backbone it was learned for.
        class_names: cleaned, in label order; empty when unknown.
        source: where the file came from, for the manifest.
    """

    dataset: str
    backbone: str
    class_names: tuple[str, ...] = ()
    source: str | None = None


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


def import_prompt(data: bytes, names: ImportNames | None = None) -> StoredPrompt:
    """A stranger's prompt, ready to be filed: encoded again, so that only our bytes are kept.

    Args:
        data: a `.pt` or `.safetensors` of evp, or a checkpoint of the reference implementation.
        names: for a checkpoint, which has no manifest; refused for a file that has one.

    Raises:
        UsageError: the names are missing, or given although the file has its own.
        NotFoundError: there is no such backbone.
        DamagedError: the bytes are neither; nothing of them was run.
    """
    values = read_tensors(data).values
    if set(values) != {REFERENCE_KEY}:
        prompt = decode_prompt(data)
        if names is not None:
            raise UsageError(
                "this prompt file names its own dataset and backbone",
                found=str(prompt.manifest.key)[:200],
                hint="leave out --dataset, --backbone and --classnames",
            )
        pixels, manifest = prompt.pixels, prompt.manifest
    elif names is None:
        raise UsageError(
            "this checkpoint does not say what it is for",
            hint="add --dataset NAME --backbone NAME, for example --dataset pets --backbone "
            "ViT-B/32",
        )
    else:
        pixels = values[REFERENCE_KEY]
        manifest = _describe_import(pixels, read_frame(pixels), names)
    return decode_prompt(encode_prompt(pixels, manifest))


def read_frame(pixels: object) -> FrameGeometry:
    """The border of a prompt without a manifest, read from where its values are zero.

    Args:
        pixels: (3, canvas, canvas) float32, zeros in the window and nowhere on the border's
            innermost ring.

    Raises:
        DamagedError: the zeros are not one centred square.
    """
    if not isinstance(pixels, Tensor) or pixels.ndim != 3 or len(set(pixels.shape[1:])) != 1:
        raise DamagedError("the checkpoint's prompt is no (3, side, side) tensor")
    channels, side = pixels.shape[:2]
    if channels != 3 or not _MIN_CANVAS <= side <= _MAX_CANVAS:
        raise DamagedError("the checkpoint's prompt is no (3, side, side) tensor", found=f"{side}")
    filled = (pixels != 0).any(dim=0)  # (side, side)
    border = next((i for i in range(side) if not filled[i, side // 2]), side)
    if not 1 <= border <= (side - 1) // 2:
        raise DamagedError("the checkpoint's zeros are no window within a border")
    geometry = FrameGeometry(side, border)
    inner = filled[border : side - border, border : side - border]
    ring = filled[border - 1 : side - border + 1, border - 1 : side - border + 1]
    ring_pixels = (geometry.window_px + 2) ** 2 - geometry.window_px**2
    if bool(inner.any()) or int(ring.sum()) < 0.5 * ring_pixels:
        raise DamagedError(
            "the checkpoint's zeros are no window within a border",
            found=f"canvas {side} px, border {border} px at the middle of its upper edge",
        )
    return geometry


def _describe_import(pixels: Tensor, geometry: FrameGeometry, names: ImportNames) -> Manifest:
    model = find_entry(names.backbone)
    if model.tag != "openai":
        raise UsageError(
            "a checkpoint of the reference implementation belongs to one of OpenAI's CLIP models",
            found=repr(names.backbone[:80]),
            hint="name one, such as --backbone ViT-B/32; `evp backbones list` shows all",
        )
    if model.canvas_px not in (0, geometry.canvas_px):
        raise IncompatibleError(
            "the checkpoint was made for another canvas",
            found=f"{geometry.canvas_px} px, {model.name} takes {model.canvas_px} px",
        )
    return Manifest(
        created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        origin="import",
        source=names.source,
        geometry=GeometryRecord(canvas_px=geometry.canvas_px, border_px=geometry.border_px),
        preprocessing=PreprocessingRecord(mean=_CLIP_MEAN, std=_CLIP_STD),
        backbone=BackboneRecord(
            name=model.name,
            architecture=model.architecture,
            weights=model.tag,
            activation="quick-gelu",
        ),
        dataset=DatasetRecord(name=names.dataset),
        class_names=names.class_names,
        templates=(DEFAULT_TEMPLATE,),
        pixels_sha256=hash_pixels(pixels),
        provenance=Provenance(evp=__version__),
    )


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
    return Exported(encode_prompt(prompt.pixels, prompt.manifest))


def _export_safetensors(prompt: StoredPrompt) -> Exported:
    metadata = {
        "format": FORMAT,
        "schema_version": str(SCHEMA_VERSION),
        "manifest": format_manifest(prompt.manifest),
    }
    return Exported(save_safetensors({"pixels": prompt.pixels.contiguous()}, metadata))


def _export_npz(prompt: StoredPrompt) -> Exported:
    memory = io.BytesIO()
    manifest = np.array(format_manifest(prompt.manifest))
    np.savez(memory, pixels=prompt.pixels.numpy(), manifest=manifest)
    return Exported(memory.getvalue(), importable=False)


def _export_png(prompt: StoredPrompt) -> Exported:
    levels = prompt.pixels.clamp(0, 1).mul(255).round().to(torch.uint8)  # (3, canvas, canvas)
    memory = io.BytesIO()
    Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy()).save(memory, "PNG")
    lost = clipped_share(prompt.to_visual_prompt())
    return Exported(memory.getvalue(), lost, importable=False)


def _export_reference(prompt: StoredPrompt) -> Exported:
    memory = io.BytesIO()
    torch.save({REFERENCE_KEY: prompt.pixels.clone()}, memory)
    return Exported(memory.getvalue(), importable=_fits_reference(prompt))


def _fits_reference(prompt: StoredPrompt) -> bool:
    """Whether the import of a reference checkpoint would take this prompt."""
    manifest = prompt.manifest
    names = ImportNames(manifest.dataset.name, manifest.backbone.name)
    try:
        _describe_import(prompt.pixels, read_frame(prompt.pixels), names)
    except EvpError:
        return False
    return True


EXPORT_FORMATS: Mapping[str, Callable[[StoredPrompt], Exported]] = {
    "pt": _export_pt,
    "safetensors": _export_safetensors,
    "npz": _export_npz,
    "png": _export_png,
    "reference": _export_reference,
}
