"""What this machine offers: versions, devices, folders, room."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from evpcli.domain.counts import say_count
from evpcli.engine.files.durable import count_free_bytes
from evpcli.engine.files.paths import find_cache, find_registry, find_runs

_PACKAGES = ("evpcli", "torch", "torchvision", "open_clip_torch", "timm", "typer", "pydantic")
_LOW_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `is_fine` says whether evp can work with it."""

    name: str
    value: str
    is_fine: bool = True


def examine_packages() -> list[Finding]:
    """The versions that count, without importing anything."""
    return [Finding("python", platform.python_version()), *(_find_version(p) for p in _PACKAGES)]


def examine_folders() -> list[Finding]:
    """Registry, runs and cache: where they are, whether they can be written, and the room left."""
    folders = {"registry": find_registry(), "runs": find_runs(), "cache": find_cache()}
    return [_examine_folder(name, folder) for name, folder in folders.items()]


def examine_devices() -> list[Finding]:
    """What torch can compute on; imports torch and multiplies two small matrices on each."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Finding("devices", f"torch cannot be loaded: {error}", is_fine=False)]
    names = ["cpu"]
    names += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    return [_try_device(name) for name in names]


def examine_training() -> Finding:
    """Whether torch and torchvision fit each other and `mini` classifies."""
    from evpcli.engine.backbones.catalog import load_backbone

    try:
        import torch

        backbone = load_backbone("mini", device=torch.device("cpu"))
        classifier = backbone.build_classifier(["zero", "one"], ["this is a photo of a {}"])
        logits = classifier(torch.zeros(1, 3, 64, 64))
    except Exception as error:  # a broken installation fails in many ways; all are the finding
        return Finding("mini", f"does not run: {type(error).__name__}: {error}", is_fine=False)
    return Finding("mini", "runs", bool(logits.isfinite().all()))


def _find_version(package: str) -> Finding:
    try:
        return Finding(package, version(package))
    except PackageNotFoundError:
        return Finding(package, "missing", is_fine=False)


def _examine_folder(name: str, folder: Path) -> Finding:
    near = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    if not os.path.isdir(near):
        return Finding(name, f"{folder} (cannot be made: {near} is no folder)", is_fine=False)
    free = count_free_bytes(near) or 0
    writable = os.access(near, os.W_OK | os.X_OK)
    state = f"{folder} ({'writable' if writable else 'not writable'}, {free / 1e9:.1f} GB free)"
    return Finding(name, state, writable and free > _LOW_BYTES)


def _try_device(name: str) -> Finding:
    import torch

    try:
        matrix = torch.ones(8, 8, device=name)
        right = bool(((matrix @ matrix) == 8).all())
    except RuntimeError as error:
        return Finding(name, f"fails: {error}", is_fine=False)
    if name.startswith("cuda"):
        return Finding(name, torch.cuda.get_device_name(name), right)
    return Finding(
        name, say_count(torch.get_num_threads(), "thread") if name == "cpu" else "usable", right
    )
