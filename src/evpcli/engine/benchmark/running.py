"""The cells one after another: what is finished stays, and what fails ends nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

from evpcli.domain.counts import say_count
from evpcli.domain.errors import (
    DamagedError,
    EvpError,
    NetworkError,
    NotFoundError,
    StoppedError,
)
from evpcli.domain.events import FitEvent, Phase, Trouble
from evpcli.engine.benchmark.cell import Cell, CellRecord, CellResult, Status
from evpcli.engine.benchmark.cell_store import CellStore

Records = Mapping[str, CellRecord]
Measure = Callable[[Cell, Records], CellResult]

_LIBRARY_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, OSError)
_LOOK_EVERY_S = 1.0
MISSING_SOURCE = "the cell whose prompt this one needs is not finished"


@dataclass(frozen=True)
class RunHooks:
    """How a benchmark speaks to the outside: told of events, asked for a signal to stop."""

    on_event: Callable[[FitEvent], None] = lambda event: None
    stop_signal: Callable[[], int] = lambda: 0


def read_records(
    cells: Sequence[Cell], store: CellStore, on_event: Callable[[FitEvent], None]
) -> dict[str, CellRecord]:
    """What is kept of these cells, by id; a damaged file is told and counts as nothing."""
    found = {}
    for cell in cells:
        try:
            record = store.read(cell)
        except DamagedError as error:
            on_event(Trouble(f"{error.what}, it will be measured again: {error.found}"))
            continue
        if record is not None:
            found[cell.id] = record
    return found


def is_due(record: CellRecord | None, *, retry_failed: bool) -> bool:
    """Whether a cell is to be measured: new, without its data before, or a failure retried."""
    if record is None or record.status == "absent":
        return True
    return record.status == "failed" and retry_failed


def run_cells(
    cells: Sequence[Cell],
    store: CellStore,
    measure: Measure,
    *,
    retry_failed: bool = False,
    hooks: RunHooks = RunHooks(),
) -> dict[str, CellRecord]:
    """Measure what is due, and keep each cell as soon as it is known.

    Args:
        cells: in the order in which they are measured; a cell that needs another's prompt after it.
        store: where they are kept; other processes may work on the same folder.
        measure: gives a cell's result, or raises what the user can mend.
        retry_failed: measure again what failed before.
        hooks: told of events, asked for a signal between cells.

    Returns:
        Every cell's record, by id.

    Raises:
        StoppedError: a signal came; all cells before it are kept.
        StorageError: a record cannot be written.
    """
    store.open()
    shared = _SharedRun(cells, store, measure, hooks, retry_failed=retry_failed)
    waiting = shared.measure_free()
    while waiting:
        hooks.on_event(
            Phase(f"waiting for other processes to finish {say_count(len(waiting), 'cell')}")
        )
        waiting = shared.wait(waiting)
    return shared.records


class _SharedRun:
    """Cells that several processes may share: each takes those that nobody works on.

    Args:
        cells: all of the benchmark.
        store: where they are kept and claimed.
        measure: gives a cell's result.
        hooks: told of events, asked for a signal between cells.
        retry_failed: measure again what failed before.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        store: CellStore,
        measure: Measure,
        hooks: RunHooks,
        *,
        retry_failed: bool,
    ) -> None:
        self.records = read_records(cells, store, hooks.on_event)
        self._cells, self._store, self._measure, self._hooks = cells, store, measure, hooks
        self._due = [c for c in cells if is_due(self.records.get(c.id), retry_failed=retry_failed)]
        self._began, self._measured = time.monotonic(), 0

    def measure_free(self, due: Sequence[Cell] | None = None) -> list[Cell]:
        """Measure what nobody else works on; the cells that others are at, or that need those."""
        waiting: list[Cell] = []
        for cell in self._due if due is None else due:
            if signal := self._hooks.stop_signal():
                raise StoppedError(signal, "stopped between two cells")
            if cell.source_id in {other.id for other in waiting}:
                waiting.append(cell)
                continue
            with self._store.claim(cell) as is_mine:
                if not is_mine:
                    waiting.append(cell)
                elif not self._take_over(cell):
                    self._measure_one(cell)
        return waiting

    def wait(self, waiting: list[Cell]) -> list[Cell]:
        """Look again until one of these cells is free or known; those that are still not."""
        while len(left := self.measure_free(waiting)) == len(waiting):
            time.sleep(_LOOK_EVERY_S)
        return left

    def _take_over(self, cell: Cell) -> bool:
        """Whether another process measured a cell meanwhile; its record is this one's then."""
        found = read_records([cell], self._store, lambda event: None).get(cell.id)
        if found is None or found == self.records.get(cell.id):
            return False
        self.records[cell.id] = found
        self._hooks.on_event(_tell(cell, found))
        return True

    def _measure_one(self, cell: Cell) -> None:
        number = self._cells.index(cell) + 1
        left = _say_time_left(time.monotonic() - self._began, self._measured, len(self._due))
        self._hooks.on_event(Phase(f"cell {number} of {len(self._cells)}: {cell}{left}"))
        self.records[cell.id] = record = _measure(cell, self.records, self._measure)
        self._store.write(cell, record)
        self._hooks.on_event(_tell(cell, record))
        self._measured += 1


def _say_time_left(spent_s: float, measured: int, due: int) -> str:
    """About how long all cells that are left take, by the mean of those measured so far."""
    if not measured:
        return ""
    left_s = spent_s / measured * (due - measured)
    if left_s < 90:
        return f"; about {left_s:.0f} s left in all"
    minutes = f"{left_s / 60:.0f} min" if left_s < 5400 else f"{left_s / 3600:.1f} h"
    return f"; about {minutes} left in all"


def _measure(cell: Cell, records: Records, measure: Measure) -> CellRecord:
    began = time.monotonic()
    try:
        if cell.source_id is not None:
            _check_source(records.get(cell.source_id))
        result = measure(cell, records)
    except StoppedError:
        raise
    except EvpError as error:
        status: Status = "absent" if isinstance(error, NotFoundError | NetworkError) else "failed"
        return make_record(cell, status, began, error=error.summary, hint=error.hint)
    except _LIBRARY_FAILURES as error:  # one cell's bug must not cost the others
        line = f"{type(error).__name__}: {str(error)[:400]}"
        return make_record(cell, "failed", began, error=line, hint=f"try {cell.command}")
    return make_record(cell, "finished", began, **_list_fields(result))


def make_record(
    cell: Cell, status: Status, began: float | None = None, **more: object
) -> CellRecord:
    """A record of a cell as it stands.

    Args:
        cell: which.
        status: how it ended.
        began: monotonic time of its beginning, if it was begun.
        more: further fields.
    """
    elapsed_s = 0.0 if began is None else round(time.monotonic() - began, 2)
    plain = {
        "id": cell.id,
        "dataset": cell.dataset,
        "backbone": cell.backbone,
        "method": cell.method.text,
        "seed": cell.seed,
        "command": cell.command,
        "status": status,
        "elapsed_s": elapsed_s,
    }
    return CellRecord.model_validate({**plain, **more})


def _list_fields(result: CellResult) -> dict[str, object]:
    return {field.name: getattr(result, field.name) for field in fields(result)}


def _check_source(source: CellRecord | None) -> None:
    """Let a cell that needs another's prompt share the fate of that other."""
    if source is None or source.status == "failed":
        raise EvpError(MISSING_SOURCE, found=source.error if source else None)
    if source.status == "absent":
        raise NotFoundError(MISSING_SOURCE, found=source.error, hint=source.hint)


def _tell(cell: Cell, record: CellRecord) -> FitEvent:
    own = record.find_own()
    if record.status == "finished" and own:
        return Phase(f"{cell}: {own.what} {100 * own.top1:.1f} % on test, n {own.n}")
    why = f"; {record.hint}" if record.hint else ""
    return Trouble(f"{cell}: {record.status}: {record.error}{why}")
