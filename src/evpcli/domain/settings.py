"""What a training run was asked to do, with every value settled."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from evpcli.domain.manifest import LabelMapKind

Protocol = Literal["validation", "paper"]
Augment = Literal["none", "evp", "trivial"]
GradientNorm = Literal["l2", "l1", "linf", "none"]
Arithmetic = Literal["float32", "bfloat16", "float16"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
NormArea = Literal["canvas", "border"]
BatchSize = int | Literal["auto"]
"""How many pictures at a time; `auto` is as many as fit."""

TemplateSet = Literal["clip7", "clip80"]
"""The CLIP paper's sentences for ImageNet: the seven that do best, and all eighty."""

Baseline = Literal["zero-shot", "blank", "noise", "linear-probe"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
"""What a prompt is measured against; the first two always."""

DEFAULT_TEMPLATE = "this is a photo of a {}"
"""The reference implementation's sentence; `{}` is where the class name goes."""


class FitSettings(BaseModel):
    """One run, complete: on the CPU of one machine the same settings give the same prompt.

    On a GPU the order of additions is not fixed, so that two prompts may differ in their last bits.
    `canvas_px` left out means the backbone's own, `border_px` the paper's share of it. `lr` is, for
    EVP, the length of the first epoch's steps in pixel values (gradients are scaled to unit length
    in `norm`, taken over `norm_area`), for VP the factor on the gradient. `flip` mirrors pictures
    at random, and left out means where the dataset says that classes allow it. `label_map` left out
    means `frequency` for a classifier and none for a CLIP. `shots` and `fraction` learn from part
    of each class. `accumulate` parts of a batch go through the model one after the other.
    `precision` is that of the frozen model while training. `patience` and `max_time_s` stop early.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["evp", "vp"] = "evp"
    canvas_px: Annotated[int, Field(ge=3, le=2048)] | None = None
    border_px: Annotated[int, Field(ge=1)] | None = None
    init: Literal["zeros", "normal"] = "zeros"
    lr: Annotated[FiniteFloat, Field(gt=0)]
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    accumulate: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    precision: Precision = "auto"
    compile: bool = False
    augment: Augment = "evp"
    flip: bool | None = None
    norm: GradientNorm = "l2"
    norm_area: NormArea = "canvas"
    project: bool = False
    label_map: LabelMapKind | None = None
    residual: bool = False
    shots: Annotated[int, Field(ge=1)] | None = None
    fraction: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = None
    protocol: Protocol = "validation"
    val_fraction: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.1
    split_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    patience: Annotated[int, Field(ge=1)] | None = None
    max_time_s: Annotated[FiniteFloat, Field(gt=0)] | None = None


DIVISION = ("protocol", "val_fraction", "split_seed")
"""Settings that say which images train, select and measure."""


class FitRequest(BaseModel):
    """Everything that `evp fit` was asked; kept in the run's folder, so that it can go on.

    Empty `templates` and `class_names` mean the dataset's own; a `template_set` adds to the given
    templates. `descriptions` are sentences by class name, of which the `best_of` most similar
    count. `sources` says where each setting came from. `parent` is the finished prompt that
    training starts from, a reference or an absolute path; the run keeps a copy of it. `tag` names
    the finished version, and `output` is a file for the prompt, an absolute path: a run that goes
    on keeps both. `extended_after` are the epochs after which the run was given a longer schedule.
    `probe` asks for a linear probe beside the finished prompt, where that costs little.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    dataset_name: str | None = None
    backbone: str
    weights: str | None = None
    settings: FitSettings
    find_lr: bool = False
    templates: tuple[str, ...] = ()
    template_set: TemplateSet | None = None
    class_names: tuple[str, ...] = ()
    descriptions: dict[str, tuple[str, ...]] = {}
    best_of: Annotated[int, Field(ge=1)] = 3
    device: str = "auto"
    threads: int = 2
    store: bool = True
    offline: bool = False
    bad_images: Literal["error", "skip"] = "error"
    sources: dict[str, str] = {}
    parent: str | None = None
    extended_after: tuple[int, ...] = ()
    tag: str | None = None
    output: str | None = None
    replace_output: bool = False
    probe: bool = False


class Extension(BaseModel):
    """More epochs for a run: so many in all, those behind it included.

    `tag`, `output` and `replace_output` are as for `FitRequest`, for the new version.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int
    tag: str | None = None
    output: str | None = None
    replace_output: bool = False
