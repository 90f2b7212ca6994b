"""What the engine asks of a frozen image model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from evpcli.domain.manifest import BackboneRecord, PreprocessingRecord


@dataclass(frozen=True)
class BackboneCard:
    """What a loaded backbone is and how it wants its pictures.

    Args:
        record: name, architecture, weights and activation, as a prompt file keeps them.
        canvas_px: side of the square input.
        mean: per RGB channel, for values in [0, 1].
        std: per RGB channel, for values in [0, 1].
        interpolation: how pictures are resized for this model.
    """

    record: BackboneRecord
    canvas_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"

    def to_preprocessing(self) -> PreprocessingRecord:
        """The same as a prompt file keeps it."""
        return PreprocessingRecord(mean=self.mean, std=self.std, interpolation=self.interpolation)


class Classifier(Protocol):
    """A frozen model that answers for one task's classes."""

    def __call__(self, canvas: Tensor) -> Tensor:
        """Score every class.

        Args:
            canvas: (batch, 3, canvas, canvas), RGB in pixel space (images in [0, 1], border
                unbounded), not yet normalised.

        Returns:
            (batch, classes) logits: scaled similarities, ready for cross-entropy.
        """


class Backbone(Protocol):
    """A frozen image model: no parameter takes a gradient, evaluation mode."""

    @property
    def card(self) -> BackboneCard:
        """What this backbone is."""

    def build_classifier(self, class_names: Sequence[str], templates: Sequence[str]) -> Classifier:
        """The model's classifier for these classes; texts are encoded here, once.

        Args:
            class_names: one a class, cleaned, in label order.
            templates: sentences with `{}` where the class name goes; several are averaged.
        """
