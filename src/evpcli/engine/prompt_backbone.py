"""The backbone that a prompt was learned for, loaded and compared with what the prompt says."""

from __future__ import annotations

from pathlib import Path

import torch

from evpcli.domain.manifest import Manifest
from evpcli.engine.backbones.catalog import check_backbone, load_backbone
from evpcli.engine.backbones.interface import Backbone


def load_prompt_backbone(
    manifest: Manifest, *, device: torch.device, weights: Path | None = None, offline: bool = False
) -> Backbone:
    """Load the backbone that a manifest names, at the canvas it was learned on.

    Raises:
        NotFoundError: there is no such backbone, or no such weights file.
        NetworkError: the weights are not here and cannot be fetched.
        IncompatibleError: it is another model than the one that the prompt was learned for.
    """
    is_classifier = manifest.label_map is not None and manifest.label_map.kind != "none"
    backbone = load_backbone(
        manifest.backbone.name,
        device=device,
        weights=weights,
        offline=offline,
        canvas_px=manifest.geometry.canvas_px if is_classifier else None,
    )
    check_backbone(manifest, backbone.card)
    return backbone
