"""The benchmark's table as cells of text, as Markdown and as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from evpcli.domain.counts import say_count
from evpcli.engine.benchmark.table import SPLIT, Average, Choice, Gap, Row, Table
from evpcli.version import __version__

HEADERS = (
    "dataset",
    "method",
    "backbone",
    "top-1 %",
    "per class %",
    "min to max",
    "seeds",
    "n",
    "95 % interval",
    "gain",
    "split",
    "selection",
    "val %",
    "command",
)
"""Columns of the rows; averages fill the same ones."""

GAP_HEADERS = ("dataset", "method", "backbone", "seed", "state", "reason", "next")

EXPLANATION = (
    f"Top-1 accuracy on {SPLIT}, in percent: the mean over the seeds, and the lowest and highest "
    "of them; per class is the mean of the classes' own accuracies. The interval is the 95 % score "
    "interval that n pictures allow, for several seeds that of their mean; it says nothing about "
    "how seeds differ. The gain is in points against the full picture without a prompt, as the "
    "row's own cells measured it where they did, else as the full-picture row did. Averages give "
    "each dataset the same weight, and take only datasets on which every method is finished. "
    "Val is the accuracy on the validation split: choose by it, not by test."
)


def list_cells(table: Table) -> list[tuple[str, ...]]:
    """One line of text cells a row, averages last; as wide as `HEADERS`."""
    return [_row_cells(row) for row in table.rows] + [_average_cells(a) for a in table.averages]


def list_gap_cells(table: Table) -> list[tuple[str, ...]]:
    """One line of text cells a cell without a result; as wide as `GAP_HEADERS`."""
    return [_gap_cells(gap) for gap in table.gaps]


def _row_cells(row: Row) -> tuple[str, ...]:
    if row.asked == 1 or row.is_whole:
        done = ", ".join(map(str, row.seeds))
    else:
        done = f"{row.finished} of {row.asked}"
    return (
        row.dataset,
        row.method,
        row.backbone,
        "missing" if row.top1 is None else f"{100 * row.top1:.1f}",
        _say_percent(row.mean_per_class),
        _say_bounds(row.spread) if row.finished > 1 else "",
        done,
        "" if row.n is None else str(row.n),
        _say_bounds(row.interval),
        _say_gain(row.difference, row.baseline),
        SPLIT,
        row.selection,
        _say_percent(row.validation),
        row.command,
    )


def _average_cells(average: Average) -> tuple[str, ...]:
    return (
        f"average of {len(average.datasets)} of {average.asked} datasets",
        average.method,
        average.backbone,
        "missing" if average.top1 is None else f"{100 * average.top1:.1f}",
        _say_percent(average.mean_per_class),
        *("", "", "", ""),
        _say_gain(average.difference, ""),
        SPLIT,
        *("", "", ""),
    )


def _gap_cells(gap: Gap) -> tuple[str, ...]:
    seed = "" if gap.seed is None else str(gap.seed)
    return (gap.dataset, gap.method, gap.backbone, seed, gap.status, gap.reason, gap.hint)


def _say_percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _say_bounds(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"


def _say_gain(points: float | None, baseline: str) -> str:
    if points is None:
        return ""
    return f"{points:+.1f}" + (" against mapped" if baseline == "mapped" else "")


def describe_choice(choice: Choice) -> str:
    """What validation chose, and what that reaches on test."""
    return (
        f"{choice.dataset}, {choice.backbone}: {choice.method} has the highest validation accuracy "
        f"of {say_count(choice.among, 'method')} ({100 * choice.validation:.1f} %); "
        f"{SPLIT} {100 * choice.top1:.1f} %"
    )


def format_markdown(table: Table) -> str:
    """The table as a Markdown page."""
    lines = [f"# {_escape(table.title)}", "", EXPLANATION, "", f"Made by evp {__version__}.", ""]
    lines += _format_grid(HEADERS, list_cells(table))
    if any(choice.among > 1 for choice in table.choices):
        lines += ["", "## Chosen on validation", ""]
        lines += [f"- {_escape(describe_choice(choice))}" for choice in table.choices]
    if table.gaps:
        lines += ["", "## Without a result", ""]
        lines += _format_grid(GAP_HEADERS, list_gap_cells(table))
    if table.notes:
        lines += ["", "## Notes", "", *(f"- {_escape(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _format_grid(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    grid = [headers, ["---"] * len(headers), *rows]
    return ["| " + " | ".join(_escape(cell) for cell in line) + " |" for line in grid]


def _escape(text: str) -> str:
    """Text that Markdown shows as it is: names and errors may come from strangers."""
    plain = " ".join(text.split())
    for mark in ("\\", "|", "`", "*", "_", "[", "]"):
        plain = plain.replace(mark, "\\" + mark)
    return plain.replace("&", "&amp;").replace("<", "&lt;")


def describe_table(table: Table) -> dict[str, Any]:
    """The same as JSON values; shares and bounds lie in [0, 1], differences are in points."""
    return {"evp": __version__, "split": SPLIT, **asdict(table)}
