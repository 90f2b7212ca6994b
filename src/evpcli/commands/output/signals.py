"""Signals during a long piece of work: the first asks it to stop, the second ends it."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

from evpcli.domain.errors import StoppedError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """While active, catches HUP, INT and TERM.

    One that was ignored before stays ignored: `nohup` ignores HUP, and a shell ignores INT for
    what a script starts in the background.

    Before `defer` is called a signal ends the work at once; afterwards the first is kept for the
    training loop to read, and a second one ends the work at once.
    """

    def __init__(self) -> None:
        self._deferring = False
        self._received = 0
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignals:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def defer(self, wanted: bool) -> None:
        """Whether the first signal waits until somebody calls `read`."""
        self._deferring = wanted

    def read(self) -> int:
        """The number of the signal that came, or 0."""
        return self._received

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._deferring and not self._received:
            self._received = number
            return
        raise StoppedError(number, "stopped at once")
