"""A local timm model: one safetensors file, with `config.json` beside it if it has one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from evpcli.domain.errors import IncompatibleError
from evpcli.domain.manifest import MAX_CLASSES, Triple
from evpcli.engine.backbones.canvas_size import MAX_CANVAS_PX
from evpcli.engine.backbones.weights import check_weights_file
from evpcli.engine.files.regular_file import read_regular_file
from evpcli.engine.files.strict_json import MAX_JSON_BYTES, parse_strict_json

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
"""What a timm model's folder is loaded from; other files in it change no result."""

_RESERVED = {
    "cache_dir",
    "checkpoint_path",
    "device",
    "dtype",
    "exportable",
    "features_only",
    "feature_cfg",
    "feature_cls",
    "kwargs_filter",
    "model_cfg",
    "model_name",
    "no_jit",
    "out_indices",
    "pruned",
    "scriptable",
}
"""What timm's factory would take for itself: files, downloads, other kinds of model."""

_Side = Annotated[int, Field(ge=1, le=MAX_CANVAS_PX)]
_Scale = Annotated[FiniteFloat, Field(gt=0)]
_Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
_Scalar = (
    bool
    | Annotated[int, Field(ge=-16_384, le=16_384)]
    | FiniteFloat
    | Annotated[str, Field(max_length=200)]
    | None
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, strict=False)


class _InputConfig(_Part):
    """The part of `pretrained_cfg` that says how pictures are read."""

    mean: Triple
    std: tuple[_Scale, _Scale, _Scale]
    input_size: tuple[Literal[3], _Side, _Side]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fixed_input_size: bool = False

    @model_validator(mode="after")
    def _check_square(self) -> _InputConfig:
        if self.input_size[1] != self.input_size[2]:
            raise ValueError("the input is not square")
        return self


class _FolderConfig(_Part):
    """`config.json` as timm writes it."""

    architecture: Annotated[str, Field(max_length=200)]
    num_classes: Annotated[int, Field(ge=1, le=MAX_CLASSES)]
    global_pool: Annotated[str, Field(max_length=40)] | None = None
    model_args: Annotated[dict[_Key, _Scalar], Field(max_length=50)] = {}
    pretrained_cfg: _InputConfig
    label_names: tuple[str, ...] | dict[str, Any] = ()
    label_descriptions: dict[str, str] = {}

    @model_validator(mode="after")
    def _check_arguments(self) -> _FolderConfig:
        for key in self.model_args:
            if key in _RESERVED or key.startswith("pretrained"):
                raise ValueError(f"model_args may not hold {key}")
        return self


@dataclass(frozen=True)
class TimmSource:
    """Where a timm model's weights are, and what differs from the named model.

    Args:
        path: the safetensors file.
        model_args: arguments for timm's factory.
        cfg_changes: fields of timm's `pretrained_cfg`: normalisation, input size, interpolation.
        is_fixed_size: whether the folder says that no other input size will do.
        label_names: of the outputs, if the folder names them.
        arguments: `model_args` of the folder in words, for the record; empty if none.
    """

    path: Path
    model_args: dict[str, Any] = field(default_factory=dict)
    cfg_changes: dict[str, Any] = field(default_factory=dict)
    is_fixed_size: bool = False
    label_names: tuple[str, ...] = ()
    arguments: str = ""


def find_model_folder(weights: Path) -> Path | None:
    """The folder of a model in timm's own layout, given itself or by its weights file, if any."""
    if weights.is_dir():
        return weights
    has_config = weights.name == WEIGHTS_FILE and (weights.parent / CONFIG_FILE).is_file()
    return weights.parent if has_config else None


def find_timm_source(weights: Path, architecture: str) -> TimmSource:
    """What a local file or folder holds for a timm architecture.

    Raises:
        NotFoundError: there is no such file.
        DamagedError: `config.json` is no sound JSON.
        IncompatibleError: it describes another architecture or something that evp cannot use, or
            the weights are no safetensors file.
    """
    folder = find_model_folder(weights)
    if folder is None:
        return TimmSource(check_weights_file(weights))
    config = _read_config(folder / CONFIG_FILE)
    if config.architecture != architecture:
        raise IncompatibleError(
            "the folder holds another architecture",
            found=f"{config.architecture[:80]!r} in {folder}, asked for: {architecture}",
            hint="name the backbone as timm/ARCHITECTURE",
        )
    own = {"num_classes": config.num_classes}
    pool = {} if config.global_pool is None else {"global_pool": config.global_pool}
    return TimmSource(
        path=check_weights_file(folder / WEIGHTS_FILE),
        model_args={**own, **pool, **config.model_args},
        cfg_changes={**own, **config.pretrained_cfg.model_dump(exclude={"fixed_input_size"})},
        is_fixed_size=config.pretrained_cfg.fixed_input_size,
        label_names=_list_labels(config),
        arguments=", ".join(f"{k}={v}" for k, v in sorted(config.model_args.items())),
    )


def _read_config(path: Path) -> _FolderConfig:
    value = parse_strict_json(read_regular_file(path, MAX_JSON_BYTES, follow=True), "config.json")
    try:
        return _FolderConfig.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:80] or "config.json"
        raise IncompatibleError(
            "this config.json does not describe a timm model that evp can use",
            found=f"{place}: {first['msg'][:120]}",
            hint="docs/backbones.md lists what is read from it",
        ) from error


def _list_labels(config: _FolderConfig) -> tuple[str, ...]:
    if isinstance(config.label_names, dict):
        return ()
    return tuple(config.label_descriptions.get(name, name) for name in config.label_names)
