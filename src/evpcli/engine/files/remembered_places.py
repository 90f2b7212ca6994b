"""Where things of the user's own lie on this machine: one small file for each name."""

from __future__ import annotations

import json
import os
from pathlib import Path

from evpcli.domain.errors import EvpError
from evpcli.domain.manifest import canonical_json
from evpcli.engine.files.durable import make_folder, write_durably
from evpcli.engine.files.paths import find_home
from evpcli.engine.files.regular_file import read_regular_file

_MAX_BYTES = 1 << 16


def remember_place(memory: Path, name: str, kind: str, place: Path) -> None:
    """Keep where something lies; the last word counts.

    Args:
        memory: the folder of such files, below the data folder.
        name: of the thing; may be a file's name.
        kind: what the file calls the place, such as `folder`.
        place: an absolute path.

    Raises:
        StorageError: it cannot be written.
    """
    if recall_place(memory, name, kind) == place:
        return
    make_folder(memory, find_home())
    document = canonical_json({kind: os.fspath(place)}).encode()
    write_durably(memory / f"{name}.json", document)


def recall_place(memory: Path, name: str, kind: str) -> Path | None:
    """Where it lay when it was last used; it may be gone by now."""
    try:
        data = read_regular_file(memory / f"{name}.json", _MAX_BYTES)
        place = Path(str(json.loads(data)[kind]))
    except (EvpError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return place if place.is_absolute() else None
