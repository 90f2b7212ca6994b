"""Every backbone by name, its training defaults, and how it is loaded. Torch-free."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evpcli.domain.errors import IncompatibleError, NotFoundError
from evpcli.domain.manifest import Manifest
from evpcli.domain.names import suggest

if TYPE_CHECKING:
    import torch

    from evpcli.engine.backbones.interface import Backbone, BackboneCard

PAPER_RATE = 70.0
"""First learning rate of the reference implementation, for CLIP at canvas 224 [EVP code]."""

_MODEL_TAG = re.compile(r"(?P<architecture>[A-Za-z0-9][\w-]*(?:\.[0-9])?)\.(?P<tag>[A-Za-z]\w*)")


@dataclass(frozen=True)
class FitDefaults:
    """What `fit` uses for a backbone unless told otherwise.

    Args:
        lr: length of the first epoch's steps, in pixel values.
        epochs: length of the cosine schedule.
        batch_size: images a step.
        origin: how these numbers were found.
    """

    lr: float
    epochs: int
    batch_size: int
    origin: str


@dataclass(frozen=True)
class BackboneEntry:
    """One line of the catalog.

    Args:
        name: what users type and the registry files prompts under.
        architecture: open_clip's model name.
        tag: open_clip's pretrained tag, or `packaged` for `mini`.
        canvas_px: side of the square input; 0 where only the loaded model knows.
        licence: of the weights.
        size: of the download, roughly.
        defaults: for `fit`.
        repository: on the Hugging Face hub; empty where only open_clip knows it.
    """

    name: str
    architecture: str
    tag: str
    canvas_px: int
    licence: str
    size: str
    defaults: FitDefaults
    repository: str = ""

    @property
    def is_packaged(self) -> bool:
        """Whether the weights come with evp, so that nothing is ever downloaded."""
        return self.tag == "packaged"


def paper_rate(canvas_px: int) -> float:
    """The paper's rate at 224, kept equal per pixel value on other canvases; not tuned there.

    Args:
        canvas_px: side of the canvas; 0 (unknown) counts as 224.
    """
    return PAPER_RATE * (canvas_px or 224) / 224


def _paper_defaults(canvas_px: int) -> FitDefaults:
    lr = paper_rate(canvas_px)
    origin = "reference implementation" if lr == PAPER_RATE else "reference, scaled to the canvas"
    return FitDefaults(lr=lr, epochs=100, batch_size=256, origin=origin)


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
        defaults=_paper_defaults(canvas_px),
        repository=f"timm/{repository}.openai",
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
)


def find_entry(name: str) -> BackboneEntry:
    """The catalog's line for `name`, or one made for any open_clip `MODEL.TAG`.

    Whether open_clip knows a `MODEL.TAG` is only asked when it is loaded.

    Raises:
        NotFoundError: the name is neither.
    """
    for entry in CATALOG:
        if entry.name == name:
            return entry
    match = _MODEL_TAG.fullmatch(name)
    if match:
        architecture, tag = match["architecture"], match["tag"]
        defaults = _paper_defaults(0)
        return BackboneEntry(name, architecture, tag, 0, "see its model card", "?", defaults)
    near = suggest(name, [entry.name for entry in CATALOG])
    raise NotFoundError(
        "there is no such backbone",
        found=repr(name[:80]),
        hint=f"{near or 'name one as open_clip MODEL.TAG.'} `evp backbones list` shows all",
    )


def load_backbone(
    name: str, *, device: torch.device, weights: Path | None = None, offline: bool = False
) -> Backbone:
    """Load a frozen backbone onto a device.

    Args:
        name: a catalog name or `MODEL.TAG`.
        device: where it shall compute.
        weights: a local checkpoint to use in place of the published one.
        offline: never open a connection.

    Raises:
        NotFoundError: no such backbone, or no such checkpoint file.
        NetworkError: the weights are not here and cannot be fetched.
        IncompatibleError: the checkpoint does not fit the architecture.
    """
    from evpcli.engine.backbones.clip import load_clip

    return load_clip(find_entry(name), device=device, weights=weights, offline=offline)


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


def check_backbone(manifest: Manifest, card: BackboneCard) -> None:
    """Refuse a prompt that was learned for another model.

    Raises:
        IncompatibleError: canvas, normalisation, activation or weights differ; names which.
    """
    wanted, given = manifest.backbone, card.record
    pairs: list[tuple[str, object, object]] = [
        ("backbone", wanted.name, given.name),
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
            raise IncompatibleError(
                f"the prompt was learned for another {what}",
                found=f"prompt: {for_prompt}, here: {here}",
                hint=f"use the backbone {wanted.name} with the weights that the prompt names",
            )
