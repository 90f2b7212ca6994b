"""Real handwriting that is always there: scikit-learn's copy of the UCI digits."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.datasets.public.spec import DatasetSpec
from evpcli.engine.datasets.stored import ArrayPictures

FIRST_TEST_PICTURE = 1437
"""The last 360 of the 1,797 pictures are the test split; train is everything before."""


@cache
def _load_values() -> tuple[np.ndarray, np.ndarray]:
    """(n, 8, 8) uint8 gray and (n,) labels; 0..16 becomes 0..255, `value * 255 / 16` rounded."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target.astype(np.int64)


def load_digits_dataset(spec: DatasetSpec) -> Dataset:
    """1,797 handwritten digits of 8x8 pixels, white ink on black, ten classes."""
    values, targets = _load_values()
    labels = tuple(targets.tolist())
    cut = FIRST_TEST_PICTURE
    digest = hashlib.sha256(values.tobytes() + bytes(labels) + "".join(spec.class_names).encode())
    return Dataset(
        name=spec.name,
        class_names=spec.class_names,
        splits={
            "train": ArrayPictures(values[:cut], labels[:cut], "train"),
            "test": ArrayPictures(values[cut:], labels[cut:], "test"),
        },
        fingerprint=digest.hexdigest(),
        split_rule=spec.split_rule,
        templates=spec.templates,
        flip=spec.flip,
        licence=spec.licence,
        source_classes=tuple(str(digit) for digit in range(10)),
    )
