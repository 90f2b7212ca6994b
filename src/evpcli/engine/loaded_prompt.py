"""A prompt for Python programs: set images into it, and classify what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from evpcli.domain.errors import ImageError
from evpcli.domain.manifest import Manifest
from evpcli.engine.backbones.interface import Classifier
from evpcli.engine.pictures.decoder import Interpolation, decode_image, load_square
from evpcli.engine.prompt_backbone import load_prompt_backbone
from evpcli.engine.prompt_files.opening import open_prompt
from evpcli.engine.prompt_files.prompt_file import StoredPrompt
from evpcli.engine.storage.paths import find_registry
from evpcli.engine.storage.registry import Registry
from evpcli.engine.task_classifiers import build_classifiers


@dataclass(frozen=True)
class Preprocess:
    """Brings a picture to the size that a prompt takes; a transform for a dataset's workers.

    Args:
        side_px: side of the square that comes out.
        interpolation: how pictures are resized.
    """

    side_px: int
    interpolation: Interpolation

    def __call__(self, picture: Image.Image | str | Path) -> Tensor:
        """(3, side, side) float32, RGB in [0, 1]: shorter side to `side_px`, centre cut out.

        Args:
            picture: a file, which is decoded as everywhere in evp (upright, transparency on
                white), or a Pillow image, which is only converted to RGB.

        Raises:
            ImageError: the file is no picture that evp reads.
        """
        image = picture if isinstance(picture, Image.Image) else decode_image(Path(picture))
        return load_square(image, self.side_px, self.interpolation).float() / 255


class LoadedPrompt(nn.Module):
    """A learned border with what its file says; the border is the only parameter.

    Args:
        stored: a prompt as it lies in a file.
    """

    def __init__(self, stored: StoredPrompt) -> None:
        super().__init__()
        self.border = stored.to_visual_prompt()
        self._stored = stored

    @property
    def manifest(self) -> Manifest:
        """What the prompt is for and how it came to be."""
        return self._stored.manifest

    @property
    def digest(self) -> str:
        """SHA-256 of the prompt file, 64 hexadecimal digits."""
        return self._stored.digest

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that logits stand for, in their order."""
        return self.manifest.class_names

    @property
    def preprocess(self) -> Preprocess:
        """From a picture to an image for this prompt."""
        return Preprocess(self.border.geometry.image_px, self.manifest.preprocessing.interpolation)

    def forward(self, images: Tensor) -> Tensor:
        """Set images into the border.

        Args:
            images: (batch, 3, side, side) with the side of `preprocess`, RGB, float in [0, 1].

        Returns:
            (batch, 3, canvas, canvas) in pixel space, not yet normalised; border values are not
            limited to [0, 1].

        Raises:
            ImageError: the images have another shape, or are no floating-point numbers.
        """
        if not images.is_floating_point():
            whole = str(images.dtype).removeprefix("torch.")
            raise ImageError(
                "images must be floating-point numbers in [0, 1]",
                found=whole,
                hint="divide by 255: images.float() / 255" if whole == "uint8" else None,
            )
        return self.border.frame(images)

    def load_classifier(
        self, *, weights: str | Path | None = None, offline: bool = False
    ) -> Classifier:
        """The frozen backbone with the prompt's texts or label map, on the prompt's device.

        Args:
            weights: a local checkpoint in place of the published one.
            offline: never open a connection.

        Returns:
            From canvases, as `forward` gives them, to (batch, classes) logits.

        Raises:
            IncompatibleError: the weights are not those that the prompt was learned for.
            NetworkError: they are not here and cannot be fetched.
        """
        manifest, device = self.manifest, self.border.pixels.device
        backbone = load_prompt_backbone(
            manifest,
            device=device,
            weights=None if weights is None else Path(weights),
            offline=offline,
        )
        source = backbone.build_classifier(
            manifest.class_names, manifest.templates, manifest.descriptions
        )
        label_map = self._stored.label_map
        return build_classifiers(source, label_map, manifest.label_map, device).prompted


def load_prompt(reference: str | Path, *, device: str | torch.device = "cpu") -> LoadedPrompt:
    """Load a prompt from the registry or from a file.

    Args:
        reference: as on the command line: `DATASET/BACKBONE[:vN|:TAG]`, a digest prefix, or a
            path that ends in .pt, .pth or .safetensors.
        device: where the border lies.

    Raises:
        NotFoundError: there is no such prompt.
        UsageError: the text addresses nothing.
        DamagedError: the file is damaged or hostile; nothing of it was run.
    """
    stored = open_prompt(str(reference), Registry(find_registry()))
    return LoadedPrompt(stored).to(device)
