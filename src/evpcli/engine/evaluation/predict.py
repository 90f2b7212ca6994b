"""Accuracies of a frozen model without and with a prompt."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from evpcli.domain.manifest import Measurement, What
from evpcli.domain.statistics import Accuracy, SplitScore
from evpcli.engine.backbones.interface import Classifier
from evpcli.engine.compute.memory import Asking, ask_whole
from evpcli.engine.datasets.interface import Pictures, SplitName
from evpcli.engine.datasets.loader import UNREADABLE, PictureTransform, PixelSource, Reading
from evpcli.engine.evaluation.classifiers import TaskClassifiers
from evpcli.engine.prompts.visual_prompt import VisualPrompt, pad_to_canvas

MIN_CLASSES_FOR_TOP5 = 6


@dataclass(frozen=True)
class Predictions:
    """What the model answered for each picture of a split, in order.

    Args:
        labels: (n,) int64, the right classes.
        answers: (n,) int64, the best class; below 0 for a picture that cannot be decoded.
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

    @property
    def mean_per_class(self) -> float | None:
        """Mean of the classes' own accuracies, over the classes that have pictures.

        CLIP reports this for pets, flowers102, caltech101 and aircraft (Radford et al. 2021,
        table 9). Nothing where no picture could be decoded.
        """
        known = self.labels >= 0
        counts = torch.bincount(self.labels[known])
        right = torch.bincount(
            self.labels[known & (self.answers == self.labels)], minlength=len(counts)
        )
        present = counts > 0
        if not bool(present.any()):
            return None
        return float((right[present].cpu().double() / counts[present].cpu()).mean())

    def to_score(self) -> SplitScore:
        """The two numbers that epochs are compared by."""
        return SplitScore(self.top1, self.loss_sum / len(self.labels))

    def to_measurement(
        self,
        what: What,
        split: SplitName,
        condition: str = "",
    ) -> Measurement:
        """The counts as a prompt file keeps them."""
        return Measurement(
            what=what,
            condition=condition,
            split=split,
            n=len(self.labels),
            top1_correct=self.top1.correct,
            top5_correct=self.top5.correct if self.top5 else None,
            mean_per_class=self.mean_per_class,
        )


@torch.inference_mode()
def predict(
    classifier: Classifier,
    source: PixelSource,
    compose: Callable[[Tensor], Tensor],
    *,
    batch_size: int,
    device: torch.device,
    transform: PictureTransform | None = None,
    asking: Asking = ask_whole,
) -> Predictions:
    """Classify every picture of a source.

    Args:
        classifier: the frozen model.
        source: pictures, centre-cropped to the side that `compose` takes.
        compose: (batch, 3, side, side) in [0, 1] to a canvas in pixel space, e.g. a prompt's
            `frame`, or nothing at all for the full image.
        batch_size: pictures at a time.
        device: where to compute.
        transform: what is done to each picture before it is shrunk.
        asking: how the model is asked about a batch.
    """
    answers, confidences, hits, losses = [], [], [], []

    def classify(images: Tensor) -> Tensor:
        return classifier(compose(images.float() / 255)).float()

    for host_batch in source.center_batches(batch_size, transform):
        batch = host_batch.to(device)
        labels = batch.labels
        logits = asking(classify, batch.images)  # (batch, classes)
        confidence, answer = logits.softmax(dim=1).max(dim=1)
        answers.append(torch.where(labels == UNREADABLE, UNREADABLE, answer))
        confidences.append(confidence)
        losses.append(functional.cross_entropy(logits, labels, reduction="none"))
        if logits.shape[1] >= MIN_CLASSES_FOR_TOP5:
            hits.append((logits.topk(5).indices == labels[:, None]).any(dim=1).int())

    def merge(parts: list[Tensor]) -> Tensor:
        return source.merge(torch.cat(parts), batch_size).cpu()

    return Predictions(
        labels=source.labels,
        answers=merge(answers),
        confidence=merge(confidences),
        in_top5=merge(hits).bool() if hits else None,
        loss_sum=float(merge(losses).cpu().double().sum()),
    )


@dataclass(frozen=True)
class Comparison:
    """One split classified three ways: as it is, shrunk on black, and inside the prompt.

    An overlaid prompt does not shrink, so that its blank border is the full picture again.

    Args:
        full: the full picture without a prompt.
        blank: the picture on a blank border.
        prompted: the picture in the prompt.
        baseline: what `full` is called.
        one_to_one: the full image through a one-to-one map, where `full` has another.
    """

    full: Predictions
    blank: Predictions
    prompted: Predictions
    baseline: What = "zero-shot"
    one_to_one: Predictions | None = None

    def to_measurements(self, split: SplitName, condition: str = "") -> tuple[Measurement, ...]:
        """The counts as a prompt file keeps them."""
        simpler = self.one_to_one
        return (
            self.full.to_measurement(self.baseline, split, condition),
            *([simpler.to_measurement("one-to-one", split, condition)] if simpler else []),
            self.blank.to_measurement("blank", split, condition),
            self.prompted.to_measurement("prompted", split, condition),
        )


@dataclass(frozen=True)
class Gauge:
    """How pictures are read and asked about.

    Args:
        reading: how they become pixels.
        batch_size: how many at a time.
        transform: what is done to each picture at canvas size, before the shrink.
        asking: how the model is asked about a batch.
    """

    reading: Reading
    batch_size: int
    transform: PictureTransform | None = None
    asking: Asking = ask_whole

    def open_source(
        self, pictures: Pictures, side_px: int, canvas_px: int, **options: int
    ) -> PixelSource:
        """The pictures at a side; with a transform they are first brought to canvas size."""
        working_px = None if self.transform is None else canvas_px
        return PixelSource(pictures, side_px, self.reading, working_px=working_px, **options)

    def ask(
        self,
        classifier: Classifier,
        source: PixelSource,
        compose: Callable[[Tensor], Tensor],
        device: torch.device,
    ) -> Predictions:
        """Classify every picture of a source; see `predict`."""
        return predict(
            classifier,
            source,
            compose,
            batch_size=self.batch_size,
            device=device,
            transform=self.transform,
            asking=self.asking,
        )


def compare_prompt(
    prompt: VisualPrompt, classifiers: TaskClassifiers, pictures: Pictures, gauge: Gauge
) -> Comparison:
    """Classify a split without the prompt, on a black border, and with the prompt.

    The full picture fills the whole canvas: shorter side to the canvas, centre crop.
    """
    full = classify_full(prompt, classifiers, pictures, gauge)
    one_to_one = None
    if classifiers.one_to_one:
        simpler = replace(classifiers, full=classifiers.one_to_one)
        one_to_one = classify_full(prompt, simpler, pictures, gauge)
    geometry, device = prompt.geometry, prompt.pixels.device
    with closing(gauge.open_source(pictures, geometry.image_px, geometry.canvas_px)) as source:

        def pad(images: Tensor) -> Tensor:
            return pad_to_canvas(images, geometry)

        return Comparison(
            full=full,
            blank=gauge.ask(classifiers.blank, source, pad, device),
            prompted=gauge.ask(classifiers.prompted, source, prompt.frame, device),
            baseline=classifiers.baseline,
            one_to_one=one_to_one,
        )


def classify_full(
    prompt: VisualPrompt, classifiers: TaskClassifiers, pictures: Pictures, gauge: Gauge
) -> Predictions:
    """Classify full pictures, without the prompt; it only says how large its canvas is."""
    canvas_px, device = prompt.geometry.canvas_px, prompt.pixels.device
    source = gauge.open_source(pictures, canvas_px, canvas_px, keep_bytes=0)
    with closing(source):
        return gauge.ask(classifiers.full, source, lambda images: images, device)


def classify_prompted(
    prompt: VisualPrompt,
    classifier: Classifier,
    pictures: Pictures,
    gauge: Gauge,
    *,
    through_png: bool = False,
) -> Predictions:
    """Classify pictures inside a prompt.

    Args:
        prompt: the border.
        classifier: of the task's classes.
        pictures: one split.
        gauge: how they are read.
        through_png: cut every canvas to [0, 1] and round it to 8 bits, as a PNG would.
    """
    geometry, device = prompt.geometry, prompt.pixels.device

    def compose(images: Tensor) -> Tensor:
        canvas = prompt.frame(images)
        return round_to_bytes(canvas) if through_png else canvas

    with closing(gauge.open_source(pictures, geometry.image_px, geometry.canvas_px)) as source:
        return gauge.ask(classifier, source, compose, device)


def round_to_bytes(canvas: Tensor) -> Tensor:
    """What is left of a canvas in a picture file: cut to [0, 1], rounded half up to 1/255."""
    return (canvas.clamp(0, 1) * 255 + 0.5).floor() / 255


@dataclass(frozen=True)
class ClassAccuracy:
    """One class's accuracy, three ways."""

    name: str
    full: Accuracy
    blank: Accuracy
    prompted: Accuracy


def compare_classes(class_names: tuple[str, ...], comparison: Comparison) -> list[ClassAccuracy]:
    """Accuracies class by class, in label order; classes without a picture are left out."""
    ways = (comparison.full, comparison.blank, comparison.prompted)
    rows = []
    for number, name in enumerate(class_names):
        chosen = comparison.full.labels == number
        n = int(chosen.sum())
        if n:
            right = [int((way.answers[chosen] == number).sum()) for way in ways]
            rows.append(ClassAccuracy(name, *(Accuracy(count, n) for count in right)))
    return rows
