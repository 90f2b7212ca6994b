"""The cells of a benchmark as files, one each, written so that a crash leaves them whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from evpcli.domain.errors import DamagedError, NotFoundError, UsageError
from evpcli.engine.benchmark.cell import Cell, CellRecord
from evpcli.engine.storage.durable import make_folder, write_durably
from evpcli.engine.storage.paths import Places
from evpcli.engine.storage.regular_file import read_regular_file
from evpcli.engine.storage.run_lock import hold_folder
from evpcli.engine.storage.temporaries import sweep_temporaries

_MAX_CELL_BYTES = 1 << 20


class CellStore:
    """A benchmark's folder: `cells/`, and the `registry/` and `runs/` of its prompts.

    Args:
        folder: it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = Places.below(folder)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Make the folders and keep other processes off them until the block ends.

        Raises:
            UsageError: another process works on this benchmark.
            StorageError: the folders cannot be made.
        """
        make_folder(self.folder / "cells", self.folder)
        with ExitStack() as held:
            try:
                held.enter_context(hold_folder(self.folder))
            except UsageError as error:
                raise UsageError(
                    "another process works on this benchmark",
                    found=error.what,
                    hint="wait for its end, stop it first, or choose another folder with -o",
                ) from error
            sweep_temporaries(self.folder / "cells")
            yield

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
