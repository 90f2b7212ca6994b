"""A prompt for Python programs: set images into it, and classify what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from evpcli.domain.errors import DamagedError, ImageError, UsageError
from evpcli.domain.manifest import Manifest
from evpcli.engine.evaluation.prompt_backbone import load_prompt_backbone
from evpcli.engine.files.paths import expand_path, find_registry
from evpcli.engine.images.decoder import Interpolation, decode_image, load_square
from evpcli.engine.prompts.label_map import LabelMap
from evpcli.engine.prompts.model_weights import explain_weights
from evpcli.engine.prompts.opening import open_prompt
from evpcli.engine.prompts.prompt_file import StoredPrompt, decode_prompt, read_prompt_file
from evpcli.engine.prompts.registry.registry import Registry


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
    ) -> FrozenClassifier:
        """The frozen backbone with the prompt's texts or label map, on the prompt's device.

        Args:
            weights: a local checkpoint in place of the published one.
            offline: never open a connection.

        Returns:
            From canvases, as `forward` gives them, to (batch, classes) logits: a module in
            evaluation mode whose parameters take no gradient.

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
        assert isinstance(source, nn.Module), "every backbone's classifier is a module"
        return FrozenClassifier(source, self._stored.label_map).to(device)


class FrozenClassifier(nn.Module):
    """A backbone's classifier with a prompt's label map behind it, all of it frozen.

    Args:
        source: canvases in pixel space to the backbone's outputs.
        label_map: from those to the task's classes; nothing where they are the task's classes.
    """

    map_weight: Tensor | None
    map_bias: Tensor | None

    def __init__(self, source: nn.Module, label_map: LabelMap | None) -> None:
        super().__init__()
        self.source = source
        self.register_buffer("map_weight", label_map.weight.clone() if label_map else None)
        self.register_buffer("map_bias", label_map.bias.clone() if label_map else None)
        self.requires_grad_(False).eval()

    def forward(self, canvas: Tensor) -> Tensor:
        """(batch, 3, canvas, canvas) in pixel space, not yet normalised, to (batch, classes)."""
        outputs: Tensor = self.source(canvas)
        if self.map_weight is None or self.map_bias is None:
            return outputs
        return LabelMap(self.map_weight, self.map_bias)(outputs)

    def train(self, mode: bool = True) -> FrozenClassifier:
        """Stay in evaluation mode: the model is frozen, its running averages too."""
        return super().train(False)


def load_prompt(
    reference: str | Path | bytes, *, device: str | torch.device = "cpu"
) -> LoadedPrompt:
    """Load a prompt from the registry, from a file, or from a file's bytes.

    Args:
        reference: text as on the command line: `DATASET/BACKBONE[:vN|:TAG]`, a digest prefix, or a
            path that ends in .pt, .pth or .safetensors; a `Path` of a file of any name; or the
            bytes of a prompt file.
        device: where the border lies.

    Raises:
        NotFoundError: there is no such prompt.
        UsageError: the text addresses nothing.
        DamagedError: the file or the bytes are damaged or hostile; nothing of them was run.
    """
    return LoadedPrompt(_read(reference)).to(device)


def _read(reference: object) -> StoredPrompt:
    if isinstance(reference, Path):
        return read_prompt_file(expand_path(reference))
    if isinstance(reference, str):
        return open_prompt(reference, Registry(find_registry()))
    if not isinstance(reference, bytes | bytearray | memoryview):
        raise UsageError(
            "a prompt is loaded from a reference, a path or bytes",
            found=type(reference).__name__,
            hint='for example load_prompt("digits/mini") or load_prompt(Path("prompt.pt"))',
        )
    data = bytes(reference)
    try:
        return decode_prompt(data)
    except DamagedError as error:
        raise explain_weights(data, error) from error
