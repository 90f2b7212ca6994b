"""How long work is shown while it runs: a live bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

from evpcli.commands.output import terminal
from evpcli.commands.output.signals import StopSignals
from evpcli.domain.events import (
    BestEpoch,
    FitEvent,
    Phase,
    StepReport,
    Trial,
    Trouble,
    WorkProgress,
)
from evpcli.domain.manifest import EpochRecord

if TYPE_CHECKING:
    from rich.progress import Progress

_FIRST_LINE_AFTER_S = 2.0
_LINE_EVERY_S = 10.0
_DRAW_EVERY_S = 0.2
_MEMORY_S = 8.0
"""How far back speeds look, so that they and the time left follow a change of load."""


class Pace:
    """How fast something goes, by the last seconds alone."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def restart(self) -> None:
        """Forget everything: something else is counted from now on."""
        self._seen.clear()

    def note(self, done: int, now: float) -> float:
        """Take note of what is done by `now`, in seconds; what was done a second, of late."""
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > _MEMORY_S:
            self._seen.popleft()
        began, before = self._seen[0]
        return (done - before) / max(now - began, 1e-9)


class WorkDisplay:
    """Shows on stderr what long work tells; used as a context manager.

    Args:
        doing: what is done until the work says something.
    """

    def __init__(self, doing: str = "starting") -> None:
        self._doing = doing
        self._told = time.monotonic() - _LINE_EVERY_S + _FIRST_LINE_AFTER_S
        self._drawn = 0.0
        self._pace = Pace()
        self._counted: tuple[str, int] = ("", 0)
        self._done = 0
        self._live = _make_bar() if terminal.is_live(sys.stderr) else None
        self._task = (
            self._live.add_task(doing, total=None, loss="", rate="") if self._live else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, event: FitEvent) -> None:
        """Show one event."""
        match event:
            case Phase():
                self._show_phase(event)
            case Trouble() if self._live:
                self._say(f"warning: {event.text}")
            case Trouble():
                terminal.warn(event.text)
            case WorkProgress():
                self._show_work(event)
            case _:
                pass

    def _show_phase(self, phase: Phase) -> None:
        self._doing = phase.text
        self._say(phase.text)
        self._begin(phase.text, None)

    def _say(self, text: str) -> None:
        if self._live:
            from rich.text import Text

            self._live.console.print(Text(text))
        else:
            terminal.note(text)

    def _begin(self, doing: str, total: int | None) -> None:
        """Something else is counted from now on."""
        self._pace.restart()
        self._counted, self._done = (doing, total or 0), 0
        self._told = time.monotonic() - _LINE_EVERY_S + _FIRST_LINE_AFTER_S
        if self._live and self._task is not None:
            self._live.reset(self._task, total=total, description=doing, loss="", rate="")

    def _is_due(self, now: float) -> bool:
        """Whether a bar may be drawn, or a line told, again."""
        if self._live:
            due, self._drawn = now - self._drawn >= _DRAW_EVERY_S, max(self._drawn, now)
            return due
        if now - self._told < _LINE_EVERY_S:
            return False
        self._told = now
        return True

    def _show_work(self, work: WorkProgress) -> None:
        doing, now = work.doing or self._doing, time.monotonic()
        if (doing, work.total or 0) != self._counted or work.done <= self._done:
            self._begin(doing, work.total)
        self._done = work.done
        rate = self._pace.note(work.done, now)
        if work.total is not None and work.done >= work.total:
            self._begin(doing, None)  # until the next stage says how much there is to do
        elif not self._is_due(now):
            return
        elif self._live and self._task is not None:
            shown = f"{rate:,.0f} {work.unit}/s" if rate else ""
            self._live.update(self._task, completed=work.done, rate=shown)
        else:
            of = "" if work.total is None else f" of {work.total:,}"
            self._say(f"{doing}: {work.done:,}{of} {work.unit}")


class FitDisplay(WorkDisplay):
    """Shows the events of a fit as well.

    Args:
        signals: told when stopping must wait for the training loop.
    """

    def __init__(self, signals: StopSignals) -> None:
        super().__init__()
        self._epochs, self._signals, self._best = 0, signals, 0
        self._images, self._epoch = 0, ""

    def show(self, event: FitEvent) -> None:
        """Show one event."""
        match event:
            case WorkProgress(doing="") if self._epoch:
                self._show_validation(event)
            case Trial():
                self._say(f"  lr {event.lr:g}: validation {event.score.top1}")
            case StepReport():
                self._show_step(event)
            case BestEpoch():
                self._best = event.epoch
            case EpochRecord():
                self._show_epoch(event)
            case _:
                super().show(event)

    def _show_phase(self, phase: Phase) -> None:
        self._signals.defer(phase.is_training)
        self._epochs = phase.epochs or self._epochs
        self._images, self._epoch = 0, ""
        if not phase.is_training:
            super()._show_phase(phase)
            return
        self._say(f"training; Ctrl-C stops, `evp fit --resume {phase.run_id}` goes on")
        self._begin("training", None)

    def _show_step(self, report: StepReport) -> None:
        now, total = time.monotonic(), self._epochs * report.steps
        self._epoch = f"epoch {report.epoch + 1}/{self._epochs}"
        if self._counted != ("training", total):
            self._begin("training", total)
            self._told = now
        self._images += report.images
        rate = self._pace.note(self._images, now)
        if not self._is_due(now):
            return
        loss, shown = f"loss {report.fetch_loss():.3f}", f"{rate:,.0f} images/s"
        if self._live and self._task is not None:
            done = report.epoch * report.steps + report.step
            self._live.update(
                self._task, description=self._epoch, completed=done, loss=loss, rate=shown
            )
        else:
            self._say(f"{self._epoch}: step {report.step}/{report.steps}  {loss}  {shown}")

    def _show_validation(self, work: WorkProgress) -> None:
        """Beside the bar of the training, which it does not move."""
        if not self._is_due(time.monotonic()):
            return
        text = f"{self._epoch}: validating, {work.done:,} of {work.total:,} images"
        if self._live and self._task is not None:
            self._live.update(self._task, description=text)
        else:
            self._say(text)

    def _show_epoch(self, record: EpochRecord) -> None:
        self._told = time.monotonic()
        self._pace.restart()
        best = "  best so far" if record.epoch == self._best else ""
        selected = "" if record.val_top1 is None else f"  selection {100 * record.val_top1:.1f} %"
        self._say(
            f"epoch {record.epoch:>{len(str(self._epochs))}}/{self._epochs}"
            f"  loss {record.train_loss:.3f}  train {100 * record.train_top1:.1f} %{selected}"
            f"  lr {record.lr:.3g}{best}"
        )


def _make_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
        speed_estimate_period=_MEMORY_S,
    )
