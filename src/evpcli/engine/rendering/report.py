"""The self-contained HTML page of `inspect`: no script, nothing fetched, texts made harmless."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from evpcli.domain.card import (
    AccuracyRow,
    describe_gain,
    describe_prompt,
    list_accuracies,
    list_mapped_classes,
)
from evpcli.domain.curve import thin_out
from evpcli.domain.manifest import Manifest
from evpcli.domain.unprintable import spell_out
from evpcli.engine.prompts.prompt_file import StoredPrompt
from evpcli.engine.prompts.visual_prompt import clipped_share
from evpcli.engine.rendering.canvases import (
    encode_picture,
    render_canvas,
    render_prompt,
    render_prompted,
    to_picture,
    to_signed_picture,
)
from evpcli.engine.rendering.contact_sheet import describe_way
from evpcli.engine.rendering.figure import Example, color_spectrum
from evpcli.engine.rendering.prompt_statistics import measure_border

_CURVE_WIDTH, _CURVE_HEIGHT = 520, 220
_GRID_STEPS = 4
_MOST_POINTS = 400
_MOST_TABLE_ROWS = 100
_MOST_CLASSES = 1_000
_LARGEST_ORIGINAL_PX = 640
_COARSE_PX = 200


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Args:
        title: above the picture.
        caption: what it shows, for eyes and for screen readers.
        data_uri: the PNG itself.
        pixelated: whether it is enlarged with hard edges.
    """

    title: str
    caption: str
    data_uri: str
    pixelated: bool = True


@dataclass(frozen=True)
class Line:
    """One line of the learning curve in the units of its drawing.

    Args:
        name: `training`, `held-out` or `baseline`; also its style.
        label: what it shows.
        path: points as SVG wants them, y downwards.
    """

    name: str
    label: str
    path: str


@dataclass(frozen=True)
class Curve:
    """The learning curve, drawn.

    Args:
        lines: accuracies by epoch, then those without a prompt on the same pictures.
        ticks: label and height of each grid line.
        last: last epoch on the axis, which begins at 1.
    """

    lines: tuple[Line, ...]
    ticks: tuple[tuple[str, float], ...]
    last: int


@dataclass(frozen=True)
class Bar:
    """One accuracy as a dot with its interval, each in percent of the width.

    Args:
        row: the accuracy.
        at: top-1.
        low: lower bound.
        high: upper bound.
    """

    row: AccuracyRow
    at: float = 0.0
    low: float = 0.0
    high: float = 0.0


def render_report(stored: StoredPrompt, ref: str, example: Example | None = None) -> str:
    """The page as text.

    Args:
        stored: the prompt with its manifest.
        ref: how the prompt is called.
        example: a picture to show before and after.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("evpcli.engine.rendering", "templates"),
        autoescape=True,
        finalize=_spell_out,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    manifest = stored.manifest
    prompt = stored.to_visual_prompt()
    return environment.get_template("report.html.j2").render(
        ref=ref,
        manifest=manifest,
        gain=describe_gain(manifest),
        bars=[_build_bar(row) for row in list_accuracies(manifest)],
        sections=describe_prompt(manifest, stored.digest, ref),
        pictures=_build_pictures(stored),
        examples=_build_examples(stored, example) if example else (),
        statistics=measure_border(prompt),
        clipped=clipped_share(prompt),
        curve=build_curve(manifest),
        epochs=thin_out(manifest.history, _MOST_TABLE_ROWS),
        classes=manifest.class_names[:_MOST_CLASSES],
        mapped=list_mapped_classes(manifest)[:_MOST_CLASSES],
        size=(_CURVE_WIDTH, _CURVE_HEIGHT),
    )


def _spell_out(value: object) -> object:
    """A stranger's text with its control and invisible characters spelled out."""
    return spell_out(value) if type(value) is str else value


def build_curve(manifest: Manifest) -> Curve | None:
    """The learning curve between round percentages; nothing without a history."""
    points = thin_out(manifest.history, _MOST_POINTS)
    if not points:
        return None
    last = max(points[-1].epoch, 2)
    split = manifest.selection.split if manifest.selection else "val"
    train = [(point.epoch, point.train_top1) for point in points]
    held = [(point.epoch, point.val_top1) for point in points if point.val_top1 is not None]
    curves = [("training", "training images", train)]
    curves += [("held-out", f"{split} images", held)] if held else []
    found = [manifest.find_measurement(what, split) for what in ("blank", manifest.baseline)]
    for taken in sorted(filter(None, found), key=lambda one: -one.top1):
        level = [(1, taken.top1), (last, taken.top1)]
        curves.append(("baseline", f"{taken.what}, no prompt, {split} images", level))
    shares = [share for _, _, curve in curves for _, share in curve]
    low = min(math.floor(10 * min(shares)) / 10, 0.9)
    high = max(math.ceil(10 * max(shares)) / 10, low + 0.1)
    lines = tuple(
        Line(name, label, _trace(curve, last, low, high)) for name, label, curve in curves
    )
    ticks = [low + (high - low) * step / _GRID_STEPS for step in range(_GRID_STEPS + 1)]
    labels = [
        (f"{100 * tick:.3g} %", _CURVE_HEIGHT * (high - tick) / (high - low)) for tick in ticks
    ]
    return Curve(lines, tuple(labels), last)


def _trace(points: Sequence[tuple[int, float]], last: int, low: float, high: float) -> str:
    return " ".join(
        f"{_CURVE_WIDTH * (epoch - 1) / (last - 1):.1f},"
        f"{_CURVE_HEIGHT * (high - share) / (high - low):.1f}"
        for epoch, share in points
    )


def _build_bar(row: AccuracyRow) -> Bar:
    if row.measurement is None:
        return Bar(row)
    low, high = row.measurement.interval
    return Bar(row, 100 * row.measurement.top1, 100 * low, 100 * high)


def _build_pictures(stored: StoredPrompt) -> tuple[Picture, ...]:
    prompt = stored.to_visual_prompt()
    pixels = render_prompt(prompt)
    signed, limit = to_signed_picture(pixels)
    return (
        Picture(
            "The prompt",
            f"Grey is zero, black is -{limit:.2g} or less, white is {limit:.2g} or more.",
            _embed(signed),
        ),
        Picture(
            "As a PNG holds it",
            "Clipped to values from 0 to 1; the backbone is given the unclipped ones.",
            _embed(to_picture(pixels)),
        ),
        Picture(
            "Amplitude spectrum",
            "Strength of each spatial frequency, low ones in the middle; bright is strong.",
            _embed(color_spectrum(prompt)),
        ),
    )


def _build_examples(stored: StoredPrompt, example: Example) -> tuple[Picture, ...]:
    prompt = stored.to_visual_prompt()
    window = prompt.geometry.image_px
    original, original_size = example.original.copy(), example.original.size
    original.thumbnail((_LARGEST_ORIGINAL_PX, _LARGEST_ORIGINAL_PX))
    coarse = max(original.size) < _COARSE_PX
    size = f"{example.original.width} x {example.original.height} pixels"
    canvas = render_canvas(example.square, prompt.geometry)
    prompted = render_prompted(example.square, prompt)
    return (
        Picture("Original", f"As decoded, {size}.", _embed(original), coarse),
        Picture(
            "Canvas",
            f"Shorter side {describe_way(original_size, window)}, on black.",
            _embed(to_picture(canvas)),
        ),
        Picture(
            "Prompted", "With the prompt, border clipped to 0..1.", _embed(to_picture(prompted))
        ),
    )


def _embed(picture: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_picture(picture)).decode()
