"""What of a request can be refused before torch is loaded: a dry run finds it, too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evpcli.domain.errors import IncompatibleError, UsageError
from evpcli.domain.geometry import Composition, FrameGeometry
from evpcli.domain.manifest import LabelMapKind, Manifest
from evpcli.domain.settings import FitRequest
from evpcli.domain.templates import check_templates
from evpcli.engine.backbones.canvas_size import settle_canvas
from evpcli.engine.backbones.entry import BackboneEntry
from evpcli.engine.backbones.timm_folder import find_timm_source
from evpcli.engine.backbones.weights import check_weights_file
from evpcli.engine.datasets.catalog import find_dataset_spec, find_own_folder
from evpcli.engine.datasets.mirroring import explain_no_mirroring

if TYPE_CHECKING:
    from evpcli.engine.datasets.interface import SplitName


def check_early(request: FitRequest, entry: BackboneEntry) -> None:
    """Refuse what neither a model nor a picture must be loaded for.

    What remains depends on them: the canvas of a model that the catalog does not list, and whether
    the dataset has the classes and pictures that were asked for.

    Raises:
        EvpError: the label map, the canvas, the border, a template, the local weights or a search
            for the learning rate cannot be.
    """
    settings, is_classifier = request.settings, entry.kind != "clip"
    if settings.accumulate > settings.batch_size:
        raise UsageError(
            "a batch cannot be divided into more parts than it has pictures",
            found=f"--accumulate {settings.accumulate}, batch size {settings.batch_size}",
        )
    settle_map_kind(
        settings.label_map, entry.name, is_classifier=is_classifier, residual=settings.residual
    )
    if request.templates:
        check_templates(request.templates)
    own_px, any_size = entry.canvas_px, is_classifier
    if request.weights and entry.kind == "timm":
        source = find_timm_source(Path(request.weights), entry.architecture)
        own_px = source.cfg_changes.get("input_size", (3, own_px))[1]
        any_size = not source.is_fixed_size
    elif request.weights:
        check_weights_file(Path(request.weights))
    if own_px or (any_size and settings.canvas_px):
        canvas_px = settle_canvas(entry.name, own_px, settings.canvas_px, any_size=any_size)
        FrameGeometry.for_canvas(canvas_px, settings.border_px)
    if request.find_lr:
        check_search_split("test" if settings.protocol == "paper" else "val")


def foresee_mirroring(request: FitRequest) -> str:
    """Whether training will mirror images at random, in words.

    Raises:
        UsageError: the dataset is a folder without classes.
    """
    settings = request.settings
    if settings.augment == "none":
        return "not mirrored"
    if settings.flip is not None:
        return "mirrored at random" if settings.flip else "not mirrored"
    spec = find_dataset_spec(request.dataset)
    if spec is not None:
        return "mirrored at random" if spec.flip else "not mirrored"
    from evpcli.engine.datasets.folder_scan import name_class_folders

    reason = explain_no_mirroring(name_class_folders(find_own_folder(request.dataset).path))
    return f"not mirrored ({reason})" if reason else "mirrored at random"


def check_early_parent(parent: Manifest, request: FitRequest, entry: BackboneEntry) -> None:
    """Refuse a prompt to start from that is for another backbone, canvas or border.

    Raises:
        IncompatibleError: names what differs.
    """
    if parent.backbone.name != entry.name:
        raise IncompatibleError(
            "the prompt to start from was trained for another backbone",
            found=f"prompt: {parent.backbone.name}, this fit: {entry.name}",
            hint=f"use -b {parent.backbone.name}, or leave --from out",
        )
    settings = request.settings
    canvas_px = settings.canvas_px or entry.canvas_px
    if canvas_px:
        composition: Composition = "overlay" if settings.method == "vp" else "frame"
        geometry = FrameGeometry.for_canvas(canvas_px, settings.border_px, composition)
        check_parent_geometry(parent, geometry)


def check_parent_geometry(parent: Manifest, geometry: FrameGeometry) -> None:
    """Refuse a prompt to start from whose canvas, border or composition is another.

    Raises:
        IncompatibleError: names which.
    """
    own = parent.to_geometry()
    methods = {"frame": "evp", "overlay": "vp"}
    for what, theirs, ours, option in (
        ("canvas", own.canvas_px, geometry.canvas_px, "--canvas"),
        ("border", own.border_px, geometry.border_px, "--border"),
        ("method", methods[own.composition], methods[geometry.composition], "--method"),
    ):
        if theirs != ours:
            unit = "" if what == "method" else " px"
            raise IncompatibleError(
                f"the prompt to start from has another {what}",
                found=f"prompt: {theirs}{unit}, this fit: {ours}{unit}",
                hint=f"use {option} {theirs}, or leave --from out",
            )


def check_search_split(split: SplitName) -> None:
    """Refuse to search the learning rate on the pictures that the result is measured on.

    Raises:
        UsageError: the split is not `val`.
    """
    if split != "val":
        raise UsageError(
            "the learning rate cannot be searched on test",
            hint="give --lr a number, or use --protocol validation",
        )


def settle_map_kind(
    asked: LabelMapKind | None, backbone: str, *, is_classifier: bool, residual: bool = False
) -> LabelMapKind:
    """The label map that was asked for, or what the backbone needs.

    Args:
        asked: what the user wants, if anything.
        backbone: its name, for errors.
        is_classifier: whether it has classes of its own; a CLIP has none.
        residual: whether a residual matrix is asked for, too.

    Raises:
        UsageError: a CLIP takes no map, a classifier cannot do without, or a residual matrix is
            asked for behind a map that does not stay as it is.
    """
    if residual and asked not in (None, "none", "frequency"):
        raise UsageError(
            "a residual matrix is learned behind the frequency map only",
            found=f"--label-map {asked}",
            hint="leave --residual or --label-map away",
        )
    if not is_classifier:
        if asked not in (None, "none"):
            raise UsageError(
                f"{backbone} is asked about the task's own classes and needs no label map",
                found=f"--label-map {asked}",
                hint="leave --label-map away; --residual learns a matrix behind a CLIP",
            )
        return "none"
    if asked == "none":
        raise UsageError(
            f"{backbone} knows its own classes only and needs a label map",
            hint="leave --label-map away for the frequency map",
        )
    return asked or "frequency"
