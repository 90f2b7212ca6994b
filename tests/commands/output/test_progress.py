from __future__ import annotations

import io
import signal

import pytest

from evpcli.commands.output import progress
from evpcli.commands.output.progress import FitDisplay
from evpcli.commands.output.signals import StopSignals
from evpcli.domain.errors import StoppedError
from evpcli.domain.events import BestEpoch, Phase, StepReport, Trial, Trouble, WorkProgress
from evpcli.domain.manifest import EpochRecord
from evpcli.domain.statistics import Accuracy, SplitScore

EVENTS = (
    Phase("loading digits"),
    Trial(2.5, SplitScore(Accuracy(9, 10), 0.1)),
    Phase("training", "20260101-000000-abcd", 12),
    StepReport(0, 1, 2, 64, lambda: 0.5),
    Trouble("the disk is [full]"),
    BestEpoch(1),
    EpochRecord(epoch=1, lr=5.0, train_loss=0.25, train_top1=0.5, val_top1=0.75),
    EpochRecord(epoch=2, lr=4.0, train_loss=0.25, train_top1=0.5, val_top1=0.75),
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
        "epoch  1/12  loss 0.250  train 50.0 %  selection 75.0 %  lr 5  best so far",
        "epoch  2/12  loss 0.250  train 50.0 %  selection 75.0 %  lr 4",
    ]


def test_long_epochs_are_told_of_between(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", -1.0)
    monkeypatch.setattr(progress, "_FIRST_LINE_AFTER_S", -1.0)
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


def test_speed_follows_a_change_of_load_within_seconds() -> None:
    pace, done, now = progress.Pace(), 0, 0.0
    for _ in range(100):
        done, now = done + 100, now + 1
        rate = pace.note(done, now)
    assert rate == 100
    for _ in range(10):
        done, now = done + 10, now + 1
        rate = pace.note(done, now)
    assert rate == 10
    pace.restart()
    pace.note(0, now)
    assert pace.note(50, now + 1) == 50


def show_work(display: progress.WorkDisplay) -> None:
    with display:
        for doing in ("", "", "fitting the linear probe"):
            for done in (400, 1200, 2000):
                display.show(WorkProgress(done, 2000, doing))


def test_a_pipe_hears_of_each_stage_that_is_slow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show_work(progress.WorkDisplay("measuring"))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_LINE_EVERY_S", -1.0)
    monkeypatch.setattr(progress, "_FIRST_LINE_AFTER_S", -1.0)
    show_work(progress.WorkDisplay("measuring"))
    assert capsys.readouterr().err.splitlines() == [
        *["measuring: 400 of 2,000 images", "measuring: 1,200 of 2,000 images"] * 2,
        "fitting the linear probe: 400 of 2,000 images",
        "fitting the linear probe: 1,200 of 2,000 images",
    ]


def test_validation_is_shown_beside_the_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", -1.0)
    monkeypatch.setattr(progress, "_FIRST_LINE_AFTER_S", -1.0)
    with StopSignals() as signals, FitDisplay(signals) as display:
        display.show(WorkProgress(5, 10, "decoding"))
        display.show(EVENTS[2])
        display.show(EVENTS[3])
        display.show(WorkProgress(5, 10))
        display.show(Phase("measuring"))
        display.show(WorkProgress(5, 10))
    assert capsys.readouterr().err.splitlines()[-3:] == [
        "epoch 1/12: validating, 5 of 10 images",
        "measuring",
        "measuring: 5 of 10 images",
    ]
