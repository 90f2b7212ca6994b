"""Named benchmarks: which datasets, backbones and methods they compare. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_METHODS = "zero-shot,blank,evp,vp,linear-probe"
"""What is compared where nobody says it."""


@dataclass(frozen=True)
class Suite:
    """What a benchmark compares unless told otherwise.

    Args:
        datasets: short names.
        backbones: by name.
        methods: as `parse_methods` reads them.
        options: of `evp fit`, for every method.
        about: one sentence for the help page.
    """

    datasets: tuple[str, ...]
    backbones: tuple[str, ...]
    methods: str = DEFAULT_METHODS
    options: str = ""
    about: str = ""


SUITES: Mapping[str, Suite] = {
    "smoke": Suite(
        ("digits",),
        ("mini",),
        about="digits and mini, a minute or two on two cores",
    ),
    "paper12": Suite(
        (
            "cifar100",
            "cifar10",
            "flowers102",
            "food101",
            "eurosat",
            "sun397",
            "svhn",
            "dtd",
            "pets",
            "resisc45",
            "clevr",
            "dmlab",
        ),
        ("ViT-B/32",),
        about="the twelve datasets of the EVP paper",
    ),
}
