"""Own folders by the name that their prompts are filed under, as this machine remembers them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from evpcli.domain.errors import UsageError
from evpcli.domain.names import check_name
from evpcli.engine.files.paths import find_folders
from evpcli.engine.files.remembered_places import recall_place, remember_place

_KIND = "folder"


def remember_folder(name: str, folder: Path) -> None:
    """Keep where the pictures of a name lie; the last word counts.

    Args:
        name: what the registry files their prompts under.
        folder: an absolute path.

    Raises:
        StorageError: it cannot be written.
    """
    remember_place(find_folders(), check_name(name, "dataset"), _KIND, folder)


def recall_folder(name: str) -> Path | None:
    """Where the pictures of a name lay when they were last used; they may be gone by now."""
    with suppress(UsageError):  # no name of a dataset
        return recall_place(find_folders(), check_name(name, "dataset"), _KIND)
    return None


def list_remembered() -> dict[str, Path]:
    """Every remembered folder by its name, in order of the names."""
    names = sorted(path.stem for path in find_folders().glob("*.json"))
    found = {name: recall_folder(name) for name in names}
    return {name: folder for name, folder in found.items() if folder is not None}
