"""Accuracies as every verb shows them: with n, interval, split and what selected them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from evpcli.commands import terminal
from evpcli.domain.manifest import Measurement, Selection

_HEADERS = ("measured", "split", "top-1 %", "95 % interval", "n", "top-5 %", "selection")
_STAMP = "selected on "


def show_measurements(metrics: Sequence[Measurement], selection: Selection | None) -> None:
    """Write one row a measurement to stdout."""
    label = selection.label if selection else "none"
    headers = _HEADERS
    if terminal.is_live(sys.stdout):  # 80 columns, which the stamp's first words would break
        label, headers = label.removeprefix(_STAMP), (*_HEADERS[:-1], _STAMP.strip())
    rows = []
    for m in metrics:
        low, high = m.interval
        top5 = None if m.top5_correct is None else f"{100 * m.top5_correct / m.n:.1f}"
        chosen = label if m.what == "prompted" else "none"
        interval = f"{100 * low:.1f} to {100 * high:.1f}"
        rows.append((m.what, m.split, f"{100 * m.top1:.1f}", interval, m.n, top5, chosen))
    terminal.show_rows(headers, rows)


def describe_measurements(metrics: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The same for `--json`; shares and bounds lie in [0, 1]."""
    return [
        {
            "what": m.what,
            "split": m.split,
            "n": m.n,
            "top1": m.top1,
            "top1_interval": list(m.interval),
            "top5": None if m.top5_correct is None else m.top5_correct / m.n,
        }
        for m in metrics
    ]
