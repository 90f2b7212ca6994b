"""Class texts as vectors, encoded once for each model and kept on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from evpcli.domain.errors import StorageError
from evpcli.domain.manifest import canonical_json
from evpcli.engine.files.durable import make_folder, publish_new
from evpcli.engine.files.temporaries import sweep_temporaries

_FORMAT = "evp-texts-1"


@dataclass(frozen=True)
class TextCache:
    """Where the vectors of one model are kept.

    Args:
        root: the folder of all models' texts.
        model: what the vectors depend on beside the texts: weights, architecture, activation.
    """

    root: Path
    model: tuple[str, ...]

    def recall(self, texts: Sequence[object], encode: Callable[[], Tensor], kind: str) -> Tensor:
        """What `encode` gives, from disk if it was kept there by the same torch and device.

        A file that is damaged is removed and made anew; a folder that cannot be written is done
        without, since nothing is lost by it.

        Args:
            texts: all that the vectors are made of; JSON values.
            encode: makes (texts or classes, width) float32.
            kind: of device that encodes, such as `cpu`; rounding differs.
        """
        key = canonical_json([_FORMAT, torch.__version__, kind, list(self.model), list(texts)])
        path = self.root / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
        kept = _read(path)
        if kept is not None:
            return kept
        features = encode()
        with suppress(StorageError, FileExistsError):
            self._keep(path, features)
        return features

    def _keep(self, path: Path, features: Tensor) -> None:
        from safetensors.torch import save

        values = features.detach().cpu().contiguous()
        make_folder(self.root, self.root)
        sweep_temporaries(self.root)
        data = save({"features": values}, {"format": _FORMAT, "sha256": _hash(values)})
        publish_new(path, data, mode=0o644)


def _read(path: Path) -> Tensor | None:
    """The kept vectors on the CPU; nothing if there are none or they are not what was written."""
    from safetensors import SafetensorError, safe_open

    if not os.path.exists(path):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            features: Tensor = file.get_tensor("features").clone()
    except (SafetensorError, OSError, RuntimeError, ValueError):
        told, features = {}, torch.empty(0)
    if told.get("sha256") == _hash(features) and features.ndim == 2:
        return features
    with suppress(OSError):
        os.unlink(path)
    return None


def _hash(values: Tensor) -> str:
    return hashlib.sha256(values.numpy().data).hexdigest()
