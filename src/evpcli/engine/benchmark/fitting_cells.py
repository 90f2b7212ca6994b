"""A cell that is a fit: made anew, or gone on with where an earlier start of it was stopped."""

from __future__ import annotations

from typing import Any

from evpcli.domain.errors import DamagedError, EvpError
from evpcli.domain.events import Phase, Trouble
from evpcli.domain.settings import FitRequest
from evpcli.engine.benchmark.cell import Cell, CellResult
from evpcli.engine.files.paths import Places
from evpcli.engine.fitting.fit import FitHooks, fit_prompt, resume_fit
from evpcli.engine.fitting.publish import FitOutcome
from evpcli.engine.training.run_folder import Run, list_unfinished
from evpcli.version import __version__

_RESULTS = {"tag", "output", "replace_output"}
_WITHOUT_EFFECT = _RESULTS | {
    "device",
    "threads",
    "store",
    "offline",
    "sources",
    "find_lr",
    "probe",
}


def fit_cell(cell: Cell, places: Places, hooks: FitHooks) -> CellResult:
    """Learn the cell's prompt and measure it.

    Args:
        cell: of a method that `evp fit` makes.
        places: registry and runs of the benchmark.
        hooks: told of events, asked for a signal.

    Raises:
        StoppedError: a signal asked to stop; the run's state is kept among the benchmark's runs.
        EvpError: whatever else ends a fit.
    """
    manifest = (entry := _fit(cell, places, hooks).entry).manifest
    return CellResult(
        what="prompted",
        measurements=manifest.metrics,
        selection=manifest.selection,
        prompt=str(entry.ref),
        digest=entry.digest,
        fingerprint=manifest.dataset.fingerprint,
    )


def _fit(cell: Cell, places: Places, hooks: FitHooks) -> FitOutcome:
    request = cell.request.model_copy(update={"probe": False})  # a method of its own here
    run = find_stopped(request, places)
    if run is None:
        return fit_prompt(request, hooks, places)
    hooks.on_event(Phase(f"going on with run {run.id}"))
    try:
        return resume_fit(run.id, hooks, places, machine=request)
    except DamagedError as error:  # an IncompatibleError where the data or the weights changed
        hooks.on_event(Trouble(f"run {run.id} cannot go on and is begun again: {error.what}"))
        return fit_prompt(request, hooks, places)


def find_stopped(request: FitRequest, places: Places) -> Run | None:
    """The newest unfinished run of the same request by this version of evp, if there is one."""
    for run in list_unfinished(places.runs):
        try:
            config = run.read_config()
        except EvpError:
            continue
        if config.evp == __version__ and _is_same(config.request, request):
            return run
    return None


def _is_same(kept: FitRequest, asked: FitRequest) -> bool:
    """Whether both make the same prompt; a rate that was searched for is the one of the search."""
    searched = kept.sources.get("lr") == "search"
    return asked.find_lr == searched and _reduce(kept, searched) == _reduce(asked, searched)


def _reduce(request: FitRequest, searched: bool) -> dict[str, Any]:
    plain = request.model_dump(mode="json", exclude=_WITHOUT_EFFECT)
    if searched:
        del plain["settings"]["lr"]
    return plain
