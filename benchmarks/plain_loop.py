"""Training as the reference implementation does it, with nothing kept from step to step.

What each step does is taken from a reading of that code; none of its lines are used. Where it
leaves a choice, the faster one is taken: texts are tokenised once and encoded without a graph, the
model's weights take no gradients, the decoding processes live on from epoch to epoch, and on a GPU
the model computes in half precision as evp's does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.backbones.catalog import find_entry
from evpcli.engine.backbones.mini import mini_tokenizer_kwargs, register_mini

_TINY = 1e-10
"""Added to the gradient's length [reference implementation]."""


class PhotoFiles(Dataset[tuple[Tensor, int]]):
    """Files decoded by Pillow every time, mirrored, shrunk and cropped at random.

    Args:
        paths: of the pictures.
        labels: class number of each.
        side_px: of the square that is cut out.
    """

    def __init__(self, paths: Sequence[Path], labels: Sequence[int], side_px: int) -> None:
        self._paths, self._labels = paths, labels
        self._transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.Resize(side_px, transforms.InterpolationMode.BICUBIC),
                transforms.RandomCrop(side_px),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """(3, side, side) float32 RGB in [0, 1], and its label."""
        with Image.open(self._paths[index]) as image:
            return self._transform(image.convert("RGB")), self._labels[index]


@dataclass(frozen=True)
class PlainClip:
    """A frozen CLIP from open_clip, and the tokens of the classes.

    Args:
        model: image and text encoder.
        tokens: (classes, length), of "this is a photo of a {class}".
        mean: (1, 3, 1, 1).
        std: (1, 3, 1, 1).
        half: the arithmetic of the model's products; nothing for float32.
    """

    model: Any
    tokens: Tensor
    mean: Tensor
    std: Tensor
    half: torch.dtype | None

    def score(self, canvas: Tensor) -> Tensor:
        """(batch, 3, canvas, canvas) in pixel space to logits; encodes the texts every time."""
        with self._arithmetic(canvas.device):
            images = self.model.encode_image((canvas - self.mean) / self.std)
            with torch.no_grad():
                texts = self.model.encode_text(self.tokens)
            images, texts = functional.normalize(images), functional.normalize(texts)
            logits: Tensor = self.model.logit_scale.exp() * images @ texts.T
        return logits.float()

    def _arithmetic(self, device: torch.device) -> AbstractContextManager[object]:
        return nullcontext() if self.half is None else torch.autocast(device.type, self.half)


def load_plain_clip(
    backbone: str, weights: Path, class_names: Sequence[str], device: torch.device
) -> PlainClip:
    """A CLIP of its own, loaded by open_clip alone from the weights that evp has.

    Args:
        backbone: name in evp's catalog.
        weights: the checkpoint.
        class_names: of the task.
        device: that computes.
    """
    import open_clip

    entry = find_entry(backbone)
    if entry.is_packaged:
        register_mini()
    kwargs = mini_tokenizer_kwargs() if entry.is_packaged else {}
    model = open_clip.create_model(
        entry.architecture,
        pretrained=str(weights),
        force_quick_gelu=not entry.is_packaged,
        weights_only=True,
    )
    model.requires_grad_(False).eval().to(device)
    names = [name.lower().replace("_", " ").replace("-", " ") for name in class_names]
    tokenize = open_clip.get_tokenizer(entry.architecture, **kwargs)
    config = model.visual.preprocess_cfg
    return PlainClip(
        model=model,
        tokens=tokenize([f"this is a photo of a {name}" for name in names]).to(device),
        mean=torch.tensor(config["mean"], device=device).view(1, 3, 1, 1),
        std=torch.tensor(config["std"], device=device).view(1, 3, 1, 1),
        half=_find_half(device),
    )


def _find_half(device: torch.device) -> torch.dtype | None:
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


class PlainLoop:
    """The loop, and the border that it learns.

    Args:
        clip: the frozen model.
        files: the pictures.
        geometry: canvas and border.
        batch_size: of a step.
        workers: processes that decode.
        lr: length of a step.
    """

    def __init__(
        self,
        clip: PlainClip,
        files: PhotoFiles,
        geometry: FrameGeometry,
        batch_size: int,
        workers: int,
        lr: float,
    ) -> None:
        self._clip, self._files, self._lr = clip, files, lr
        self._batch_size, self._workers = batch_size, workers
        self._border_px = geometry.border_px
        side, border = geometry.canvas_px, geometry.border_px
        self._prompt = torch.zeros(3, side, side)  # stays on the host
        self._mask = torch.ones(3, side, side)
        self._mask[:, border : side - border, border : side - border] = 0

    def open_loader(self, pictures: int) -> DataLoader[tuple[Tensor, int]]:
        """Batches of so many pictures, drawn anew each time that it is gone through."""
        return DataLoader(
            self._files,
            batch_size=self._batch_size,
            sampler=RandomSampler(self._files, num_samples=pictures),
            num_workers=self._workers,
            persistent_workers=True,
            pin_memory=self._clip.tokens.device.type == "cuda",
        )

    def train(self, loader: DataLoader[tuple[Tensor, int]]) -> int:
        """Go through the loader once; how many pictures that were."""
        pictures = 0
        for images, labels in loader:
            self._take_step(images, labels)
            pictures += len(labels)
        return pictures

    def _take_step(self, images: Tensor, labels: Tensor) -> float:
        device = self._clip.tokens.device
        padded = functional.pad(images, [self._border_px] * 4).to(device)
        copies = self._prompt.to(device).repeat(len(images), 1, 1, 1).requires_grad_(True)
        loss = functional.cross_entropy(self._clip.score(padded + copies), labels.to(device))
        (gradients,) = torch.autograd.grad(loss, copies)
        gradient = gradients.mean(0)
        gradient = gradient / (gradient.norm() + _TINY)
        self._prompt -= self._lr * gradient.cpu() * self._mask
        return loss.item()
