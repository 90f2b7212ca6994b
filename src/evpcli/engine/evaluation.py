"""Accuracies of a frozen model without and with a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from evpcli.domain.manifest import Measurement
from evpcli.domain.statistics import Accuracy, SplitScore
from evpcli.engine.backbones.interface import Classifier
from evpcli.engine.datasets.interface import Pictures, SplitName
from evpcli.engine.pictures.pixels import PixelSource
from evpcli.engine.prompt import VisualPrompt, pad_to_canvas

MIN_CLASSES_FOR_TOP5 = 6


@dataclass(frozen=True)
class Predictions:
    """What the model answered for each picture of a split, in order.

    Args:
        labels: (n,) int64, the right classes.
        answers: (n,) int64, the best class.
        confidence: (n,) float32, its softmax probability.
        in_top5: (n,) bool, or nothing with fewer than six classes.
        loss_sum: cross-entropy summed over the pictures.
    """

    labels: Tensor
    answers: Tensor
    confidence: Tensor
    in_top5: Tensor | None
    loss_sum: float

    @property
    def top1(self) -> Accuracy:
        """Share of pictures whose best class is right."""
        return Accuracy(int((self.answers == self.labels).sum()), len(self.labels))

    @property
    def top5(self) -> Accuracy | None:
        """Share of pictures with the right class among the best five."""
        if self.in_top5 is None:
            return None
        return Accuracy(int(self.in_top5.sum()), len(self.labels))

    def to_score(self) -> SplitScore:
        """The two numbers that epochs are compared by."""
        return SplitScore(self.top1, self.loss_sum / len(self.labels))

    def to_measurement(
        self,
        what: Literal["zero-shot", "blank", "prompted"],
        split: SplitName,
    ) -> Measurement:
        """The counts as a prompt file keeps them."""
        return Measurement(
            what=what,
            split=split,
            n=len(self.labels),
            top1_correct=self.top1.correct,
            top5_correct=self.top5.correct if self.top5 else None,
        )


@torch.inference_mode()
def predict(
    classifier: Classifier,
    source: PixelSource,
    compose: Callable[[Tensor], Tensor],
    *,
    batch_size: int,
    device: torch.device,
) -> Predictions:
    """Classify every picture of a source.

    Args:
        classifier: the frozen model.
        source: pictures, centre-cropped to the side that `compose` takes.
        compose: (batch, 3, side, side) in [0, 1] to a canvas in pixel space, e.g. a prompt's
            `frame`, or nothing at all for the full image.
        batch_size: pictures at a time.
        device: where to compute.
    """
    answers, confidences, hits, losses = [], [], [], []
    for batch in source.center_batches(batch_size):
        images, labels = batch.images.to(device), batch.labels.to(device)
        logits = classifier(compose(images.float() / 255)).float()  # (batch, classes)
        confidence, answer = logits.softmax(dim=1).max(dim=1)
        answers.append(answer)
        confidences.append(confidence)
        losses.append(functional.cross_entropy(logits, labels, reduction="sum"))
        if logits.shape[1] >= MIN_CLASSES_FOR_TOP5:
            hits.append((logits.topk(5).indices == labels[:, None]).any(dim=1))
    return Predictions(
        labels=source.labels,
        answers=torch.cat(answers).cpu(),
        confidence=torch.cat(confidences).cpu(),
        in_top5=torch.cat(hits).cpu() if hits else None,
        loss_sum=float(torch.stack(losses).cpu().double().sum()),
    )


@dataclass(frozen=True)
class Comparison:
    """One split classified three ways: as it is, shrunk on black, and inside the prompt."""

    zero_shot: Predictions
    blank: Predictions
    prompted: Predictions

    def to_measurements(self, split: SplitName) -> tuple[Measurement, ...]:
        """The three counts as a prompt file keeps them."""
        return (
            self.zero_shot.to_measurement("zero-shot", split),
            self.blank.to_measurement("blank", split),
            self.prompted.to_measurement("prompted", split),
        )


def compare_prompt(
    prompt: VisualPrompt,
    classifier: Classifier,
    pictures: Pictures,
    *,
    interpolation: Literal["bicubic", "bilinear"],
    batch_size: int,
    threads: int,
) -> Comparison:
    """Classify a split without the prompt, on a black border, and with the prompt.

    The zero-shot picture fills the whole canvas: shorter side to the canvas, centre crop.
    """
    geometry, device = prompt.geometry, prompt.pixels.device

    def ask(source: PixelSource, compose: Callable[[Tensor], Tensor]) -> Predictions:
        return predict(classifier, source, compose, batch_size=batch_size, device=device)

    full = PixelSource(pictures, geometry.canvas_px, interpolation, threads=threads, keep_bytes=0)
    window = PixelSource(pictures, geometry.image_px, interpolation, threads=threads)
    try:
        return Comparison(
            zero_shot=ask(full, lambda images: images),
            blank=ask(window, lambda images: pad_to_canvas(images, geometry)),
            prompted=ask(window, prompt.frame),
        )
    finally:
        full.close()
        window.close()


@dataclass(frozen=True)
class ClassAccuracy:
    """One class's accuracy, three ways."""

    name: str
    zero_shot: Accuracy
    blank: Accuracy
    prompted: Accuracy


def compare_classes(class_names: tuple[str, ...], comparison: Comparison) -> list[ClassAccuracy]:
    """Accuracies class by class, in label order; classes without a picture are left out."""
    ways = (comparison.zero_shot, comparison.blank, comparison.prompted)
    rows = []
    for number, name in enumerate(class_names):
        chosen = comparison.zero_shot.labels == number
        n = int(chosen.sum())
        if n:
            right = [int((way.answers[chosen] == number).sum()) for way in ways]
            rows.append(ClassAccuracy(name, *(Accuracy(count, n) for count in right)))
    return rows
