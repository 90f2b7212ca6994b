"""A prompt measured again: on its own pictures, on others, and under corruptions."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from torch import Tensor

from evpcli.domain.errors import DamagedError, EvpError, NotFoundError
from evpcli.domain.events import ReadingEvent, Trouble
from evpcli.domain.manifest import WEIGHTED, Manifest, Measurement
from evpcli.domain.settings import DIVISION, Baseline, BatchSize, FitSettings
from evpcli.engine.backbones.interface import Backbone
from evpcli.engine.compute.distributed import ALONE, World
from evpcli.engine.compute.memory import (
    choose_asking,
    explained_memory,
    find_fitting,
    settle_batch_size,
)
from evpcli.engine.datasets.catalog import find_own_folder, load_dataset
from evpcli.engine.datasets.corruptions import build_corruption
from evpcli.engine.datasets.division import divide_dataset
from evpcli.engine.datasets.folder import carve_test
from evpcli.engine.datasets.interface import Dataset, Pictures, SplitName
from evpcli.engine.datasets.loader import Reading
from evpcli.engine.datasets.pixel_cache import PixelCache
from evpcli.engine.datasets.remembered import recall_folder
from evpcli.engine.datasets.shared import SharedClasses, check_not_empty, share_classes
from evpcli.engine.evaluation.classifiers import TaskClassifiers, build_classifiers
from evpcli.engine.evaluation.full_images import check_task
from evpcli.engine.evaluation.linear_probe import fit_linear_probe
from evpcli.engine.evaluation.noise import make_noise_border
from evpcli.engine.evaluation.predict import (
    ClassAccuracy,
    Comparison,
    Gauge,
    classify_full,
    classify_prompted,
    compare_classes,
    compare_prompt,
)
from evpcli.engine.evaluation.prompt_backbone import load_prompt_backbone
from evpcli.engine.files.download import to_work_progress
from evpcli.engine.files.paths import find_datasets, find_pixels, find_runs
from evpcli.engine.images.corruption_names import CorruptionChoice
from evpcli.engine.prompts.prompt_file import StoredPrompt
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.training.run_folder import find_run

_SCALE_SETTINGS = ("shots", "fraction", "seed")
_PROBE_HINT = (
    "leave linear-probe out of --baseline; pictures are divided as they were for the prompt, and "
    "--protocol paper leaves no validation pictures"
)


@dataclass(frozen=True)
class AssessRequest:
    """What to measure and where.

    Args:
        dataset: short name or folder; nothing for the one that the prompt was learned on.
        split: which pictures.
        weights: local checkpoint in place of the published one.
        device: as `choose_device` takes it.
        batch_size: pictures at a time; with `auto` they become fewer where memory runs out.
        threads: how many decode.
        offline: never open a connection.
        bad_images: what to do with pictures of a folder that cannot be decoded.
        baselines: what is measured beside zero-shot and blank, which always are.
        through_png: also measure what is left after clipping and rounding to 8 bits.
        corruptions: what is done to the pictures, each measured against the clean ones.
        store: keep shrunk pictures in the cache, and use those that are there.
    """

    dataset: str | None = None
    split: SplitName = "test"
    weights: Path | None = None
    device: str = "auto"
    batch_size: BatchSize = "auto"
    threads: int = 2
    offline: bool = False
    bad_images: Literal["error", "skip"] = "error"
    baselines: tuple[Baseline, ...] = ()
    through_png: bool = False
    corruptions: tuple[CorruptionChoice, ...] = ()
    store: bool = True


@dataclass(frozen=True)
class Assessment:
    """What was found.

    Args:
        dataset: that was used, divided as for training.
        class_names: of the task, or of it what the dataset shares.
        comparison: full, blank and prompted answers.
        classes: per class, the same three ways.
        more: measurements of further baselines, through a PNG, and under corruptions.
        is_same_data: whether these are the very pictures that the prompt was fitted with.
        shared: which classes were left out, where the dataset has others.
    """

    dataset: Dataset
    class_names: tuple[str, ...]
    comparison: Comparison
    classes: list[ClassAccuracy]
    more: tuple[Measurement, ...]
    is_same_data: bool
    shared: SharedClasses | None = None


def assess_prompt(
    stored: StoredPrompt,
    request: AssessRequest,
    on_event: Callable[[ReadingEvent], None] = lambda event: None,
    world: World = ALONE,
) -> Assessment:
    """Classify a split without and with a prompt; every process of a world gets the whole result.

    Raises:
        IncompatibleError: no class of the dataset is the prompt's, or the backbone is not.
        UsageError: a baseline cannot be learned from these pictures.
        DamagedError: the prompt's settings cannot be.
        NotFoundError: it is not known where the pictures are.
        NetworkError: dataset or weights are missing and cannot be fetched.
    """
    manifest = stored.manifest
    device = world.settle_device(request.device)
    with world.one_a_machine_first():
        dataset, shared = _load_pictures(manifest, request, on_event)
        backbone = load_prompt_backbone(
            manifest, device=device, weights=request.weights, offline=request.offline
        )
    if "linear-probe" in request.baselines:
        check_task(dataset, "a linear probe", (request.split,), hint=_PROBE_HINT)
    texts = (manifest.class_names, manifest.templates, manifest.descriptions)
    source = backbone.build_classifier(*texts)
    classifiers = build_classifiers(
        source, stored.label_map, manifest.label_map, device, stored.baselines
    )
    names = manifest.class_names
    if shared:
        classifiers = classifiers.choose(shared.kept)
        names = tuple(names[number] for number in shared.kept)
    _warn(dataset, manifest, on_event, world)
    prompt = stored.to_visual_prompt().to(device)
    batch_size = settle_batch_size(request.batch_size, device, world.size)
    with explained_memory(
        batch_size, lambda: _suggest_batch_size(prompt, classifiers, batch_size, world.size)
    ):
        reading = Reading(
            backbone.card.interpolation,
            request.threads,
            PixelCache(find_pixels(), dataset.fingerprint) if request.store else None,
            device,
            on_event,
            world,
        )
        asking = choose_asking(request.batch_size, on_event)
        gauge = Gauge(reading, batch_size, asking=asking)
        study = _Study(prompt, classifiers, backbone, dataset, gauge, request)
        comparison = study.compare()
        more = study.measure_more()
    return Assessment(
        dataset=dataset,
        class_names=names,
        comparison=comparison,
        classes=compare_classes(names, comparison),
        more=more,
        is_same_data=dataset.fingerprint == manifest.dataset.fingerprint,
        shared=shared,
    )


def _suggest_batch_size(
    prompt: VisualPrompt, classifiers: TaskClassifiers, too_many: int, processes: int
) -> str:
    """Which batch size would fit, found by trying, as a hint."""
    side = prompt.geometry.canvas_px

    @torch.inference_mode()
    def classify_blank(number: int) -> Tensor:
        return classifiers.prompted(prompt.pixels.new_zeros((number, 3, side, side)))

    fits = find_fitting(classify_blank, -(-too_many // processes))
    return f"use --batch-size {fits * processes}" if fits else "not even one picture fits"


@dataclass(frozen=True)
class _Study:
    """One prompt, one model and one dataset, asked in several ways."""

    prompt: VisualPrompt
    classifiers: TaskClassifiers
    backbone: Backbone
    dataset: Dataset
    gauge: Gauge
    request: AssessRequest

    def compare(self) -> Comparison:
        """Full, blank and prompted answers to the pictures as they are."""
        pictures = self.dataset.splits[self.request.split]
        return compare_prompt(self.prompt, self.classifiers, pictures, self.gauge)

    def measure_more(self) -> tuple[Measurement, ...]:
        """Everything else that was asked for, in a fixed order."""
        request = self.request
        found: tuple[Measurement, ...] = ()
        if request.through_png:
            found += (self._measure_through_png(),)
        if "noise" in request.baselines:
            found += (self._measure_noise(),)
        if "linear-probe" in request.baselines:
            found += (self._measure_linear_probe(),)
        for choice in request.corruptions:
            for severity in choice.severities:
                found += self._measure_corrupted(choice.name, severity)
        return found

    def _measure_through_png(self) -> Measurement:
        pictures = self.dataset.splits[self.request.split]
        classifier = self.classifiers.prompted
        answers = classify_prompted(self.prompt, classifier, pictures, self.gauge, through_png=True)
        return answers.to_measurement("through-png", self.request.split)

    def _measure_noise(self) -> Measurement:
        pictures = self.dataset.splits[self.request.split]
        noise = make_noise_border(self.prompt, seed=0)
        answers = classify_prompted(noise, self.classifiers.prompted, pictures, self.gauge)
        return answers.to_measurement("noise", self.request.split)

    def _measure_linear_probe(self) -> Measurement:
        split, gauge = self.request.split, self.gauge
        probe = fit_linear_probe(
            self.backbone,
            self.dataset,
            splits=(split,),
            batch_size=gauge.batch_size,
            reading=gauge.reading,
            asking=gauge.asking,
        )
        return probe.predictions[split].to_measurement("linear-probe", split)

    def _measure_corrupted(self, name: str, severity: int) -> tuple[Measurement, ...]:
        split = self.request.split
        gauge = replace(self.gauge, transform=build_corruption(name, severity))
        pictures, condition = self.dataset.splits[split], f"{name}:{severity}"
        full = classify_full(self.prompt, self.classifiers, pictures, gauge)
        prompted = classify_prompted(self.prompt, self.classifiers.prompted, pictures, gauge)
        return (
            full.to_measurement(self.classifiers.baseline, split, condition),
            prompted.to_measurement("prompted", split, condition),
        )


def _warn(
    dataset: Dataset,
    manifest: Manifest,
    on_event: Callable[[ReadingEvent], None],
    world: World,
) -> None:
    if not world.is_first:
        return
    for warning in dataset.warnings:
        on_event(Trouble(warning))
    record = manifest.label_map
    if record and record.kind in WEIGHTED and record.full_indices and not record.baseline_sha256:
        on_event(
            Trouble(
                "this prompt was made by an earlier version of evp: its `mapped` accuracy uses "
                "a one-to-one map, so part of the gain is the label map's; train it again to tell "
                "them apart"
            )
        )


def _load_pictures(
    manifest: Manifest, request: AssessRequest, on_event: Callable[[ReadingEvent], None]
) -> tuple[Dataset, SharedClasses | None]:
    """The dataset, divided as for training; of another one only the classes that both know."""
    dataset = load_dataset(
        request.dataset or find_dataset_of(manifest),
        root=find_datasets(),
        offline=request.offline,
        bad_images=request.bad_images,
        keep_whole=True,
        on_progress=lambda progress: on_event(to_work_progress(progress)),
    )
    is_same = dataset.fingerprint == manifest.dataset.fingerprint
    dataset = _divide(dataset, manifest, request, is_same=is_same)
    dataset = replace(dataset, class_names=_rename(dataset, manifest))
    if request.split not in dataset.splits:
        raise NotFoundError(
            f"{dataset.name} has no {request.split} split", found=", ".join(sorted(dataset.splits))
        )
    if dataset.class_names == manifest.class_names:
        return dataset, None
    if is_same and len(dataset.class_names) == len(manifest.class_names):
        return dataset, None  # the prompt calls the same classes by other names
    shared = share_classes(dataset, manifest.class_names)
    check_not_empty(shared.dataset, request.split)
    return shared.dataset, shared


def _divide(
    dataset: Dataset, manifest: Manifest, request: AssessRequest, *, is_same: bool
) -> Dataset:
    """The dataset with the splits of training; all of it as test where it was no training data.

    A folder without splits that the prompt was not trained on is measured whole, unless a probe
    must be fitted on a part of it.
    """
    names = DIVISION + (_SCALE_SETTINGS if is_same else ())
    settings = _read_settings(manifest, names)
    is_own = is_same or request.dataset is None or _is_own_folder(manifest, request.dataset)
    is_whole = set(dataset.splits) == {"train"}
    needs_training = request.split != "test" or "linear-probe" in request.baselines
    if is_whole and not is_own and not needs_training:
        rule = f"{dataset.split_rule}; all of it is measured"
        splits: dict[SplitName, Pictures] = {"test": dataset.splits["train"]}
        return replace(dataset, splits=splits, split_rule=rule)
    return divide_dataset(carve_test(dataset) if is_whole else dataset, settings)


def _is_own_folder(manifest: Manifest, dataset: str) -> bool:
    """Whether this is the folder that the prompt was trained on, whatever it holds by now."""
    try:
        own, given = find_dataset_of(manifest), find_own_folder(dataset).path
    except NotFoundError:
        return False
    return os.path.realpath(own) == os.path.realpath(given)


def _rename(dataset: Dataset, manifest: Manifest) -> tuple[str, ...]:
    """The classes as the prompt calls them, where it knows their names on disk."""
    kept = manifest.dataset.source_classes
    known = dict(zip(kept, manifest.class_names, strict=False))
    if not dataset.source_classes:
        return dataset.class_names
    pairs = zip(dataset.source_classes, dataset.class_names, strict=True)
    return tuple(known.get(source, name) for source, name in pairs)


def find_dataset_of(manifest: Manifest) -> str:
    """The short name or folder that a prompt was fitted on.

    A prompt file names no folder of its maker's; only this machine knows it: by the run that made
    the prompt, or by the dataset's name.

    Raises:
        NotFoundError: it is a folder, and not one that was fitted here, or it is gone.
    """
    from evpcli.engine.datasets.public.catalog import CATALOG

    if manifest.dataset.name in CATALOG:
        return manifest.dataset.name
    asked = _find_dataset_of_run(manifest.provenance.run_id)
    if asked in CATALOG:
        return str(asked)
    known = (asked, recall_folder(manifest.dataset.name))
    places = [str(place) for place in known if place is not None]
    if not places:
        raise NotFoundError(
            f"it is not known where the pictures of {manifest.dataset.name} are",
            hint="name the folder with -d FOLDER",
        )
    here = next((place for place in places if os.path.isdir(place)), None)
    if here is None:
        raise NotFoundError(
            f"the folder with the pictures of {manifest.dataset.name} is not there any more",
            found=places[0],
            hint="say where it is now with -d FOLDER",
        )
    return here


def _find_dataset_of_run(run_id: str | None) -> str | None:
    try:
        return find_run(find_runs(), run_id or "none").read_config().request.dataset
    except EvpError:
        return None


def _read_settings(manifest: Manifest, names: tuple[str, ...]) -> FitSettings:
    """The settings that the prompt's splits were made with; defaults for imported prompts.

    Raises:
        DamagedError: the prompt names values that no split can have.
    """
    known = {n: r.value for n, r in manifest.settings.items() if n in names}
    try:
        return FitSettings.model_validate({"lr": 1.0, "epochs": 1, "batch_size": 1, **known})
    except ValidationError as error:
        name = str(error.errors(include_url=False)[0]["loc"][0])
        raise DamagedError(
            "the prompt's settings break their rules", found=f"{name}: {str(known[name])[:80]!r}"
        ) from error
