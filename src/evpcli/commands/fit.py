"""`evp fit`: learn a prompt and keep it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from evpcli.commands.backbone_choice import warn_of_toy
from evpcli.commands.config_notes import tell_sources
from evpcli.commands.fit_request import build_request, read_extension
from evpcli.commands.options import fit as options
from evpcli.commands.options.shared import (
    DECODING_THREADS,
    BadImagesOption,
    DeviceOption,
    JsonOption,
    OfflineOption,
    StoreOption,
)
from evpcli.commands.output import terminal
from evpcli.commands.output.left_out import describe_left_out
from evpcli.commands.output.measurements import (
    describe_measurements,
    show_measurements,
    warn_of_uneven_classes,
)
from evpcli.commands.output.progress import FitDisplay
from evpcli.commands.output.signals import StopSignals
from evpcli.commands.stdout_file import check_stdout, is_stdout
from evpcli.domain.card import compare_with_probe, describe_gain
from evpcli.domain.counts import say_count
from evpcli.domain.errors import StorageError, UsageError
from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.manifest import LOCAL_WEIGHTS, ONE_TO_ONE, Manifest
from evpcli.domain.names import check_tag
from evpcli.domain.settings import Extension, FitRequest
from evpcli.engine.backbones.catalog import find_entry
from evpcli.engine.fitting.checks import check_early, foresee_mirroring
from evpcli.engine.fitting.downloads import check_offline, list_downloads
from evpcli.engine.rendering.output_names import check_replaceable

if TYPE_CHECKING:
    from evpcli.engine.fitting.publish import FitOutcome


_FEW = 50
"""Below this, one picture is more than two points of accuracy."""


def fit(
    context: typer.Context,
    dataset: options.DatasetOption = None,
    backbone: options.BackboneOption = None,
    weights: options.WeightsOption = None,
    method: options.MethodOption = "evp",
    preset: options.PresetOption = "default",
    canvas: options.CanvasOption = None,
    border: options.BorderOption = None,
    label_map: options.LabelMapOption = None,
    lr: options.LrOption = None,
    epochs: options.EpochsOption = None,
    batch_size: options.BatchSizeOption = None,
    augment: options.AugmentOption = None,
    flip: options.FlipOption = None,
    project: options.ProjectOption = False,
    protocol: options.ProtocolOption = "validation",
    init: options.InitOption = None,
    gradient_norm: options.NormOption = "l2",
    norm_area: options.NormAreaOption = "canvas",
    residual: options.ResidualOption = False,
    descriptions: options.DescriptionsOption = None,
    best_of: options.BestOfOption = 3,
    shots: options.ShotsOption = None,
    fraction: options.FractionOption = None,
    val_fraction: options.ValFractionOption = 0.1,
    split_seed: options.SplitSeedOption = 0,
    template: options.TemplateOption = None,
    templates: options.TemplatesOption = None,
    classnames: options.ClassNamesOption = None,
    bad_images: BadImagesOption = "error",
    name: options.NameOption = None,
    seed: options.SeedOption = 0,
    workers: options.WorkersOption = DECODING_THREADS,
    store: StoreOption = True,
    accumulate: options.AccumulateOption = 1,
    precision: options.PrecisionOption = "auto",
    compile: options.CompileOption = False,
    patience: options.PatienceOption = None,
    max_time: options.MaxTimeOption = None,
    parent: options.ParentOption = None,
    resume: options.ResumeOption = None,
    dry_run: options.DryRunOption = False,
    probe: options.ProbeOption = True,
    output: options.OutputOption = None,
    force: options.ForceOption = False,
    tag: options.TagOption = None,
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
    config: options.ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Learn a prompt for a dataset and a frozen backbone, and keep it in the registry."""
    _check_result_options(output, force=force, tag=tag, json=json)
    request, extension = None, None
    if resume:
        extension = read_extension(context)
    else:
        request = build_request(context)
        tell_sources(context, request.sources)
        _show_plan(request)
        if dry_run:
            _rehearse(request, json=json)
            return
    outcome = _run(request, resume, extension)
    if outcome is None:
        return
    output, tag = _settle_results(outcome, output, tag, force=force)
    _show_outcome(outcome, output, _name_weights(outcome, request), json=json)
    _keep_extra(outcome, output, tag)


def _rehearse(request: FitRequest, *, json: bool) -> None:
    """Check device, precision and images as the fit would, and say what there is."""
    from evpcli.engine.fitting.rehearsal import rehearse

    dataset = rehearse(request)
    left_out = describe_left_out(dataset)
    if json:
        terminal.show_json({**request.model_dump(), **left_out})
    elif dataset:
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in dataset.splits.items())
        classes = say_count(len(dataset.class_names), "class", "classes")
        terminal.note(f"images: {sizes}, in {classes}")
    for warning in left_out["warnings"]:
        terminal.warn(warning)


def _check_result_options(output: Path | None, *, force: bool, tag: str | None, json: bool) -> None:
    """Refuse a bad output or tag before anything is trained."""
    if tag is not None:
        check_tag(tag)
    if output is None:
        return
    if is_stdout(output):
        check_stdout(taken_by="--json" if json else None)
        return
    if output.suffix != ".pt" or not os.path.isdir(output.parent):
        raise UsageError("the output must be a .pt file in a folder that exists", found=str(output))
    check_replaceable([output], force)


def _settle_results(
    outcome: FitOutcome, output: Path | None, tag: str | None, *, force: bool
) -> tuple[Path | None, str | None]:
    """The file and the tag that were asked for now, or else when the run began.

    Raises:
        UsageError: the file has come to be since then; the prompt is kept.
    """
    wanted = outcome.request
    if wanted is None:
        return output, tag
    if output is None and wanted.output:
        output = Path(wanted.output)
        if os.path.lexists(output) and not (force or wanted.replace_output):
            raise UsageError(
                "the output that the run was started with exists by now",
                found=str(output),
                hint=f"the prompt is kept: evp export {outcome.entry.ref} -o FILE",
            )
    return output, tag or wanted.tag


def _show_plan(request: FitRequest) -> None:
    """Say what will be done and downloaded, before torch is loaded."""
    entry, settings = find_entry(request.backbone), request.settings
    downloads = list_downloads(request.dataset, entry, has_weights=request.weights is not None)
    check_early(request, entry)
    check_offline(downloads, offline=request.offline)
    canvas_px = settings.canvas_px or entry.canvas_px
    if canvas_px:
        geometry = FrameGeometry.for_canvas(canvas_px, settings.border_px)
        frame = f"border {geometry.border_px} of {geometry.canvas_px} px"
    else:
        frame = f"border {settings.border_px or '30/224 of the canvas'}"
    rate = "lr searched" if request.find_lr else f"lr {settings.lr:g}"
    chosen_by = "test (paper protocol)" if settings.protocol == "paper" else "validation"
    fetched = ", ".join(f"{d.what} ({d.size})" for d in downloads) or "nothing"
    method = "" if settings.method == "evp" else f"{settings.method}, "
    mirrored = foresee_mirroring(request)
    start = f", starting from {request.parent}" if request.parent else ""
    named = request.dataset_name
    pictures = f"{named} ({request.dataset})" if named else request.dataset
    warning = warn_of_toy(request.dataset, entry.name)
    if warning:
        terminal.warn(warning)
    terminal.note(
        f"plan: {pictures} -> {entry.name}, {method}{frame}, {rate}, "
        f"epochs {settings.epochs}, "
        f"batch {settings.batch_size}, {mirrored}, selected on {chosen_by}, "
        f"seed {settings.seed}{start}; "
        f"to download: {fetched}"
    )


def _run(
    request: FitRequest | None, resume: str | None, extension: Extension | None
) -> FitOutcome | None:
    """The outcome; nothing in a process that helps another one."""
    from evpcli.engine.compute.distributed import join_world
    from evpcli.engine.files.paths import find_runs
    from evpcli.engine.fitting.fit import FitHooks, fit_together, resume_together
    from evpcli.engine.fitting.resume import find_launched, read_device

    runs = find_runs()
    name, or_finished = resume or "last", extension is not None
    device = request.device if request else read_device(name, runs, or_finished=or_finished)
    with StopSignals() as signals, FitDisplay(signals) as display, join_world(device) as world:
        hooks = FitHooks(on_event=display.show, stop_signal=signals.read)
        if not world.is_alone:
            terminal.note(f"{world.size} processes share every batch")
        if request is None:
            return resume_together(name, world, hooks, extension=extension)
        launched = find_launched(runs, world)
        if launched is None:
            return fit_together(request, world, hooks)
        if launched.is_finished:
            terminal.note(f"run {launched.id} had finished before torchrun started again")
            return None
        return resume_together(launched.id, world, hooks)


def _keep_extra(outcome: FitOutcome, output: Path | None, tag: str | None) -> None:
    from evpcli.engine.files.durable import write_result
    from evpcli.engine.files.paths import find_registry
    from evpcli.engine.prompts.registry.registry import Registry

    if tag is not None:
        Registry(find_registry(), terminal.note).tag(outcome.entry, tag)
        terminal.note(f"tagged {outcome.entry.key}:{tag}")
    if output is None:
        return
    if is_stdout(output):
        terminal.write_bytes(outcome.data)
        return
    try:
        write_result(output, outcome.data)
        terminal.note(f"written: {output}")
    except StorageError as error:
        raise StorageError(
            error.what,
            found=error.found,
            hint=f"the prompt is kept: make room, then evp export {outcome.entry.ref} -o {output}",
        ) from error


def _show_outcome(
    outcome: FitOutcome, output: Path | None, weights: str | None, *, json: bool
) -> None:
    """Write the measurements, and say on stderr what was filed and what can be done next."""
    entry, manifest = outcome.entry, outcome.entry.manifest
    if json:
        terminal.show_json(
            {
                "prompt": str(entry.ref),
                "digest": entry.digest,
                "output": None if output is None else str(output),
                "selection": manifest.selection and manifest.selection.model_dump(),
                "metrics": describe_measurements(manifest.metrics),
                "elapsed_s": manifest.provenance.elapsed_s,
                **describe_left_out(outcome.dataset),
            }
        )
        return
    if not is_stdout(output):
        show_measurements(manifest.metrics, manifest.selection)
    terminal.note(f"saved {entry.ref} ({entry.digest[:12]})")
    if gain := describe_gain(manifest):
        terminal.note(gain)
    if beside := compare_with_probe(manifest):
        terminal.note(beside)
    _warn_if_useless(manifest)
    if manifest.label_map and manifest.label_map.kind in ONE_TO_ONE:
        terminal.note(
            "a map that weighs all of the model's classes usually gives more than one class each: "
            "the same command with --label-map bayesian+"
        )
    own = f" --weights {shlex.quote(weights)}" if weights else ""
    terminal.note(f"next: evp inspect {entry.ref}; evp apply {entry.ref} IMAGE --predict{own}")


def _name_weights(outcome: FitOutcome, request: FitRequest | None) -> str | None:
    """What `--weights` must say to use the prompt; nothing where its weights are published."""
    if outcome.entry.manifest.backbone.weights != LOCAL_WEIGHTS:
        return None
    return (request.weights if request else None) or "FILE"


def _warn_if_useless(manifest: Manifest) -> None:
    """Say where the numbers do not speak for the prompt, by the pictures that selected it."""
    split = manifest.selection.split if manifest.selection else "val"
    prompted = manifest.find_measurement("prompted", split)
    plain = manifest.find_measurement(manifest.baseline, split)
    if not (prompted and plain):
        return
    if prompted.n < _FEW:
        kind = {"val": "validation"}.get(split, split)
        count = say_count(prompted.n, f"{kind} image")
        terminal.warn(f"only {count} chose this prompt, so it may not be the best one")
    if prompted.top1 <= plain.top1:
        terminal.warn(
            f"on {split} the prompt is no better than the full picture without it "
            f"({100 * prompted.top1:.1f} % against {100 * plain.top1:.1f} %)"
        )
    else:
        warn_of_uneven_classes(prompted, plain)
