"""Save one picture of the digits test split, for the demonstration."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.files.paths import find_datasets

NUMBER = 3


def main(path: Path) -> None:
    """Write the picture enlarged, as a person would photograph it; nearest, so nothing is added."""
    pictures = load_dataset("digits", root=find_datasets()).splits["test"]
    image = pictures.open_image(NUMBER)
    image.resize((192, 192), Image.Resampling.NEAREST).save(path)
    print(f"saved {path}: {pictures.describe(NUMBER)}, a {pictures.labels[NUMBER]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
