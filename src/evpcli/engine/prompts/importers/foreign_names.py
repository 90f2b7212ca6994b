"""What a checkpoint without a manifest cannot tell, and what its user tells instead."""

from __future__ import annotations

from dataclasses import dataclass

from evpcli.domain.errors import IncompatibleError, UsageError
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.backbones.catalog import find_entry
from evpcli.engine.backbones.entry import BackboneEntry

Triple = tuple[float, float, float]

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

IMAGENET_CLASSES = 1000
"""Outputs of the classifiers that the other projects used."""


@dataclass(frozen=True)
class ImportNames:
    """What a checkpoint without a manifest cannot tell.

    Args:
        dataset: name of the dataset it was learned on.
        backbone: name of the backbone it was learned for.
        class_names: cleaned, in label order; empty when unknown.
        source: where the file came from, for the manifest.
    """

    dataset: str
    backbone: str
    class_names: tuple[str, ...] = ()
    source: str | None = None

    def check_class_count(self, classes: int) -> None:
        """Refuse class names that are not as many as the checkpoint's own classes.

        Raises:
            IncompatibleError: they are fewer or more.
        """
        if self.class_names and len(self.class_names) != classes:
            raise IncompatibleError(
                "the checkpoint was made for another number of classes",
                found=f"checkpoint: {classes}, --classnames: {len(self.class_names)}",
            )


@dataclass(frozen=True)
class Target:
    """The backbone that a checkpoint was learned for, as the other projects prepared pictures.

    Args:
        entry: its line in the catalog.
        is_clip: whether it is one of OpenAI's CLIP models; else an ImageNet classifier.
    """

    entry: BackboneEntry
    is_clip: bool

    @property
    def mean(self) -> Triple:
        """Per RGB channel, for values in [0, 1]."""
        return _CLIP_MEAN if self.is_clip else _IMAGENET_MEAN

    @property
    def std(self) -> Triple:
        """Per RGB channel, for values in [0, 1]."""
        return _CLIP_STD if self.is_clip else _IMAGENET_STD

    def check_canvas(self, geometry: FrameGeometry) -> None:
        """Refuse a prompt that does not fill the backbone's input.

        Raises:
            IncompatibleError: the sizes differ.
        """
        if self.entry.canvas_px not in (0, geometry.canvas_px):
            raise IncompatibleError(
                "the checkpoint was made for another canvas",
                found=f"{geometry.canvas_px} px, {self.entry.name} takes {self.entry.canvas_px} px",
            )


def find_target(name: str) -> Target:
    """The backbone of that name, if another project can have made a prompt for it.

    Raises:
        NotFoundError: there is no such backbone.
        UsageError: it is neither one of OpenAI's CLIP models nor a classifier.
    """
    entry = find_entry(name)
    if entry.kind == "clip" and entry.tag != "openai":
        raise UsageError(
            "a checkpoint of another project belongs to one of OpenAI's CLIP models or to an "
            "ImageNet classifier",
            found=repr(name[:80]),
            hint="name one, such as --backbone ViT-B/32 or --backbone torchvision/resnet50; "
            "`evp backbones list` shows all",
        )
    return Target(entry, entry.kind == "clip")


def check_is_clip(target: Target, layout: str) -> None:
    """Refuse a classifier for a layout that only CLIP models have.

    Raises:
        UsageError: it is one.
    """
    if not target.is_clip:
        raise UsageError(
            f"a checkpoint of {layout} belongs to one of OpenAI's CLIP models",
            found=repr(target.entry.name[:80]),
            hint="name one, such as --backbone ViT-B/32; `evp backbones list` shows all",
        )
