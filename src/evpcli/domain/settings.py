"""What a training run was asked to do, with every value settled."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Protocol = Literal["validation", "paper"]
Augment = Literal["none", "evp"]

DEFAULT_TEMPLATE = "this is a photo of a {}"
"""The reference implementation's sentence; `{}` is where the class name goes."""


class FitSettings(BaseModel):
    """One run of the EVP step, complete: the same settings give the same prompt on one machine.

    `border_px` left out means the paper's share of the backbone's canvas; `lr` is the length of
    the first epoch's steps in pixel values (gradients are scaled to unit length); `flip` mirrors
    pictures at random, and left out means where the dataset says that classes allow it; `patience`
    and `max_time_s` stop early.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    border_px: Annotated[int, Field(ge=1)] | None = None
    lr: Annotated[FiniteFloat, Field(gt=0)]
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    augment: Augment = "evp"
    flip: bool | None = None
    project: bool = False
    protocol: Protocol = "validation"
    val_fraction: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.1
    split_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    patience: Annotated[int, Field(ge=1)] | None = None
    max_time_s: Annotated[FiniteFloat, Field(gt=0)] | None = None


class FitRequest(BaseModel):
    """Everything that `evp fit` was asked; kept in the run's folder, so that it can go on.

    Empty `templates` and `class_names` mean the dataset's own. `sources` says where each setting
    came from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    dataset_name: str | None = None
    backbone: str
    weights: str | None = None
    settings: FitSettings
    find_lr: bool = False
    templates: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    device: str = "auto"
    threads: int = 2
    offline: bool = False
    bad_images: Literal["error", "skip"] = "error"
    sources: dict[str, str] = {}
