"""A result file that is written piece by piece and gets its name when it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from evpcli.engine.files.durable import explain_storage, sync_folder
from evpcli.engine.files.temporaries import (
    removed_on_failure,
    sweep_temporaries,
    write_temporary,
)

_MODE = 0o644


@contextmanager
def grow_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write into; it becomes `path` when the block ends, and vanishes if it fails.

    Args:
        path: replaced if it exists; its folder must exist.

    Raises:
        StorageError: it cannot be written; what was there is untouched.
    """
    sweep_temporaries(path.parent)
    with explain_storage(path):
        temporary = write_temporary(path.parent, b"", _MODE)
    with removed_on_failure(temporary):
        with open(temporary, "r+b") as file:
            try:
                yield file
            except OSError as error:
                if error.filename is not None:  # of another file, which was read
                    raise
                with explain_storage(path):
                    raise
            with explain_storage(path):
                file.flush()
                os.fsync(file.fileno())
        with explain_storage(path):
            os.rename(temporary, path)
            sync_folder(path.parent)
