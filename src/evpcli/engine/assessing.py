"""A prompt measured again: on its own dataset's split, or on another with the same classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from evpcli.domain.errors import DamagedError, EvpError, IncompatibleError, NotFoundError
from evpcli.domain.manifest import Manifest
from evpcli.domain.settings import FitSettings
from evpcli.engine.backbones.catalog import check_backbone, load_backbone
from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.datasets.interface import Dataset, SplitName
from evpcli.engine.devices import choose_device, explained_memory
from evpcli.engine.evaluation import ClassAccuracy, Comparison, compare_classes, compare_prompt
from evpcli.engine.fit_task import divide_dataset
from evpcli.engine.prompt_files.prompt_file import StoredPrompt
from evpcli.engine.storage.paths import find_datasets, find_runs
from evpcli.engine.storage.runs import find_run

_SPLIT_SETTINGS = ("protocol", "val_fraction", "split_seed")


@dataclass(frozen=True)
class AssessRequest:
    """What to measure and where.

    Args:
        dataset: short name or folder; nothing for the one that the prompt was learned on.
        split: which pictures.
        weights: local checkpoint in place of the published one.
        device: as `choose_device` takes it.
        batch_size: pictures at a time.
        threads: how many decode.
        offline: never open a connection.
        bad_images: what to do with pictures of a folder that cannot be decoded.
    """

    dataset: str | None = None
    split: SplitName = "test"
    weights: Path | None = None
    device: str = "auto"
    batch_size: int = 64
    threads: int = 2
    offline: bool = False
    bad_images: Literal["error", "skip"] = "error"


@dataclass(frozen=True)
class Assessment:
    """What was found.

    Args:
        dataset: that was used, divided as for training.
        comparison: zero-shot, blank and prompted answers.
        classes: per class, zero-shot and prompted.
        is_same_data: whether these are the very pictures that the prompt was fitted with.
    """

    dataset: Dataset
    comparison: Comparison
    classes: list[ClassAccuracy]
    is_same_data: bool


def assess_prompt(stored: StoredPrompt, request: AssessRequest) -> Assessment:
    """Classify a split without and with a prompt.

    Raises:
        IncompatibleError: the dataset has other classes, or the backbone is not the prompt's.
        DamagedError: the prompt's settings cannot be.
        NotFoundError: it is not known where the pictures are.
        NetworkError: dataset or weights are missing and cannot be fetched.
    """
    manifest = stored.manifest
    device = choose_device(request.device)
    dataset = load_dataset(
        request.dataset or find_dataset_of(manifest),
        root=find_datasets(),
        offline=request.offline,
        bad_images=request.bad_images,
    )
    dataset = divide_dataset(dataset, _read_settings(manifest))
    _check_dataset(dataset, manifest, request.split)
    backbone = load_backbone(
        manifest.backbone.name, device=device, weights=request.weights, offline=request.offline
    )
    check_backbone(manifest, backbone.card)
    with explained_memory(request.batch_size):
        comparison = compare_prompt(
            stored.to_visual_prompt().to(device),
            backbone.build_classifier(manifest.class_names, manifest.templates),
            dataset.splits[request.split],
            interpolation=backbone.card.interpolation,
            batch_size=request.batch_size,
            threads=request.threads,
        )
    return Assessment(
        dataset=dataset,
        comparison=comparison,
        classes=compare_classes(manifest.class_names, comparison),
        is_same_data=dataset.fingerprint == manifest.dataset.fingerprint,
    )


def find_dataset_of(manifest: Manifest) -> str:
    """The short name or folder that a prompt was fitted on.

    A prompt file names no folder of its maker's; only this machine's own run knows it.

    Raises:
        NotFoundError: it is a folder, and not one that was fitted here.
    """
    from evpcli.engine.datasets.table import CATALOG

    if manifest.dataset.name in CATALOG:
        return manifest.dataset.name
    run_id = manifest.provenance.run_id
    try:
        return find_run(find_runs(), run_id or "none").read_config().request.dataset
    except EvpError as error:
        raise NotFoundError(
            f"it is not known where the pictures of {manifest.dataset.name} are",
            hint="name the folder with -d FOLDER",
        ) from error


def _check_dataset(dataset: Dataset, manifest: Manifest, split: SplitName) -> None:
    if len(dataset.class_names) != len(manifest.class_names):
        raise IncompatibleError(
            "the dataset has other classes than the prompt",
            found=f"{len(dataset.class_names)} in {dataset.name}, {len(manifest.class_names)} in "
            "the prompt",
        )
    same = dataset.fingerprint == manifest.dataset.fingerprint
    if not same and dataset.class_names != manifest.class_names:
        pairs = zip(dataset.class_names, manifest.class_names, strict=True)
        here, there = next((a, b) for a, b in pairs if a != b)
        raise IncompatibleError(
            "the dataset has other classes than the prompt",
            found=f"{dataset.name} names {here!r} where the prompt has {there!r}",
        )
    if split not in dataset.splits:
        raise NotFoundError(
            f"{dataset.name} has no {split} split", found=", ".join(sorted(dataset.splits))
        )


def _read_settings(manifest: Manifest) -> FitSettings:
    """The settings that the prompt's splits were made with; defaults for imported prompts.

    Raises:
        DamagedError: the prompt names values that no split can have.
    """
    known = {n: r.value for n, r in manifest.settings.items() if n in _SPLIT_SETTINGS}
    try:
        return FitSettings.model_validate({"lr": 1.0, "epochs": 1, "batch_size": 1, **known})
    except ValidationError as error:
        name = str(error.errors(include_url=False)[0]["loc"][0])
        raise DamagedError(
            "the prompt's settings break their rules", found=f"{name}: {str(known[name])[:80]!r}"
        ) from error
