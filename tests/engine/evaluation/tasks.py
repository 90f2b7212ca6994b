"""Small tasks and small encoders that baselines are tried on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from evpcli.domain.manifest import BackboneRecord
from evpcli.engine.backbones.interface import Backbone, BackboneCard, Classifier
from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.datasets.interface import Dataset, Pictures, SplitName
from evpcli.engine.datasets.splits import PictureSubset

CPU = torch.device("cpu")
CANVAS_PX = 8


class ChannelMeans(nn.Module):
    """The mean of each colour: (batch, 3)."""

    def forward(self, canvas: Tensor) -> Tensor:
        return canvas.mean((2, 3))


class SmallNetwork(nn.Module):
    """A convolution, batch norm and a dense layer that must never be in training mode."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 4, 3, stride=2)
            self.norm = nn.BatchNorm2d(4)
            self.dense = nn.Linear(4 * 9, 5)

    def forward(self, canvas: Tensor) -> Tensor:
        assert not self.norm.training
        return self.dense(self.norm(self.conv(canvas)).relu().flatten(1))


@dataclass
class SmallBackbone:
    """Any encoder as a backbone with a canvas of eight pixels."""

    encoder: nn.Module

    def __post_init__(self) -> None:
        self.encoder.requires_grad_(False).eval()
        record = BackboneRecord(name="small", architecture="small", weights="-", activation="other")
        self.card = BackboneCard(record, CANVAS_PX, (0.0,) * 3, (1.0,) * 3)

    def build_classifier(self, *_: object) -> Classifier:
        raise NotImplementedError

    def build_encoder(self) -> nn.Module:
        return self.encoder


@dataclass(frozen=True)
class PlainPictures:
    """One-coloured pictures: (n, 3) values in 0..255."""

    colours: np.ndarray
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def open_image(self, index: int) -> Image.Image:
        return Image.new("RGB", (CANVAS_PX, CANVAS_PX), tuple(self.colours[index].tolist()))

    def describe(self, index: int) -> str:
        return str(index)

    def identify(self, index: int) -> bytes:
        return index.to_bytes(16, "little")


def draw_plain(n: int, classes: int, seed: int) -> PlainPictures:
    """Pictures whose red tells the class, far apart; green and blue are noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    colours = generator.integers(0, 256, (n, 3))
    colours[:, 0] = labels * (255 // classes) + generator.integers(0, 12, n)
    return PlainPictures(colours.astype(np.uint8), tuple(labels.tolist()))


def make_dataset(classes: int, **splits: Pictures) -> Dataset:
    named: dict[SplitName, Pictures] = dict(splits)  # type: ignore[arg-type]
    names = tuple(f"class {number}" for number in range(classes))
    return Dataset("plain", names, named, "0" * 64, "drawn", flip=False)


def take_digits(train: int, val: int, test: int) -> Dataset:
    """The first pictures of the handwritten digits."""
    digits = load_dataset("digits", root=Path("nowhere"), offline=True, bad_images="error")
    whole = digits.splits["train"]
    return make_dataset(
        10,
        train=PictureSubset(whole, tuple(range(train))),
        val=PictureSubset(whole, tuple(range(train, train + val))),
        test=PictureSubset(digits.splits["test"], tuple(range(test))),
    )


def load_mini() -> Backbone:
    from evpcli.engine.backbones.catalog import load_backbone

    return load_backbone("mini", device=CPU, offline=True)
