"""Every layout of a published dataset and its reader, spelled out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from evpcli.engine.datasets.public import array_layouts, file_layouts
from evpcli.engine.datasets.public.spec import DatasetSpec
from evpcli.engine.datasets.stored import Reading

READERS: Mapping[str, Callable[[Path, DatasetSpec], Reading]] = {
    "aircraft": file_layouts.read_aircraft,
    "caltech101": file_layouts.read_caltech101,
    "cifar10": array_layouts.read_cifar10,
    "cifar100": array_layouts.read_cifar100,
    "clevr": file_layouts.read_clevr,
    "country211": file_layouts.read_country211,
    "dmlab": file_layouts.read_dmlab,
    "dtd": file_layouts.read_dtd,
    "eurosat": file_layouts.read_eurosat,
    "fer2013": array_layouts.read_fer2013,
    "flowers102": file_layouts.read_flowers102,
    "food101": file_layouts.read_food101,
    "gtsrb": file_layouts.read_gtsrb,
    "mnist": array_layouts.read_mnist,
    "pcam": array_layouts.read_pcam,
    "pets": file_layouts.read_pets,
    "renderedsst2": file_layouts.read_rendered_sst2,
    "resisc45": file_layouts.read_resisc45,
    "stl10": array_layouts.read_stl10,
    "sun397": file_layouts.read_sun397,
    "svhn": array_layouts.read_svhn,
}
