"""Local weights by their SHA-256, as this machine remembers them; prompt files never name them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from evpcli.domain.errors import EvpError
from evpcli.domain.manifest import canonical_json
from evpcli.engine.storage.durable import make_folder, write_durably
from evpcli.engine.storage.paths import find_home, find_weights
from evpcli.engine.storage.regular_file import read_regular_file

_MAX_BYTES = 1 << 16
_SHA256 = re.compile(r"[0-9a-f]{64}")


def remember_weights(sha256: str, path: Path) -> None:
    """Keep where weights lie that a prompt was made or used with; the last word counts.

    A data folder that cannot be written is done without.

    Args:
        sha256: of the file of tensors, 64 hexadecimal digits.
        path: the file, or a timm folder, as `--weights` took it.
    """
    absolute = path.absolute()
    if recall_weights(sha256) == absolute:
        return
    document = canonical_json({"weights": os.fspath(absolute)}).encode()
    try:
        make_folder(find_weights(), find_home())
        write_durably(find_weights() / f"{sha256}.json", document)
    except (EvpError, UnicodeEncodeError):
        return


def recall_weights(sha256: str | None) -> Path | None:
    """Where weights of this SHA-256 were last used, if something is still there."""
    if sha256 is None or not _SHA256.fullmatch(sha256):
        return None
    try:
        data = read_regular_file(find_weights() / f"{sha256}.json", _MAX_BYTES)
        path = Path(str(json.loads(data)["weights"]))
    except (EvpError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return path if path.is_absolute() and os.path.exists(path) else None
