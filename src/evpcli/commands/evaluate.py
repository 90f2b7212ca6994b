"""`evp evaluate`: accuracy without and with a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from evpcli.commands import terminal
from evpcli.commands.configuration import apply_configuration
from evpcli.commands.downloads import announce_downloads
from evpcli.commands.measurements import describe_measurements, show_measurements
from evpcli.commands.options import BadImagesOption, DeviceOption, JsonOption, OfflineOption
from evpcli.domain.errors import CheckFailedError, UsageError
from evpcli.domain.manifest import Measurement
from evpcli.engine.backbones.catalog import check_asked_backbone
from evpcli.engine.storage.paths import find_registry
from evpcli.engine.storage.registry import Registry

if TYPE_CHECKING:
    from evpcli.engine.assessing import Assessment
    from evpcli.engine.prompt_files.prompt_file import StoredPrompt


_PromptArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[PROMPT]",
        help="DATASET/BACKBONE[:vN|:TAG], a digest prefix, or a prompt file; the newest prompt "
        "when left out.",
        show_default=False,
    ),
]
_DatasetOption = Annotated[
    str | None, typer.Option("-d", "--dataset", help="Other pictures of the same classes.")
]
_SplitOption = Annotated[Literal["train", "val", "test"], typer.Option(help="Which pictures.")]
_PerClassOption = Annotated[
    bool, typer.Option("--per-class", help="One row a class instead of one a measurement.")
]
_BackboneOption = Annotated[
    str | None,
    typer.Option("-b", "--backbone", help="Must be the prompt's own; refused otherwise."),
]
_WeightsOption = Annotated[
    Path | None, typer.Option(help="Local safetensors checkpoint in place of the published one.")
]
_MinimumOption = Annotated[
    str | None,
    typer.Option("--min", metavar="top1=0.85", help="Exit 7 if the prompt scores below."),
]
_BatchSizeOption = Annotated[int, typer.Option(min=1, help="Images at a time.")]
_WorkersOption = Annotated[int, typer.Option(min=1, help="Threads that decode.")]
_ConfigOption = Annotated[
    Path | None, typer.Option(callback=apply_configuration, is_eager=True, help="TOML file.")
]


def evaluate(
    prompt: _PromptArgument = None,
    dataset: _DatasetOption = None,
    split: _SplitOption = "test",
    per_class: _PerClassOption = False,
    backbone: _BackboneOption = None,
    weights: _WeightsOption = None,
    minimum: _MinimumOption = None,
    batch_size: _BatchSizeOption = 64,
    workers: _WorkersOption = 2,
    bad_images: BadImagesOption = "error",
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
    config: _ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Measure accuracy without the prompt, on a black border, and with the prompt."""
    floor = _parse_minimum(minimum)
    from evpcli.engine.assessing import AssessRequest, assess_prompt, find_dataset_of
    from evpcli.engine.prompt_files.opening import find_newest, open_prompt

    registry = Registry(find_registry())
    text = prompt or find_newest(registry)
    stored = open_prompt(text, registry)
    check_asked_backbone(stored.manifest, backbone)
    request = AssessRequest(
        dataset, split, weights, device, batch_size, workers, offline, bad_images
    )
    announce_downloads(
        dataset or find_dataset_of(stored.manifest),
        stored.manifest.backbone.name,
        has_weights=weights is not None,
        offline=offline,
    )
    terminal.note(f"measuring {text} on {split}")
    found = assess_prompt(stored, request)
    metrics = found.comparison.to_measurements(split)
    if not found.is_same_data:
        terminal.warn(
            f"these are not the pictures of {stored.manifest.dataset.name} it learned from"
        )
    if json:
        terminal.show_json(_describe(text, stored, found, metrics, split))
    elif per_class:
        _show_classes(found)
    else:
        show_measurements(metrics, stored.manifest.selection)
        _note_conditions(stored)
    _check_minimum(metrics, floor)


def _note_conditions(stored: StoredPrompt) -> None:
    manifest = stored.manifest
    names = ", ".join(manifest.class_names[:3]) + (", ..." if len(manifest.class_names) > 3 else "")
    terminal.note(
        f"{len(manifest.templates)} template(s), first: {manifest.templates[0]!r}; "
        f"{len(manifest.class_names)} classes: {names}"
        if manifest.templates
        else f"{len(manifest.class_names)} classes: {names}"
    )


def _show_classes(found: Assessment) -> None:
    rows = []
    for c in found.classes:
        low, high = c.prompted.interval
        shares = (f"{100 * a.value:.1f}" for a in (c.zero_shot, c.blank, c.prompted))
        rows.append((c.name, c.prompted.n, *shares, f"{100 * low:.1f} to {100 * high:.1f}"))
    terminal.show_rows(
        ("class", "n", "zero-shot %", "blank %", "prompted %", "95 % interval"), rows
    )


def _describe(
    text: str,
    stored: StoredPrompt,
    found: Assessment,
    metrics: tuple[Measurement, ...],
    split: str,
) -> dict[str, Any]:
    manifest = stored.manifest
    return {
        "prompt": text,
        "digest": stored.digest,
        "dataset": found.dataset.name,
        "split": split,
        "same_data": found.is_same_data,
        "selection": manifest.selection and manifest.selection.model_dump(),
        "templates": list(manifest.templates),
        "metrics": describe_measurements(metrics),
        "classes": [
            {
                "name": c.name,
                "n": c.prompted.n,
                "zero_shot": c.zero_shot.value,
                "blank": c.blank.value,
                "prompted": c.prompted.value,
                "prompted_interval": list(c.prompted.interval),
            }
            for c in found.classes
        ],
    }


def _parse_minimum(text: str | None) -> float | None:
    if text is None:
        return None
    name, _, value = text.partition("=")
    try:
        floor = float(value)
    except ValueError:
        floor = -1.0
    if name != "top1" or not 0 <= floor <= 1:
        raise UsageError("--min takes top1= and a share from 0 to 1", found=repr(text[:40]))
    return floor


def _check_minimum(metrics: tuple[Measurement, ...], floor: float | None) -> None:
    top1 = next(m.top1 for m in metrics if m.what == "prompted")
    if floor is not None and top1 < floor:
        raise CheckFailedError(
            "the prompted accuracy is below the minimum", found=f"{top1:.4f} < {floor:g}"
        )
