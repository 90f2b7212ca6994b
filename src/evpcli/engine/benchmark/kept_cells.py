"""What earlier calls left in a benchmark's folder stays in its table."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evpcli.engine.benchmark.cell import CellRecord
from evpcli.engine.benchmark.table import RowKey, Wanted

_SEED = re.compile(r" --seeds? \d+")


def merge_kept(wanted: Sequence[Wanted], kept: Sequence[CellRecord]) -> list[Wanted]:
    """The cells of a call, and those of earlier calls that it did not ask for.

    A row takes further seeds only of cells that were made with the same options; of several rows
    with one name and other options, the newest is shown.

    Args:
        wanted: this call's cells.
        kept: finished records of other cells in the same folder, newest first.
    """
    ways: dict[RowKey, str] = {cell.key: _strip_seed(cell.command) for cell in wanted}
    seen = {(*cell.key, cell.seed) for cell in wanted}
    others: list[Wanted] = []
    for record in kept:
        key = (record.backbone, record.dataset, record.method)
        way = _strip_seed(record.command)
        if ways.setdefault(key, way) != way or (*key, record.seed) in seen:
            continue
        seen.add((*key, record.seed))
        others.append(Wanted(*key, record.seed, record.command, record))
    found = [*wanted, *reversed(others)]
    places = {name: place for place, name in reversed(list(enumerate(c.dataset for c in found)))}
    return sorted(found, key=lambda cell: places[cell.dataset])  # each dataset's rows together


def _strip_seed(command: str) -> str:
    return _SEED.sub("", command)
