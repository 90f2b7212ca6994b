"""The prompt file: a border, its label map and manifest as canonical bytes; its guarded reader."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evpcli.domain.errors import DamagedError, EvpError, UsageError
from evpcli.domain.manifest import SCHEMA_VERSION, LabelMapRecord, Manifest
from evpcli.engine.files.regular_file import MAX_PROMPT_BYTES, read_regular_file
from evpcli.engine.guard.tensor_file import read_tensors
from evpcli.engine.prompts.baseline_maps import TENSOR_NAMES, BaselineMaps
from evpcli.engine.prompts.label_map import MAX_MAP_VALUES, LabelMap, hash_map
from evpcli.engine.prompts.manifest_json import check_schema, format_manifest, parse_manifest
from evpcli.engine.prompts.model_weights import explained_weights
from evpcli.engine.prompts.safetensors_seal import SEAL_KEY, check_seal
from evpcli.engine.prompts.visual_prompt import VisualPrompt, hash_pixels

FORMAT = "evp-prompt"
_KEYS = {"format", "schema_version", "manifest"}


@dataclass(frozen=True)
class StoredPrompt:
    """A prompt as it lies in a file or in the registry.

    Args:
        pixels: (3, canvas, canvas) float32 on the CPU, RGB, added in [0, 1] space before the
            backbone's normalisation; finite, not limited to [0, 1]; exact zeros in the window.
        manifest: what the prompt is for and how it came to be.
        digest: SHA-256 of its canonical bytes, 64 hexadecimal digits.
        label_map: from the backbone's outputs to the task's classes, on the CPU; nothing where the
            outputs are the task's classes.
        baselines: the maps that the prompt is compared with, where its own weighs all source
            classes.
    """

    pixels: Tensor
    manifest: Manifest
    digest: str
    label_map: LabelMap | None = None
    baselines: BaselineMaps | None = None

    def encode(self) -> bytes:
        """Its canonical bytes; see `encode_prompt`."""
        return encode_prompt(self.pixels, self.manifest, self.label_map, self.baselines)

    def list_tensors(self) -> dict[str, Tensor]:
        """The tensors of its file by name, contiguous."""
        return _list_tensors(self.pixels, self.manifest, self.label_map, self.baselines)

    def to_visual_prompt(self) -> VisualPrompt:
        """A trainable copy of the border."""
        return VisualPrompt(self.manifest.to_geometry(), self.pixels)


def encode_prompt(
    pixels: Tensor,
    manifest: Manifest,
    label_map: LabelMap | None = None,
    baselines: BaselineMaps | None = None,
) -> bytes:
    """The canonical bytes of a prompt file: equal prompts give equal bytes.

    Args:
        pixels: (3, canvas, canvas) as in `StoredPrompt`; of any float type, on any device.
        manifest: must describe these very pixels, and this label map.
        label_map: kept as tensors, unless the manifest holds it as indices.
        baselines: kept as tensors.

    Raises:
        DamagedError: pixels, label map and manifest do not belong together, or are more than
            `decode_prompt` reads.
    """
    tensors = _list_tensors(pixels, manifest, label_map, baselines)
    check_pixels(tensors["pixels"], manifest)
    kept = read_label_map(tensors, manifest)
    BaselineMaps.read(tensors, manifest.label_map, kept)
    document = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "manifest": format_manifest(manifest),
        "tensors": tensors,
    }
    memory = io.BytesIO()  # a path would put the file's own name into the bytes
    torch.save(document, memory)
    data = memory.getvalue()
    _check_file_size(data)
    return data


def decode_prompt(data: bytes) -> StoredPrompt:
    """The prompt that a `.pt` or `.safetensors` file of `evp` holds.

    Raises:
        DamagedError: the bytes are anything else; nothing of them was run.
    """
    _check_file_size(data)
    file = read_tensors(data)
    if file.kind == "safetensors":
        check_seal(data, file.values.get(SEAL_KEY))
    tensors, manifest = _split_document(file.values, file.kind == "safetensors")
    pixels = tensors["pixels"]
    check_pixels(pixels, manifest)
    label_map = read_label_map(tensors, manifest)
    baselines = BaselineMaps.read(tensors, manifest.label_map, label_map)
    stored = StoredPrompt(pixels, manifest, "", label_map, baselines)
    canonical = data if file.kind == "torch" else stored.encode()
    return replace(stored, digest=hashlib.sha256(canonical).hexdigest())


def _list_tensors(
    pixels: Tensor,
    manifest: Manifest,
    label_map: LabelMap | None,
    baselines: BaselineMaps | None,
) -> dict[str, Tensor]:
    tensors = {"pixels": pixels}
    if label_map is not None and not (manifest.label_map and manifest.label_map.indices):
        tensors |= {"map_weight": label_map.weight, "map_bias": label_map.bias}
    if baselines is not None:
        tensors |= baselines.to_tensors()
    return {name: _to_plain(values) for name, values in tensors.items()}


def _check_file_size(data: bytes) -> None:
    if len(data) > MAX_PROMPT_BYTES:
        raise DamagedError(
            "the prompt file is too large",
            found=f"{len(data)} bytes, at most {MAX_PROMPT_BYTES} are read",
        )


def read_prompt_file(path: Path) -> StoredPrompt:
    """The prompt in a file that a user names; a symbolic link to it is followed.

    Raises:
        NotFoundError: there is no such file.
        DamagedError: it is no regular file, or no prompt; the error names the file.
        StorageError: it cannot be read.
    """
    with explained_weights(path):
        return decode_named(read_regular_file(path, MAX_PROMPT_BYTES, follow=True), str(path))


def decode_named(data: bytes, name: str) -> StoredPrompt:
    """The prompt that bytes hold; errors as `decode_prompt`, and each says whose bytes they are."""
    try:
        return decode_prompt(data)
    except EvpError as error:
        found = f"{name}: {error.found}" if error.found else name
        raise type(error)(error.what, found=found, hint=error.hint) from error


def check_pixels(pixels: Tensor, manifest: Manifest) -> None:
    """Raise unless the pixels are finite, fill the canvas, and are those the manifest names.

    Raises:
        DamagedError: they are not.
    """
    try:
        geometry = manifest.to_geometry()
    except UsageError as error:
        raise DamagedError("the manifest breaks its rules", found=error.what) from error
    side = geometry.canvas_px
    if pixels.shape != (3, side, side) or pixels.dtype != torch.float32:
        raise DamagedError(
            "the prompt's pixels do not fill its canvas",
            found=f"shape {tuple(pixels.shape)} for a canvas of {side} px",
        )
    if not bool(torch.isfinite(torch.stack(pixels.aminmax())).all()):  # without a copy
        raise DamagedError("the prompt holds values that are not finite")
    border = geometry.border_px
    if bool(pixels[:, border : side - border, border : side - border].any()):
        raise DamagedError("the prompt has values where the image should be")
    if hash_pixels(pixels) != manifest.pixels_sha256:
        raise DamagedError("the prompt's pixels are not those that its manifest names")


def read_label_map(tensors: Mapping[str, Tensor], manifest: Manifest) -> LabelMap | None:
    """The label map that a manifest names, from its indices or from the file's tensors.

    Raises:
        DamagedError: it is not there, not as large as classes and backbone, not finite, or another.
    """
    record = manifest.label_map
    wanted = {"pixels"}
    if record and record.sha256:
        wanted |= {"map_weight", "map_bias"}
    if record and record.baseline_sha256:
        wanted |= set(TENSOR_NAMES)
    if set(tensors) != wanted:
        raise DamagedError(
            "the prompt file lacks or adds a tensor", found=", ".join(sorted(tensors))[:120]
        )
    if record is None:
        return None
    if not record.sha256:
        _check_map_size(len(record.indices), record.source_classes)
        found = LabelMap.from_indices(record.indices, record.source_classes)
    else:
        found = LabelMap(tensors["map_weight"].detach(), tensors["map_bias"].detach())
        _check_map_size(found.bias.numel(), record.source_classes)
    _check_map(found, manifest, record)
    return found


def _check_map_size(classes: int, source_classes: int) -> None:
    """A few indices may ask for a matrix of gigabytes: refuse it before it is made."""
    if classes * source_classes > MAX_MAP_VALUES:
        raise DamagedError(
            "the prompt's label map is too large",
            found=f"{classes} classes of {source_classes} source classes, at most "
            f"{MAX_MAP_VALUES} pairs are read",
        )


def _check_map(found: LabelMap, manifest: Manifest, record: LabelMapRecord) -> None:
    rows = len(manifest.class_names) or len(found.bias.flatten())
    shapes = (tuple(found.weight.shape), tuple(found.bias.shape))
    if shapes != ((rows, record.source_classes), (rows,)):
        raise DamagedError(
            "the prompt's label map does not fit its classes",
            found=f"{shapes[0]} for {rows} classes of {record.source_classes} source classes",
        )
    for values in (found.weight, found.bias) if record.sha256 else ():
        if values.dtype != torch.float32 or not bool(values.isfinite().all()):
            raise DamagedError("the prompt's label map holds values that are not finite")
    if record.sha256 and hash_map(found.weight, found.bias) != record.sha256:
        raise DamagedError("the prompt's label map is not the one that its manifest names")


def _to_plain(values: Tensor) -> Tensor:
    plain = values.detach().to("cpu", torch.float32).contiguous()
    if plain.untyped_storage().nbytes() != plain.nbytes:
        return plain.clone()  # torch.save would write the whole storage of a view
    return plain


def _split_document(values: Mapping[str, Any], flat: bool) -> tuple[dict[str, Tensor], Manifest]:
    """Tensors and manifest; safetensors keeps text in its header and tensors at top level."""
    found = {k: v for k, v in values.items() if not isinstance(v, Tensor)} if flat else dict(values)
    tensors = {k: v for k, v in values.items() if isinstance(v, Tensor)} if flat else None
    tensors = found.pop("tensors", None) if tensors is None else tensors
    if flat:
        found.pop(SEAL_KEY, None)
    if found.get("format") != FORMAT:
        raise DamagedError(
            "this file holds tensors, but is no evp prompt",
            found=f"keys {sorted(values)[:5]}",
            hint="evp import takes other projects' checkpoints; see docs/import.md",
        )
    schema: Any = found.get("schema_version")
    schema = int(schema) if flat and str(schema).isdecimal() and len(str(schema)) < 10 else schema
    check_schema(schema, "the prompt")
    if set(found) != _KEYS or schema != SCHEMA_VERSION or type(schema) is not int:
        raise DamagedError("the prompt file lacks or adds a part", found=f"{sorted(found)[:8]}")
    if not isinstance(tensors, dict) or "pixels" not in tensors:
        raise DamagedError("the prompt file must hold the tensor `pixels`")
    text = found["manifest"]
    parts = [isinstance(value, Tensor) for value in tensors.values()]
    if not all(parts) or not isinstance(text, str):
        raise DamagedError("the prompt file's parts are of the wrong kind")
    return {name: value.detach() for name, value in tensors.items()}, parse_manifest(text)
