"""`evp inspect`: what a prompt file says, its numbers, and pictures of it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evpcli.commands.options.completion import complete_prompts
from evpcli.commands.options.shared import JsonOption
from evpcli.commands.output import terminal
from evpcli.commands.output.measurements import describe_kept, shorten_stamp
from evpcli.domain.counts import say_count
from evpcli.domain.curve import describe_curve
from evpcli.domain.errors import NotFoundError, UsageError
from evpcli.domain.manifest import LOCAL_WEIGHTS
from evpcli.domain.reference import FileRef, parse_prompt_ref
from evpcli.engine.files.durable import check_target
from evpcli.engine.rendering.output_names import check_replaceable

if TYPE_CHECKING:
    from evpcli.domain.manifest import Manifest
    from evpcli.engine.prompts.prompt_file import StoredPrompt
    from evpcli.engine.rendering.figure import Example
    from evpcli.engine.rendering.prompt_statistics import BorderStatistics

_PREVIEW_COLUMNS, _SMALL_PREVIEW_COLUMNS = 64, 16
_ACCURACY_HEADERS = (
    *("split", "input", "n", "top1_%", "low_%", "high_%", "per_class_%", "top5_%"),
    "selection",
)
_LIVE_HEADERS = (*_ACCURACY_HEADERS[:3], "top-1 %", "low", "high", "per class", "top-5", "selected")
_STATISTICS_HEADERS = ("side", "channel", "min", "max", "mean", "std", "outside_%", "l2")

PromptOrNewest = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT",
        help="DATASET/BACKBONE[:vN|:TAG], a digest prefix, or a prompt file; "
        "the newest prompt if left out.",
        show_default=False,
        autocompletion=complete_prompts,
    ),
]
PngOption = Annotated[
    Path | None, typer.Option("--png", metavar="FILE", help="Write a figure of everything.")
]
HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a report that needs no other file."),
]
ImageOption = Annotated[
    Path | None,
    typer.Option("--image", metavar="FILE", help="Show this image before and after in both."),
]
AllOption = Annotated[
    bool,
    typer.Option(
        "--all",
        help="On a terminal: everything else too, from settings to border values. "
        "A pipe always has all.",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


def inspect_prompt(
    prompt: PromptOrNewest = None,
    png: PngOption = None,
    html: HtmlOption = None,
    image: ImageOption = None,
    everything: AllOption = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a prompt is for, how well it does, and what its pixels look like.

    Accuracies are those that were measured when the prompt was made;
    evp evaluate takes new ones.
    """
    outputs = _check_outputs(png, html, image, force)
    ref, stored = _open(prompt)
    example = _load_example(stored, image) if image else None
    contents = _draw_outputs(stored, ref, outputs, example)
    if as_json:
        terminal.show_json(_to_json(stored, ref, outputs))
    else:
        _show_card(stored, ref, everything)
    _write_outputs(contents)


def _check_outputs(
    png: Path | None, html: Path | None, image: Path | None, force: bool
) -> dict[str, Path]:
    asked = {"png": (png, (".png",)), "html": (html, (".html", ".htm"))}
    for option, (path, endings) in asked.items():
        if path and path.suffix.lower() not in endings:
            raise UsageError(f"--{option} needs a name that ends in {endings[0]}", found=str(path))
    outputs = {option: path for option, (path, _) in asked.items() if path}
    if image and not outputs:
        raise UsageError("--image is shown in a figure or a report", hint="add --png or --html")
    for option, path in outputs.items():
        check_replaceable([path], force, [image] if image else [], option=f"--{option}")
        check_target(path)
    return outputs


def _open(prompt: str | None) -> tuple[str, StoredPrompt]:
    """The prompt and the exact name of its version."""
    from evpcli.engine.files.paths import find_registry
    from evpcli.engine.prompts.opening import find_newest, open_prompt
    from evpcli.engine.prompts.registry.registry import Registry

    registry = Registry(find_registry())
    if prompt is None:
        ref = find_newest(registry)
        faults = registry.survey().faults
        if faults:
            terminal.warn(
                f"{say_count(len(faults), 'damaged part')} of the registry: see evp verify"
            )
    else:
        parsed = parse_prompt_ref(prompt)
        ref = prompt if isinstance(parsed, FileRef) else str(registry.find(parsed).ref)
    return ref, open_prompt(ref, registry)


def _load_example(stored: StoredPrompt, image: Path) -> Example:
    from evpcli.engine.files.durable import has_name
    from evpcli.engine.images.decoder import decode_picture, load_square
    from evpcli.engine.rendering.figure import Example

    if not has_name(image):
        raise NotFoundError("no such image", found=str(image), hint="check the path")
    decoded = decode_picture(image)
    if decoded.note:
        terminal.warn(decoded.note)
    window = stored.manifest.to_geometry().image_px
    interpolation = stored.manifest.preprocessing.interpolation
    return Example(decoded.image, load_square(decoded.image, window, interpolation))


def _draw_outputs(
    stored: StoredPrompt, ref: str, outputs: Mapping[str, Path], example: Example | None
) -> dict[Path, bytes]:
    contents = {}
    if "png" in outputs:
        from evpcli.engine.rendering.figure import draw_figure

        prompt = stored.to_visual_prompt()
        contents[outputs["png"]] = draw_figure(prompt, stored.manifest, ref, example)
    if "html" in outputs:
        from evpcli.engine.rendering.report import render_report

        page = render_report(stored, ref, example)
        contents[outputs["html"]] = page.encode("utf-8", "backslashreplace")
    return contents


def _write_outputs(contents: Mapping[Path, bytes]) -> None:
    from evpcli.engine.files.durable import write_result

    for path, data in contents.items():
        write_result(path, data)
        terminal.note(f"written: {path}")


def _show_card(stored: StoredPrompt, ref: str, everything: bool) -> None:
    """Accuracy first in a pipe; a person, who sees the end, has it last, above the next step."""
    if not terminal.is_live(sys.stdout):
        _show_accuracy(stored.manifest, everything=True)
        _show_sections(stored, ref)
        _show_label_map(stored.manifest)
        _show_curve(stored.manifest)
        _show_statistics(stored)
        return
    if everything:
        _show_sections(stored, ref)
        _show_label_map(stored.manifest)
        _show_statistics(stored)
        _show_curve(stored.manifest)
    else:
        terminal.show_text(terminal.printable(_describe_briefly(stored.manifest, ref)))
    _show_preview(stored, _PREVIEW_COLUMNS if everything else _SMALL_PREVIEW_COLUMNS)
    _show_accuracy(stored.manifest, everything=everything)
    name = shlex.quote(ref)
    local = " --weights FILE" if stored.manifest.backbone.weights == LOCAL_WEIGHTS else ""
    more = "" if everything else f"; evp inspect {name} --all"
    terminal.note(
        f"next: evp apply {name} IMAGE --predict{local}; evp evaluate {name}{local}{more}"
    )


def _describe_briefly(manifest: Manifest, ref: str) -> str:
    geometry, classes = manifest.to_geometry(), len(manifest.class_names)
    return (
        f"{ref}: {manifest.method} for {manifest.dataset.name} "
        f"({say_count(classes, 'class', 'classes')}) with {manifest.backbone.name}, "
        f"border {geometry.border_px} of {geometry.canvas_px} px"
    )


def _show_accuracy(manifest: Manifest, *, everything: bool) -> None:
    """Every accuracy, or those of the first split that was measured."""
    from evpcli.domain.card import describe_class_gain, describe_gain, list_accuracies

    _show_title("Accuracy")
    live, taken = terminal.is_live(sys.stdout), list_accuracies(manifest)
    headers = _LIVE_HEADERS if live else _ACCURACY_HEADERS
    rows = [
        (*row.to_cells(), shorten_stamp(row.note) if live else row.note)
        for row in taken
        if everything or row.split == taken[0].split
    ]
    if rows:
        terminal.show_rows(headers, rows, drops=("top-5", "low", "high", "per class", "n"))
    fields = [("summary", describe_gain(manifest) or "test accuracy not measured")]
    by_class = describe_class_gain(manifest)
    if everything and by_class:  # else the table says it
        fields.append(("mean_per_class", by_class))
    terminal.show_fields(fields)


def _show_sections(stored: StoredPrompt, ref: str) -> None:
    from evpcli.domain.card import describe_prompt

    for section in describe_prompt(stored.manifest, stored.digest, ref):
        if section.fields:
            _show_title(section.title)
            terminal.show_fields([(terminal.printable(n), v) for n, v in section.fields])


def _show_label_map(manifest: Manifest) -> None:
    from evpcli.domain.card import list_mapped_classes

    rows = list_mapped_classes(manifest)
    if rows:
        _show_title("Source classes of each class, strongest first")
        terminal.show_rows(("class", "source classes"), rows, wraps=("class", "source classes"))


def _show_curve(manifest: Manifest) -> None:
    _show_title("Learning curve")
    terminal.show_fields(_describe_curve(manifest))


def _show_statistics(stored: StoredPrompt) -> None:
    from evpcli.engine.rendering.prompt_statistics import measure_border

    _show_title("Border values before normalisation; top and bottom own the corners")
    rows_by_side = measure_border(stored.to_visual_prompt())
    terminal.show_rows(
        _STATISTICS_HEADERS,
        [_format_statistics(row) for row in rows_by_side],
        drops=("l2", "std", "mean"),
    )


def _show_title(title: str) -> None:
    """A heading for a person, a comment line for a pipe."""
    live = terminal.is_live(sys.stdout)
    bold = live and not os.environ.get("NO_COLOR")
    if live:
        terminal.show_text(f"\n\x1b[1m{title}\x1b[0m" if bold else f"\n{title}")
    else:
        terminal.show_text(f"# {title}")


def _show_preview(stored: StoredPrompt, columns: int) -> None:
    """Coloured half blocks, only where a person watches and colours are welcome."""
    if not terminal.is_live(sys.stdout) or os.environ.get("NO_COLOR"):
        return
    if os.environ.get("TERM") == "dumb":
        return
    from evpcli.engine.rendering.canvases import (
        render_half_blocks,
        render_prompt,
        to_signed_picture,
    )

    picture, limit = to_signed_picture(render_prompt(stored.to_visual_prompt()))
    shown = render_half_blocks(picture, min(columns, terminal.count_columns()))
    terminal.show_text(f"\n{shown}")
    terminal.show_text(f"grey is 0, black -{limit:.2g}, white +{limit:.2g}")


def _describe_curve(manifest: Manifest) -> list[tuple[str, str]]:
    """First, best and last value of each curve; drawn as well where a person watches."""
    points = manifest.history
    curves = {
        "train_loss": [point.train_loss for point in points],
        "train_top1": [point.train_top1 for point in points],
        "val_top1": [point.val_top1 for point in points if point.val_top1 is not None],
    }
    fields = [("epochs", str(len(points)) if points else "no history")]
    for name, values in curves.items():
        if values:
            low_is_best, drawn = name == "train_loss", terminal.is_live(sys.stdout)
            fields.append((name, describe_curve(values, low_is_best=low_is_best, drawn=drawn)))
    return fields


def _format_statistics(row: BorderStatistics) -> Sequence[str]:
    amounts = (row.minimum, row.maximum, row.mean, row.std)
    cells = [f"{round(amount, 4) + 0.0:.4f}" for amount in amounts]
    return row.side, row.channel, *cells, f"{100 * row.outside_share:.1f}", f"{row.l2:.3f}"


def _to_json(stored: StoredPrompt, ref: str, outputs: Mapping[str, Path]) -> dict[str, Any]:
    from evpcli.domain.card import list_accuracies
    from evpcli.engine.prompts.visual_prompt import clipped_share
    from evpcli.engine.rendering.prompt_statistics import measure_border

    prompt = stored.to_visual_prompt()
    taken = [row.measurement for row in list_accuracies(stored.manifest) if row.measurement]
    return {
        "ref": ref,
        "digest": stored.digest,
        "manifest": stored.manifest.model_dump(mode="json"),
        "accuracies": [describe_kept(m) for m in taken],
        "clipped_share": clipped_share(prompt),
        "statistics": [asdict(row) for row in measure_border(prompt)],
        "files": {option: terminal.printable(str(path), 5_000) for option, path in outputs.items()},
    }
