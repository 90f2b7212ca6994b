"""What a prompt file says about itself."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from evpcli.domain.geometry import Composition, FrameGeometry
from evpcli.domain.reference import PromptKey
from evpcli.domain.statistics import wilson_interval

SCHEMA_VERSION = 1
MAX_CLASSES = 50_000
MAX_SHOWN_SOURCES = 3
"""How many source classes a manifest names for each task class."""

Method = Literal["evp", "vp", "ilm-vp", "blm", "attrvr", "autovp"]
What = Literal[
    "zero-shot",
    "mapped",
    "one-to-one",
    "blank",
    "prompted",
    "through-png",
    "noise",
    "linear-probe",
    "fine-tuned",
]
LabelMapKind = Literal["none", "frequency", "iterative", "bayesian", "bayesian+", "linear"]

ONE_TO_ONE: tuple[LabelMapKind, ...] = ("frequency", "iterative")
"""Label maps that read one source class for each task class."""

WEIGHTED: tuple[LabelMapKind, ...] = ("bayesian", "bayesian+")
"""Label maps that weigh all source classes by how the training images were answered."""

Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=2_000)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Triple = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Count = Annotated[int, Field(ge=0, le=2**53)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Quantity = Annotated[FiniteFloat, Field(ge=-1e12, le=1e12)]
"""Any honest loss, rate or time; more would overflow when it is drawn."""


class _Record(BaseModel):
    """A part of a manifest.

    Fields that later versions of evp added are left out while they are empty, so that records of
    earlier versions are written again byte for byte.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    later_fields: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _leave_out_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        for name in self.later_fields:
            if not getattr(self, name) and getattr(self, name) != 0:
                fields.pop(name, None)
        return fields


class GeometryRecord(_Record):
    """Canvas and border in pixels; the window is what the border leaves."""

    canvas_px: Annotated[int, Field(ge=3, le=2048)]
    border_px: Annotated[int, Field(ge=1, le=1023)]


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


LOCAL_WEIGHTS = "local"
"""What `BackboneRecord.weights` says where they came from the user's own file."""


class BackboneRecord(_Record):
    """Which frozen model the prompt was learned for; compared, never loaded by this name."""

    name: Name
    architecture: Name
    weights: Name
    activation: Literal["gelu", "quick-gelu", "other"]
    weights_sha256: Sha256 | None = None


class DatasetRecord(_Record):
    """Which labelled pictures were used, and how they were divided.

    `source_classes` are the classes' names as found on disk, in label order, where the prompt calls
    them otherwise.
    """

    later_fields = ("source_classes",)

    name: Name
    fingerprint: Sha256 | None = None
    split_rule: Text = ""
    sizes: dict[Literal["train", "val", "test"], Count] = {}
    skipped_images: Count = 0
    licence: Text = "unknown"
    source_classes: Annotated[tuple[Text, ...], Field(max_length=MAX_CLASSES)] = ()


class LabelMapRecord(_Record):
    """How a backbone's outputs become class scores of the task: weight @ outputs + bias.

    `indices` is a one-to-one map, one source class a task class; any other map's numbers lie in
    the file as the tensors `map_weight` (task, source) and `map_bias` (task,), and `sha256` is
    over both. `residual` says that a learned class-to-class matrix was folded in, which is not EVP.
    `sources` names the strongest source classes of each task class. `full_indices` and
    `blank_indices` are frequency maps estimated on full images and on a blank border: the
    baselines of a backbone that cannot answer without a map. A map that weighs all source classes
    is compared with maps of its own kind, which lie in the file as the tensors `full_weight` and
    `blank_weight`; `baseline_sha256` is over both.
    """

    later_fields = ("baseline_sha256",)

    kind: LabelMapKind
    residual: bool = False
    source_classes: Annotated[int, Field(ge=1, le=MAX_CLASSES)]
    indices: Annotated[tuple[Count, ...], Field(max_length=MAX_CLASSES)] = ()
    sha256: Sha256 | None = None
    sources: Annotated[
        tuple[Annotated[tuple[Name, ...], Field(max_length=MAX_SHOWN_SOURCES)], ...],
        Field(max_length=MAX_CLASSES),
    ] = ()
    estimated_from: Text = ""
    full_indices: Annotated[tuple[Count, ...], Field(max_length=MAX_CLASSES)] = ()
    blank_indices: Annotated[tuple[Count, ...], Field(max_length=MAX_CLASSES)] = ()
    baseline_sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _check_map(self) -> LabelMapRecord:
        if bool(self.indices) == (self.sha256 is not None):
            raise ValueError("a label map has either indices or a matrix")
        if self.baseline_sha256 and not self.sha256:
            raise ValueError("a one-to-one map has no weighted baselines")
        for indices in (self.indices, self.full_indices, self.blank_indices):
            if any(index >= self.source_classes for index in indices):
                raise ValueError("a label map names a source class that there is not")
        return self


class Descriptions(_Record):
    """Sentences that describe each class, in label order; a class scores the mean of its best.

    `best_of` is how many of the most similar sentences count (AttrVR, section 4.2).
    """

    sentences: Annotated[
        tuple[Annotated[tuple[Text, ...], Field(min_length=1, max_length=1_000)], ...],
        Field(max_length=MAX_CLASSES),
    ]
    best_of: Annotated[int, Field(ge=1, le=1_000)] = 3


class Measurement(_Record):
    """One accuracy with all that is needed to read it.

    `top5` counts are kept only where there are at least six classes. `condition` is empty for the
    pictures as they are, else what was done to them, such as `jpeg:3`. `mean_per_class` is the mean
    of the classes' own accuracies, each class with the same weight.
    """

    later_fields = ("mean_per_class",)

    what: What
    condition: Text = ""
    split: Literal["train", "val", "test"]
    n: Annotated[int, Field(ge=1, le=2**53)]
    top1_correct: Count
    top5_correct: Count | None = None
    mean_per_class: Share | None = None

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
        "flag",
        "environment",
        "config",
        "preset",
        "method",
        "catalog",
        "dataset",
        "parent",
        "search",
        "default",
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
    method: Method = "evp"
    composition: Composition = "frame"
    geometry: GeometryRecord
    preprocessing: PreprocessingRecord
    backbone: BackboneRecord
    dataset: DatasetRecord
    class_names: Annotated[tuple[Name, ...], Field(max_length=MAX_CLASSES)]
    templates: Annotated[tuple[Text, ...], Field(max_length=1_000)]
    descriptions: Descriptions | None = None
    label_map: LabelMapRecord | None = None
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

    def to_geometry(self) -> FrameGeometry:
        """Sizes and composition as the engine uses them.

        Raises:
            UsageError: the border does not fit the canvas.
        """
        sizes = self.geometry
        return FrameGeometry(sizes.canvas_px, sizes.border_px, self.composition)

    def find_measurement(self, what: str, split: str = "test") -> Measurement | None:
        """The measurement of that kind on that split's pictures as they are, if it was taken."""
        wanted = (what, split, "")
        return next((m for m in self.metrics if (m.what, m.split, m.condition) == wanted), None)

    @property
    def baseline(self) -> What:
        """What the full picture without a prompt is called: a classifier needs its map for it."""
        return "mapped" if self.label_map and self.label_map.kind != "none" else "zero-shot"


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal values: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
