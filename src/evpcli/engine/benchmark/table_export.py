"""The benchmark's table for other programs: CSV with plain numbers, LaTeX for a paper."""

from __future__ import annotations

import csv
import io

from evpcli.domain.spreadsheets import disarm
from evpcli.engine.benchmark.table import SPLIT, Row, Table
from evpcli.version import __version__

_CSV_HEADERS = (
    *("dataset", "method", "backbone", "split", "top1", "mean_per_class", "val_top1"),
    *("lowest_top1", "highest_top1", "seeds", "n", "interval_low", "interval_high"),
    *("gain_points", "baseline", "selection", "command"),
)
_LATEX_HEADERS = ("Dataset", "Backbone", "Method", "Top-1", "Val.", "Gain", "Seeds")
_SPECIAL = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def format_csv(table: Table) -> str:
    """One line a row; shares lie in [0, 1], gains are in points, what is unknown is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_HEADERS)
    for row in table.rows:
        writer.writerow([disarm(cell) for cell in _list_values(row)])
    return file.getvalue()


def _list_values(row: Row) -> list[str | float | None]:
    lowest, highest = row.spread or (None, None)
    low, high = row.interval or (None, None)
    return [
        *(row.dataset, row.method, row.backbone, SPLIT),
        *(row.top1, row.mean_per_class, row.validation, lowest, highest),
        *(" ".join(map(str, row.seeds)), row.n, low, high),
        *(row.difference, row.baseline, row.selection, row.command),
    ]


def format_latex(table: Table) -> str:
    """A `tabular` for the booktabs package; accuracies in percent, averages last."""
    lines = [
        f"% {_escape(table.title)}; made by evp {__version__}; accuracies on {SPLIT} in percent",
        r"\begin{tabular}{lllrrrr}",
        r"\toprule",
        _join(_LATEX_HEADERS),
        r"\midrule",
    ]
    for row in table.rows:
        seeds = str(row.finished) if row.seeds else ""
        numbers = (row.top1, row.validation, row.difference)
        lines.append(_join((row.dataset, row.backbone, row.method, *_format(*numbers), seeds)))
    if table.averages:
        lines.append(r"\midrule")
    for one in table.averages:
        what = f"average of {len(one.datasets)}"
        numbers = (one.top1, None, one.difference)
        lines.append(_join((what, one.backbone, one.method, *_format(*numbers), "")))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _format(
    top1: float | None, validation: float | None, points: float | None
) -> tuple[str, str, str]:
    percents = ("" if share is None else f"{100 * share:.1f}" for share in (top1, validation))
    return (*percents, "" if points is None else f"{points:+.1f}")  # type: ignore[return-value]


def _join(cells: tuple[str, ...]) -> str:
    return " & ".join(map(_escape, cells)) + r" \\"


def _escape(text: str) -> str:
    """Text as LaTeX shows it; names may come from strangers, and a newline ends no comment."""
    return "".join(_SPECIAL.get(mark, mark) for mark in " ".join(text.split()))
