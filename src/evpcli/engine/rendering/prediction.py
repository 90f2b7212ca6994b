"""What a frozen backbone says of one canvas, in class names and probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from evpcli.domain.errors import IncompatibleError
from evpcli.domain.manifest import Manifest
from evpcli.engine.backbones.catalog import check_backbone
from evpcli.engine.backbones.interface import Backbone
from evpcli.engine.prompt_files.prompt_file import StoredPrompt
from evpcli.engine.task_classifiers import build_classifiers


@dataclass(frozen=True)
class Prediction:
    """One class and how likely the backbone finds it.

    Args:
        class_name: as the prompt file has it.
        probability: softmax over all classes of the prompt, in [0, 1]; not calibrated.
    """

    class_name: str
    probability: float

    def __str__(self) -> str:
        return f"{self.class_name} {100 * self.probability:.1f} %"


Predictor = Callable[[Tensor], tuple[Prediction, ...]]


def build_predictor(
    stored: StoredPrompt, backbone: Backbone, device: torch.device, top: int
) -> Predictor:
    """A function from a canvas, (3, canvas, canvas) in pixel space, to its best classes.

    Args:
        stored: the prompt; gives class names, their texts and the label map.
        backbone: already on `device`.
        device: where the backbone computes.
        top: how many classes, at least 1; fewer if the prompt has fewer.

    Raises:
        IncompatibleError: the prompt is for another backbone, or names no classes.
    """
    manifest = stored.manifest
    check_classes(manifest)
    check_backbone(manifest, backbone.card)
    names = manifest.class_names
    source = backbone.build_classifier(names, manifest.templates, manifest.descriptions)
    classifier = build_classifiers(source, stored.label_map, manifest.label_map, device).prompted

    def predict(canvas: Tensor) -> tuple[Prediction, ...]:
        with torch.inference_mode():
            logits = classifier(canvas[None].to(device))[0]  # (classes,)
        best = logits.double().cpu().softmax(0).topk(min(top, len(names)))
        pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return tuple(Prediction(names[index], share) for share, index in pairs)

    return predict


def check_classes(manifest: Manifest) -> None:
    """Refuse a prompt that names no classes or no sentence for them.

    Raises:
        IncompatibleError: it names none, as imported files often do.
    """
    answers = manifest.templates or manifest.descriptions or manifest.label_map
    if not manifest.class_names or not answers:
        raise IncompatibleError(
            "the prompt does not say which classes it was learned for",
            found=f"origin: {manifest.origin}",
            hint="leave --predict away, or import the prompt again with --classnames FILE",
        )
