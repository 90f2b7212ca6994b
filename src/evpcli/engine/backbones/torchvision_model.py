"""torchvision's ImageNet classifiers by name, with its own default weights or local ones."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from evpcli.domain.errors import IncompatibleError, NetworkError, NotFoundError
from evpcli.domain.manifest import LOCAL_WEIGHTS, BackboneRecord
from evpcli.domain.names import suggest
from evpcli.engine.backbones.canvas_size import settle_canvas
from evpcli.engine.backbones.checkpoint import read_checkpoint
from evpcli.engine.backbones.classifier import (
    BUILD_ERRORS,
    ClassifierBackbone,
    build_fitting,
    count_outputs,
    leave_out,
    shorten_error,
)
from evpcli.engine.backbones.entry import BackboneEntry
from evpcli.engine.backbones.interface import BackboneCard
from evpcli.engine.backbones.source_classes import name_source_classes
from evpcli.engine.backbones.weights import check_online, check_weights_file, hash_file
from evpcli.engine.files.download import fetch_file

_UNFIT = ("googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1")
"""Further heads, a normalisation of their own, or no dense last layer."""

_FIXED_SIZE = ("vit_", "maxvit_")
_DIGEST = re.compile(r"-([a-f0-9]{8,})\.")
_OLD_DENSENET_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


@dataclass(frozen=True)
class TorchvisionWeights:
    """torchvision's default weights of one model, in the folder that torch.hub keeps."""

    url: str

    @classmethod
    def from_entry(cls, entry: BackboneEntry) -> TorchvisionWeights:
        """The file of `torchvision/MODEL`.

        Raises:
            NotFoundError: torchvision has no such classifier.
        """
        return cls(find_default_weights(entry).url)

    @property
    def path(self) -> Path:
        """Where torchvision itself looks for the file."""
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        return folder / self.url.rpartition("/")[2]

    def find_local(self) -> Path | None:
        """The file, if it is there."""
        return self.path if os.path.isfile(self.path) else None

    def fetch(self, entry: BackboneEntry, *, offline: bool) -> Path:
        """The file, downloaded if need be, with the digest that its name states.

        Raises:
            NetworkError: it is not here and `offline`, or what came is another file.
            IncompatibleError: the file that is here is another.
        """
        local = self.find_local()
        if local:
            return self._check_kept(local)
        check_online(entry, self.path.name, offline=offline)
        digest = fetch_file(self.url, self.path, checksum=None)
        if not self._matches(digest):
            self.path.unlink()
            raise NetworkError(
                "what was downloaded is not the file that torchvision names",
                found=f"SHA-256 {digest[:12]}... from {self.url}",
                hint="check what answers in place of the server, then try again",
            )
        return self.path

    def _check_kept(self, path: Path) -> Path:
        digest = hash_file(path)
        if not self._matches(digest):
            raise IncompatibleError(
                "the kept weights are damaged",
                found=f"SHA-256 {digest[:12]}... of {path}",
                hint="remove the file and download it again",
            )
        return path

    def _matches(self, digest: str) -> bool:
        stated = _DIGEST.search(self.path.name)
        return stated is None or digest.startswith(stated[1])


def find_default_weights(entry: BackboneEntry) -> Any:
    """What torchvision knows of its best weights for a model.

    Raises:
        NotFoundError: torchvision has no such classifier, or not one whose last layer can be
            told from the rest.
    """
    from torchvision import models

    known = [name for name in models.list_models(module=models) if name not in _UNFIT]
    if entry.architecture not in known:
        raise NotFoundError(
            "torchvision has no such classifier that evp can use",
            found=entry.name,
            hint=suggest(entry.architecture, known) or f"there are {', '.join(known[:6])}, ...",
        )
    return models.get_model_weights(entry.architecture).DEFAULT


def load_torchvision(
    entry: BackboneEntry,
    *,
    device: torch.device,
    weights: Path | None,
    offline: bool,
    canvas_px: int | None = None,
) -> ClassifierBackbone:
    """Load a frozen torchvision classifier; arguments and errors as `load_backbone`."""
    default = find_default_weights(entry)
    reading = default.transforms()
    own_px = int(reading.crop_size[0])
    fixed = entry.architecture.startswith(_FIXED_SIZE)
    canvas = settle_canvas(entry.name, own_px, canvas_px, any_size=not fixed)
    if weights is not None:
        path = check_weights_file(weights)
        tensors = read_checkpoint(path)
    else:
        path = TorchvisionWeights(default.url).fetch(entry, offline=offline)
        tensors = _read_published(default, path)
    model = build_fitting(lambda: _create(entry, own_px), tensors, path).to(device)
    outputs = count_outputs(model, entry.name, canvas, device)
    record = BackboneRecord(
        name=entry.name,
        architecture=entry.architecture,
        weights=LOCAL_WEIGHTS if weights is not None else default.name,
        activation="other",
        weights_sha256=hash_file(path),
    )
    card = BackboneCard(
        record=record,
        canvas_px=canvas,
        mean=tuple(reading.mean),
        std=tuple(reading.std),
        interpolation=reading.interpolation.value,
        source_classes=name_source_classes(outputs, default.meta["categories"]),
    )
    return ClassifierBackbone(model, leave_out(model, [_find_last_layer(model)]), card, device)


def _create(entry: BackboneEntry, own_px: int) -> nn.Module:
    from torchvision import models

    options = {"image_size": own_px} if entry.architecture.startswith("vit_") else {}
    return cast(nn.Module, models.get_model(entry.architecture, weights=None, **options))


def _read_published(default: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a kept file, read by torchvision without unpickling code.

    DenseNets were published under older names of their layers.
    """
    try:
        tensors = default.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, *BUILD_ERRORS) as error:
        raise IncompatibleError(
            "this file holds no weights", found=f"{path.name}: {shorten_error(error)}"
        ) from error
    return {_OLD_DENSENET_NAME.sub(r"\1\2", name): tensor for name, tensor in tensors.items()}


def _find_last_layer(model: nn.Module) -> str:
    """The name of the dense layer that gives the scores: the last one of the model."""
    dense: list[str] = [n for n, part in model.named_modules() if isinstance(part, nn.Linear)]
    return dense[-1]
