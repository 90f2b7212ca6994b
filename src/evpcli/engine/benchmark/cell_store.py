"""The cells of a benchmark as files, one each, written so that a crash leaves them whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from evpcli.domain.errors import DamagedError, EvpError, NotFoundError
from evpcli.engine.benchmark.cell import Cell, CellRecord
from evpcli.engine.files.durable import make_folder, write_durably
from evpcli.engine.files.locks import LockHeldError, NoLocksError, hold_lock
from evpcli.engine.files.paths import Places
from evpcli.engine.files.regular_file import read_regular_file
from evpcli.engine.files.temporaries import sweep_temporaries
from evpcli.version import __version__

_MAX_CELL_BYTES = 1 << 20
_LOCKS = "locks"


class CellStore:
    """A benchmark's folder: `cells/`, and the `registry/` and `runs/` of its prompts.

    Args:
        folder: it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = Places.below(folder)

    def open(self) -> None:
        """Make the folders, and remove what a dead process left half-written.

        Raises:
            StorageError: the folders cannot be made.
        """
        for name in ("cells", _LOCKS):
            make_folder(self.folder / name, self.folder)
        sweep_temporaries(self.folder / "cells")

    @contextmanager
    def claim(self, cell: Cell) -> Iterator[bool]:
        """Whether this process may measure a cell; others cannot until the block ends or it dies.

        On a file system without locks every process may.
        """
        with ExitStack() as held:
            try:
                held.enter_context(hold_lock(self.folder / _LOCKS / f"{cell.id[:16]}.lock", 0.0))
            except LockHeldError:
                yield False
                return
            except NoLocksError:
                pass
            yield True

    def read(self, cell: Cell) -> CellRecord | None:
        """What is kept of a cell, or nothing.

        Raises:
            DamagedError: its file is no such record, or another cell's.
            StorageError: it cannot be read.
        """
        path = self.folder / "cells" / cell.file_name
        try:
            record = _parse(path, read_regular_file(path, _MAX_CELL_BYTES))
        except NotFoundError:
            return None
        if record.id != cell.id:
            raise DamagedError("a cell's file is another cell's", found=str(path))
        return record

    def list_others(self, cells: Sequence[Cell]) -> list[CellRecord]:
        """Finished records of this version of evp that are none of these cells', newest first."""
        own = {cell.file_name for cell in cells}
        found: list[tuple[float, CellRecord]] = []
        for path in (self.folder / "cells").glob("*.json"):
            if path.name in own:
                continue
            try:
                record = _parse(path, read_regular_file(path, _MAX_CELL_BYTES))
                found.append((path.stat().st_mtime, record))
            except (EvpError, OSError):  # damaged or just removed: nobody asked for it
                continue
        found.sort(key=lambda pair: pair[0], reverse=True)
        usable = (record for _, record in found if record.evp == __version__)
        return [record for record in usable if record.status == "finished"]

    def write(self, cell: Cell, record: CellRecord) -> None:
        """Keep a cell's record; it survives a power cut once this returns.

        Raises:
            StorageError: it cannot be written.
        """
        data = json.dumps(record.model_dump(mode="json"), indent=1).encode()
        write_durably(self.folder / "cells" / cell.file_name, data)


def _parse(path: Path, data: bytes) -> CellRecord:
    try:
        return CellRecord.model_validate_json(data)
    except (ValueError, RecursionError) as error:  # pydantic's errors are ValueErrors
        raise DamagedError("a cell's file is damaged", found=str(path)) from error
