"""A prompt from the registry or a file, and its backbone, for the verbs that take images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from evpcli.commands.downloads import announce_downloads
from evpcli.commands.output import terminal
from evpcli.domain.manifest import LOCAL_WEIGHTS
from evpcli.domain.settings import BatchSize
from evpcli.engine.backbones.catalog import check_asked_backbone

if TYPE_CHECKING:
    import torch

    from evpcli.engine.prompts.prompt_file import StoredPrompt
    from evpcli.engine.rendering.prediction import Predictor


def open_checked(prompt: str, backbone: str | None) -> StoredPrompt:
    """The prompt; refused where it is for another backbone than `--backbone` says."""
    from evpcli.engine.files.paths import find_registry
    from evpcli.engine.prompts.opening import open_prompt
    from evpcli.engine.prompts.registry.registry import Registry

    stored = open_prompt(prompt, Registry(find_registry()))
    check_asked_backbone(stored.manifest, backbone)
    return stored


def has_local_weights(stored: StoredPrompt, weights: Path | None) -> bool:
    """Whether the backbone's weights are a local file's, so that none are downloaded."""
    return weights is not None or stored.manifest.backbone.weights == LOCAL_WEIGHTS


def load_predictor(
    stored: StoredPrompt,
    top: int,
    weights: Path | None,
    offline: bool,
    batch_size: BatchSize,
    device: torch.device,
) -> Predictor:
    """The prompt's backbone, loaded, as a function from canvases to the best classes."""
    from evpcli.engine.compute.memory import choose_asking
    from evpcli.engine.evaluation.prompt_backbone import load_prompt_backbone
    from evpcli.engine.rendering.prediction import build_predictor, check_classes

    check_classes(stored.manifest)
    name = stored.manifest.backbone.name
    announce_downloads(None, name, has_weights=has_local_weights(stored, weights), offline=offline)
    if terminal.is_live(sys.stderr):
        terminal.note(f"loading {name} on {device}")
    loaded = load_prompt_backbone(stored.manifest, device=device, weights=weights, offline=offline)
    asking = choose_asking(batch_size, lambda trouble: terminal.warn(trouble.text))
    return build_predictor(stored, loaded, device, top, asking)
