"""A small real dataset as files: handwritten digits in class folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def write_digit_folder(root: Path, classes: int = 3, per_class: int = 10) -> Path:
    """Write `per_class` pictures of the first classes into `root/<word>/`, and give `root` back."""
    digits = load_digits()
    for number in range(classes):
        folder = root / WORDS[number]
        folder.mkdir(parents=True)
        chosen = digits.images[digits.target == number][:per_class]
        for index, values in enumerate(chosen):
            pixels = np.round(values / 16 * 255).astype(np.uint8)
            Image.fromarray(pixels).resize((24, 20)).save(folder / f"{index:03}.png")
    return root
