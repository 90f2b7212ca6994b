"""Which run to go on with: one that is nobody else's and that can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from evpcli.domain.errors import EvpError, NotFoundError
from evpcli.domain.events import Trouble
from evpcli.engine.storage.runs import Run, RunConfig, find_run, list_unfinished
from evpcli.engine.training import TrainingState


@dataclass(frozen=True)
class SavedRun:
    """A run as it was left.

    Args:
        run: its folder.
        config: what it was started with.
        state: where it was; nothing if it never saved a state.
    """

    run: Run
    config: RunConfig
    state: TrainingState | None


@contextmanager
def open_run(name: str, root: Path, on_event: Callable[[Trouble], None]) -> Iterator[SavedRun]:
    """Hold a run and read it; it is held until the block ends.

    Args:
        name: a run's id, or `last` for the newest unfinished run that can go on.
        root: the folder of runs.
        on_event: told of each newer run that `last` passes over, and why.

    Raises:
        NotFoundError: there is none.
        UsageError: the run is running in another process.
        DamagedError: its files are damaged.
    """
    wants_last = name == "last"
    for run in list_unfinished(root) if wants_last else [find_run(root, name)]:
        with ExitStack() as held:
            try:
                held.enter_context(run.hold())
                saved = SavedRun(run, run.read_config(), run.load_state())
            except EvpError as error:
                if not wants_last:
                    raise
                on_event(Trouble(f"run {run.id} is passed over: {error.what}"))
                continue
            yield saved
            return
    raise NotFoundError("there is no unfinished run that can go on", hint="start one with evp fit")
