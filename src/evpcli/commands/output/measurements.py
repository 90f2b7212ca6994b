"""Accuracies as every verb shows them: with n, interval, split and what selected them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from evpcli.commands.output import terminal
from evpcli.domain.manifest import Measurement, Selection

_HEADERS = (
    *("measured", "split", "top-1 %", "95 % interval", "n", "per class %", "top-5 %"),
    "selection",
)
_LIVE_HEADERS = (*_HEADERS[:5], "per class", "top-5", "selected")
"""The same for a person: with them the table fits 80 columns."""
_CORRUPTED_HEADERS = ("condition", "against clean")
_STAMP = "selected on "
_SELECTED = ("prompted", "through-png")
_VALIDATED = ("linear-probe", "fine-tuned")
"""Baselines that are chosen on validation pictures, whatever selected the prompt."""


def show_measurements(metrics: Sequence[Measurement], selection: Selection | None) -> None:
    """Write one row a measurement to stdout."""
    is_live = terminal.is_live(sys.stdout)
    headers: tuple[str, ...] = _LIVE_HEADERS if is_live else _HEADERS
    rows, corrupted = [], any(m.condition for m in metrics)
    if corrupted:
        headers = (*headers, *_CORRUPTED_HEADERS)
    for m in metrics:
        low, high = m.interval
        top5 = None if m.top5_correct is None else f"{100 * m.top5_correct / m.n:.1f}"
        stamp = describe_selection(m.what, selection)
        chosen = shorten_stamp(stamp) if is_live else stamp
        interval = f"{100 * low:.1f} to {100 * high:.1f}"
        by_class = None if m.mean_per_class is None else f"{100 * m.mean_per_class:.1f}"
        row = (m.what, m.split, f"{100 * m.top1:.1f}", interval, m.n, by_class, top5, chosen)
        more = (m.condition or "clean", describe_drop(m, metrics)) if corrupted else ()
        rows.append((*row, *more))
    terminal.show_rows(headers, rows, drops=("selected", "top-5", "per class", "n"))


def shorten_stamp(stamp: str) -> str:
    """The stamp as `evp list` has it: `val 2/100` for epoch 2 of 100."""
    return stamp.removeprefix(_STAMP).replace(", epoch", "").replace(" of ", "/")


def describe_selection(what: str, selection: Selection | None) -> str:
    """What chose the thing that was measured; `none` where nothing was chosen, or nobody knows."""
    if what in _VALIDATED:
        return f"{_STAMP}val"
    return selection.label if selection and what in _SELECTED else "none"


def describe_drop(measurement: Measurement, metrics: Sequence[Measurement]) -> str | None:
    """Points gained or lost against the same measurement on clean pictures; nothing for these."""
    if not measurement.condition:
        return None
    wanted = (measurement.what, measurement.split, "")
    for m in metrics:
        if (m.what, m.split, m.condition) == wanted:
            return f"{100 * (measurement.top1 - m.top1):+.1f}"
    return None


def warn_of_uneven_classes(prompted: Measurement, plain: Measurement) -> None:
    """Say where only the larger classes gained: always answering one of them looks good, too."""
    with_prompt, without = prompted.mean_per_class, plain.mean_per_class
    if with_prompt is None or without is None or prompted.top1 <= plain.top1:
        return
    if with_prompt <= without:
        terminal.warn(
            f"on {prompted.split} top-1 rose with the prompt, but mean per-class accuracy did not "
            f"({100 * with_prompt:.1f} % against {100 * without:.1f} %): the prompt may only "
            "favour the larger classes; evp evaluate --per-class shows each"
        )


def describe_kept(measured: Measurement) -> dict[str, Any]:
    """A measurement as a prompt file keeps it, with the shares that follow from its counts."""
    return measured.model_dump(mode="json") | {
        "top1": measured.top1,
        "top1_interval": list(measured.interval),
        "mean_per_class": measured.mean_per_class,
    }


def describe_measurements(metrics: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The same for `--json`; shares and bounds lie in [0, 1]."""
    return [
        {
            "what": m.what,
            "condition": m.condition,
            "split": m.split,
            "n": m.n,
            "top1": m.top1,
            "top1_interval": list(m.interval),
            "mean_per_class": m.mean_per_class,
            "top5": None if m.top5_correct is None else m.top5_correct / m.n,
        }
        for m in metrics
    ]
