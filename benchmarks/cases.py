"""The models, pictures and tasks that are measured, each made or loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch

from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.engine.backbones.catalog import find_entry
from evpcli.engine.fitting.inputs import Materials, load_materials
from evpcli.engine.fitting.task import FitTask
from sizes import Sizes
from synthetic import make_photo_folder, save_random_clip, save_random_timm

VIT = "ViT-B/32"
MOBILE = "timm/mobilenetv2_100.ra_in1k"
MINI = "mini"


Pictures = Literal["digits", "photos", "narrow", "wide"]
"""`narrow` and `wide`: made-up photos of a hundred and of 397 classes, as many as SUN397 has."""


@dataclass(frozen=True)
class Pair:
    """Pictures and a backbone, and what the table calls them."""

    pictures: Pictures
    backbone: str
    title: str


class Workshop:
    """Where everything that the cases share lies, in one folder for the whole run.

    Args:
        folder: for pictures and weights; empty.
        sizes: how much is measured.
        device: that computes.
        photos: a dataset's folder in place of made-up photos.
        mobile_weights: of MobileNetV2, in place of random ones: a file or timm's folder.
    """

    def __init__(
        self,
        folder: Path,
        sizes: Sizes,
        device: torch.device,
        photos: Path | None = None,
        mobile_weights: Path | None = None,
    ) -> None:
        self.folder, self.sizes, self.device = folder, sizes, device
        self._given_photos, self._given_mobile = photos, mobile_weights
        self._loaded: tuple[Pair, Materials] | None = None

    def pair(self, pictures: Pictures, backbone: str) -> Pair:
        """Pictures and a backbone with a title; nothing is made or loaded."""
        model = "mini"
        if backbone != MINI:
            is_real = backbone == MOBILE and self._given_mobile
            name = "MobileNetV2" if backbone == MOBILE else backbone
            model = f"{name} ({'real' if is_real else 'random'} weights)"
        return Pair(pictures, backbone, f"{model}, {self._describe(pictures)}")

    def find_pictures(self, pair: Pair) -> str:
        """The short name or folder of a pair's dataset; made now if need be."""
        return "digits" if pair.pictures == "digits" else str(self._folders[pair.pictures])

    def find_weights(self, pair: Pair) -> Path | None:
        """The checkpoint of a pair's backbone, made now if need be; nothing for `mini`."""
        if pair.backbone == MINI:
            return None
        return self._vit_weights if pair.backbone == VIT else self._mobile_weights

    def request(self, pair: Pair, batch_size: int, **changes: object) -> FitRequest:
        """What `evp fit` would be asked: one epoch at the backbone's own rate.

        Args:
            pair: what is learned from and with.
            batch_size: of a step.
            changes: other fields of `FitSettings`.
        """
        rate = find_entry(pair.backbone).defaults.lr
        values = {"lr": rate, "epochs": 1, "batch_size": batch_size, **changes}
        weights = self.find_weights(pair)
        return FitRequest(
            dataset=self.find_pictures(pair),
            backbone=pair.backbone,
            weights=None if weights is None else str(weights),
            settings=FitSettings.model_validate(values),
            device=str(self.device),
            offline=True,
        )

    def count_pictures(self, pair: Pair) -> int:
        """How many pictures a round of steps or of passes should handle."""
        return self.sizes.mini_pictures if pair.backbone == MINI else self.sizes.step_pictures

    def load(self, pair: Pair) -> Materials:
        """Dataset, backbone and texts as `evp fit` loads them; those of the last pair are kept."""
        if self._loaded is None or self._loaded[0] != pair:
            self._loaded = None  # gives its memory back first
            self._loaded = (pair, load_materials(self.request(pair, 1)))
        return self._loaded[1]

    @contextmanager
    def open_task(self, pair: Pair, batch_size: int) -> Iterator[FitTask]:
        """The very task that `evp fit` trains on, its pictures in the pixel store."""
        found = self.load(pair)
        settings = self.request(pair, batch_size).settings
        task = FitTask(found.dataset, found.backbone, found.texts, settings, found.reading)
        with closing(task):
            task.fill()
            yield task

    @cached_property
    def _folders(self) -> _Folders:
        return _Folders(self.folder, self.sizes, self._given_photos)

    @cached_property
    def _vit_weights(self) -> Path:
        return save_random_clip(find_entry(VIT).architecture, self.folder / "vit.safetensors")

    @cached_property
    def _mobile_weights(self) -> Path:
        if self._given_mobile is not None:
            return self._given_mobile.absolute()
        return save_random_timm(find_entry(MOBILE).architecture, self.folder / "mob.safetensors")

    def _describe(self, pictures: Pictures) -> str:
        words = {
            "digits": "digits",
            "photos": "photos of a given folder" if self._given_photos else "synthetic photos",
            "narrow": f"{self.sizes.narrow[0]} classes",
            "wide": f"{self.sizes.wide[0]} classes",
        }
        return words[pictures]


class _Folders(dict[str, Path]):
    """Folders of pictures by kind, each made when it is first asked for."""

    def __init__(self, top: Path, sizes: Sizes, photos: Path | None) -> None:
        super().__init__({} if photos is None else {"photos": photos.absolute()})
        self._top = top
        self._plans = {
            "photos": (10, sizes.photos_per_class),
            "narrow": (sizes.narrow[0], sizes.narrow_per_class),
            "wide": (sizes.wide[0], sizes.wide_per_class),
        }

    def __missing__(self, kind: str) -> Path:
        classes, per_class = self._plans[kind]
        self[kind] = make_photo_folder(self._top / kind, classes, per_class)
        return self[kind]
