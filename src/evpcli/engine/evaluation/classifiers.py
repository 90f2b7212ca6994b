"""One frozen model asked three ways: with the full picture, on a blank border, in the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from evpcli.domain.errors import DamagedError
from evpcli.domain.manifest import LabelMapRecord, What
from evpcli.engine.backbones.interface import Classifier
from evpcli.engine.prompts.baseline_maps import BaselineMaps
from evpcli.engine.prompts.label_map import LabelMap, MappedClassifier


@dataclass(frozen=True)
class ChosenClasses:
    """A classifier that may answer with some of its classes only."""

    classifier: Classifier
    kept: tuple[int, ...]

    def __call__(self, canvas: Tensor) -> Tensor:
        """(batch, 3, canvas, canvas) in pixel space to (batch, kept classes) logits."""
        return self.classifier(canvas)[:, list(self.kept)]


@dataclass(frozen=True)
class TaskClassifiers:
    """Classifiers of the task's classes.

    Args:
        full: for the full picture without a prompt.
        blank: for the picture on a blank border.
        prompted: for the picture in the prompt.
        baseline: what an accuracy of `full` is called.
        one_to_one: for the full image through a one-to-one map, where `full` has another.
    """

    full: Classifier
    blank: Classifier
    prompted: Classifier
    baseline: What = "zero-shot"
    one_to_one: Classifier | None = None

    @classmethod
    def without_map(cls, source: Classifier) -> TaskClassifiers:
        """For a backbone whose outputs are the task's classes."""
        return cls(source, source, source)

    def choose(self, kept: Sequence[int]) -> TaskClassifiers:
        """The same, answering with these classes only, in this order."""
        chosen = tuple(kept)
        return replace(
            self,
            full=ChosenClasses(self.full, chosen),
            blank=ChosenClasses(self.blank, chosen),
            prompted=ChosenClasses(self.prompted, chosen),
            one_to_one=ChosenClasses(self.one_to_one, chosen) if self.one_to_one else None,
        )


def build_classifiers(
    source: Classifier,
    label_map: LabelMap | None,
    record: LabelMapRecord | None,
    device: torch.device,
    baselines: BaselineMaps | None = None,
) -> TaskClassifiers:
    """The classifiers that a prompt's manifest describes.

    The full image and the blank border are answered through maps of their own where the prompt
    keeps them: of the prompt's kind, so that what the map gives is not counted as the prompt's.

    Args:
        source: the frozen model.
        label_map: the prompt's own; nothing for a CLIP without a residual matrix.
        record: what the manifest says of it.
        device: where the model computes.
        baselines: kept with the prompt, if its map weighs all source classes.

    Raises:
        DamagedError: a frequency map has another number of classes than the prompt's map.
    """
    if label_map is None or record is None:
        return TaskClassifiers.without_map(source)
    prompted = MappedClassifier(source, label_map.to(device))
    if record.kind == "none":  # a residual matrix on a CLIP, which answers without it too
        return TaskClassifiers(source, source, prompted)

    def map_by(indices: tuple[int, ...]) -> Classifier:
        if not indices:
            return prompted
        if len(indices) != len(label_map.bias):
            raise DamagedError(
                "the prompt's baseline maps do not fit its classes",
                found=f"{len(indices)} for {len(label_map.bias)} classes",
            )
        fixed = LabelMap.from_indices(indices, record.source_classes)
        return MappedClassifier(source, fixed.to(device))

    if baselines is None:
        full, blank = map_by(record.full_indices), map_by(record.blank_indices)
        return TaskClassifiers(full, blank, prompted, "mapped")
    no_bias = torch.zeros_like(label_map.bias)
    full, blank = (
        MappedClassifier(source, LabelMap(weight, no_bias).to(device))
        for weight in (baselines.full, baselines.blank)
    )
    one_to_one = map_by(record.full_indices) if record.full_indices else None
    return TaskClassifiers(full, blank, prompted, "mapped", one_to_one)
