"""How a checkpoint turns outputs into classes: label maps, and texts chosen for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evpcli.domain.errors import DamagedError, UsageError
from evpcli.domain.manifest import (
    MAX_CLASSES,
    Descriptions,
    LabelMapKind,
    LabelMapRecord,
)
from evpcli.domain.settings import DEFAULT_TEMPLATE
from evpcli.domain.templates import fill_template
from evpcli.engine.prompts.importers.foreign_names import ImportNames
from evpcli.engine.prompts.label_map import LabelMap, hash_map

FIRST_TEMPLATE = "This is a photo of a {}."
"""The plain sentence of ILM-VP, BLM and AutoVP."""


@dataclass(frozen=True)
class Answers:
    """What stands behind the backbone.

    Args:
        templates: of a CLIP model's class texts.
        descriptions: the texts that each class scores by, where they were chosen.
        label_map: of a classifier.
        matrix: the label map's numbers, where it is not one-to-one.
    """

    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    descriptions: Descriptions | None = None
    label_map: LabelMapRecord | None = None
    matrix: LabelMap | None = None


def read_indices(value: object) -> tuple[int, ...]:
    """A map of one source class a task class, saved as a tensor of whole numbers.

    Raises:
        DamagedError: it is none.
    """
    if not isinstance(value, Tensor) or value.ndim != 1 or value.is_floating_point():
        raise DamagedError("the checkpoint's label map is no row of whole numbers")
    if not 1 <= len(value) <= MAX_CLASSES or bool((value < 0).any()):
        raise DamagedError("the checkpoint's label map is no row of whole numbers")
    return tuple(int(index) for index in value.tolist())


def map_one_to_one(
    indices: Sequence[int],
    source_classes: int,
    names: ImportNames,
    kind: LabelMapKind,
    origin: str,
) -> Answers:
    """Answers of a classifier through one source class for each task class.

    Raises:
        DamagedError: a source class is none of the backbone's, or they are too many.
        IncompatibleError: the class names are of another number.
    """
    _check_sources(indices, source_classes)
    if not len(indices) <= source_classes <= MAX_CLASSES:
        raise DamagedError(
            "the checkpoint's label map is not one-to-one",
            found=f"{len(indices)} classes from {source_classes} source classes",
        )
    names.check_class_count(len(indices))
    record = LabelMapRecord(
        kind=kind, source_classes=source_classes, indices=tuple(indices), estimated_from=origin
    )
    return Answers(label_map=record)


def map_by_matrix(
    weight: Tensor, bias: Tensor | None, names: ImportNames, kind: LabelMapKind, origin: str
) -> Answers:
    """Answers of a classifier through a matrix.

    Args:
        weight: (task classes, source classes), of any float type.
        bias: (task classes,); zeros when left out.
        names: their class names must be as many as the task classes.
        kind: as the manifest names it.
        origin: what the map was estimated from, in words.

    Raises:
        DamagedError: the shapes do not fit each other, or a number is not finite.
        IncompatibleError: the class names are of another number.
    """
    if weight.ndim != 2 or not weight.is_floating_point() or max(weight.shape) > MAX_CLASSES:
        raise DamagedError("the checkpoint's label map is no matrix of two kinds of classes")
    bias = torch.zeros(weight.shape[0]) if bias is None else bias
    if bias.shape != weight.shape[:1] or 0 in weight.shape:
        raise DamagedError("the checkpoint's label map is no matrix of two kinds of classes")
    matrix = LabelMap(_to_plain(weight), _to_plain(bias))
    if not bool(torch.isfinite(matrix.weight).all() and torch.isfinite(matrix.bias).all()):
        raise DamagedError("the checkpoint's label map holds values that are not finite")
    names.check_class_count(weight.shape[0])
    record = LabelMapRecord(
        kind=kind,
        source_classes=weight.shape[1],
        sha256=hash_map(matrix.weight, matrix.bias),
        estimated_from=origin,
    )
    return Answers(label_map=record, matrix=matrix)


def average_sources(choice: Sequence[Sequence[int]], source_classes: int) -> Tensor:
    """(task, source) weights that give each task class the mean of its source classes.

    Raises:
        DamagedError: a source class is none of the backbone's.
    """
    weight = torch.zeros(len(choice), source_classes)
    for row, indices in enumerate(choice):
        _check_sources(indices, source_classes)
        for index in indices:
            weight[row, index] += 1 / len(indices)
    return weight


def choose_texts(choice: Sequence[Sequence[int]], names: ImportNames) -> Answers:
    """Answers of a CLIP model whose classes score the mean of texts that were chosen for them.

    The texts to choose from are 81 sentences with every class name in it, sentence by sentence:
    one plain one, then the 80 of CLIP's ImageNet evaluation.

    Args:
        choice: numbers of the texts of each class, equally many for each.
        names: the class names are needed, for the texts are made of them.

    Raises:
        UsageError: the class names are not known.
        IncompatibleError: they are of another number.
        DamagedError: a text is none of them, or they are too many.
    """
    if not names.class_names:
        raise UsageError(
            "this checkpoint chose a text for each class, so its class names are needed",
            found=f"{len(choice)} classes",
            hint="add --classnames FILE, one name a line in label order",
        )
    names.check_class_count(len(choice))
    templates = list_clip_templates()
    texts = [fill_template(t, name) for t in templates for name in names.class_names]
    if len(choice[0]) > len(templates):
        raise DamagedError("the checkpoint averages more texts a class than there are sentences")
    for indices in choice:
        _check_sources(indices, len(texts))
    sentences = tuple(tuple(texts[index] for index in indices) for indices in choice)
    descriptions = Descriptions(sentences=sentences, best_of=len(choice[0]))
    return Answers(templates=(FIRST_TEMPLATE,), descriptions=descriptions)


def list_clip_templates() -> tuple[str, ...]:
    """The 81 sentences that ILM-VP, BLM and AutoVP choose from, in their order."""
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return (FIRST_TEMPLATE, *(fill("{}") for fill in OPENAI_IMAGENET_TEMPLATES))


def _check_sources(indices: Sequence[int], source_classes: int) -> None:
    if not indices or not all(0 <= index < source_classes for index in indices):
        raise DamagedError(
            "the checkpoint's label map names a source class that there is not",
            found=f"{max(indices, default=0)} of {source_classes}",
        )


def _to_plain(values: Tensor) -> Tensor:
    return values.detach().float().contiguous().clone()
