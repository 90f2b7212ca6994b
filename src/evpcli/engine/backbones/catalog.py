"""Every backbone by name, its training defaults, and how it is loaded. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from evpcli.domain.errors import IncompatibleError, NotFoundError
from evpcli.domain.manifest import LOCAL_WEIGHTS, BackboneRecord, Manifest
from evpcli.domain.names import suggest
from evpcli.engine.backbones.entry import BackboneEntry, BackboneKind, FitDefaults
from evpcli.engine.backbones.remembered_weights import remember_weights

if TYPE_CHECKING:
    import torch

    from evpcli.engine.backbones.interface import Backbone, BackboneCard

PAPER_RATE = 70.0
"""First learning rate of the reference implementation, for CLIP at canvas 224 [EVP code]."""

_TIMM_NAME = re.compile(
    r"timm/(?P<architecture>[a-z0-9][a-z0-9_]{0,99})(?:\.(?P<tag>[a-z0-9][a-z0-9_]{0,99}))?"
)
_TORCHVISION_NAME = re.compile(r"torchvision/(?P<architecture>[a-z][a-z0-9_]{0,99})")
_MODEL_TAG = re.compile(r"(?P<architecture>[A-Za-z0-9][\w-]*(?:\.[0-9])?)\.(?P<tag>[A-Za-z]\w*)")


def paper_rate(canvas_px: int) -> float:
    """The paper's rate at 224, kept equal per pixel value on other canvases; not tuned there.

    Args:
        canvas_px: side of the canvas; 0 (unknown) counts as 224.
    """
    return PAPER_RATE * (canvas_px or 224) / 224


def _short_defaults(canvas_px: int) -> FitDefaults:
    """The reference's rate, a tenth of its epochs, and an eighth of its batch.

    Steps of a fixed length count by their number: smaller batches reach with a tenth of the epochs
    what the long schedule does (docs/results.md).
    """
    return FitDefaults(
        lr=paper_rate(canvas_px),
        epochs=100,
        batch_size=32,
        origin="reference, short schedule",
    )


def _openai(
    name: str, architecture: str, canvas_px: int, size: str, repository: str
) -> BackboneEntry:
    return BackboneEntry(
        name=name,
        architecture=architecture,
        tag="openai",
        canvas_px=canvas_px,
        licence="MIT",
        size=size,
        defaults=_short_defaults(canvas_px),
        repository=f"timm/{repository}.openai",
    )


def _timm(architecture: str, tag: str, licence: str, size: str) -> BackboneEntry:
    return BackboneEntry(
        name=f"timm/{architecture}.{tag}",
        architecture=architecture,
        tag=tag,
        canvas_px=224,
        licence=licence,
        size=size,
        defaults=_short_defaults(224),
        repository=f"timm/{architecture}.{tag}",
        kind="timm",
    )


CATALOG: tuple[BackboneEntry, ...] = (
    BackboneEntry(
        name="mini",
        architecture="evp-mini",
        tag="packaged",
        canvas_px=64,
        licence="MIT",
        size="packaged",
        defaults=FitDefaults(lr=10.0, epochs=20, batch_size=64, origin="validation on digits"),
    ),
    _openai("ViT-B/32", "ViT-B-32", 224, "605 MB", "vit_base_patch32_clip_224"),
    _openai("ViT-B/16", "ViT-B-16", 224, "599 MB", "vit_base_patch16_clip_224"),
    _openai("ViT-L/14", "ViT-L-14", 224, "1.7 GB", "vit_large_patch14_clip_224"),
    _openai("ViT-L/14@336px", "ViT-L-14-336", 336, "1.7 GB", "vit_large_patch14_clip_336"),
    _openai("RN50", "RN50", 224, "408 MB", "resnet50_clip"),
    _openai("RN101", "RN101", 224, "478 MB", "resnet101_clip"),
    _openai("RN50x4", "RN50x4", 288, "713 MB", "resnet50x4_clip"),
    _openai("RN50x16", "RN50x16", 384, "1.2 GB", "resnet50x16_clip"),
    _openai("RN50x64", "RN50x64", 448, "2.5 GB", "resnet50x64_clip"),
    _timm("resnet50", "tv_in1k", "BSD-3-Clause", "102 MB"),
    _timm("resnext101_32x8d", "fb_wsl_ig1b_ft_in1k", "CC-BY-NC-4.0", "356 MB"),
    _timm("mobilenetv2_100", "ra_in1k", "Apache-2.0", "14 MB"),
)


def find_entry(name: str) -> BackboneEntry:
    """The catalog's line for `name`, or one made for any other model of the three libraries.

    Those are open_clip's `MODEL.TAG`, `timm/MODEL`, `timm/MODEL.TAG` and `torchvision/MODEL`.
    Whether the library knows the model is only asked when it is loaded.

    Raises:
        NotFoundError: the name is neither.
    """
    for entry in CATALOG:
        if entry.name == name:
            return entry
    patterns: tuple[tuple[BackboneKind, re.Pattern[str]], ...] = (
        ("timm", _TIMM_NAME),
        ("torchvision", _TORCHVISION_NAME),
        ("clip", _MODEL_TAG),
    )
    for kind, pattern in patterns:
        if match := pattern.fullmatch(name):
            return _make_entry(name, kind, match.groupdict())
    from evpcli.engine.backbones.foreign_names import translate_name

    near = translate_name(name) or suggest(name, [entry.name for entry in CATALOG])
    near = near or "name one as open_clip MODEL.TAG, timm/MODEL.TAG or torchvision/MODEL"
    raise NotFoundError(
        "there is no such backbone",
        found=repr(name[:80]),
        hint=f"{near.rstrip('?')}; evp backbones list shows all",
    )


def _make_entry(name: str, kind: BackboneKind, parts: dict[str, str | None]) -> BackboneEntry:
    return BackboneEntry(
        name=name,
        architecture=parts["architecture"] or "",
        tag=parts.get("tag") or "",
        canvas_px=0,
        licence="see its model card",
        size="?",
        defaults=_short_defaults(0),
        kind=kind,
    )


def load_backbone(
    name: str,
    *,
    device: torch.device,
    weights: Path | None = None,
    offline: bool = False,
    canvas_px: int | None = None,
) -> Backbone:
    """Load a frozen backbone onto a device, where it computes in float32.

    Where local weights lie is remembered on this machine.

    Args:
        name: a name that `find_entry` takes.
        device: where it shall compute.
        weights: a local checkpoint to use in place of the published one; for timm models also a
            folder of `config.json` and `model.safetensors`.
        offline: never open a connection.
        canvas_px: side of the input, where the model takes any; the model's own if not given.

    Raises:
        NotFoundError: no such backbone, or no such checkpoint file.
        NetworkError: the weights are not here and cannot be fetched.
        IncompatibleError: the checkpoint does not fit the architecture.
        UsageError: the model does not take that canvas, or cannot be used as a backbone.
    """
    from evpcli.engine.compute.devices import keep_float32

    entry = find_entry(name)
    keep_float32(device)
    load = _find_loader(entry.kind)
    backbone = load(entry, device=device, weights=weights, offline=offline, canvas_px=canvas_px)
    digest = backbone.card.record.weights_sha256
    if weights is not None and digest:
        remember_weights(digest, weights)
    return backbone


def _find_loader(kind: BackboneKind) -> Callable[..., Backbone]:
    if kind == "timm":
        from evpcli.engine.backbones.timm_model import load_timm

        return load_timm
    if kind == "torchvision":
        from evpcli.engine.backbones.torchvision_model import load_torchvision

        return load_torchvision
    from evpcli.engine.backbones.clip import load_clip

    return load_clip


def check_asked_backbone(manifest: Manifest, asked: str | None) -> None:
    """Refuse a prompt for any other backbone than the one that the user asked for, if any.

    Raises:
        IncompatibleError: the names differ.
    """
    own = manifest.backbone.name
    if asked is not None and asked != own:
        raise IncompatibleError(
            "the prompt was learned for another backbone",
            found=f"prompt: {own}, asked for: {asked}",
            hint=f"leave --backbone away, or fit one with evp fit -b {asked}",
        )


def check_backbone(manifest: Manifest, card: BackboneCard, weights: Path | None = None) -> None:
    """Refuse a prompt that was learned for another model.

    Args:
        manifest: of the prompt.
        card: of the model that was loaded.
        weights: the local file that it was loaded from, if any, for the message.

    Raises:
        IncompatibleError: architecture, canvas, normalisation, activation, weights or the number
            of source classes differ; names which.
    """
    wanted, given = manifest.backbone, card.record
    pairs: list[tuple[str, object, object]] = [
        ("backbone", wanted.name, given.name),
        ("architecture", wanted.architecture, given.architecture),
        ("canvas", manifest.geometry.canvas_px, card.canvas_px),
        ("mean", manifest.preprocessing.mean, card.mean),
        ("std", manifest.preprocessing.std, card.std),
        ("interpolation", manifest.preprocessing.interpolation, card.interpolation),
        ("activation", wanted.activation, given.activation),
    ]
    if wanted.weights_sha256 and given.weights_sha256:
        pairs.append(("weights", wanted.weights_sha256[:12], given.weights_sha256[:12]))
    for what, for_prompt, here in pairs:
        if for_prompt != here:
            if what == "weights":
                raise _explain_other_weights(wanted, for_prompt, here, weights)
            raise IncompatibleError(
                f"the prompt was learned for another {what}",
                found=f"prompt: {for_prompt}, here: {here}",
                hint=f"use the backbone {wanted.name} with the weights that the prompt names",
            )
    _check_label_map(manifest, card)


def _explain_other_weights(
    wanted: BackboneRecord, for_prompt: object, here: object, given: Path | None
) -> IncompatibleError:
    if wanted.weights == LOCAL_WEIGHTS:
        hint = "add --weights FILE with the prompt's own"
    elif given is not None:
        hint = "leave --weights out: the published ones are meant"
    else:
        hint = f"use the backbone {wanted.name} with the weights that the prompt names"
    return IncompatibleError(
        "these weights differ from the ones this prompt was trained with",
        found=f"{given or 'the published ones'} has sha256 {here}, the prompt's have {for_prompt}",
        hint=hint,
    )


def _check_label_map(manifest: Manifest, card: BackboneCard) -> None:
    """Refuse a label map for another number of outputs, and a classifier without one."""
    has_map = manifest.label_map is not None and manifest.label_map.kind != "none"
    if card.source_classes and not has_map:
        raise IncompatibleError(
            "the prompt has no label map, which this backbone needs",
            found=f"{card.record.name} scores {len(card.source_classes)} classes of its own",
            hint=f"fit a prompt for it with evp fit -b {card.record.name}",
        )
    if manifest.label_map is None:
        return
    outputs = len(card.source_classes) or len(manifest.class_names)
    if manifest.label_map.source_classes != outputs:
        raise IncompatibleError(
            "the prompt's label map is for another number of source classes",
            found=f"label map: {manifest.label_map.source_classes}, {card.record.name}: {outputs}",
            hint="use the weights that the prompt was learned for",
        )
