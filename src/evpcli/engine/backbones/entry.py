"""One line of the catalog: a backbone's name, origin and training defaults. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BackboneKind = Literal["clip", "timm", "torchvision"]
"""Which library builds the model: open_clip, timm or torchvision."""


@dataclass(frozen=True)
class FitDefaults:
    """What `fit` uses for a backbone unless told otherwise.

    Args:
        lr: length of the first epoch's steps, in pixel values.
        epochs: length of the cosine schedule.
        batch_size: images a step.
        origin: how these numbers were found.
    """

    lr: float
    epochs: int
    batch_size: int
    origin: str


@dataclass(frozen=True)
class BackboneEntry:
    """One line of the catalog.

    Args:
        name: what users type and the registry files prompts under.
        architecture: the library's model name.
        tag: the library's pretrained tag, or `packaged` for `mini`; empty where the library's
            default is meant.
        canvas_px: side of the square input; 0 where only the loaded model knows.
        licence: of the weights.
        size: of the download, roughly.
        defaults: for `fit`.
        repository: on the Hugging Face hub; empty where only the library knows it.
        kind: which library builds it.
    """

    name: str
    architecture: str
    tag: str
    canvas_px: int
    licence: str
    size: str
    defaults: FitDefaults
    repository: str = ""
    kind: BackboneKind = "clip"

    @property
    def is_packaged(self) -> bool:
        """Whether the weights come with evp, so that nothing is ever downloaded."""
        return self.tag == "packaged"
