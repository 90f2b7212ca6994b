"""What a fit writes into its prompt file: data, settings, accuracies, origin."""

from __future__ import annotations

import platform

import torch
from pydantic import ValidationError

from evpcli.domain.errors import DamagedError, UsageError
from evpcli.domain.manifest import (
    WEIGHTED,
    DatasetRecord,
    EpochRecord,
    GeometryRecord,
    LabelMapRecord,
    Manifest,
    Measurement,
    Provenance,
    Selection,
    SettingRecord,
    What,
)
from evpcli.domain.settings import FitRequest
from evpcli.domain.statistics import Accuracy, SplitScore
from evpcli.engine.fitting.task import FitTask, PreparedFit
from evpcli.engine.prompts.manifest_json import format_manifest
from evpcli.engine.prompts.visual_prompt import hash_pixels
from evpcli.engine.training.run_folder import Run, now_utc
from evpcli.engine.training.state import TrainingState
from evpcli.version import __version__


def check_describable(request: FitRequest, prepared: PreparedFit) -> None:
    """Build and format the longest manifest that this fit can end with, before it trains.

    Raises:
        UsageError: a text or value of the user's cannot be kept in a prompt file.
    """
    try:
        digest, state, metrics = "0" * 64, _foresee(request), _foresee_metrics(prepared)
        for record in prepared.task.foresee_maps() or (None,):
            format_manifest(_describe(request, prepared, digest, state, digest, metrics, record))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(
            "a prompt file cannot keep this fit's description",
            found=f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg'][:120]}",
        ) from error
    except DamagedError as error:
        raise UsageError(
            "the class names, templates and label map are too much for a prompt file",
            found=error.found,
            hint="give shorter or fewer templates, or use a dataset with fewer classes",
        ) from error


def build_manifest(
    request: FitRequest,
    prepared: PreparedFit,
    run: Run,
    state: TrainingState,
    metrics: tuple[Measurement, ...],
) -> Manifest:
    """Describe the best epoch's prompt, of which the accuracies are given."""
    digest, record = hash_pixels(state.best_pixels), prepared.task.describe_map(state.best_map)
    return _describe(request, prepared, run.id, state, digest, metrics, record)


def _foresee(request: FitRequest) -> TrainingState:
    """A state without pixels whose history is as long as it can become."""
    long, share, settings = 1 / 3e200, 1 / 3, request.settings
    first = EpochRecord(epoch=1, lr=settings.lr, train_loss=long, train_top1=share, val_top1=share)
    later = (
        first.model_copy(update={"epoch": e, "lr": long}) for e in range(2, settings.epochs + 1)
    )
    nothing, score = torch.zeros(0), SplitScore(Accuracy(0, 1), 0.0)
    return TrainingState(
        nothing,
        nothing,
        score,
        best_epoch=settings.epochs,
        epochs_done=settings.epochs,
        history=(first, *later),
        elapsed_s=1e11 / 3,
    )


def _foresee_metrics(prepared: PreparedFit) -> tuple[Measurement, ...]:
    """As many measurements as a fit takes, with the largest numbers."""
    sizes = {split: len(pictures) for split, pictures in prepared.dataset.splits.items()}
    whats: tuple[What, ...] = ("zero-shot", "blank", "prompted")
    if prepared.task.map_kind in WEIGHTED:
        whats += ("one-to-one",)
    if prepared.request.probe:
        whats += ("linear-probe",)
    return tuple(
        Measurement(
            what=what, split=split, n=n, top1_correct=n, top5_correct=n, mean_per_class=1 / 3
        )
        for split, n in sizes.items()
        if split in (prepared.task.selection_split, "test")
        for what in whats
    )


def _describe(
    request: FitRequest,
    prepared: PreparedFit,
    run_id: str,
    state: TrainingState,
    pixels_sha256: str,
    metrics: tuple[Measurement, ...],
    label_map: LabelMapRecord | None,
) -> Manifest:
    dataset, geometry = prepared.dataset, prepared.task.geometry
    return Manifest(
        created_at=now_utc(),
        origin="fit",
        method=request.settings.method,
        composition=geometry.composition,
        geometry=GeometryRecord(canvas_px=geometry.canvas_px, border_px=geometry.border_px),
        preprocessing=prepared.card.to_preprocessing(),
        backbone=prepared.card.record,
        dataset=DatasetRecord(
            name=dataset.name,
            fingerprint=dataset.fingerprint,
            split_rule=dataset.split_rule,
            sizes={split: len(pictures) for split, pictures in dataset.splits.items()},
            skipped_images=len(dataset.skipped),
            licence=dataset.licence,
            source_classes=_list_renamed(prepared),
        ),
        class_names=prepared.texts.class_names,
        templates=prepared.texts.templates,
        descriptions=prepared.texts.descriptions,
        label_map=label_map,
        pixels_sha256=pixels_sha256,
        selection=Selection(
            protocol=request.settings.protocol,
            split="test" if request.settings.protocol == "paper" else "val",
            epoch=state.best_epoch,
            epochs=state.epochs_done,
        ),
        metrics=metrics,
        history=state.history,
        settings=_record_settings(request, prepared.task),
        provenance=_describe_provenance(prepared, run_id, state),
        parents=(prepared.parent.digest,) if prepared.parent else (),
    )


def _list_renamed(prepared: PreparedFit) -> tuple[str, ...]:
    """The classes as they are called on disk, where the prompt has other words for them."""
    dataset = prepared.dataset
    return dataset.source_classes if prepared.texts.class_names != dataset.class_names else ()


def _record_settings(request: FitRequest, task: FitTask) -> dict[str, SettingRecord]:
    """Every setting as it took effect: the border in pixels, mirroring only where it was done."""
    effective: dict[str, str | int | bool] = {
        "canvas_px": task.geometry.canvas_px,
        "border_px": task.geometry.border_px,
        "label_map": task.map_kind,
        "flip": task.flip,
        "precision": task.arithmetic,
        "threads": request.threads,
    }
    sources = dict(request.sources)
    if task.parent:
        effective |= {"init": "parent", "parent": task.parent.digest}
        sources["init"] = "parent"
    if request.extended_after:
        effective["extended_after"] = ", ".join(map(str, request.extended_after))
        sources["extended_after"] = "flag"
    values = {**request.settings.model_dump(), **effective}
    if request.settings.flip is None:
        sources["flip"] = "dataset"
    return {
        name: SettingRecord.model_validate({"value": value, "source": sources.get(name, "default")})
        for name, value in values.items()
    }


def _describe_provenance(prepared: PreparedFit, run_id: str, state: TrainingState) -> Provenance:
    import open_clip

    return Provenance(
        evp=__version__,
        python=platform.python_version(),
        torch=str(torch.__version__),
        open_clip=str(open_clip.__version__),
        platform=f"{platform.system()} {platform.machine()}",
        device=_name_device(prepared.device),
        threads=torch.get_num_threads(),
        run_id=run_id,
        elapsed_s=round(state.elapsed_s, 2),
    )


def _name_device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
