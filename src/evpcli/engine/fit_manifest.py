"""What a fit writes into its prompt file: data, settings, accuracies, origin."""

from __future__ import annotations

import platform

import torch

from evpcli import __version__
from evpcli.domain.manifest import (
    DatasetRecord,
    GeometryRecord,
    Manifest,
    Provenance,
    Selection,
    SettingRecord,
)
from evpcli.domain.settings import FitRequest
from evpcli.engine.fit_task import FitTask, PreparedFit
from evpcli.engine.prompt import VisualPrompt, hash_pixels
from evpcli.engine.storage.runs import Run, now_utc
from evpcli.engine.training import TrainingState


def build_manifest(
    request: FitRequest,
    prepared: PreparedFit,
    run: Run,
    state: TrainingState,
    best: VisualPrompt,
) -> Manifest:
    """Describe the best epoch's prompt, and measure it: the test split is looked at here, once."""
    dataset, geometry = prepared.dataset, prepared.task.geometry
    return Manifest(
        created_at=now_utc(),
        origin="fit",
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
        ),
        class_names=prepared.texts.class_names,
        templates=prepared.texts.templates,
        pixels_sha256=hash_pixels(best.pixels),
        selection=Selection(
            protocol=request.settings.protocol,
            split="test" if request.settings.protocol == "paper" else "val",
            epoch=state.best_epoch,
            epochs=state.epochs_done,
        ),
        metrics=prepared.task.measure(best),
        history=state.history,
        settings=_record_settings(request, prepared.task),
        provenance=_describe_provenance(prepared, run, state),
    )


def _record_settings(request: FitRequest, task: FitTask) -> dict[str, SettingRecord]:
    """Every setting as it took effect: the border in pixels, mirroring only where it was done."""
    effective = {
        "border_px": task.geometry.border_px,
        "flip": task.flip,
        "threads": request.threads,
    }
    values = {**request.settings.model_dump(), **effective}
    sources = {"flip": "dataset", **request.sources}
    return {
        name: SettingRecord.model_validate({"value": value, "source": sources.get(name, "default")})
        for name, value in values.items()
    }


def _describe_provenance(prepared: PreparedFit, run: Run, state: TrainingState) -> Provenance:
    import open_clip

    return Provenance(
        evp=__version__,
        python=platform.python_version(),
        torch=str(torch.__version__),
        open_clip=str(open_clip.__version__),
        platform=f"{platform.system()} {platform.machine()}",
        device=_name_device(prepared.device),
        threads=torch.get_num_threads(),
        run_id=run.id,
        elapsed_s=round(state.elapsed_s, 2),
    )


def _name_device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
