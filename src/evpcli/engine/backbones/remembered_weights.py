"""Local weights by their SHA-256, as this machine remembers them; prompt files never name them."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from evpcli.domain.errors import StorageError
from evpcli.engine.files.paths import find_weights
from evpcli.engine.files.remembered_places import recall_place, remember_place

_KIND = "weights"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def remember_weights(sha256: str, path: Path) -> None:
    """Keep where weights lie that a prompt was made or used with; the last word counts.

    A data folder that cannot be written is done without.

    Args:
        sha256: of the file of tensors, 64 hexadecimal digits.
        path: the file, or a timm folder, as `--weights` took it.
    """
    with suppress(StorageError, UnicodeEncodeError):
        remember_place(find_weights(), sha256, _KIND, path.absolute())


def recall_weights(sha256: str | None) -> Path | None:
    """Where weights of this SHA-256 were last used, if something is still there."""
    if sha256 is None or not _SHA256.fullmatch(sha256):
        return None
    path = recall_place(find_weights(), sha256, _KIND)
    return path if path is not None and os.path.exists(path) else None
