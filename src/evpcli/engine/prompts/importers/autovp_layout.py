"""AutoVP's checkpoints (IBM/AutoVP): the window follows from the scale, for no mask is saved.

Only what evp composes exactly is taken: a picture of a fixed, even size in the middle. A trained
scale resamples the padded canvas, so that picture and border blend; that has no place in evp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from evpcli.domain.errors import DamagedError, IncompatibleError, UsageError
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.prompts.importers.foreign_answers import (
    Answers,
    average_sources,
    choose_texts,
    map_by_matrix,
    map_one_to_one,
)
from evpcli.engine.prompts.importers.foreign_frames import (
    clear_window,
    denormalise_shown,
    read_square,
)
from evpcli.engine.prompts.importers.foreign_names import ImportNames, Target
from evpcli.engine.prompts.importers.foreign_prompt import Reading

_PICTURE_PX = 128  # before the scale, for every dataset but ABIDE, whose mask is a triangle
_OTHER_MASKS = ("abide",)
_CLIP_NAMES = {"clip": "ViT-B/32", "clip_large": "ViT-L/14"}
_LINEAR = "fully_connected_layer_mapping"
_FREQUENCY = "frequency_based_mapping"
_ORIGIN = "AutoVP's own training"
_CLIP_NOTE = "AutoVP shrank pictures in two steps there, evp shrinks them in one"
_OTHER_NOTE = "pictures were stretched to a square there; evp crops them to one"


def is_autovp(values: Mapping[str, Any]) -> bool:
    """Whether a file's values are AutoVP's."""
    return "perturb_dict" in values and "init_scale" in values


def read_autovp(values: Mapping[str, Any], names: ImportNames, target: Target) -> Reading:
    """An AutoVP checkpoint in pixel space.

    For CLIP the delta stands beside the normalised picture, where zero is the mean colour; for
    classifiers its sigmoid stands beside the picture in [0, 1] space.

    Raises:
        UsageError: it uses what evp cannot keep.
        IncompatibleError: it was made for another backbone.
        DamagedError: its parts do not fit each other.
    """
    _check_model(values.get("pretrained_model"), target)
    state = values["perturb_dict"]
    if not isinstance(state, dict) or set(state) != {"delta"}:
        raise DamagedError("the AutoVP checkpoint's `perturb_dict` is not one `delta`")
    delta = read_square(state["delta"])
    geometry = _read_geometry(values, delta.shape[-1], names)
    shown = denormalise_shown(delta, target.mean, target.std) if target.is_clip else delta.sigmoid()
    kind, note = ("CLIP", _CLIP_NOTE) if target.is_clip else ("classifiers", _OTHER_NOTE)
    space = "in normalised space" if target.is_clip else "as a sigmoid"
    return Reading(
        f"AutoVP for {kind}, beside the picture {space}",
        "autovp",
        clear_window(shown, geometry),
        geometry,
        _read_answers(values, names, target),
        (note,),
    )


def _check_model(told: object, target: Target) -> None:
    if told == "clip_ViT_B_32":
        raise UsageError(
            "this AutoVP checkpoint maps image features, not class scores, to classes",
            found="pretrained_model clip_ViT_B_32",
            hint="evp takes AutoVP's clip, clip_large and ImageNet classifiers",
        )
    wanted = _CLIP_NAMES.get(str(told))
    if (wanted is not None) != target.is_clip or wanted not in (None, target.entry.name):
        raise IncompatibleError(
            "the checkpoint was made for another backbone",
            found=f"checkpoint: {str(told)[:80]!r}, --backbone: {target.entry.name}",
            hint=f"add --backbone {wanted or 'torchvision/' + str(told)[:80]}",
        )


def _read_geometry(values: Mapping[str, Any], side: int, names: ImportNames) -> FrameGeometry:
    """Canvas and border; AutoVP cuts its border and lays its picture unevenly at odd sizes."""
    resize = values.get("resize_dict")
    if not isinstance(resize, dict) or resize:
        raise UsageError(
            "this AutoVP checkpoint learned its picture's scale, which evp cannot keep",
            hint="evp takes AutoVP prompts that were trained with --train_resize 0",
        )
    if names.dataset.lower() in _OTHER_MASKS:
        raise UsageError("AutoVP's mask of ABIDE is a triangle, which evp cannot keep")
    scale = values["init_scale"]
    if type(scale) not in (int, float) or not 0 < scale < math.inf:
        raise DamagedError("the AutoVP checkpoint's `init_scale` is no size")
    window = min(int(_PICTURE_PX * min(scale, side)), side)
    if (side - window) % 2 or not 1 <= window <= side - 2:
        raise UsageError(
            "this AutoVP checkpoint has no border of equal width, which evp cannot keep",
            found=f"canvas {side} px, picture {window} px (scale {str(scale)[:20]})",
        )
    return FrameGeometry(side, (side - window) // 2)


def _read_answers(values: Mapping[str, Any], names: ImportNames, target: Target) -> Answers:
    weight, bias = _read_head(values)
    method = values.get("mapping_method")
    if method == _LINEAR and target.is_clip:
        raise UsageError(
            "this AutoVP checkpoint weighs 81 texts for each class, which evp cannot keep",
            found=f"a matrix of {tuple(weight.shape)}",
            hint="evp takes AutoVP's CLIP prompts with a frequency map",
        )
    if method == _LINEAR:
        return map_by_matrix(weight, bias, names, "linear", _ORIGIN)
    if method == _FREQUENCY and values.get("freq_check") is not True:
        raise DamagedError("the AutoVP checkpoint was saved before its label map was made")
    choice = _read_choice(values.get("output_mapping"), weight.shape[0])
    if target.is_clip:
        return choose_texts(choice, names)
    if len(choice[0]) == 1:
        first = [indices[0] for indices in choice]
        return map_one_to_one(first, weight.shape[1], names, "frequency", _ORIGIN)
    return map_by_matrix(
        average_sources(choice, weight.shape[1]), None, names, "frequency", _ORIGIN
    )


def _read_head(values: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """The linear layer that every AutoVP checkpoint has, used or not: it tells the classes."""
    state = values.get("outmap_dict")
    state = state if isinstance(state, dict) else {}
    weight, bias = state.get("layers.weight"), state.get("layers.bias")
    if not isinstance(weight, Tensor) or not isinstance(bias, Tensor) or weight.ndim != 2:
        raise DamagedError("the AutoVP checkpoint's `outmap_dict` is no linear layer")
    return weight, bias


def _read_choice(value: object, classes: int) -> list[list[int]]:
    """The source classes of each task class: equally many, at least one."""
    if not isinstance(value, list) or len(value) != classes or not value:
        raise DamagedError("the AutoVP checkpoint's `output_mapping` does not fit its classes")
    for indices in value:
        sound = isinstance(indices, list) and all(type(index) is int for index in indices)
        if not sound or not indices or len(indices) != len(value[0]):
            raise DamagedError("the AutoVP checkpoint's `output_mapping` does not fit its classes")
    return value
