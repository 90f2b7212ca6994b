"""The digest of a local checkpoint: other bytes at the same place are another cell. Torch-free."""

from __future__ import annotations

import hashlib
from pathlib import Path

from evpcli.domain.manifest import canonical_json
from evpcli.engine.backbones.timm_folder import CONFIG_FILE, WEIGHTS_FILE, find_model_folder
from evpcli.engine.backbones.weights import hash_file


def hash_weights(weights: Path) -> str | None:
    """SHA-256 of a file, or over the files that a model's folder is loaded from.

    Args:
        weights: as `--weights` names it; a `config.json` beside `model.safetensors` counts, too.

    Returns:
        Nothing where there is no such file, or it cannot be read: measuring the cell says why.
    """
    try:
        if folder := find_model_folder(weights):
            return _hash_folder(folder)
        return hash_file(weights) if weights.is_file() else None
    except OSError:
        return None


def _hash_folder(folder: Path) -> str:
    files = (folder / name for name in (CONFIG_FILE, WEIGHTS_FILE))
    digests = {file.name: hash_file(file) for file in files if file.is_file()}
    return hashlib.sha256(canonical_json(digests).encode()).hexdigest()
