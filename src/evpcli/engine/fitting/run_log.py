"""What a run writes into its folder while it trains; a full disk never ends it."""

from __future__ import annotations

from collections.abc import Callable

from evpcli.domain.errors import StorageError
from evpcli.domain.events import BestEpoch, FitEvent, StepReport, Trouble
from evpcli.domain.manifest import EpochRecord
from evpcli.engine.training.run_folder import Run
from evpcli.engine.training.state import TrainingState


class RunLog:
    """Keeps state, metrics and status; a failure is told once, and again after it healed.

    Args:
        run: the folder.
        on_event: told of what could not be written, and of every event that passes through.
    """

    def __init__(self, run: Run, on_event: Callable[[FitEvent], None]) -> None:
        self._run, self._on_event = run, on_event
        self._failing: set[str] = set()
        self._steps_unsaved = False

    @property
    def is_current(self) -> bool:
        """Whether the folder holds every step that was taken."""
        return not self._steps_unsaved and "state" not in self._failing

    def save(self, state: TrainingState) -> None:
        """Keep the state to go on from."""
        self._attempt("state", lambda: self._run.save_state(state))
        self._steps_unsaved = False

    def tell(self, event: StepReport | BestEpoch | EpochRecord) -> None:
        """Pass an event on; a finished epoch is also kept."""
        if isinstance(event, EpochRecord):
            self._attempt("metrics", lambda: self._run.append_metrics(event))
        elif isinstance(event, StepReport):
            self._steps_unsaved = True
        self._on_event(event)

    def set_status(self, status: str, **details: object) -> None:
        """Say how the run stands."""
        self._attempt("status", lambda: self._run.write_status(status, **details))

    def _attempt(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except (StorageError, OSError) as error:
            if what not in self._failing:
                reason = (error.found if isinstance(error, StorageError) else None) or str(error)
                self._on_event(Trouble(f"the run's {what} cannot be written: {reason}"))
            self._failing.add(what)
        else:
            self._failing.discard(what)
