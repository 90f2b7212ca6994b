"""Other projects' checkpoints: each layout recognised by its keys and read into pixel space.

Layouts are as their public code writes them: EVP (UCSC-VLAA/EVP), VP (hjbahng/visual_prompting),
ILM-VP (OPTML-Group/ILM-VP), BLM (tmlr-group/BayesianLM), AttrVR (caichengyi/AttrVR).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evpcli.domain.errors import DamagedError, UsageError
from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.manifest import LabelMapKind, Method
from evpcli.engine.prompts.importers.autovp_layout import is_autovp, read_autovp
from evpcli.engine.prompts.importers.foreign_answers import (
    FIRST_TEMPLATE,
    Answers,
    choose_texts,
    map_by_matrix,
    map_one_to_one,
    read_indices,
)
from evpcli.engine.prompts.importers.foreign_frames import (
    clear_window,
    denormalise_added,
    read_frame,
    read_mask,
    read_square,
)
from evpcli.engine.prompts.importers.foreign_names import (
    IMAGENET_CLASSES,
    ImportNames,
    Target,
    check_is_clip,
)
from evpcli.engine.prompts.importers.foreign_prompt import Reading

REFERENCE_KEY = "perturbation"
_PADS = ("pad_up", "pad_down", "pad_left", "pad_right")
_SQUEEZED = "pictures were stretched to a square there; evp crops them to one"
_PADDED = "sigmoid of a program beside the picture"
_ADDED = "added on top of the normalised picture"


@dataclass(frozen=True)
class Layout:
    """One way in which another project saves a prompt.

    Args:
        fits: whether a file's values are of this layout.
        read: makes of them what evp keeps.
    """

    fits: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any], ImportNames, Target], Reading]


def find_layout(values: Mapping[str, Any]) -> Layout | None:
    """The layout of a file's values, if it is a known one."""
    return next((layout for layout in LAYOUTS if layout.fits(values)), None)


def _read_reference(values: Mapping[str, Any], names: ImportNames, target: Target) -> Reading:
    check_is_clip(target, "the reference implementation")
    pixels = values[REFERENCE_KEY]
    geometry = read_frame(pixels)
    if pixels.dtype != torch.float32:
        raise DamagedError("the checkpoint's prompt is not float32", found=str(pixels.dtype))
    return Reading("EVP reference", "evp", pixels, geometry, Answers())


def _is_vp(values: Mapping[str, Any]) -> bool:
    state = values.get("state_dict")
    return isinstance(state, dict) and bool({*_PADS, "patch"} & set(state))


def _read_vp(values: Mapping[str, Any], names: ImportNames, target: Target) -> Reading:
    state = values["state_dict"]
    if set(state) != set(_PADS):
        raise DamagedError(
            "this VP checkpoint is no border",
            found=f"{sorted(map(str, state))[:4]}",
            hint="evp takes VP's padding prompts; a patch within the picture has no place in it",
        )
    program, border = _join_pads(*(state[key] for key in _PADS))
    geometry = FrameGeometry(program.shape[-1], border, "overlay")
    pixels = denormalise_added(program, target.std)
    if target.is_clip:
        return Reading(f"VP for CLIP, {_ADDED}", "vp", pixels, geometry, Answers())
    if not names.class_names:
        raise UsageError(
            "VP gave a classifier's first outputs to the classes, so their number is needed",
            hint="add --classnames FILE, one name a line in label order",
        )
    first = range(len(names.class_names))
    origin = "the backbone's first outputs, as VP takes them"
    answers = map_one_to_one(first, IMAGENET_CLASSES, names, "frequency", origin)
    note = "VP enlarged pictures to 256 px before it cropped them; evp does not"
    return Reading(f"VP for classifiers, {_ADDED}", "vp", pixels, geometry, answers, (note,))


def _join_pads(up: Any, down: Any, left: Any, right: Any) -> tuple[Tensor, int]:
    """(3, side, side) with zeros in the window, and the border's width in pixels."""
    if not all(isinstance(pad, Tensor) and pad.ndim == 4 for pad in (up, down, left, right)):
        raise DamagedError("the checkpoint's pads are not four pieces of a border")
    border, side = up.shape[2:]
    window = side - 2 * border
    shapes = [tuple(pad.shape) for pad in (up, down, left, right)]
    if shapes != [(1, 3, border, side)] * 2 + [(1, 3, window, border)] * 2 or window < 1:
        raise DamagedError(
            "the checkpoint's pads are not four pieces of a border", found=f"{up.shape}"
        )
    middle = torch.cat([left, torch.zeros(1, 3, window, window, dtype=left.dtype), right], dim=3)
    return read_square(torch.cat([up, middle, down], dim=2)[0]), border


def _is_program(values: Mapping[str, Any]) -> bool:
    state = values.get("visual_prompt_dict")
    return isinstance(state, dict) and set(state) == {"program", "mask"}


def _read_program(values: Mapping[str, Any], names: ImportNames, target: Target) -> Reading:
    """ILM-VP, BLM and AttrVR share these keys; the backbone and the other keys tell them apart."""
    state = values["visual_prompt_dict"]
    program = read_square(state["program"])
    border = read_mask(state["mask"], program.shape[-1])
    added = target.is_clip and not _is_attrvr(values)
    geometry = FrameGeometry(program.shape[-1], border, "overlay" if added else "frame")
    pixels = denormalise_added(program, target.std) if added else program.sigmoid()
    pixels = clear_window(pixels, geometry)
    tell = _tell_clip if target.is_clip else _tell_classifier
    name, method, answers, notes = tell(values, names)
    return Reading(
        f"{name}, {_ADDED if added else _PADDED}", method, pixels, geometry, answers, notes
    )


def _is_attrvr(values: Mapping[str, Any]) -> bool:
    return not {"mapping_sequence", "mapping_matrix", "optimizer_dict"} & set(values)


_Told = tuple[str, Method, Answers, tuple[str, ...]]


def _tell_clip(values: Mapping[str, Any], names: ImportNames) -> _Told:
    if _is_attrvr(values):
        note = (
            "AttrVR's descriptions are not in the file: evp scores by one sentence a class; "
            "AttrVR's own VP baseline has the same keys and would be misread"
        )
        return "AttrVR", "attrvr", Answers(), (note,)
    mapping = values.get("mapping_sequence", values.get("mapping_matrix"))
    name, method = _name_mapped(values)
    if mapping is None:
        note = f"the file does not say which sentence it used; evp takes {FIRST_TEMPLATE!r}"
        return f"{name} for CLIP", method, Answers(templates=(FIRST_TEMPLATE,)), (note,)
    if isinstance(mapping, Tensor) and mapping.ndim == 2:
        raise UsageError(
            f"this {name} checkpoint weighs 81 texts for each class, which evp cannot keep",
            found=f"a matrix of {tuple(mapping.shape)}",
            hint="evp takes CLIP prompts with one text a class, and matrices of classifiers",
        )
    choice = [(index,) for index in read_indices(mapping)]
    return f"{name} for CLIP", method, choose_texts(choice, names), ()


def _tell_classifier(values: Mapping[str, Any], names: ImportNames) -> _Told:
    mapping = values.get("mapping_sequence", values.get("mapping_matrix"))
    if not isinstance(mapping, Tensor):
        raise UsageError(
            "this checkpoint has no label map, without which a classifier cannot answer",
            found=f"keys {sorted(map(str, values))[:6]}",
            hint="name the CLIP model if it was learned for one, such as --backbone ViT-B/16",
        )
    name, method = _name_mapped(values)
    if mapping.ndim == 2:
        answers = map_by_matrix(mapping.T, None, names, "bayesian", f"{name}'s own training")
    else:
        kind: LabelMapKind = "iterative" if method == "ilm-vp" else "frequency"
        origin = f"{name}'s own training"
        answers = map_one_to_one(read_indices(mapping), IMAGENET_CLASSES, names, kind, origin)
    return f"{name} for classifiers", method, answers, (_SQUEEZED,)


def _name_mapped(values: Mapping[str, Any]) -> tuple[str, Method]:
    return ("BLM", "blm") if "mapping_matrix" in values else ("ILM-VP", "ilm-vp")


LAYOUTS: tuple[Layout, ...] = (
    Layout(lambda values: set(values) == {REFERENCE_KEY}, _read_reference),
    Layout(_is_vp, _read_vp),
    Layout(_is_program, _read_program),
    Layout(is_autovp, read_autovp),
)
