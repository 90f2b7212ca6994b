"""What a prompt file says about itself."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.reference import PromptKey
from evpcli.domain.statistics import wilson_interval

SCHEMA_VERSION = 1
MAX_CLASSES = 50_000

Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=2_000)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Triple = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Count = Annotated[int, Field(ge=0, le=2**53)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Quantity = Annotated[FiniteFloat, Field(ge=-1e12, le=1e12)]
"""Any honest loss, rate or time; more would overflow when it is drawn."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GeometryRecord(_Record):
    """Canvas and border in pixels; the window is what the border leaves."""

    canvas_px: Annotated[int, Field(ge=3, le=2048)]
    border_px: Annotated[int, Field(ge=1, le=1023)]

    def to_geometry(self) -> FrameGeometry:
        """The same numbers as the engine uses them."""
        return FrameGeometry(self.canvas_px, self.border_px)


class PreprocessingRecord(_Record):
    """How a picture becomes the window, and how the canvas is normalised.

    `mean` and `std` are per RGB channel for pixel values in [0, 1]; they are applied to window and
    border alike, after composition.
    """

    resize: Literal["shorter-side"] = "shorter-side"
    crop: Literal["center"] = "center"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: Triple
    std: Triple
    decoder_policy: Annotated[int, Field(ge=1)] = 1


class BackboneRecord(_Record):
    """Which frozen model the prompt was learned for; compared, never loaded by this name."""

    name: Name
    architecture: Name
    weights: Name
    activation: Literal["gelu", "quick-gelu", "other"]
    weights_sha256: Sha256 | None = None


class DatasetRecord(_Record):
    """Which labelled pictures were used, and how they were divided."""

    name: Name
    fingerprint: Sha256 | None = None
    split_rule: Text = ""
    sizes: dict[Literal["train", "val", "test"], Count] = {}
    skipped_images: Count = 0
    licence: Text = "unknown"


class Measurement(_Record):
    """One accuracy with all that is needed to read it.

    `top5` counts are kept only where there are at least six classes.
    """

    what: Literal["zero-shot", "blank", "prompted"]
    split: Literal["train", "val", "test"]
    n: Annotated[int, Field(ge=1, le=2**53)]
    top1_correct: Count
    top5_correct: Count | None = None

    @model_validator(mode="after")
    def _check_counts(self) -> Measurement:
        if max(self.top1_correct, self.top5_correct or 0) > self.n:
            raise ValueError("more right answers than answers")
        return self

    @property
    def top1(self) -> float:
        """Share of images whose best class is right, in [0, 1]."""
        return self.top1_correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % score interval of top-1, each bound in [0, 1]."""
        return wilson_interval(self.top1_correct, self.n)


class EpochRecord(_Record):
    """One epoch of the learning curve; `val_top1` is missing where nothing was validated."""

    epoch: Annotated[int, Field(ge=1, le=2**53)]
    lr: Quantity
    train_loss: Quantity
    train_top1: Share
    val_top1: Share | None = None


class Selection(_Record):
    """Which epoch's prompt this is, and which pictures chose it."""

    protocol: Literal["validation", "paper"]
    split: Literal["val", "test"]
    epoch: Count
    epochs: Count

    @property
    def label(self) -> str:
        """The stamp that stands beside every accuracy."""
        return f"selected on {self.split}, epoch {self.epoch} of {self.epochs}"


class SettingRecord(_Record):
    """One setting and where its value came from."""

    value: str | int | float | bool | None
    source: Literal[
        "flag", "environment", "config", "preset", "catalog", "dataset", "search", "default"
    ]


class Provenance(_Record):
    """What made the prompt."""

    evp: Name
    python: Name = "unknown"
    torch: Name = "unknown"
    open_clip: Name = "unknown"
    platform: Name = "unknown"
    device: Name = "unknown"
    threads: int | None = None
    run_id: Name | None = None
    elapsed_s: Quantity | None = None


class Manifest(_Record):
    """The description inside a prompt file; together with the pixels it is the whole prompt."""

    schema_version: Literal[1] = 1
    created_at: Name
    origin: Literal["fit", "import"]
    source: Text | None = None
    method: Literal["evp"] = "evp"
    composition: Literal["frame"] = "frame"
    geometry: GeometryRecord
    preprocessing: PreprocessingRecord
    backbone: BackboneRecord
    dataset: DatasetRecord
    class_names: Annotated[tuple[Name, ...], Field(max_length=MAX_CLASSES)]
    templates: Annotated[tuple[Text, ...], Field(max_length=1_000)]
    pixels_sha256: Sha256
    selection: Selection | None = None
    metrics: Annotated[tuple[Measurement, ...], Field(max_length=100)] = ()
    history: Annotated[tuple[EpochRecord, ...], Field(max_length=100_000)] = ()
    settings: Annotated[dict[Name, SettingRecord], Field(max_length=200)] = {}
    provenance: Provenance
    parents: Annotated[tuple[Sha256, ...], Field(max_length=100)] = ()

    @property
    def key(self) -> PromptKey:
        """What the registry files this prompt under."""
        return PromptKey(self.dataset.name, self.backbone.name)

    def find_measurement(self, what: str, split: str = "test") -> Measurement | None:
        """The measurement of that kind on that split, if it was taken."""
        return next((m for m in self.metrics if (m.what, m.split) == (what, split)), None)


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal values: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
