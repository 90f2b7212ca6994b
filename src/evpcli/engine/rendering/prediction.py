"""What a frozen backbone says of one canvas, in class names and probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evpcli.domain.errors import IncompatibleError
from evpcli.domain.manifest import Manifest
from evpcli.engine.backbones.catalog import check_backbone
from evpcli.engine.backbones.interface import Backbone
from evpcli.engine.compute.memory import Asking, ask_whole
from evpcli.engine.evaluation.classifiers import build_classifiers
from evpcli.engine.prompts.prompt_file import StoredPrompt


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


Predictor = Callable[[Tensor], list[tuple[Prediction, ...]]]
"""From (batch, 3, canvas, canvas) in pixel space to the best classes of each."""


def classify_some(
    canvases: Sequence[Tensor | None], predictor: Predictor
) -> list[tuple[Prediction, ...]]:
    """Each canvas's best classes, asked for in one batch; nothing where there is no canvas."""
    present = [canvas for canvas in canvases if canvas is not None]
    found = iter(predictor(torch.stack(present)) if present else ())
    return [() if canvas is None else next(found) for canvas in canvases]


def build_predictor(
    stored: StoredPrompt,
    backbone: Backbone,
    device: torch.device,
    top: int,
    asking: Asking = ask_whole,
) -> Predictor:
    """A function from canvases to the best classes of each.

    Args:
        stored: the prompt; gives class names, their texts and the label map.
        backbone: already on `device`.
        device: where the backbone computes.
        top: how many classes, at least 1; fewer if the prompt has fewer.
        asking: how the backbone is asked about a batch.

    Raises:
        IncompatibleError: the prompt is for another backbone, or names no classes.
    """
    manifest = stored.manifest
    check_classes(manifest)
    check_backbone(manifest, backbone.card)
    names = manifest.class_names
    source = backbone.build_classifier(names, manifest.templates, manifest.descriptions)
    classifier = build_classifiers(source, stored.label_map, manifest.label_map, device).prompted

    @torch.inference_mode()
    def predict(canvases: Tensor) -> list[tuple[Prediction, ...]]:
        logits = asking(classifier, canvases.to(device))  # (batch, classes)
        best = logits.cpu().double().softmax(1).topk(min(top, len(names)))
        return [
            tuple(Prediction(names[index], share) for share, index in zip(*row, strict=True))
            for row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

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
