"""Photos and weights made from random numbers, so that nothing must be fetched."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

PHOTO_SIZE = (533, 400)
"""Width and height."""

_GRAINS_PX = (400, 100, 25, 6)
"""Sizes of the blobs of colour that a picture is mixed from, each half as strong as the last."""


def make_photo(seed: int) -> Image.Image:
    """A picture of blobs in four sizes: its JPEG has about 25 KB."""
    generator = np.random.default_rng(seed)
    width, height = PHOTO_SIZE
    mixed = np.full((height, width, 3), 128.0)
    for strength, grain in zip((64, 32, 16, 8), _GRAINS_PX, strict=True):
        small = (height // grain + 2, width // grain + 2, 3)
        blobs = generator.integers(0, 256, small, dtype=np.uint8)
        layer = Image.fromarray(blobs).resize(PHOTO_SIZE, Image.Resampling.BICUBIC)
        mixed += (np.asarray(layer, dtype=np.float32) / 127.5 - 1) * strength
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def make_photo_folder(root: Path, classes: int, per_class: Mapping[str, int]) -> Path:
    """A dataset of JPEG files as `evp` reads it: splits, and in them one folder a class.

    Args:
        root: the folder; it must not exist yet.
        classes: how many.
        per_class: pictures of each class by split, such as `{"train": 4, "val": 1, "test": 1}`.

    Returns:
        The folder.
    """
    paths = []
    for split, number in per_class.items():
        for label in range(classes):
            folder = root / split / f"kind {label + 1:03d}"
            folder.mkdir(parents=True)
            paths += [folder / f"{index:04d}.jpg" for index in range(number)]

    def write(seed: int) -> None:
        make_photo(seed).save(paths[seed], "JPEG", quality=90)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(len(paths))))
    return root


def save_random_clip(architecture: str, path: Path) -> Path:
    """A safetensors file of an open_clip architecture as it is before any training."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.CLIP(**open_clip.get_model_config(architecture), quick_gelu=True)
    save_file(model.state_dict(), path)
    return path


def save_random_timm(architecture: str, path: Path) -> Path:
    """A safetensors file of a timm architecture as it is before any training."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model(architecture, pretrained=False).state_dict(), path)
    return path
