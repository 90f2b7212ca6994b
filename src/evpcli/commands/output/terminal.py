"""The only file that prints: results to stdout, notes and progress to stderr.

Of several processes that share a run the first one speaks; the others tell only what they alone
know: warnings, and errors that are not the first one's as well.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from evpcli.commands.output.tables import Layout, Narrowing, fit_table
from evpcli.domain.errors import (
    EvpError,
    NotFoundError,
    ReaderGoneError,
    StorageError,
    UsageError,
    WorkerLostError,
)
from evpcli.domain.unprintable import spell_out
from evpcli.engine.compute.launcher import read_local_rank, read_rank

_COLOURS = {"error": "1;31", "warning": "33", "note": "2"}
_ON_EACH_MACHINE = (UsageError, NotFoundError)
"""Errors that all processes of a machine meet."""

_USUAL_COLUMNS = 80
_LONGEST_CELL = 5_000


def is_live(stream: TextIO) -> bool:
    """Whether a person watches this stream; FORCE_COLOR and the like are not asked.

    Nobody watches what helps another process.
    """
    if read_rank():
        return False
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def printable(text: str, limit: int = 400) -> str:
    """Text from a stranger made safe for a terminal: control and odd characters escaped."""
    kept = text if len(text) <= limit else text[: limit - 1] + "…"
    return spell_out(kept)


def show_json(value: Any) -> None:
    """Write one JSON document to stdout."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:  # a file name that is no text
        text = json.dumps(value, indent=2, allow_nan=False, default=str)
    _write_out(text + "\n")


def show_text(text: str) -> None:
    """Write text to stdout as it is, with a line end."""
    _write_out(text + "\n")


def show_rows(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    drops: Sequence[str] = (),
    paths: Sequence[str] = (),
    wraps: Sequence[str] = (),
) -> None:
    """Write rows to stdout: a table for a person, tab-separated values for a pipe.

    In a pipe every cell is whole. A terminal that is too narrow gets a table that fits, and a line
    on stderr that names the columns left out; the rest says what is given up first.

    Args:
        headers: column names; lower case, they are the first line in a pipe.
        rows: one cell a column; `None` is an empty cell.
        drops: headers of columns that may be left out, the first of them first.
        paths: headers of columns whose cells may be shortened in the middle.
        wraps: headers of columns whose cells may go over several lines.
    """
    cells = [["" if c is None else printable(str(c)) for c in row] for row in rows]
    if not is_live(sys.stdout):
        lines = ["\t".join(headers), *("\t".join(row) for row in cells)]
        _write_out("\n".join(lines) + "\n")
        return
    columns = count_columns()
    layout = fit_table(headers, cells, columns, Narrowing(drops, paths, wraps))
    _draw_table(layout, columns)
    if layout.hidden:
        note(f"not shown for want of room: {', '.join(layout.hidden)} (a pipe or --json has all)")


def _draw_table(layout: Layout, columns: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for header, width in zip(layout.headers, layout.widths, strict=True):
        table.add_column(Text(header), max_width=width, overflow="fold")
    for row in layout.rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(file=sys.stdout, highlight=False, width=columns, height=25).print(table)


def count_columns() -> int:
    """Width of the terminal behind stdout; COLUMNS goes first, 80 where nothing is known."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS


def show_line(cells: Sequence[object]) -> None:
    """Write one tab-separated line to stdout at once, as a table of unknown length needs it."""
    shown = ("" if c is None else printable(str(c), _LONGEST_CELL) for c in cells)
    _write_out("\t".join(shown) + "\n")


@contextmanager
def growing_json(head: dict[str, Any], name: str) -> Iterator[Callable[[Any], None]]:
    """Write one JSON document whose last value is a list that grows while the block runs.

    Args:
        head: what stands before the list; not empty.
        name: the list's key.
    """
    start = json.dumps(head, indent=2, default=str).removesuffix("\n}")
    _write_out(f"{start},\n  {json.dumps(name)}: [")
    before = "\n    "

    def add(value: Any) -> None:
        nonlocal before
        _write_out(before + json.dumps(value, allow_nan=False, default=str))
        before = ",\n    "

    yield add
    _write_out("\n  ]\n}\n")


def show_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Write `name  value` lines to stdout, aligned for a person, tab-separated for a pipe."""
    pairs = [(printable(n), printable(str(value))) for n, value in fields if value is not None]
    width = max((len(name) for name, _ in pairs), default=0)
    live = is_live(sys.stdout)
    lines = [f"{n.ljust(width)}  {v}" if live else f"{n}\t{v}" for n, v in pairs]
    _write_out("\n".join(lines) + "\n")


def note(text: str) -> None:
    """Say something to the user on stderr; it is no result."""
    if not read_rank():
        _write_err("note", text, prefix="")


def warn(text: str) -> None:
    """Warn the user on stderr."""
    _write_err("warning", text, prefix="warning: ")


def show_error(error: EvpError) -> None:
    """Say on one line what was wrong, what was found, and what to try."""
    if read_rank() and isinstance(error, WorkerLostError):
        return  # the first process tells it
    if read_local_rank() and isinstance(error, _ON_EACH_MACHINE):
        return
    parts = (error.summary, error.hint)
    text = "; ".join(part for part in parts if part)
    _write_err("error", text, prefix="error: ")


def can_ask() -> bool:
    """Whether a person sits in front of the terminal."""
    return is_live(sys.stdin) and is_live(sys.stderr)


def confirm(question: str) -> bool:
    """Ask a person on stderr; without one in front of the terminal the answer is no."""
    if not can_ask():
        return False
    sys.stderr.write(f"{printable(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def write_bytes(data: bytes) -> None:
    """Write a file's content to stdout, as it is."""
    _write_out(data)


def _write_out(content: str | bytes) -> None:
    if read_rank():
        return
    try:
        if isinstance(content, str):
            sys.stdout.write(content)
        else:
            sys.stdout.buffer.write(content)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGoneError("stdout was closed") from error
    except OSError as error:
        raise StorageError("the result cannot be written to stdout", found=str(error)) from error


def _write_err(kind: str, text: str, prefix: str) -> None:
    who = f"process {read_rank()}: " if read_rank() else ""
    line = who + prefix + printable(text, limit=2_000)
    if is_live(sys.stderr) and not os.environ.get("NO_COLOR"):
        line = f"\x1b[{_COLOURS[kind]}m{line}\x1b[0m"
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # nobody is there to be told
