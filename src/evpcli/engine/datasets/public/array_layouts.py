"""How published datasets pack all pictures into a few files; one reader a layout."""

from __future__ import annotations

import csv
from importlib import import_module
from pathlib import Path

import numpy as np

from evpcli.domain.errors import UsageError
from evpcli.engine.datasets.interface import SplitName
from evpcli.engine.datasets.public.spec import DatasetSpec
from evpcli.engine.datasets.stored import ArrayPictures, Reading

_TEN = tuple(str(digit) for digit in range(10))


def read_cifar10(folder: Path, spec: DatasetSpec) -> Reading:
    """`cifar-10-batches-bin/data_batch_1.bin`: a label byte, then red, green, blue planes."""
    top = folder / "cifar-10-batches-bin"
    classes = _read_lines(top / "batches.meta.txt")
    batches = [top / f"data_batch_{number}.bin" for number in range(1, 6)]
    splits: dict[SplitName, ArrayPictures] = {
        "train": _read_cifar(batches, 1, "train"),
        "test": _read_cifar([top / "test_batch.bin"], 1, "test"),
    }
    return Reading(splits, classes)


def read_cifar100(folder: Path, spec: DatasetSpec) -> Reading:
    """`cifar-100-binary/train.bin`: coarse label, fine label, then the planes."""
    top = folder / "cifar-100-binary"
    classes = _read_lines(top / "fine_label_names.txt")
    splits: dict[SplitName, ArrayPictures] = {
        "train": _read_cifar([top / "train.bin"], 2, "train"),
        "test": _read_cifar([top / "test.bin"], 2, "test"),
    }
    return Reading(splits, classes)


def read_svhn(folder: Path, spec: DatasetSpec) -> Reading:
    """MATLAB files with X (32, 32, 3, n) and y (n, 1), where the digit 0 is called 10."""
    from scipy.io import loadmat  # type: ignore[import-untyped]

    splits: dict[SplitName, ArrayPictures] = {}
    for split in ("train", "test"):
        found = loadmat(folder / f"{split}_32x32.mat")
        values = np.ascontiguousarray(found["X"].transpose(3, 0, 1, 2))  # (n, 32, 32, 3)
        labels = found["y"].ravel().astype(np.int64) % 10
        splits[split] = _pack(values, labels, split, 10)
    return Reading(splits, _TEN)


def read_mnist(folder: Path, spec: DatasetSpec) -> Reading:
    """IDX files: big-endian sizes, then bytes."""
    splits: dict[SplitName, ArrayPictures] = {}
    parts: tuple[tuple[SplitName, str], ...] = (("train", "train"), ("test", "t10k"))
    for split, part in parts:
        values = _read_idx(folder / f"{part}-images-idx3-ubyte", 3)
        labels = _read_idx(folder / f"{part}-labels-idx1-ubyte", 1)
        splits[split] = _pack(values, labels, split, 10)
    return Reading(splits, _TEN)


def read_stl10(folder: Path, spec: DatasetSpec) -> Reading:
    """`stl10_binary/train_X.bin`: three planes of 96x96, column by column; labels from 1."""
    top = folder / "stl10_binary"
    classes = _read_lines(top / "class_names.txt")
    splits: dict[SplitName, ArrayPictures] = {}
    for split in ("train", "test"):
        planes = np.fromfile(top / f"{split}_X.bin", dtype=np.uint8).reshape(-1, 3, 96, 96)
        labels = np.fromfile(top / f"{split}_y.bin", dtype=np.uint8).astype(np.int64) - 1
        splits[split] = _pack(planes.transpose(0, 3, 2, 1), labels, split, len(classes))
    return Reading(splits, classes)


def read_fer2013(folder: Path, spec: DatasetSpec) -> Reading:
    """`fer2013.csv`: emotion, 48x48 gray values as words, and the use of the row."""
    uses = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
    values: dict[str, list[np.ndarray]] = {split: [] for split in uses.values()}
    labels: dict[str, list[int]] = {split: [] for split in uses.values()}
    with open(folder / "fer2013.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, skipinitialspace=True):
            split = uses[row["Usage"]]
            values[split].append(np.array(row["pixels"].split(), dtype=np.uint8).reshape(48, 48))
            labels[split].append(int(row["emotion"]))
    splits: dict[SplitName, ArrayPictures] = {
        split: _pack(np.stack(values[split]), np.array(labels[split]), split, 7)
        for split in ("train", "val", "test")
    }
    return Reading(splits, tuple(str(number) for number in range(7)))


def read_pcam(folder: Path, spec: DatasetSpec) -> Reading:
    """Six HDF5 files, pictures under `x` and labels under `y`; read piece by piece."""
    try:
        h5py = import_module("h5py")  # no dependency: only this dataset needs it
    except ImportError as error:
        raise UsageError("pcam is kept in HDF5 files", hint="pip install h5py") from error
    splits: dict[SplitName, ArrayPictures] = {}
    parts: tuple[tuple[SplitName, str], ...] = (("train", "train"), ("val", "valid"))
    for split, part in (*parts, ("test", "test")):
        stem = f"camelyonpatch_level_2_split_{part}"
        values = h5py.File(folder / f"{stem}_x.h5", "r")["x"]  # (n, 96, 96, 3), stays on disk
        with h5py.File(folder / f"{stem}_y.h5", "r") as file:
            labels = np.asarray(file["y"]).ravel().astype(np.int64)
        splits[split] = _pack(values, labels, split, 2)
    return Reading(splits, ("0", "1"))


def _read_cifar(paths: list[Path], label_bytes: int, split: str) -> ArrayPictures:
    rows = [
        np.fromfile(path, dtype=np.uint8).reshape(-1, label_bytes + 3 * 32 * 32) for path in paths
    ]
    table = np.concatenate(rows)
    planes = table[:, label_bytes:].reshape(-1, 3, 32, 32)  # (n, 3, 32, 32)
    labels = table[:, label_bytes - 1].astype(np.int64)
    return _pack(
        np.ascontiguousarray(planes.transpose(0, 2, 3, 1)),
        labels,
        split,
        10 if label_bytes == 1 else 100,
    )


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    data = path.read_bytes()
    start = 4 + 4 * dimensions
    if data[:4] != bytes((0, 0, 8, dimensions)):
        raise ValueError(f"{path.name} is no IDX file of {dimensions} dimensions")
    shape = [int(size) for size in np.frombuffer(data[4:start], dtype=">u4")]
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def _pack(values: np.ndarray, labels: np.ndarray, split: str, classes: int) -> ArrayPictures:
    if len(values) != len(labels) or not len(labels):
        raise ValueError(f"{split} has {len(values)} pictures and {len(labels)} labels")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(f"{split} has labels outside 0..{classes - 1}")
    return ArrayPictures(values, tuple(labels.tolist()), split)


def _read_lines(path: Path) -> tuple[str, ...]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())
