"""The backbone that a prompt was learned for, loaded and compared with what the prompt says."""

from __future__ import annotations

from pathlib import Path

import torch

from evpcli.domain.errors import NotFoundError
from evpcli.domain.manifest import LOCAL_WEIGHTS, Manifest
from evpcli.engine.backbones.catalog import check_backbone, load_backbone
from evpcli.engine.backbones.interface import Backbone
from evpcli.engine.backbones.remembered_weights import recall_weights


def load_prompt_backbone(
    manifest: Manifest, *, device: torch.device, weights: Path | None = None, offline: bool = False
) -> Backbone:
    """Load the backbone that a manifest names, at the canvas it was learned on.

    Weights of the user's own are found again where they were last used on this machine.

    Raises:
        NotFoundError: there is no such backbone or weights file, or the prompt was made with local
            weights that are not known here.
        NetworkError: the weights are not here and cannot be fetched.
        IncompatibleError: it is another model than the one that the prompt was learned for.
    """
    own = manifest.backbone
    if weights is None and own.weights == LOCAL_WEIGHTS:
        weights = _recall(manifest)
    is_classifier = manifest.label_map is not None and manifest.label_map.kind != "none"
    backbone = load_backbone(
        own.name,
        device=device,
        weights=weights,
        offline=offline,
        canvas_px=manifest.geometry.canvas_px if is_classifier else None,
    )
    check_backbone(manifest, backbone.card, weights)
    return backbone


def _recall(manifest: Manifest) -> Path:
    own = manifest.backbone
    path = recall_weights(own.weights_sha256)
    if path is None:
        digest = f"sha256 {own.weights_sha256[:12]}" if own.weights_sha256 else "not recorded"
        raise NotFoundError(
            f"this prompt was made with its maker's own weights for {own.name}",
            found=digest,
            hint="add --weights FILE",
        )
    return path
