"""The finished prompt that training starts from: whether it fits, its pixels, its label map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.manifest import ONE_TO_ONE, LabelMapKind, Manifest
from evpcli.domain.settings import DIVISION, FitRequest
from evpcli.engine.backbones.catalog import check_backbone
from evpcli.engine.backbones.interface import BackboneCard
from evpcli.engine.compute.distributed import World
from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.fitting.checks import check_parent_geometry
from evpcli.engine.prompts.label_map import LabelMap
from evpcli.engine.prompts.opening import read_prompt
from evpcli.engine.prompts.prompt_file import StoredPrompt, decode_named, decode_prompt
from evpcli.engine.prompts.registry.registry import Registry
from evpcli.engine.training.heads import HeadStart
from evpcli.engine.training.run_folder import Run


@dataclass(frozen=True)
class Parent:
    """A finished prompt to start from, and the bytes of its file."""

    stored: StoredPrompt
    data: bytes


def find_parent(request: FitRequest, registry: Registry) -> Parent | None:
    """The prompt that a request names to start from; nothing where it names none.

    Raises:
        NotFoundError: there is no such prompt.
        DamagedError: it is damaged or hostile; nothing of it was run.
    """
    return Parent(*read_prompt(request.parent, registry)) if request.parent else None


def find_parent_of(run: Run, request: FitRequest) -> Parent | None:
    """The run's own copy of the prompt that it started from; nothing where it started from none.

    Raises:
        DamagedError: the copy is not there, or is no prompt.
    """
    if request.parent is None:
        return None
    data = run.read_parent()
    return Parent(decode_named(data, f"parent.pt of run {run.id}"), data)


def share_parent(find: Callable[[], Parent | None], world: World) -> Parent | None:
    """What the first process finds, in every process."""
    own = find() if world.is_first else None
    data = world.share_bytes(own.data if own else b"")
    return own or (Parent(decode_prompt(data), data) if data else None)


def check_parent(parent: StoredPrompt, card: BackboneCard, geometry: FrameGeometry) -> None:
    """Refuse to start from a prompt for another model, canvas or border.

    Raises:
        IncompatibleError: names what differs.
    """
    check_backbone(parent.manifest, card)
    check_parent_geometry(parent.manifest, geometry)


def take_pixels(parent: StoredPrompt, *, project: bool) -> Tensor:
    """(3, canvas, canvas) float32: the first pixels; with `project` brought into [0, 1]."""
    return parent.pixels.clamp(0, 1) if project else parent.pixels.clone()


def take_head(
    parent: StoredPrompt | None,
    kind: LabelMapKind,
    class_names: tuple[str, ...],
    *,
    residual: bool,
) -> HeadStart:
    """The label map to begin with; nothing where the kind or the classes are not the same.

    Args:
        parent: for the same backbone; nothing where training starts from none.
        kind: of the new training.
        class_names: of the new training, in label order.
        residual: whether a class-to-class matrix is learned behind the map.
    """
    record = parent.manifest.label_map if parent else None
    if parent is None or record is None or parent.label_map is None:
        return HeadStart()
    is_same = (record.kind, record.residual) == (kind, residual)
    if not is_same or parent.manifest.class_names != class_names:
        return HeadStart()
    own = parent.label_map
    if residual:
        front = _find_front(parent)
        return HeadStart(front, own) if front or kind == "none" else HeadStart()
    if kind in ONE_TO_ONE and not record.indices:
        return HeadStart()  # of another project: no one-to-one map
    return HeadStart(own)


def _find_front(parent: StoredPrompt) -> LabelMap | None:
    """The one-to-one map in front of a residual matrix, which the parent's map has folded in.

    Nothing where it is not known: then the matrix cannot be told from it.
    """
    record, whole = parent.manifest.label_map, parent.label_map
    if record is None or whole is None or not record.blank_indices:
        return None
    rest = torch.ones(record.source_classes, dtype=torch.bool)
    rest[list(record.blank_indices)] = False
    if bool(whole.weight[:, rest].any()):
        return None
    return LabelMap.from_indices(record.blank_indices, record.source_classes)


def describe_leak(parent: Manifest, dataset: Dataset, request: FitRequest) -> str | None:
    """What to say where the parent may have learned from what now validates or tests.

    Nothing where the pictures are others, or are divided as they were for it.
    """
    if parent.dataset.fingerprint != dataset.fingerprint:
        return None
    settings = request.settings.model_dump()
    known = {name: record.value for name, record in parent.settings.items()}
    other = [name for name in DIVISION if name in known and known[name] != settings[name]]
    if not other:
        return None
    return (
        "the prompt that it starts from was trained with another "
        f"{', '.join('--' + name.replace('_', '-') for name in other)}: it may have seen the "
        "images that validate now, so accuracies on them may be too high"
    )
