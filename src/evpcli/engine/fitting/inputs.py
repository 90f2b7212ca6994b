"""What a request names, loaded: the dataset divided, the backbone, the classes in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from evpcli.domain.events import FitEvent, Phase, Trouble
from evpcli.domain.settings import FitRequest
from evpcli.engine.backbones.catalog import load_backbone
from evpcli.engine.backbones.interface import Backbone
from evpcli.engine.compute.distributed import ALONE, World
from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.datasets.division import divide_dataset
from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.datasets.loader import Reading
from evpcli.engine.datasets.pixel_cache import PixelCache
from evpcli.engine.files.download import ProgressCallback, to_work_progress
from evpcli.engine.files.paths import find_datasets, find_pixels
from evpcli.engine.fitting.class_texts import (
    TaskTexts,
    describe_unreadable_names,
    list_sentences,
    settle_texts,
)


@dataclass(frozen=True)
class Materials:
    """Dataset, backbone and class texts of a request, on its device."""

    dataset: Dataset
    backbone: Backbone
    texts: TaskTexts
    reading: Reading

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return self.reading.device


def load_materials(
    request: FitRequest,
    on_event: Callable[[FitEvent], None] = lambda event: None,
    world: World = ALONE,
) -> Materials:
    """Load what a request names.

    Raises:
        EvpError: something is not there, cannot be fetched, or does not fit together.
    """
    device = world.settle_device(request.device)
    with world.one_a_machine_first():
        dataset, backbone = _load_both(request, device, on_event)
    dataset, texts = divide_and_name(dataset, request)
    reading = Reading(
        backbone.card.interpolation,
        request.threads,
        PixelCache(find_pixels(), dataset.fingerprint) if request.store else None,
        device,
        on_event,
        world,
    )
    if world.is_first:
        _tell(dataset, backbone, texts, on_event)
    return Materials(dataset, backbone, texts, reading)


def _tell(
    dataset: Dataset, backbone: Backbone, texts: TaskTexts, on_event: Callable[[FitEvent], None]
) -> None:
    """Say what was done with the user's images and names."""
    for note in dataset.notes:
        on_event(Phase(note))
    warnings = list(dataset.warnings)
    if not backbone.card.source_classes:  # it reads text
        found = (
            None if texts.descriptions else describe_unreadable_names(texts.class_names),
            backbone.describe_cut_texts(list_sentences(texts)),
        )
        warnings += [warning for warning in found if warning]
    for warning in warnings:
        on_event(Trouble(warning))


def _load_both(
    request: FitRequest, device: torch.device, on_event: Callable[[FitEvent], None]
) -> tuple[Dataset, Backbone]:
    on_event(Phase(f"loading {request.dataset}"))
    dataset = load_whole(
        request,
        offline=request.offline,
        on_progress=lambda progress: on_event(to_work_progress(progress)),
    )
    on_event(Phase(f"loading {request.backbone} on {device}"))
    backbone = load_backbone(
        request.backbone,
        device=device,
        weights=Path(request.weights) if request.weights else None,
        offline=request.offline,
        canvas_px=request.settings.canvas_px,
    )
    return dataset, backbone


def load_whole(
    request: FitRequest, *, offline: bool, on_progress: ProgressCallback | None = None
) -> Dataset:
    """A request's dataset as it is found, not yet divided; errors as `load_dataset`."""
    return load_dataset(
        request.dataset,
        root=find_datasets(),
        offline=offline,
        bad_images=request.bad_images,
        name=request.dataset_name,
        on_progress=on_progress,
    )


def divide_and_name(dataset: Dataset, request: FitRequest) -> tuple[Dataset, TaskTexts]:
    """The dataset with the splits that a request trains and selects on, and its classes in words.

    Raises:
        UsageError: a class has too few images, or the names and sentences do not fit the classes.
    """
    divided = divide_dataset(dataset, request.settings)
    texts = settle_texts(
        divided,
        request.class_names,
        request.templates,
        request.descriptions,
        request.best_of,
        request.template_set,
    )
    return divided, texts
