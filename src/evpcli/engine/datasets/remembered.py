"""Own folders by the name that their prompts are filed under, as this machine remembers them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from evpcli.domain.errors import EvpError
from evpcli.domain.manifest import canonical_json
from evpcli.domain.names import check_name
from evpcli.engine.storage.durable import make_folder, write_durably
from evpcli.engine.storage.paths import find_folders, find_home
from evpcli.engine.storage.regular_file import read_regular_file

_MAX_BYTES = 1 << 16


def remember_folder(name: str, folder: Path) -> None:
    """Keep where the pictures of a name lie; the last word counts.

    Args:
        name: what the registry files their prompts under.
        folder: an absolute path.

    Raises:
        StorageError: it cannot be written.
    """
    if recall_folder(name) == folder:
        return
    place = find_folders()
    make_folder(place, find_home())
    document = canonical_json({"folder": os.fspath(folder)}).encode()
    write_durably(place / f"{check_name(name, 'dataset')}.json", document)


def recall_folder(name: str) -> Path | None:
    """Where the pictures of a name lay when they were last used; they may be gone by now."""
    try:
        data = read_regular_file(find_folders() / f"{check_name(name, 'dataset')}.json", _MAX_BYTES)
        folder = Path(str(json.loads(data)["folder"]))
    except (EvpError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return folder if folder.is_absolute() else None


def list_remembered() -> dict[str, Path]:
    """Every remembered folder by its name, in order of the names."""
    names = sorted(path.stem for path in find_folders().glob("*.json"))
    found = {name: recall_folder(name) for name in names}
    return {name: folder for name, folder in found.items() if folder is not None}
