"""`evp evaluate`: accuracy without and with a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from evpcli.commands.config_notes import tell_sources
from evpcli.commands.downloads import announce_downloads
from evpcli.commands.loaded_prompts import has_local_weights, open_checked
from evpcli.commands.options.completion import (
    complete_baselines,
    complete_corruptions,
    complete_datasets,
    complete_prompts,
)
from evpcli.commands.options.config_files import apply_configuration
from evpcli.commands.options.shared import (
    DECODING_THREADS,
    BadImagesOption,
    DeviceOption,
    FlexibleBatchOption,
    JsonOption,
    OfflineOption,
    StoreOption,
    WorkersOption,
    parse_batch_size,
)
from evpcli.commands.output import terminal
from evpcli.commands.output.left_out import describe_left_out
from evpcli.commands.output.measurements import (
    describe_measurements,
    show_measurements,
    warn_of_uneven_classes,
)
from evpcli.commands.output.progress import WorkDisplay
from evpcli.domain.counts import list_some, say_count
from evpcli.domain.errors import CheckFailedError, UsageError
from evpcli.domain.manifest import Measurement
from evpcli.domain.names import suggest
from evpcli.domain.settings import BASELINES, Baseline
from evpcli.engine.files.paths import find_registry
from evpcli.engine.images.corruption_names import CORRUPTION_NAMES, parse_corruption
from evpcli.engine.prompts.registry.registry import Registry

if TYPE_CHECKING:
    from evpcli.engine.evaluation.evaluate_prompt import Assessment, AssessRequest
    from evpcli.engine.prompts.prompt_file import StoredPrompt


_MINIMA = ("top1", "mean_per_class")
_PER_CLASS_HEADERS = ("blank %", "prompted %", "95 % interval")

_PromptArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[PROMPT]",
        help="DATASET/BACKBONE[:vN|:TAG], a digest prefix, or a prompt file; the newest prompt "
        "when left out.",
        show_default=False,
        autocompletion=complete_prompts,
    ),
]
_DatasetOption = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--dataset",
        help="Other pictures of the same classes.",
        autocompletion=complete_datasets,
    ),
]
_SplitOption = Annotated[Literal["train", "val", "test"], typer.Option(help="Which pictures.")]
_PerClassOption = Annotated[
    bool, typer.Option("--per-class", help="Also a second table with one row a class.")
]
_BackboneOption = Annotated[
    str | None,
    typer.Option("-b", "--backbone", help="Must be the prompt's own; refused otherwise."),
]
_WeightsOption = Annotated[
    Path | None, typer.Option(help="Local checkpoint in place of the published one.")
]
_BaselineOption = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="LIST",
        autocompletion=complete_baselines,
        help="Also measure these, comma separated: noise (a random border of equal norm), "
        "linear-probe; zero-shot and blank are always there.",
    ),
]
_ThroughPngOption = Annotated[
    bool,
    typer.Option(
        "--through-png", help="Also measure the prompt clipped to [0, 1] and rounded to 8 bits."
    ),
]
_CorruptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--corrupt",
        metavar="NAME:1..5",
        autocompletion=complete_corruptions,
        help="Also measure corrupted pictures; repeat for more. NAME is one of "
        + ", ".join(CORRUPTION_NAMES)
        + ".",
        show_default=False,
    ),
]
_MinimumOption = Annotated[
    str | None,
    typer.Option(
        "--min",
        metavar="top1=0.85",
        help="Exit 7 if the prompt scores below; or mean_per_class=0.85.",
    ),
]
_ConfigOption = Annotated[
    Path | None, typer.Option(callback=apply_configuration, is_eager=True, help="TOML file.")
]


def evaluate(
    context: typer.Context,
    prompt: _PromptArgument = None,
    dataset: _DatasetOption = None,
    split: _SplitOption = "test",
    per_class: _PerClassOption = False,
    baseline: _BaselineOption = None,
    through_png: _ThroughPngOption = False,
    corrupt: _CorruptOption = None,
    backbone: _BackboneOption = None,
    weights: _WeightsOption = None,
    minimum: _MinimumOption = None,
    batch_size: FlexibleBatchOption = "auto",
    workers: WorkersOption = DECODING_THREADS,
    store: StoreOption = True,
    bad_images: BadImagesOption = "error",
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
    config: _ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Measure accuracy without the prompt, on a black border, and with the prompt.

    Of another dataset's pictures those count whose class has the same name.
    """
    tell_sources(context)
    floor, baselines = _parse_minimum(minimum), _parse_baselines(baseline)
    size = parse_batch_size(batch_size)
    corruptions = tuple(dict.fromkeys(parse_corruption(text) for text in corrupt or ()))
    from evpcli.engine.evaluation.evaluate_prompt import AssessRequest
    from evpcli.engine.prompts.opening import find_newest

    text = prompt or find_newest(Registry(find_registry()))
    stored = open_checked(text, backbone)
    request = AssessRequest(
        dataset=dataset,
        split=split,
        weights=weights,
        device=device,
        batch_size=size,
        threads=workers,
        offline=offline,
        bad_images=bad_images,
        baselines=baselines,
        through_png=through_png,
        corruptions=corruptions,
        store=store,
    )
    found = _measure(stored, text, request)
    metrics = found.comparison.to_measurements(split) + found.more
    _warn(stored, found, request)
    if json:
        terminal.show_json(_describe(text, stored, found, metrics, split))
    else:
        _show(stored, found, metrics, per_class=per_class)
    _check_minimum(metrics, floor)


def _measure(stored: StoredPrompt, text: str, request: AssessRequest) -> Assessment:
    """Say what is downloaded and measured, and measure it, in one process or several."""
    from evpcli.engine.compute.distributed import join_world
    from evpcli.engine.evaluation.evaluate_prompt import assess_prompt, find_dataset_of

    announce_downloads(
        request.dataset or find_dataset_of(stored.manifest),
        stored.manifest.backbone.name,
        has_weights=has_local_weights(stored, request.weights),
        offline=request.offline,
    )
    doing = f"measuring {text} on {request.split}"
    terminal.note(doing)
    with WorkDisplay(terminal.printable(doing)) as display, join_world(request.device) as world:
        return assess_prompt(stored, request, display.show, world)


def _show(
    stored: StoredPrompt,
    found: Assessment,
    metrics: tuple[Measurement, ...],
    *,
    per_class: bool,
) -> None:
    show_measurements(metrics, stored.manifest.selection)
    if per_class:
        terminal.show_text("")
        _show_classes(found)
    _note_conditions(stored, found)


def _warn(stored: StoredPrompt, found: Assessment, request: AssessRequest) -> None:
    """Say what speaks against taking the accuracies as they stand."""
    _note_other_data(stored, found)
    full, prompted = found.comparison.full, found.comparison.prompted
    warn_of_uneven_classes(
        prompted.to_measurement("prompted", request.split),
        full.to_measurement(found.comparison.baseline, request.split),
    )
    if request.split == "train":
        _warn_of_learned_pictures(found, request.baselines)


def _note_other_data(stored: StoredPrompt, found: Assessment) -> None:
    """Say where the pictures are not those that the prompt was learned with."""
    manifest, shared = stored.manifest, found.shared
    if set(found.dataset.splits) == {"test"}:
        images = say_count(len(found.dataset.splits["test"]), "image")
        terminal.note(f"{found.dataset.name} has no splits: all its {images} are measured")
    if found.is_same_data:
        return
    terminal.warn(f"these are not the pictures of {manifest.dataset.name} it learned from")
    if shared:
        terminal.note(
            f"classes shared: {len(shared.kept)} of its {len(manifest.class_names)}; only these "
            f"are asked about, and {len(shared.only_here)} of {found.dataset.name} left out"
        )
    own = manifest.find_measurement("prompted")
    if own:
        terminal.note(
            f"on its own test split it reached {100 * own.top1:.1f} % (n = {own.n}) of "
            f"{len(manifest.class_names)} classes"
        )


def _warn_of_learned_pictures(found: Assessment, baselines: tuple[Baseline, ...]) -> None:
    learners = ["the prompt"] if found.is_same_data else []
    if "linear-probe" in baselines:
        learners.append("the linear probe")
    if learners:
        who = " and ".join(learners)
        terminal.warn(
            f"these are training images of {who}, so this accuracy is too high; use --split test"
        )


def _note_conditions(stored: StoredPrompt, found: Assessment) -> None:
    manifest, names = stored.manifest, found.class_names
    parts = []
    if manifest.label_map and manifest.label_map.kind != "none":
        parts.append(f"label map {manifest.label_map.kind}")
    elif manifest.descriptions:
        parts.append(f"descriptions, mean of the best {manifest.descriptions.best_of}")
    elif manifest.templates:
        count = say_count(len(manifest.templates), "template:", "templates, first:")
        parts.append(f"{count} {manifest.templates[0]!r}")
    some = list_some(names, 3)
    terminal.note("; ".join([*parts, f"{say_count(len(names), 'class', 'classes')}: {some}"]))


def _show_classes(found: Assessment) -> None:
    rows = []
    for c in found.classes:
        low, high = c.prompted.interval
        shares = (f"{100 * a.value:.1f}" for a in (c.full, c.blank, c.prompted))
        rows.append((c.name, c.prompted.n, *shares, f"{100 * low:.1f} to {100 * high:.1f}"))
    terminal.show_rows(
        ("class", "n", f"{found.comparison.baseline} %", *_PER_CLASS_HEADERS),
        rows,
        drops=("blank %", "n"),
        wraps=("class",),
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
        "split_rule": found.dataset.split_rule,
        "same_data": found.is_same_data,
        "class_names": list(found.class_names),
        "classes_left_out": {
            "of_dataset": list(found.shared.only_here) if found.shared else [],
            "of_prompt": list(found.shared.only_there) if found.shared else [],
        },
        "selection": manifest.selection and manifest.selection.model_dump(),
        "templates": list(manifest.templates),
        "metrics": describe_measurements(metrics),
        **describe_left_out(found.dataset),
        "classes": [
            {
                "name": c.name,
                "n": c.prompted.n,
                found.comparison.baseline.replace("-", "_"): c.full.value,
                "blank": c.blank.value,
                "prompted": c.prompted.value,
                "prompted_interval": list(c.prompted.interval),
            }
            for c in found.classes
        ],
    }


def _parse_baselines(text: str | None) -> tuple[Baseline, ...]:
    wanted = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in wanted:
        if name not in BASELINES:
            near = suggest(name, BASELINES)
            raise UsageError(
                "no such baseline", found=name[:80], hint=near or f"use {', '.join(BASELINES)}"
            )
    return tuple(name for name in BASELINES if name in wanted)


def _parse_minimum(text: str | None) -> tuple[str, float] | None:
    if text is None:
        return None
    name, _, value = text.partition("=")
    try:
        floor = float(value)
    except ValueError:
        floor = -1.0
    if name not in _MINIMA or not 0 <= floor <= 1:
        raise UsageError(
            f"--min takes {'= or '.join(_MINIMA)}= and a share from 0 to 1", found=repr(text[:40])
        )
    return name, floor


def _check_minimum(metrics: tuple[Measurement, ...], minimum: tuple[str, float] | None) -> None:
    if minimum is None:
        return
    name, floor = minimum
    prompted = next(m for m in metrics if (m.what, m.condition) == ("prompted", ""))
    value = prompted.top1 if name == "top1" else prompted.mean_per_class
    if value is None or value < floor:
        shown = "not measured" if value is None else f"{value:.4f}"
        raise CheckFailedError(
            f"{'the prompted' if name == 'top1' else 'the mean per-class'} accuracy is below the "
            "minimum",
            found=f"{shown} < {floor:g}",
        )
