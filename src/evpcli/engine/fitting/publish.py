"""A finished prompt into the registry, or where it is safe when that cannot be written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evpcli.domain.errors import StorageError
from evpcli.domain.manifest import Manifest
from evpcli.domain.settings import FitRequest
from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.files.durable import write_durably
from evpcli.engine.files.paths import Places
from evpcli.engine.prompts.registry.record import Entry
from evpcli.engine.prompts.registry.registry import Registry
from evpcli.engine.training.run_folder import Run


@dataclass(frozen=True)
class FitOutcome:
    """A published prompt, its file's bytes, and what it was made from, where that is known."""

    entry: Entry
    data: bytes
    request: FitRequest | None = None
    dataset: Dataset | None = None


def publish_prompt(
    data: bytes,
    manifest: Manifest,
    run: Run,
    places: Places,
    on_wait: Callable[[str], None] | None = None,
) -> FitOutcome:
    """File a prompt under the next free version; `on_wait` is told who else is writing.

    Raises:
        StorageError: the registry cannot be written; names the place where the prompt was rescued.
    """
    try:
        return FitOutcome(Registry(places.registry, on_wait).publish(data, manifest), data)
    except StorageError as error:
        place = _rescue(data)
        kept = f"the prompt was rescued to {place}" if place else "nor any place for the prompt"
        again = f"evp import {place}" if place else f"evp fit --resume {run.id}"
        raise StorageError(
            f"the registry cannot be written; {kept}",
            found=error.found,
            hint=f"make room, then {again}",
        ) from error


def _rescue(data: bytes) -> Path | None:
    """Put a finished prompt into the folder for temporary files; nothing if that is full too."""
    try:
        place = Path(tempfile.mkdtemp(prefix="evp-rescue-")) / "prompt.pt"
        write_durably(place, data)
    except (OSError, StorageError):
        return None
    return place
