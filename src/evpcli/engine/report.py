"""The self-contained HTML page of `inspect`: no script, nothing fetched, texts escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from evpcli.domain.card import AccuracyRow, describe_gain, describe_prompt, list_accuracies
from evpcli.domain.curve import thin_out
from evpcli.domain.manifest import Manifest
from evpcli.engine.figure import Example, color_spectrum
from evpcli.engine.prompt import clipped_share
from evpcli.engine.prompt_file import StoredPrompt
from evpcli.engine.prompt_statistics import measure_border
from evpcli.engine.rendering import (
    encode_picture,
    render_canvas,
    render_prompt,
    render_prompted,
    to_picture,
    to_signed_picture,
)

_CURVE_WIDTH, _CURVE_HEIGHT = 520, 220
_MOST_POINTS = 400
_MOST_TABLE_ROWS = 100
_MOST_CLASSES = 1_000
_LARGEST_ORIGINAL_PX = 640


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
        name: `training` or `held-out`; also its style.
        label: what its pictures are.
        path: points as SVG wants them, y downwards.
    """

    name: str
    label: str
    path: str


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
        loader=PackageLoader("evpcli.engine", "templates"),
        autoescape=True,
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
        size=(_CURVE_WIDTH, _CURVE_HEIGHT),
    )


def build_curve(manifest: Manifest) -> tuple[Line, ...]:
    """The learning curve's lines over 0 to 100 % and the whole run; none without a history."""
    points = thin_out(manifest.history, _MOST_POINTS)
    if not points:
        return ()
    last = max(points[-1].epoch, 2)
    split = manifest.selection.split if manifest.selection else "val"
    train = [(point.epoch, point.train_top1) for point in points]
    held = [(point.epoch, point.val_top1) for point in points if point.val_top1 is not None]
    lines = [Line("training", "training images", _trace(train, last))]
    if held:
        lines.append(Line("held-out", f"{split} images", _trace(held, last)))
    return tuple(lines)


def _trace(points: Sequence[tuple[int, float]], last: int) -> str:
    return " ".join(
        f"{_CURVE_WIDTH * (epoch - 1) / (last - 1):.1f},"
        f"{_CURVE_HEIGHT * (1 - min(max(share, 0.0), 1.0)):.1f}"
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
    window = prompt.geometry.window_px
    original = example.original.copy()
    original.thumbnail((_LARGEST_ORIGINAL_PX, _LARGEST_ORIGINAL_PX))
    size = f"{example.original.width} x {example.original.height} pixels"
    canvas = render_canvas(example.square, prompt.geometry)
    prompted = render_prompted(example.square, prompt)
    return (
        Picture("Original", f"As decoded, {size}.", _embed(original), pixelated=False),
        Picture(
            "Canvas", f"Shrunk to {window} x {window} pixels on black.", _embed(to_picture(canvas))
        ),
        Picture(
            "Prompted", "With the prompt, border clipped to 0..1.", _embed(to_picture(prompted))
        ),
    )


def _embed(picture: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_picture(picture)).decode()
