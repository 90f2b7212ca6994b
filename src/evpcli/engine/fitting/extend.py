"""A run given more epochs than it was started with: finished or stopped, to so many in all."""

from __future__ import annotations

from dataclasses import replace

from pydantic import ValidationError

from evpcli.domain.counts import say_count
from evpcli.domain.errors import DamagedError, UsageError
from evpcli.domain.settings import Extension, FitRequest, FitSettings
from evpcli.engine.fitting.resume import SavedRun


def check_unfinished(saved: SavedRun) -> None:
    """Refuse to resume a run that has reached its last epoch.

    Raises:
        UsageError: it has.
    """
    run = saved.run
    if run.read_status() != "finished":
        return
    prompt = run.read_prompt_name()
    done = saved.state.epochs_done if saved.state else 0
    raise UsageError(
        f"run {run.id} is finished",
        found=f"its prompt is {prompt}" if prompt else None,
        hint=f"extend it with --epochs N, more than {done}, or start a new one without --resume",
    )


def extend_run(saved: SavedRun, extension: Extension) -> SavedRun:
    """The run with a schedule of so many epochs in all, from its saved state on.

    The learning rates of the epochs to come are those that a run of `epochs` epochs has there;
    those behind it stay as they were. `--patience` and `--max-time` no longer end it. A finished
    run has given its prompt to the tag and file that were asked for: they are not asked for again.

    Raises:
        UsageError: it has as many epochs behind it already, or `epochs` is out of range.
        DamagedError: it is finished and kept no state.
    """
    run, state, request = saved.run, saved.state, saved.config.request
    epochs = extension.epochs
    is_finished = run.read_status() == "finished"
    if is_finished and state is None:
        raise DamagedError(
            f"run {run.id} kept no state to go on from",
            hint=f"start from its prompt: --from {run.read_prompt_name() or 'PROMPT'}",
        )
    done = state.epochs_done if state else 0
    if epochs <= done:
        raise UsageError(
            f"run {run.id} has trained {say_count(done, 'epoch')} already",
            found=f"--epochs {epochs}",
            hint=f"ask for more than {done}: it is the number of epochs in all",
        )
    request = _ask_for_more(request, epochs, done if state else None)
    request = _settle_results(request, extension, forget=is_finished)
    return replace(saved, config=saved.config.model_copy(update={"request": request}))


def _settle_results(request: FitRequest, extension: Extension, *, forget: bool) -> FitRequest:
    """The request with the tag and file that are asked for now, else those of before."""
    changes: dict[str, object] = {}
    if forget or extension.tag:
        changes["tag"] = extension.tag
    if forget or extension.output:
        changes |= {"output": extension.output, "replace_output": extension.replace_output}
    return request.model_copy(update=changes)


def describe_extension(saved: SavedRun) -> str:
    """What is done, in words."""
    epochs = saved.config.request.settings.epochs
    done = saved.state.epochs_done if saved.state else 0
    return (
        f"run {saved.run.id} has {say_count(done, 'epoch')} and goes on to {epochs}: from here on "
        f"the learning rates are those of a run of {epochs} epochs"
    )


def describe_vain_extension(request: FitRequest, best_epoch: int) -> str | None:
    """What to say where no epoch after the last extension was better; else nothing."""
    if not request.extended_after or not 0 < best_epoch <= request.extended_after[-1]:
        return None
    return (
        f"no epoch after {request.extended_after[-1]} was better: the saved prompt is still that "
        f"of epoch {best_epoch}"
    )


def _ask_for_more(request: FitRequest, epochs: int, done: int | None) -> FitRequest:
    """The request of the longer run; `done` is left out where nothing was trained yet."""
    limits = {"epochs": epochs, "patience": None, "max_time_s": None}
    try:
        settings = FitSettings.model_validate({**request.settings.model_dump(), **limits})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"--epochs: {first['msg'].lower()}", found=str(epochs)) from error
    sources = {**request.sources, "epochs": "flag", "patience": "default", "max_time_s": "default"}
    changes: dict[str, object] = {"settings": settings, "sources": sources}
    if done is not None and epochs != request.settings.epochs:
        earlier = tuple(epoch for epoch in request.extended_after if epoch < done)
        changes["extended_after"] = (*earlier, done)
    return request.model_copy(update=changes)
