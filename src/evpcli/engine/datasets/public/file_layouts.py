"""How published datasets lay out their image files; one reader a layout."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

from evpcli.engine.datasets.interface import SplitName
from evpcli.engine.datasets.public.spec import DatasetSpec
from evpcli.engine.datasets.splits import PictureSubset, divide_by_class
from evpcli.engine.datasets.stored import FilePictures, Reading, label_files
from evpcli.engine.images.file_walk import is_hidden, walk_files

if TYPE_CHECKING:
    from collections.abc import Iterable

HELD_OUT = 0.2
HELD_OUT_SEED = 0

_OFFICIAL: tuple[SplitName, ...] = ("train", "val", "test")


def read_pets(folder: Path, spec: DatasetSpec) -> Reading:
    """`images/Abyssinian_1.jpg`; `annotations/trainval.txt` has `name class species breed`."""
    rows = {
        split: [line.split() for line in _read_lines(folder / "annotations" / f"{file}.txt")]
        for split, file in _named(("train", "trainval"), ("test", "test"))
    }
    by_number = {int(row[1]): row[0].rpartition("_")[0] for part in rows.values() for row in part}
    classes = tuple(by_number[number] for number in sorted(by_number))
    splits = {
        split: label_files(
            folder, ((f"images/{row[0]}.jpg", by_number[int(row[1])]) for row in part), classes
        )
        for split, part in rows.items()
    }
    return Reading(splits, classes)


def read_flowers102(folder: Path, spec: DatasetSpec) -> Reading:
    """`jpg/image_00001.jpg`; two MATLAB files with labels from 1 and the splits' numbers."""
    from scipy.io import loadmat  # type: ignore[import-untyped]

    labels = loadmat(folder / "imagelabels.mat")["labels"].ravel().tolist()
    numbers = loadmat(folder / "setid.mat")
    classes = tuple(str(number) for number in range(1, spec.classes + 1))
    splits = {
        split: label_files(
            folder,
            ((f"jpg/image_{n:05d}.jpg", str(labels[n - 1])) for n in numbers[key].ravel().tolist()),
            classes,
        )
        for split, key in _named(("train", "trnid"), ("val", "valid"), ("test", "tstid"))
    }
    return Reading(splits, classes)


def read_food101(folder: Path, spec: DatasetSpec) -> Reading:
    """`food-101/images/apple_pie/1.jpg`; `meta/train.json` maps classes to `class/number`."""
    top = folder / "food-101"
    listings = {
        split: json.loads((top / "meta" / f"{file}.json").read_text(encoding="utf-8"))
        for split, file in _named(("train", "train"), ("test", "test"))
    }
    classes = tuple(sorted(listings["train"]))
    splits = {
        split: label_files(
            folder,
            (
                (f"food-101/images/{name}.jpg", label)
                for label, names in listing.items()
                for name in names
            ),
            classes,
        )
        for split, listing in listings.items()
    }
    return Reading(splits, classes)


def read_eurosat(folder: Path, spec: DatasetSpec) -> Reading:
    """`2750/AnnualCrop/AnnualCrop_1.jpg`, without splits."""
    return hold_out(_read_class_folders(folder, "2750", ".jpg"))


def read_sun397(folder: Path, spec: DatasetSpec) -> Reading:
    """`SUN397/a/abbey/sun_x.jpg`, without splits; `ClassName.txt` has `/a/abbey`."""
    top = folder / "SUN397"
    classes = tuple(line[3:].strip() for line in _read_lines(top / "ClassName.txt"))
    pairs = (
        (file.relative_to(folder).as_posix(), "/".join(file.relative_to(top).parts[1:-1]))
        for file in walk_files(top)
        if file.name.startswith("sun_") and file.suffix == ".jpg"
    )
    return hold_out(Reading({"train": label_files(folder, pairs, classes)}, classes))


def read_dtd(folder: Path, spec: DatasetSpec) -> Reading:
    """`dtd/images/banded/x.jpg`; `dtd/labels/train1.txt` has `banded/x.jpg`."""
    names = {split: _read_lines(folder / "dtd" / "labels" / f"{split}1.txt") for split in _OFFICIAL}
    classes = tuple(sorted({name.partition("/")[0] for name in names["train"]}))
    splits = {
        split: label_files(
            folder, ((f"dtd/images/{name}", name.partition("/")[0]) for name in part), classes
        )
        for split, part in names.items()
    }
    return Reading(splits, classes)


def read_clevr(folder: Path, spec: DatasetSpec) -> Reading:
    """`CLEVR_v1.0/images/train/x.png`; the scenes list each picture's objects, 3 to 10."""
    classes = tuple(str(count) for count in range(3, 11))
    splits: dict[SplitName, FilePictures] = {}
    for split, part in _named(("train", "train"), ("test", "val")):
        path = folder / "CLEVR_v1.0" / "scenes" / f"CLEVR_{part}_scenes.json"
        with open(path, encoding="utf-8") as file:
            scenes = json.load(file)["scenes"]
        pairs = (
            (f"CLEVR_v1.0/images/{part}/{scene['image_filename']}", str(len(scene["objects"])))
            for scene in scenes
        )
        splits[split] = label_files(folder, pairs, classes)
    return Reading(splits, classes)


def read_gtsrb(folder: Path, spec: DatasetSpec) -> Reading:
    """`GTSRB/Training/00000/x.ppm`; `GT-final_test.csv` has `Filename;...;ClassId`."""
    training = _read_class_folders(folder, "GTSRB/Training", ".ppm")
    with open(folder / "GT-final_test.csv", encoding="utf-8", newline="") as file:
        pairs = [
            (f"GTSRB/Final_Test/Images/{row['Filename']}", f"{int(row['ClassId']):05d}")
            for row in csv.DictReader(file, delimiter=";", skipinitialspace=True)
        ]
    classes = training.source_classes
    return Reading({**training.splits, "test": label_files(folder, pairs, classes)}, classes)


def read_aircraft(folder: Path, spec: DatasetSpec) -> Reading:
    """`data/images/0000001.jpg`; `images_variant_train.txt` has `0000001 737-700`."""
    top = "fgvc-aircraft-2013b/data"
    classes = tuple(_read_lines(folder / top / "variants.txt"))
    splits: dict[SplitName, FilePictures] = {}
    for split in _OFFICIAL:
        rows = [
            line.split(" ", 1) for line in _read_lines(folder / top / f"images_variant_{split}.txt")
        ]
        pairs = ((f"{top}/images/{number}.jpg", name) for number, name in rows)
        splits[split] = label_files(folder, pairs, classes)
    return Reading(splits, classes)


def read_caltech101(folder: Path, spec: DatasetSpec) -> Reading:
    """`101_ObjectCategories/accordion/image_0001.jpg`; the background is no class."""
    found = _read_class_folders(
        folder, "101_ObjectCategories", ".jpg", leave_out=("BACKGROUND_Google",)
    )
    return hold_out(found)


def read_country211(folder: Path, spec: DatasetSpec) -> Reading:
    """`country211/train/AD/x.jpg`, `valid` and `test` beside it."""
    return _read_split_folders(folder, "country211", ".jpg")


def read_rendered_sst2(folder: Path, spec: DatasetSpec) -> Reading:
    """`rendered-sst2/train/negative/x.png`, `valid` and `test` beside it."""
    return _read_split_folders(folder, "rendered-sst2", ".png")


def read_resisc45(folder: Path, spec: DatasetSpec) -> Reading:
    """`NWPU-RESISC45/airplane/airplane_001.jpg`, without splits."""
    return hold_out(_read_class_folders(folder, "NWPU-RESISC45", ".jpg"))


def read_dmlab(folder: Path, spec: DatasetSpec) -> Reading:
    """`dmlab/train/0/x.png`, `val` and `test` beside it; the folder is the label."""
    return _read_split_folders(folder, "dmlab", ".png", val="val")


def _read_split_folders(folder: Path, top: str, ending: str, val: str = "valid") -> Reading:
    readings = {
        split: _read_class_folders(folder, f"{top}/{part}", ending)
        for split, part in _named(("train", "train"), ("val", val), ("test", "test"))
    }
    if len({reading.source_classes for reading in readings.values()}) != 1:
        raise ValueError(f"the splits of {top} have different classes")
    splits = {split: reading.splits["train"] for split, reading in readings.items()}
    return Reading(splits, readings["train"].source_classes)


def _read_class_folders(
    folder: Path, top: str, ending: str, leave_out: tuple[str, ...] = ()
) -> Reading:
    """One folder a class below `folder/top`, all of it as `train`."""
    names = sorted(entry.name for entry in (folder / top).iterdir() if entry.is_dir())
    classes = tuple(name for name in names if not is_hidden(name) and name not in leave_out)
    pairs = (
        (file.relative_to(folder).as_posix(), name)
        for name in classes
        for file in walk_files(folder / top / name)
        if file.suffix.lower() == ending
    )
    return Reading({"train": label_files(folder, pairs, classes)}, classes)


def hold_out(reading: Reading) -> Reading:
    """The same with a fixed test split, for sources that have none."""
    whole = reading.splits["train"]
    stays, held = divide_by_class(whole.labels, HELD_OUT, HELD_OUT_SEED)
    splits: dict[SplitName, PictureSubset] = {
        "train": PictureSubset(whole, stays),
        "test": PictureSubset(whole, held),
    }
    return Reading(splits, reading.source_classes)


def _read_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _named(*pairs: tuple[SplitName, str]) -> Iterable[tuple[SplitName, str]]:
    """Our split's name and the source's."""
    return pairs
