"""The digest of a local checkpoint: other bytes at the same place are another cell. Torch-free."""

from __future__ import annotations

import hashlib
from pathlib import Path

from evpcli.domain.manifest import canonical_json
from evpcli.engine.backbones.weights import hash_file

_READ_FROM_FOLDER = ("config.json", "model.safetensors")
"""What a timm model's folder is loaded from; other files in it change no result."""


def hash_weights(weights: Path) -> str | None:
    """SHA-256 of a file, or over the files that a model's folder is loaded from.

    Args:
        weights: as `--weights` names it.

    Returns:
        Nothing where there is no such file, or it cannot be read: measuring the cell says why.
    """
    try:
        if weights.is_dir():
            return _hash_folder(weights)
        return hash_file(weights) if weights.is_file() else None
    except OSError:
        return None


def _hash_folder(folder: Path) -> str:
    files = (folder / name for name in _READ_FROM_FOLDER)
    digests = {file.name: hash_file(file) for file in files if file.is_file()}
    return hashlib.sha256(canonical_json(digests).encode()).hexdigest()
