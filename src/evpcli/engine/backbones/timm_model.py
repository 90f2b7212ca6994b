"""timm's ImageNet classifiers by name, with published or local weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from evpcli.domain.errors import NotFoundError, UsageError
from evpcli.domain.manifest import LOCAL_WEIGHTS, BackboneRecord
from evpcli.domain.names import suggest
from evpcli.engine.backbones.canvas_size import settle_canvas
from evpcli.engine.backbones.checkpoint import read_checkpoint
from evpcli.engine.backbones.classifier import (
    ClassifierBackbone,
    build_fitting,
    check_outline,
    count_outputs,
    leave_out,
)
from evpcli.engine.backbones.entry import BackboneEntry
from evpcli.engine.backbones.interface import BackboneCard
from evpcli.engine.backbones.source_classes import name_source_classes
from evpcli.engine.backbones.timm_folder import TimmSource, find_timm_source
from evpcli.engine.backbones.weights import PublishedWeights, hash_file

_SHOWN_TAGS = 8


class TimmFeatures(nn.Module):
    """A timm model up to its last layer.

    Args:
        model: without its last layer, so that all its parameters take part.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, canvas, canvas), normalised, to pooled features (batch, width)."""
        maps = self.model.forward_features(images)
        features: Tensor = self.model.forward_head(maps, pre_logits=True)
        return features


def load_timm(
    entry: BackboneEntry,
    *,
    device: torch.device,
    weights: Path | None,
    offline: bool,
    canvas_px: int | None = None,
) -> ClassifierBackbone:
    """Load a frozen timm classifier; arguments and errors as `load_backbone`."""
    named = find_timm_cfg(entry)
    if weights is not None:
        source = find_timm_source(weights, entry.architecture)
    else:
        known = PublishedWeights.from_entry(entry)
        published = known or PublishedWeights.from_timm(entry, named)
        source = TimmSource(published.fetch(entry, offline=offline))
    model = _build_model(entry, source)
    cfg = model.pretrained_cfg
    _check_input(entry, cfg)
    any_size = not (cfg.get("fixed_input_size") or source.is_fixed_size)
    canvas = settle_canvas(entry.name, cfg["input_size"][1], canvas_px, any_size=any_size)
    model.to(device)
    outputs = count_outputs(model, entry.name, canvas, device)
    record = BackboneRecord(
        name=entry.name,
        architecture=_describe_architecture(entry, source),
        weights=LOCAL_WEIGHTS if weights is not None else named.tag,
        activation="other",
        weights_sha256=hash_file(source.path),
    )
    card = BackboneCard(
        record=record,
        canvas_px=canvas,
        mean=_to_triple(cfg["mean"]),
        std=_to_triple(cfg["std"]),
        interpolation=cfg["interpolation"],
        source_classes=name_source_classes(outputs, source.label_names),
    )
    features = TimmFeatures(leave_out(model, _find_last_layers(model))).eval()
    return ClassifierBackbone(model, features, card, device)


def find_timm_cfg(entry: BackboneEntry) -> Any:
    """The `PretrainedCfg` that timm has for a model and its tag, else the default one.

    Raises:
        NotFoundError: timm lists no such model or tag.
    """
    import timm
    from timm.models import get_pretrained_cfg

    name = f"{entry.architecture}.{entry.tag}" if entry.tag else entry.architecture
    try:
        if timm.is_model(entry.architecture):
            return get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:  # an unknown tag, a deprecated name, a model that is not timm's
        raise _refuse_name(entry) from error
    raise _refuse_name(entry)


def _refuse_name(entry: BackboneEntry) -> NotFoundError:
    import timm

    tagged = timm.list_pretrained(f"{entry.architecture}.*")
    if tagged:
        tags = [name.partition(".")[2] for name in tagged]
        more = ", ..." if len(tags) > _SHOWN_TAGS else ""
        hint = f"tags of {entry.architecture}: {', '.join(tags[:_SHOWN_TAGS])}{more}"
    else:
        hint = suggest(entry.architecture, timm.list_models()) or "timm.list_models() shows all"
    return NotFoundError("timm has no such model and tag", found=entry.name, hint=hint)


def _build_model(entry: BackboneEntry, source: TimmSource) -> Any:
    import timm

    name = f"{entry.architecture}.{entry.tag}" if entry.tag else entry.architecture

    def build() -> nn.Module:
        return cast(
            nn.Module,
            timm.create_model(
                name,
                pretrained=False,
                pretrained_cfg_overlay=source.cfg_changes or None,
                **source.model_args,
            ),
        )

    tensors = read_checkpoint(source.path)
    if source.model_args:
        check_outline(build, tensors, source.path)
    return build_fitting(build, tensors, source.path)


def _check_input(entry: BackboneEntry, cfg: dict[str, Any]) -> None:
    channels, height, width = cfg["input_size"]
    if channels != 3 or height != width or cfg["interpolation"] not in ("bicubic", "bilinear"):
        raise UsageError(
            "this model does not read square RGB pictures",
            found=f"{entry.name}: {cfg['input_size']}, {cfg['interpolation']}",
        )


def _describe_architecture(entry: BackboneEntry, source: TimmSource) -> str:
    """The name, with the folder's arguments where it has some: they change the model too."""
    arguments = f" ({source.arguments})" if source.arguments else ""
    return f"{entry.architecture}{arguments}"[:200]


def _find_last_layers(model: Any) -> list[str]:
    """Names of the layers that give the scores; distilled models have two."""
    found = model.get_classifier()
    layers = found if isinstance(found, tuple | list) else (found,)
    return [n for n, module in model.named_modules() if any(module is layer for layer in layers)]


def _to_triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
