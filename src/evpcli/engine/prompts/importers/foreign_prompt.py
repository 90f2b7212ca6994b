"""ForeignPrompt: what every importer makes of another project's checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from torch import Tensor

from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.manifest import (
    BackboneRecord,
    DatasetRecord,
    GeometryRecord,
    Manifest,
    Method,
    PreprocessingRecord,
    Provenance,
)
from evpcli.engine.prompts.importers.foreign_answers import Answers
from evpcli.engine.prompts.importers.foreign_names import ImportNames, Target
from evpcli.engine.prompts.label_map import LabelMap
from evpcli.engine.prompts.visual_prompt import hash_pixels
from evpcli.version import __version__


@dataclass(frozen=True)
class Reading:
    """A checkpoint read into evp's terms, before it is described.

    Args:
        layout: whose it is and how it meets the picture, for people.
        method: as the manifest names it.
        pixels: (3, canvas, canvas) float32 in [0, 1] space, zeros in the window.
        geometry: with the composition.
        answers: how outputs become classes.
        notes: what differs from how its own project would use it, a sentence each.
    """

    layout: str
    method: Method
    pixels: Tensor
    geometry: FrameGeometry
    answers: Answers
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForeignPrompt:
    """Another project's prompt with the manifest that evp gives it.

    Args:
        pixels: as in `Reading`.
        manifest: describes these pixels.
        label_map: a classifier's map, where it is a matrix.
        layout: as in `Reading`.
        notes: as in `Reading`.
    """

    pixels: Tensor
    manifest: Manifest
    label_map: LabelMap | None
    layout: str
    notes: tuple[str, ...]


def describe_reading(reading: Reading, names: ImportNames, target: Target) -> ForeignPrompt:
    """The prompt with its manifest.

    Raises:
        IncompatibleError: the prompt does not fill the backbone's input.
    """
    target.check_canvas(reading.geometry)
    answers, geometry = reading.answers, reading.geometry
    manifest = Manifest(
        created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        origin="import",
        source=names.source,
        method=reading.method,
        composition=geometry.composition,
        geometry=GeometryRecord(canvas_px=geometry.canvas_px, border_px=geometry.border_px),
        preprocessing=_describe_preprocessing(target),
        backbone=_describe_backbone(target),
        dataset=DatasetRecord(name=names.dataset),
        class_names=names.class_names,
        templates=answers.templates if target.is_clip else (),
        descriptions=answers.descriptions,
        label_map=answers.label_map,
        pixels_sha256=hash_pixels(reading.pixels),
        provenance=Provenance(evp=__version__),
    )
    return ForeignPrompt(reading.pixels, manifest, answers.matrix, reading.layout, reading.notes)


def _describe_preprocessing(target: Target) -> PreprocessingRecord:
    interpolation = "bicubic" if target.is_clip else "bilinear"
    return PreprocessingRecord(interpolation=interpolation, mean=target.mean, std=target.std)


def _describe_backbone(target: Target) -> BackboneRecord:
    entry = target.entry
    return BackboneRecord(
        name=entry.name,
        architecture=entry.architecture,
        weights=entry.tag or "default",
        activation="quick-gelu" if target.is_clip else "other",
    )
