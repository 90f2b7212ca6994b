"""Tables of predictions as files: CSV, JSON lines and Parquet, written row by row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from evpcli.domain.errors import UsageError
from evpcli.domain.spreadsheets import disarm
from evpcli.engine.files.growing_file import grow_file
from evpcli.engine.rendering.predicting import ImagePrediction

SUFFIXES = (".csv", ".jsonl", ".parquet")
_ROWS_AT_ONCE = 4096

WriteRow = Callable[[ImagePrediction], None]


def check_table_path(path: Path) -> None:
    """Refuse a file whose name or whose library is missing, before any model is loaded.

    Raises:
        UsageError: another ending, or Parquet without pyarrow.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            "a table of predictions ends in .csv, .jsonl or .parquet",
            found=str(path)[:200],
            hint="-o - writes it to stdout",
        )
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UsageError(
            "Parquet files need the package pyarrow, which is not installed",
            hint="pip install 'evpcli[parquet]', or choose .csv or .jsonl",
        )


@contextmanager
def open_table(path: Path, top: int) -> Iterator[WriteRow]:
    """A function that adds a row; the file gets its name when the block ends.

    Args:
        path: one that `check_table_path` accepted.
        top: how many classes a row has.

    Raises:
        StorageError: it cannot be written.
    """
    opened = {".csv": _open_csv, ".jsonl": _open_json_lines, ".parquet": _open_parquet}
    with grow_file(path) as file, opened[path.suffix.lower()](file, top) as write:
        yield write


def name_columns(top: int) -> tuple[str, ...]:
    """`path`, `class`, `probability`, the same for each further class, and `error`."""
    more = (name for rank in range(2, top + 1) for name in (f"class_{rank}", f"probability_{rank}"))
    return ("path", "class", "probability", *more, "error")


def list_cells(row: ImagePrediction, top: int) -> list[str | float | None]:
    """One value for each of `name_columns`."""
    cells: list[str | float | None] = []
    for one in row.predictions[:top]:
        cells += [one.class_name, one.probability]
    cells += [None] * (2 * top - len(cells))
    return [row.path, *cells, row.error.summary if row.error else None]


def describe_row(row: ImagePrediction) -> dict[str, Any]:
    """The row for JSON."""
    best = row.predictions[0] if row.predictions else None
    return {
        "path": row.path,
        "class": best and best.class_name,
        "probability": best and best.probability,
        "top": [{"class": p.class_name, "probability": p.probability} for p in row.predictions],
        "error": row.error.summary if row.error else None,
    }


@contextmanager
def _open_csv(file: BinaryIO, top: int) -> Iterator[WriteRow]:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(name_columns(top))
    yield lambda row: writer.writerow([disarm(cell) for cell in list_cells(row, top)])
    text.detach()


@contextmanager
def _open_json_lines(file: BinaryIO, top: int) -> Iterator[WriteRow]:
    def write(row: ImagePrediction) -> None:  # ASCII: names of files may be no text
        file.write(json.dumps(describe_row(row)).encode() + b"\n")

    yield write


@contextmanager
def _open_parquet(file: BinaryIO, top: int) -> Iterator[WriteRow]:
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    names = name_columns(top)
    kinds = [arrow.float64() if n.startswith("probability") else arrow.string() for n in names]
    schema = arrow.schema(list(zip(names, kinds, strict=True)))
    waiting: list[list[str | float | None]] = []

    def flush() -> None:
        columns = [list(column) for column in zip(*waiting, strict=True)]
        arrays = [arrow.array(c, k) for c, k in zip(columns, kinds, strict=True)]
        writer.write_batch(arrow.record_batch(arrays, schema=schema))
        waiting.clear()

    def write(row: ImagePrediction) -> None:
        waiting.append([_make_text(cell) for cell in list_cells(row, top)])
        if len(waiting) == _ROWS_AT_ONCE:
            flush()

    with parquet.ParquetWriter(file, schema) as writer:
        yield write
        if waiting:
            flush()


def _make_text(cell: str | float | None) -> str | float | None:
    """Parquet holds UTF-8: what is no text in a file's name is escaped."""
    return cell.encode(errors="backslashreplace").decode() if isinstance(cell, str) else cell
