"""One dataset and one backbone set up for training: batches, selection, measurements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.manifest import Measurement
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.domain.statistics import SplitScore
from evpcli.engine.backbones.interface import Backbone, BackboneCard, Classifier
from evpcli.engine.datasets.interface import Dataset, SplitName
from evpcli.engine.datasets.splits import carve_validation, merge_validation
from evpcli.engine.evaluation import compare_prompt, predict
from evpcli.engine.pictures.pixels import Batch, EpochPlan, PixelSource
from evpcli.engine.prompt import VisualPrompt
from evpcli.engine.task_texts import TaskTexts


def divide_dataset(dataset: Dataset, settings: FitSettings) -> Dataset:
    """The dataset with the splits that the protocol trains and selects on.

    `validation` keeps or carves out a validation split; `paper` trains on all of it and selects
    on test.
    """
    if settings.protocol == "paper":
        return merge_validation(dataset)
    return carve_validation(dataset, settings.val_fraction, settings.split_seed)


class FitTask:
    """What the training loop learns from and is judged by.

    Args:
        dataset: already divided.
        backbone: the frozen model.
        texts: the classes in words.
        settings: of the run.
        device: where to compute.
        threads: how many decode pictures.
    """

    def __init__(
        self,
        dataset: Dataset,
        backbone: Backbone,
        texts: TaskTexts,
        settings: FitSettings,
        device: torch.device,
        threads: int,
    ) -> None:
        self.geometry = FrameGeometry.for_canvas(backbone.card.canvas_px, settings.border_px)
        self.classifier: Classifier = backbone.build_classifier(texts.class_names, texts.templates)
        self.selection_split: SplitName = "test" if settings.protocol == "paper" else "val"
        self._settings, self._dataset, self._device = settings, dataset, device
        self._card, self._threads = backbone.card, threads
        self._train = self._open("train")
        self._select = self._open(self.selection_split)
        mirrored = dataset.flip if settings.flip is None else settings.flip
        self.flip = mirrored and settings.augment == "evp"

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has; the last may be smaller."""
        return -(-len(self._train) // self._settings.batch_size)

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0), from step `start` on; the same on every call."""
        plan = EpochPlan.draw(
            len(self._train),
            seed=self._settings.seed,
            epoch=epoch,
            flip=self.flip,
            crop=self._settings.augment == "evp",
        )
        return self._train.random_batches(plan, self._settings.batch_size, start)

    def score(self, prompt: VisualPrompt) -> SplitScore:
        """How well a prompt does on the split that selects the best epoch."""
        return predict(
            self.classifier,
            self._select,
            prompt.frame,
            batch_size=self._settings.batch_size,
            device=self._device,
        ).to_score()

    def measure(self, prompt: VisualPrompt) -> tuple[Measurement, ...]:
        """Zero-shot, blank and prompted accuracy on the selection split and, once, on test."""
        measurements: tuple[Measurement, ...] = ()
        for split in dict.fromkeys((self.selection_split, "test")):
            comparison = compare_prompt(
                prompt,
                self.classifier,
                self._dataset.splits[split],
                interpolation=self._card.interpolation,
                batch_size=self._settings.batch_size,
                threads=self._threads,
            )
            measurements += comparison.to_measurements(split)
        return measurements

    def new_prompt(self) -> VisualPrompt:
        """A prompt of zeros on the task's device."""
        return VisualPrompt(self.geometry).to(self._device)

    def close(self) -> None:
        """End the decoding threads."""
        self._train.close()
        self._select.close()

    def _open(self, split: SplitName) -> PixelSource:
        return PixelSource(
            self._dataset.splits[split],
            self.geometry.image_px,
            self._card.interpolation,
            threads=self._threads,
        )


@dataclass(frozen=True)
class PreparedFit:
    """What a fit has loaded and settled before it trains."""

    request: FitRequest
    dataset: Dataset
    card: BackboneCard
    texts: TaskTexts
    task: FitTask
    device: torch.device
