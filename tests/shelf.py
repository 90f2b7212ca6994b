"""Prompts in a real registry and pictures on disk, for tests of commands."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.manifest import Manifest
from evpcli.engine.backbones.catalog import load_backbone
from evpcli.engine.backbones.interface import Backbone
from evpcli.engine.files.paths import find_registry
from evpcli.engine.prompts.prompt_file import StoredPrompt, decode_prompt, encode_prompt
from evpcli.engine.prompts.registry.registry import Registry
from tests.builders import build_manifest, build_pixels

MINI = FrameGeometry(canvas_px=64, border_px=8)


@cache
def load_mini() -> Backbone:
    """The packaged backbone, once for all tests."""
    return load_backbone("mini", device=torch.device("cpu"), offline=True)


def build_mini_manifest(**changes: Any) -> Manifest:
    """A manifest that the packaged backbone accepts, for `build_pixels(MINI)`."""
    card = load_mini().card
    given = {"geometry": MINI, "pixels": build_pixels(MINI)} | changes
    manifest = build_manifest(preprocessing=card.to_preprocessing().model_dump(), **given)
    return manifest.model_copy(update={"backbone": card.record})


def store_prompt(manifest: Manifest | None = None, seed: int = 0) -> StoredPrompt:
    """Publish a prompt in the test's registry: a small one unless a manifest says otherwise."""
    manifest = manifest or build_manifest()
    pixels = build_pixels(manifest.to_geometry(), seed)
    data = encode_prompt(pixels, manifest)
    Registry(find_registry()).publish(data, manifest)
    return decode_prompt(data)


def draw_image(size: tuple[int, int] = (40, 30), seed: int = 0) -> Image.Image:
    """A picture of random colours, smooth enough to survive resizing."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (5, 7, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(coarse.numpy()).resize(size, Image.Resampling.BICUBIC)


def save_image(path: Path, seed: int = 0, **options: Any) -> Path:
    """Write a picture; the format is the name's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_image(seed=seed).save(path, **options)
    return path


def encode_image(image: Image.Image, kind: str = "PNG") -> bytes:
    """The bytes of a picture file."""
    memory = io.BytesIO()
    image.save(memory, format=kind)
    return memory.getvalue()


def narrow_the_model(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Have the model run out of memory with more pictures than `room`."""
    from evpcli.engine.backbones.clip import ClipClassifier

    ask = ClipClassifier.forward

    def forward(self: ClipClassifier, canvas: torch.Tensor) -> torch.Tensor:
        if len(canvas) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return ask(self, canvas)

    monkeypatch.setattr(ClipClassifier, "forward", forward)
