"""How a fit is shown while it runs: a live bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from evpcli.commands import terminal
from evpcli.commands.stopping import StopSignals
from evpcli.domain.events import FitEvent, Phase, PictureProgress, StepReport, Trial, Trouble
from evpcli.domain.manifest import EpochRecord

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_EVERY_S = 10.0
_DRAW_EVERY_S = 0.2


class PictureDisplay:
    """Shows how pictures are decoded, where nothing else is shown, as a line now and then."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def show(self, event: PictureProgress | Trouble) -> None:
        """Show one event on stderr."""
        if isinstance(event, Trouble):
            terminal.warn(event.text)
        elif time.monotonic() - self._told >= _LINE_EVERY_S:
            self._told = time.monotonic()
            terminal.note(_say_pictures(event))


class FitDisplay:
    """Shows the events of a fit on stderr; used as a context manager.

    Args:
        signals: told when stopping must wait for the training loop.
    """

    def __init__(self, signals: StopSignals) -> None:
        self._epochs, self._signals = 0, signals
        self._began = self._told = time.monotonic()
        self._images = 0
        self._live = _make_bar() if terminal.is_live(sys.stderr) else None
        self._task = (
            self._live.add_task("starting", total=None, loss="", rate="") if self._live else None
        )

    def __enter__(self) -> FitDisplay:
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
            case Trial():
                self._say(f"  lr {event.lr:g}: validation {event.score.top1}")
            case PictureProgress():
                self._show_pictures(event)
            case StepReport():
                self._show_step(event)
            case EpochRecord():
                self._show_epoch(event)

    def _say(self, text: str) -> None:
        if self._live:
            from rich.text import Text

            self._live.console.print(Text(text))
        else:
            terminal.note(text)

    def _show_phase(self, phase: Phase) -> None:
        self._signals.defer(phase.is_training)
        self._epochs = phase.epochs or self._epochs
        self._began = self._told = time.monotonic()
        self._images = 0
        again = f"evp fit --resume {phase.run_id}"
        self._say(f"training; Ctrl-C stops, `{again}` goes on" if phase.is_training else phase.text)

    def _show_pictures(self, progress: PictureProgress) -> None:
        now = time.monotonic()
        if self._live is None or self._task is None:
            if now - self._told >= _LINE_EVERY_S:
                self._told = now
                self._say(_say_pictures(progress))
        elif now - self._told >= _DRAW_EVERY_S or progress.done == progress.total:
            self._told = now
            rate = f"{progress.done / max(now - self._began, 1e-9):,.0f} images/s"
            self._live.update(
                self._task,
                description="decoding",
                total=progress.total,
                completed=progress.done,
                rate=rate,
            )

    def _show_step(self, report: StepReport) -> None:
        now = time.monotonic()
        self._images += report.images
        if self._live and self._task is not None:
            self._update_bar(report, now)
        elif now - self._told >= _LINE_EVERY_S:
            self._told = now
            loss = report.fetch_loss()
            rate = self._images / (now - self._began)
            self._say(
                f"epoch {report.epoch + 1}/{self._epochs}: step {report.step}/{report.steps}"
                f"  loss {loss:.3f}  {rate:,.0f} images/s"
            )

    def _update_bar(self, report: StepReport, now: float) -> None:
        if self._live is None or self._task is None or now - self._told < _DRAW_EVERY_S:
            return
        self._told = now
        done = report.epoch * report.steps + report.step
        rate = self._images / max(now - self._began, 1e-9)
        self._live.update(
            self._task,
            total=self._epochs * report.steps,
            completed=done,
            description=f"epoch {report.epoch + 1}/{self._epochs}",
            loss=f"loss {report.fetch_loss():.3f}",
            rate=f"{rate:,.0f} images/s",
        )

    def _show_epoch(self, record: EpochRecord) -> None:
        self._told = time.monotonic()
        selected = "" if record.val_top1 is None else f"  selection {100 * record.val_top1:.1f} %"
        self._say(
            f"epoch {record.epoch:>{len(str(self._epochs))}}/{self._epochs}"
            f"  loss {record.train_loss:.3f}  train {100 * record.train_top1:.1f} %{selected}"
            f"  lr {record.lr:.3g}"
        )


def _say_pictures(progress: PictureProgress) -> str:
    return f"decoding pictures: {progress.done:,} of {progress.total:,}"


def _make_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )
