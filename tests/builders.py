"""Values that many tests need: a complete manifest and a border of pixels."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.manifest import Manifest

SMALL = FrameGeometry(canvas_px=16, border_px=2)


def build_pixels(geometry: FrameGeometry = SMALL, seed: int = 0) -> Tensor:
    """(3, canvas, canvas) float32: standard normal on the border, exact zeros in the window."""
    generator = torch.Generator().manual_seed(seed)
    side, border = geometry.canvas_px, geometry.border_px
    pixels = torch.randn(3, side, side, generator=generator)
    pixels[:, border : side - border, border : side - border] = 0
    return pixels


def build_manifest(**changes: Any) -> Manifest:
    """A manifest for `build_pixels(SMALL)`.

    Args:
        changes: fields to replace. `pixels`, `geometry`, `dataset` and `backbone` may be a
            tensor, a `FrameGeometry` and two names; `correct`: right answers of 200.
    """
    geometry = changes.pop("geometry", SMALL)
    pixels = changes.pop("pixels", None)
    correct = changes.pop("correct", 160)
    if pixels is None:
        pixels = build_pixels(geometry)
    values = pixels.detach().contiguous().numpy().astype("<f4").tobytes()
    dataset, backbone = changes.pop("dataset", "digits"), changes.pop("backbone", "mini")
    record = {
        "created_at": "2026-01-02T03:04:05Z",
        "origin": "fit",
        "geometry": {"canvas_px": geometry.canvas_px, "border_px": geometry.border_px},
        "preprocessing": {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)},
        "backbone": {
            "name": backbone,
            "architecture": "mini",
            "weights": "mini-v1",
            "activation": "gelu",
        },
        "dataset": {"name": dataset, "sizes": {"train": 1000, "val": 200, "test": 200}},
        "class_names": ("zero", "one", "two"),
        "templates": ("this is a photo of a {}",),
        "pixels_sha256": hashlib.sha256(values).hexdigest(),
        "selection": {"protocol": "validation", "split": "val", "epoch": 3, "epochs": 5},
        "metrics": (
            {"what": "zero-shot", "split": "test", "n": 200, "top1_correct": 120},
            {"what": "prompted", "split": "val", "n": 200, "top1_correct": correct},
            {"what": "prompted", "split": "test", "n": 200, "top1_correct": correct},
        ),
        "history": ({"epoch": 1, "lr": 2.0, "train_loss": 1.5, "train_top1": 0.5},),
        "settings": {"lr": {"value": 2.0, "source": "catalog"}},
        "provenance": {"evp": "0.0.0"},
    }
    return Manifest.model_validate(record | changes)
