"""The table as a self-contained HTML page: no script, nothing fetched, texts escaped."""

from __future__ import annotations

from dataclasses import dataclass

from evpcli.engine.benchmark.table import Row, Table
from evpcli.engine.benchmark.table_text import (
    EXPLANATION,
    GAP_HEADERS,
    HEADERS,
    list_cells,
    list_gap_cells,
)
from evpcli.version import __version__


@dataclass(frozen=True)
class Bar:
    """A row's accuracy and interval, each in percent of the bar's width."""

    at: float
    low: float
    high: float


def render_table(table: Table) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("evpcli.engine.benchmark", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cells = list_cells(table)
    return environment.get_template("table.html.j2").render(
        table=table,
        version=__version__,
        explanation=EXPLANATION,
        headers=HEADERS,
        rows=list(zip(cells, map(_build_bar, table.rows), strict=False)),
        averages=cells[len(table.rows) :],
        gap_headers=GAP_HEADERS,
        gaps=list_gap_cells(table),
    )


def _build_bar(row: Row) -> Bar | None:
    if row.top1 is None or row.interval is None:
        return None
    low, high = row.interval
    return Bar(100 * row.top1, 100 * low, 100 * high)
