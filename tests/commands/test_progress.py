from __future__ import annotations

import io
import signal

import pytest

from evpcli.commands import progress
from evpcli.commands.progress import FitDisplay
from evpcli.commands.stopping import StopSignals
from evpcli.domain.errors import StoppedError
from evpcli.domain.events import Phase, StepReport, Trial, Trouble
from evpcli.domain.manifest import EpochRecord
from evpcli.domain.statistics import Accuracy, SplitScore

EVENTS = (
    Phase("loading digits"),
    Trial(2.5, SplitScore(Accuracy(9, 10), 0.1)),
    Phase("training", "20260101-000000-abcd", 12),
    StepReport(0, 1, 2, 64, lambda: 0.5),
    Trouble("the disk is [full]"),
    EpochRecord(epoch=1, lr=5.0, train_loss=0.25, train_top1=0.5, val_top1=0.75),
)


def show_all() -> None:
    with StopSignals() as signals, FitDisplay(signals) as display:
        for event in EVENTS:
            display.show(event)


def test_a_pipe_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show_all()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "loading digits",
        "  lr 2.5: validation 90.0 % [59.6, 98.2] (n=10)",
        "training; Ctrl-C stops, `evp fit --resume 20260101-000000-abcd` goes on",
        "warning: the disk is [full]",
        "epoch  1/12  loss 0.250  train 50.0 %  selection 75.0 %  lr 5",
    ]


def test_long_epochs_are_told_of_between(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", -1.0)
    show_all()
    assert "epoch 1/12: step 1/2  loss 0.500  " in capsys.readouterr().err


def test_a_terminal_gets_a_bar_with_loss_speed_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(progress, "_DRAW_EVERY_S", -1.0)
    show_all()
    shown = screen.getvalue()
    assert "epoch 1/12" in shown
    assert "loss 0.500" in shown
    assert "images/s" in shown
    assert "[full]" in shown  # text of strangers is no markup


def test_a_signal_waits_only_during_training() -> None:
    with StopSignals() as signals:
        signals.defer(True)
        signal.raise_signal(signal.SIGTERM)
        assert signals.read() == signal.SIGTERM
        with pytest.raises(StoppedError):
            signal.raise_signal(signal.SIGTERM)
    with StopSignals() as signals, pytest.raises(StoppedError) as caught:
        signal.raise_signal(signal.SIGINT)
    assert caught.value.signal_number == signal.SIGINT
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
