"""What the engine asks of a frozen image model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor, nn

from evpcli.domain.manifest import BackboneRecord, Descriptions, PreprocessingRecord


@dataclass(frozen=True)
class BackboneCard:
    """What a loaded backbone is and how it wants its pictures.

    Args:
        record: name, architecture, weights and activation, as a prompt file keeps them.
        canvas_px: side of the square input.
        mean: per RGB channel, for values in [0, 1].
        std: per RGB channel, for values in [0, 1].
        interpolation: how pictures are resized for this model.
        source_classes: names of the classes that a classifier was trained on, in output order;
            empty for a CLIP, which is asked about the task's own classes.
    """

    record: BackboneRecord
    canvas_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    source_classes: tuple[str, ...] = ()

    def to_preprocessing(self) -> PreprocessingRecord:
        """The same as a prompt file keeps it."""
        return PreprocessingRecord(mean=self.mean, std=self.std, interpolation=self.interpolation)


class Classifier(Protocol):
    """A frozen model that scores classes: the task's, or its own source classes."""

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

    def build_classifier(
        self,
        class_names: Sequence[str],
        templates: Sequence[str],
        descriptions: Descriptions | None = None,
    ) -> Classifier:
        """The model's classifier; texts are encoded here, once.

        A CLIP scores the task's classes. A classifier scores its own `card.source_classes`,
        whatever the arguments are, and needs a label map behind it.

        Args:
            class_names: one a class, cleaned, in label order.
            templates: sentences with `{}` where the class name goes; several are averaged.
            descriptions: sentences of each class, used in place of the templates.
        """

    def describe_cut_texts(self, texts: Sequence[str]) -> str | None:
        """What to say where texts are longer than the text tower reads; nothing where none is.

        Args:
            texts: whole sentences.
        """

    def build_encoder(self) -> nn.Module:
        """The image tower as a module: canvases in pixel space to features before any classes.

        Its input is (batch, 3, canvas, canvas) as for a `Classifier`, normalised inside; its output
        is (batch, width), not scaled to unit length. Shares the frozen weights: to train it, take
        `copy.deepcopy` and turn gradients on.
        """
