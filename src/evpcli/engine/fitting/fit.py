"""The life of one fit: dataset, backbone, training, measurement, publication."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from evpcli.domain.counts import list_some
from evpcli.domain.errors import (
    DivergedError,
    EvpError,
    StoppedError,
    StorageError,
)
from evpcli.domain.events import FitEvent, Phase, Trouble
from evpcli.domain.manifest import Measurement
from evpcli.domain.reference import KeyRef, PromptKey
from evpcli.domain.settings import Extension, FitRequest, FitSettings
from evpcli.engine.compute.distributed import ALONE, World
from evpcli.engine.compute.launcher import name_launch
from evpcli.engine.compute.memory import explained_memory
from evpcli.engine.datasets.remembered import remember_folder
from evpcli.engine.evaluation.probe_beside import measure_probe_beside
from evpcli.engine.files.paths import Places
from evpcli.engine.fitting.extend import (
    check_unfinished,
    describe_extension,
    describe_vain_extension,
    extend_run,
)
from evpcli.engine.fitting.inputs import load_materials
from evpcli.engine.fitting.lr_search import find_rate
from evpcli.engine.fitting.manifest import build_manifest, check_describable
from evpcli.engine.fitting.publish import FitOutcome, publish_prompt
from evpcli.engine.fitting.resume import check_unchanged, move_request, share_run
from evpcli.engine.fitting.run_log import RunLog
from evpcli.engine.fitting.starting import (
    Parent,
    describe_leak,
    find_parent,
    find_parent_of,
    share_parent,
)
from evpcli.engine.fitting.task import FitTask, PreparedFit
from evpcli.engine.prompts.prompt_file import encode_prompt
from evpcli.engine.prompts.registry.registry import Registry
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.training.loop import Schedule, TrainingHooks, TrainingPlan, train_prompt
from evpcli.engine.training.run_folder import Run, RunConfig, create_run
from evpcli.engine.training.state import TrainingState
from evpcli.version import __version__


@dataclass(frozen=True)
class FitHooks:
    """How a fit speaks to the outside: told of events, asked for a signal to stop."""

    on_event: Callable[[FitEvent], None] = lambda event: None
    stop_signal: Callable[[], int] = lambda: 0


def fit_prompt(
    request: FitRequest, hooks: FitHooks = FitHooks(), places: Places | None = None
) -> FitOutcome:
    """Learn a prompt in this process alone and file it in the registry; see `fit_together`."""
    outcome = fit_together(request, ALONE, hooks, places)
    assert outcome is not None
    return outcome


def fit_together(
    request: FitRequest,
    world: World,
    hooks: FitHooks = FitHooks(),
    places: Places | None = None,
) -> FitOutcome | None:
    """Learn a prompt and file it in the registry.

    Args:
        request: what to learn.
        world: who shares the work; only the first process writes.
        hooks: told of events, asked for a signal.
        places: registry and runs; the user's own when left out.

    Returns:
        The published prompt; nothing in a process that only helps.

    Raises:
        StoppedError: a signal asked to stop; the hint tells how to go on.
        StorageError: the registry cannot be written; a finished prompt is then rescued elsewhere
            and the error names the place.
        EvpError: whatever else the user can mend.
    """
    places = places or Places.usual()
    if world.is_first:
        Registry(places.registry).check_writable()
    parent = share_parent(lambda: find_parent(request, Registry(places.registry)), world)
    with _prepared(request, hooks, world, parent) as prepared:
        if world.is_first:
            _warn_of_other_classes(prepared, hooks, places)
        with _explained_memory(prepared):
            settled = replace(prepared, request=_settle_rate(prepared, hooks))
        if not world.is_first:
            _help_training(settled, None, hooks)
            return None
        data = parent.data if parent else None
        _remember_place(prepared, hooks)
        run = create_run(places.runs, _describe_run(settled.request, settled), data)
        with run.hold():
            return _train_and_publish(settled, run, None, hooks, places)


def resume_fit(
    name: str,
    hooks: FitHooks = FitHooks(),
    places: Places | None = None,
    *,
    machine: FitRequest | None = None,
    extension: Extension | None = None,
) -> FitOutcome:
    """Go on with a stopped run in this process alone; see `resume_together`."""
    outcome = resume_together(name, ALONE, hooks, places, machine=machine, extension=extension)
    assert outcome is not None
    return outcome


def resume_together(
    name: str,
    world: World,
    hooks: FitHooks = FitHooks(),
    places: Places | None = None,
    *,
    machine: FitRequest | None = None,
    extension: Extension | None = None,
) -> FitOutcome | None:
    """Go on with a stopped run, to the same prompt as if it had never stopped; or extend a run.

    Args:
        name: a run's id, or `last` for the newest unfinished run that can go on.
        world: who shares the work; there may be more or fewer processes than before.
        hooks: as for `fit_together`.
        places: as for `fit_together`.
        machine: a request whose device, threads, store and offline mode take the place of the
            run's own; they say how to compute, not what.
        extension: more epochs for the run; `last` is then the newest run, finished or not.

    Returns:
        As for `fit_together`.

    Raises:
        NotFoundError: no such run.
        UsageError: the run is running in another process, or has as many epochs already.
        IncompatibleError: the dataset or the backbone's weights are no longer the same.
        DamagedError: the run's files are damaged.
    """
    places = places or Places.usual()
    with ExitStack() as held:
        extends = extension is not None
        saved = held.enter_context(
            share_run(name, places.runs, hooks.on_event, world, or_finished=extends)
        )
        if world.is_first:
            Registry(places.registry).check_writable()
        if extension is not None:
            saved = extend_run(saved, extension)
        elif world.is_first:
            check_unfinished(saved)
        request = move_request(saved.config.request, machine)
        parent = share_parent(lambda: find_parent_of(saved.run, request), world)
        prepared = held.enter_context(_prepared(request, hooks, world, parent))
        found = _describe_run(request, prepared)
        check_unchanged(saved, found, prepared)
        if found.arithmetic != saved.config.arithmetic and world.is_first:
            began = f"the model computed in {saved.config.arithmetic} when the run began"
            hooks.on_event(Trouble(f"{began}, and computes in {found.arithmetic} from here on"))
        if not world.is_first:
            _help_training(prepared, saved.state, hooks)
            return None
        if extends:
            saved.run.write_config(saved.config)
            hooks.on_event(Phase(describe_extension(saved)))
        return _train_and_publish(prepared, saved.run, saved.state, hooks, places)


def _help_training(prepared: PreparedFit, state: TrainingState | None, hooks: FitHooks) -> None:
    """Take part in the first process's run: in all but what is written and told."""
    task = prepared.task
    with _explained_memory(prepared):
        task.fill()
        task.compile()
        learner = task.new_learner()
        hooks.on_event(Phase("training", epochs=prepared.request.settings.epochs))
        quiet = TrainingHooks(stop_signal=hooks.stop_signal)
        state = train_prompt(learner, task, _make_plan(prepared.request.settings), quiet, state)
        hooks.on_event(Phase("measuring"))
        _measure(prepared, state, hooks)


@contextmanager
def _prepared(
    request: FitRequest, hooks: FitHooks, world: World, parent: Parent | None
) -> Iterator[PreparedFit]:
    """Everything loaded; the decoding threads end with the block."""
    with explained_memory(None):
        prepared = _prepare(request, hooks, world, parent)
    with closing(prepared.task):
        yield prepared


def _prepare(
    request: FitRequest, hooks: FitHooks, world: World, parent: Parent | None
) -> PreparedFit:
    found = load_materials(request, hooks.on_event, world)
    stored = parent.stored if parent else None
    task = FitTask(
        found.dataset, found.backbone, found.texts, request.settings, found.reading, stored
    )
    card = found.backbone.card
    leak = describe_leak(stored.manifest, found.dataset, request) if stored else None
    if leak and world.is_first:
        hooks.on_event(Trouble(leak))
    prepared = PreparedFit(
        request, found.dataset, card, found.texts, task, found.reading, found.backbone
    )
    check_describable(request, prepared)
    return prepared


def _warn_of_other_classes(prepared: PreparedFit, hooks: FitHooks, places: Places) -> None:
    """Say where the newest prompt of the same name is for other classes: two folders, one name."""
    key = PromptKey(prepared.dataset.name, prepared.card.record.name)
    try:
        newest = Registry(places.registry).find(KeyRef(key))
    except EvpError:  # none yet, or damaged, which others tell
        return
    classes = newest.manifest.class_names
    if classes != prepared.texts.class_names:
        listed = list_some(classes, 3)
        hooks.on_event(
            Trouble(
                f"{newest.ref} is for other classes ({listed}); this prompt becomes the next "
                f"version of {key}: --name NAME keeps them apart"
            )
        )


def _settle_rate(prepared: PreparedFit, hooks: FitHooks) -> FitRequest:
    request = prepared.request
    if not request.find_lr:
        return request
    hooks.on_event(Phase("searching the learning rate on validation"))
    around = request.settings.lr
    training_hooks = TrainingHooks(stop_signal=hooks.stop_signal)
    try:
        found = find_rate(
            prepared.task,
            around,
            training_hooks,
            hooks.on_event,
            schedule=_choose_schedule(request.settings),
        )
    except StoppedError as error:
        what = "stopped while searching the learning rate; nothing was saved"
        raise StoppedError(error.signal_number, what) from error
    hooks.on_event(Phase(f"chose lr {found.lr:g}; the loss decided between equal accuracies"))
    settings = request.settings.model_copy(update={"lr": found.lr})
    sources = {**request.sources, "lr": "search"}
    return request.model_copy(update={"settings": settings, "sources": sources, "find_lr": False})


def _remember_place(prepared: PreparedFit, hooks: FitHooks) -> None:
    """Keep which folder goes by the dataset's name, so that the name alone will do."""
    place = Path(prepared.request.dataset)
    if not place.is_absolute():  # a short name
        return
    try:
        remember_folder(prepared.dataset.name, place)
    except StorageError as error:
        name = prepared.dataset.name
        hooks.on_event(Trouble(f"the folder of {name} is not remembered: {error.found}"))


def _describe_run(request: FitRequest, prepared: PreparedFit) -> RunConfig:
    return RunConfig(
        evp=__version__,
        request=request,
        dataset_fingerprint=prepared.dataset.fingerprint,
        weights_sha256=prepared.card.record.weights_sha256,
        launch=name_launch(),
        arithmetic=prepared.task.arithmetic,
    )


def _train_and_publish(
    prepared: PreparedFit,
    run: Run,
    state: TrainingState | None,
    hooks: FitHooks,
    places: Places,
) -> FitOutcome:
    request, task, log = prepared.request, prepared.task, RunLog(run, hooks.on_event)
    log.set_status("running")
    with _recorded_end(run, log), _explained_memory(prepared):
        task.fill()
        task.compile()
        if task.needs_map:
            hooks.on_event(Phase("matching your classes to the model's classes"))
        learner = task.new_learner()
        hooks.on_event(Phase("training", run.id, request.settings.epochs))
        state = train_prompt(
            learner,
            task,
            _make_plan(request.settings),
            TrainingHooks(save=log.save, on_event=log.tell, stop_signal=hooks.stop_signal),
            state,
        )
        _warn_if_unchanged(state, task, hooks)
        vain = describe_vain_extension(request, state.best_epoch)
        if vain:
            hooks.on_event(Trouble(vain))
        hooks.on_event(Phase("measuring", run.id))
        metrics = _measure(prepared, state, hooks)
        manifest = build_manifest(request, prepared, run, state, metrics)
        data = encode_prompt(state.best_pixels, manifest, state.best_map, task.estimate_baselines())
        outcome = publish_prompt(
            data, manifest, run, places, lambda text: hooks.on_event(Phase(text, run.id))
        )
    log.set_status(
        "finished", prompt=str(outcome.entry.ref), digest=outcome.entry.digest, exit_code=0
    )
    return dataclasses.replace(outcome, request=request, dataset=prepared.dataset)


def _measure(
    prepared: PreparedFit, state: TrainingState, hooks: FitHooks
) -> tuple[Measurement, ...]:
    """Accuracies of the best epoch, and a linear probe's beside them: the one look at test."""
    task, settings = prepared.task, prepared.request.settings
    best = VisualPrompt(task.geometry, state.best_pixels).to(prepared.device)
    taken = task.measure(best, state.best_map)
    if not prepared.request.probe:
        return taken
    beside = measure_probe_beside(
        prepared.backbone,
        prepared.dataset,
        prepared.reading,
        splits=tuple(dict.fromkeys((task.selection_split, "test"))),
        batch_size=-(-settings.batch_size // settings.accumulate),
    )
    if beside.reason:
        hooks.on_event(Phase(f"no linear probe beside the prompt: {beside.reason}"))
    return taken + beside.measurements


def _explained_memory(prepared: PreparedFit) -> AbstractContextManager[None]:
    """Where a batch does not fit into memory, say which one would."""
    return explained_memory(prepared.request.settings.batch_size, prepared.task.suggest_batch)


def _choose_schedule(settings: FitSettings) -> Schedule:
    return "step-warmup" if settings.method == "vp" else "epoch-cosine"


def _make_plan(settings: FitSettings) -> TrainingPlan:
    return TrainingPlan(
        lr=settings.lr,
        epochs=settings.epochs,
        schedule=_choose_schedule(settings),
        patience=settings.patience,
        max_time_s=settings.max_time_s,
    )


def _warn_if_unchanged(state: TrainingState, task: FitTask, hooks: FitHooks) -> None:
    if state.best_epoch == 0:
        split = {"val": "validation"}.get(task.selection_split, task.selection_split)
        hooks.on_event(
            Trouble(
                f"training did not improve {split} accuracy; the saved prompt is the border that "
                "it started from: try another --lr, or --lr auto"
            )
        )


@contextmanager
def _recorded_end(run: Run, log: RunLog) -> Iterator[None]:
    """Keep in the run's folder how the block ended badly, and tell how to go on.

    Only a run that diverged has failed: whatever else went wrong may be mended.
    """
    try:
        yield
    except StoppedError as error:
        number = error.signal_number
        log.set_status("stopped", signal=number, exit_code=128 + number)
        kept = "its state is saved" if log.is_current else "its last steps could not be saved"
        raise StoppedError(
            error.signal_number,
            f"run {run.id} stopped; {kept}",
            hint=f"go on with: evp fit --resume {run.id}",
        ) from error
    except ValidationError as error:  # a loss beyond what a manifest keeps
        log.set_status("failed", error="numbers out of range", exit_code=DivergedError.exit_code)
        raise DivergedError(
            "training produced numbers that a prompt file cannot keep",
            found=error.errors(include_url=False)[0]["msg"][:120],
            hint="lower --lr; nothing was filed",
        ) from error
    except EvpError as error:
        status = "failed" if isinstance(error, DivergedError) else "stopped"
        log.set_status(status, error=error.what, exit_code=error.exit_code)
        raise
