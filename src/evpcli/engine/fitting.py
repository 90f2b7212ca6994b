"""The life of one fit: dataset, backbone, training, measurement, publication."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from evpcli import __version__
from evpcli.domain.errors import (
    EvpError,
    IncompatibleError,
    OutOfMemoryError,
    StoppedError,
    StorageError,
)
from evpcli.domain.events import FitEvent, Phase, StepReport, Trouble
from evpcli.domain.manifest import (
    EpochRecord,
    Manifest,
)
from evpcli.domain.settings import FitRequest
from evpcli.engine.backbones.catalog import find_entry, load_backbone
from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.devices import choose_device
from evpcli.engine.fit_manifest import build_manifest
from evpcli.engine.fit_task import FitTask, PreparedFit, divide_dataset, settle_texts
from evpcli.engine.prompt import VisualPrompt
from evpcli.engine.prompt_files.prompt_file import encode_prompt
from evpcli.engine.rate_search import find_rate
from evpcli.engine.storage.durable import write_durably
from evpcli.engine.storage.paths import find_datasets, find_registry, find_runs
from evpcli.engine.storage.registry import Registry
from evpcli.engine.storage.registry_record import Entry
from evpcli.engine.storage.runs import Run, create_run, find_run
from evpcli.engine.training import (
    TrainingHooks,
    TrainingPlan,
    TrainingState,
    train_prompt,
)


@dataclass(frozen=True)
class FitHooks:
    """How a fit speaks to the outside: told of events, asked for a signal to stop."""

    on_event: Callable[[FitEvent], None] = lambda event: None
    stop_signal: Callable[[], int] = lambda: 0


@dataclass(frozen=True)
class FitOutcome:
    """A published prompt, and its file's bytes."""

    entry: Entry
    data: bytes


def fit_prompt(request: FitRequest, hooks: FitHooks = FitHooks()) -> FitOutcome:
    """Learn a prompt and file it in the registry.

    Raises:
        StoppedError: a signal asked to stop; the hint tells how to go on.
        StorageError: the registry cannot be written; a finished prompt is then rescued elsewhere
            and the error names the place.
        EvpError: whatever else the user can mend.
    """
    Registry(find_registry()).check_writable()
    with _explained_memory(request):
        prepared = _prepare(request, hooks)
        request = _settle_rate(prepared, hooks)
        run = create_run(find_runs(), _describe_run(request, prepared))
        return _train_and_publish(request, prepared, run, None, hooks)


def resume_fit(name: str, hooks: FitHooks = FitHooks()) -> FitOutcome:
    """Go on with a stopped run, to the same prompt as if it had never stopped.

    Args:
        name: a run's id, or `last`.
        hooks: as for `fit_prompt`.

    Raises:
        NotFoundError: no such run.
        IncompatibleError: the dataset or the backbone's weights are no longer the same.
        DamagedError: the saved state is damaged.
    """
    Registry(find_registry()).check_writable()
    run = find_run(find_runs(), name)
    config = run.read_config()
    request = FitRequest.model_validate(config["request"])
    with _explained_memory(request):
        prepared = _prepare(request, hooks)
        found = _describe_run(request, prepared)
        for what in ("dataset_fingerprint", "weights_sha256"):
            if found[what] != config[what]:
                raise IncompatibleError(
                    f"the {what.replace('_', ' ')} changed since run {run.id} began",
                    hint="start the run again without --resume",
                )
        return _train_and_publish(request, prepared, run, run.load_state(), hooks)


def _prepare(request: FitRequest, hooks: FitHooks) -> PreparedFit:
    device = choose_device(request.device)
    hooks.on_event(Phase(f"loading {request.dataset}"))
    dataset = load_dataset(
        request.dataset,
        root=find_datasets(),
        offline=request.offline,
        bad_images=request.bad_images,
        name=request.dataset_name,
    )
    hooks.on_event(Phase(f"loading {request.backbone} on {device}"))
    backbone = load_backbone(
        request.backbone,
        device=device,
        weights=Path(request.weights) if request.weights else None,
        offline=request.offline,
    )
    dataset = divide_dataset(dataset, request.settings)
    texts = settle_texts(dataset, request.class_names, request.templates)
    task = FitTask(dataset, backbone, texts, request.settings, device, request.threads)
    return PreparedFit(request, dataset, backbone.card, texts, task, device)


def _settle_rate(prepared: PreparedFit, hooks: FitHooks) -> FitRequest:
    request = prepared.request
    if not request.find_lr:
        return request
    hooks.on_event(Phase("searching the learning rate on validation"))
    around = find_entry(request.backbone).defaults.lr
    training_hooks = TrainingHooks(stop_signal=hooks.stop_signal)
    found = find_rate(prepared.task, around, training_hooks, hooks.on_event)
    settings = request.settings.model_copy(update={"lr": found.lr})
    sources = {**request.sources, "lr": "search"}
    return request.model_copy(update={"settings": settings, "sources": sources, "find_lr": False})


def _describe_run(request: FitRequest, prepared: PreparedFit) -> dict[str, object]:
    return {
        "evp": __version__,
        "request": request.model_dump(),
        "dataset_fingerprint": prepared.dataset.fingerprint,
        "weights_sha256": prepared.card.record.weights_sha256,
    }


def _train_and_publish(
    request: FitRequest,
    prepared: PreparedFit,
    run: Run,
    state: TrainingState | None,
    hooks: FitHooks,
) -> FitOutcome:
    task, settings = prepared.task, request.settings
    prompt = task.new_prompt()
    plan = TrainingPlan(
        lr=settings.lr,
        epochs=settings.epochs,
        project=settings.project,
        patience=settings.patience,
        max_time_s=settings.max_time_s,
    )
    hooks.on_event(Phase("training", run.id))
    try:
        state = train_prompt(
            prompt, task.classifier, task, plan, _make_training_hooks(run, hooks), state
        )
    except StoppedError as error:
        run.write_status("stopped", signal=error.signal_number)
        raise StoppedError(
            error.signal_number,
            f"run {run.id} stopped; its state is saved",
            hint=f"go on with: evp fit --resume {run.id}",
        ) from error
    except EvpError as error:
        run.write_status("failed", error=error.what)
        raise
    hooks.on_event(Phase("measuring", run.id))
    best = VisualPrompt(task.geometry, state.best_pixels).to(prepared.device)
    manifest = build_manifest(request, prepared, run, state, best)
    task.close()
    return _publish(encode_prompt(state.best_pixels, manifest), manifest, run)


def _make_training_hooks(run: Run, hooks: FitHooks) -> TrainingHooks:
    """Saving that never ends a run: a full disk is told once, and again when it heals."""
    failing = False

    def save(state: TrainingState) -> None:
        nonlocal failing
        try:
            run.save_state(state)
            failing = False
        except StorageError as error:
            if not failing:
                hooks.on_event(Trouble(f"the run goes on, but its state was not saved: {error}"))
            failing = True

    def tell(event: StepReport | EpochRecord) -> None:
        if isinstance(event, EpochRecord):
            try:
                run.append_metrics(event)
            except OSError as error:
                hooks.on_event(Trouble(f"metrics.jsonl was not written: {error.strerror}"))
        hooks.on_event(event)

    return TrainingHooks(save=save, on_event=tell, stop_signal=hooks.stop_signal)


def _publish(data: bytes, manifest: Manifest, run: Run) -> FitOutcome:
    try:
        entry = Registry(find_registry()).publish(data, manifest)
    except StorageError as error:
        place = Path(tempfile.mkdtemp(prefix="evp-rescue-")) / "prompt.pt"
        write_durably(place, data)
        raise StorageError(
            f"the registry cannot be written; the prompt was rescued to {place}",
            found=error.found,
            hint=f"make room, then evp import {place}",
        ) from error
    run.write_status("finished", prompt=str(entry.ref), digest=entry.digest)
    return FitOutcome(entry, data)


@contextmanager
def _explained_memory(request: FitRequest) -> Iterator[None]:
    """Turn torch's out-of-memory errors into ours."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(
            "the batch does not fit into memory",
            found=f"--batch-size {request.settings.batch_size}",
            hint=f"try --batch-size {max(1, request.settings.batch_size // 2)}",
        ) from error
