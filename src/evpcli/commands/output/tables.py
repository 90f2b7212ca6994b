"""How a table comes to fit a terminal: which columns are shown, and how wide they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2
"""Spaces between columns."""

_NARROWEST_PATH = 16
_NARROWEST_TEXT = 24
_ELLIPSIS = "..."


@dataclass(frozen=True)
class Narrowing:
    """What a table gives up on a narrow terminal; nothing is given up in a pipe.

    Args:
        drops: headers of columns that may be left out, the first of them first.
        paths: headers of columns whose cells may be shortened in the middle.
        wraps: headers of columns whose cells may go over several lines.
    """

    drops: Sequence[str] = ()
    paths: Sequence[str] = ()
    wraps: Sequence[str] = ()


@dataclass(frozen=True)
class Layout:
    """A table that fits.

    Args:
        headers: of the columns that are shown.
        rows: their cells, shortened where they must be.
        widths: columns of the terminal that each may take.
        hidden: headers of what is left out.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[int, ...]
    hidden: tuple[str, ...]


def fit_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], columns: int, narrowing: Narrowing
) -> Layout:
    """The table for a terminal of so many columns.

    Paths are shortened and texts wrapped first; then columns are left out in their order; and on
    a terminal that is too narrow for the rest, columns from the right, all but the first.

    Args:
        headers: one a column.
        rows: one cell a column.
        columns: width of the terminal.
        narrowing: what may be given up.
    """
    natural = {
        header: max(map(measure_text, (header, *(row[place] for row in rows))))
        for place, header in enumerate(headers)
    }
    shown = list(headers)
    order = [*(h for h in narrowing.drops if h in shown)]
    order += [h for h in reversed(shown[1:]) if h not in order]
    while (widths := _share_room(shown, natural, columns, narrowing)) is None and len(shown) > 1:
        shown.remove(order.pop(0))
    widths = widths or {shown[0]: columns}
    chosen = [place for place, header in enumerate(headers) if header in widths]
    wraps = set(narrowing.wraps)
    return Layout(
        headers=tuple(shorten_middle(headers[p], widths[headers[p]]) for p in chosen),
        rows=tuple(
            tuple(
                row[p] if headers[p] in wraps else shorten_middle(row[p], widths[headers[p]])
                for p in chosen
            )
            for row in rows
        ),
        widths=tuple(widths[headers[p]] for p in chosen),
        hidden=tuple(header for header in headers if header not in widths),
    )


def measure_text(text: str) -> int:
    """Columns of a terminal that a text takes: two for each Chinese, Japanese or Korean sign."""
    from rich.cells import cell_len

    return cell_len(text)


def shorten_middle(text: str, width: int) -> str:
    """The text in at most `width` columns, its middle left out; more of the end is kept.

    Args:
        text: one line.
        width: at least 1.
    """
    if measure_text(text) <= width:
        return text
    dots = _ELLIPSIS[:width]
    start, end = list(text[: len(text) // 3]), list(text[len(text) // 3 :])
    while measure_text("".join(start + end)) + len(dots) > width and (start or end):
        if len(start) * 2 > len(end):
            start.pop()
        else:
            end.pop(0)
    return "".join([*start, dots, *end])


def _share_room(
    shown: Sequence[str], natural: dict[str, int], columns: int, narrowing: Narrowing
) -> dict[str, int] | None:
    """Each shown column's width; nothing where they cannot be made to fit."""
    widths = {header: natural[header] for header in shown}
    excess = sum(widths.values()) + GAP * (len(shown) - 1) - columns
    for flexible, narrowest in (
        (narrowing.wraps, _NARROWEST_TEXT),
        (narrowing.paths, _NARROWEST_PATH),
    ):
        while excess > 0:
            widest = max((h for h in flexible if h in widths), key=widths.__getitem__, default="")
            if not widest or widths[widest] <= narrowest:
                break
            widths[widest] -= 1
            excess -= 1
    return widths if excess <= 0 else None
