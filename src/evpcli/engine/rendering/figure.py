"""The PNG figure of `inspect`: the border, its spectrum, its numbers and how it was learned."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from evpcli.domain.card import describe_gain
from evpcli.domain.curve import thin_out
from evpcli.domain.manifest import Manifest
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.rendering.canvases import (
    render_canvas,
    render_prompt,
    render_prompted,
    to_picture,
    to_signed_picture,
)
from evpcli.engine.rendering.contact_sheet import describe_way
from evpcli.engine.rendering.prompt_statistics import (
    CHANNELS,
    SIDES,
    measure_border,
    measure_spectrum,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart with any kind of colour vision.
_CHANNEL_COLOURS = {"red": "#D55E00", "green": "#009E73", "blue": "#0072B2"}
_CHANNEL_MARKS = {"red": "s", "green": "o", "blue": "D"}
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#6b6b6b"
_DPI = 110
_MOST_POINTS = 1_000
_LAST_FONT_LETTER = 0x24F


@dataclass(frozen=True)
class Example:
    """A picture to show before and after.

    Args:
        original: as decoded, RGB.
        square: (3, window, window) uint8, RGB: shrunk and cropped.
    """

    original: Image.Image
    square: Tensor


def draw_figure(
    prompt: VisualPrompt, manifest: Manifest, ref: str, example: Example | None = None
) -> bytes:
    """The bytes of a PNG file.

    Args:
        prompt: the learned border.
        manifest: what its file says of it.
        ref: how the prompt is called.
        example: a picture for a row of its own.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = 3 if example else 2
    figure = Figure(figsize=(12, 4.1 * rows + 0.7), dpi=_DPI)
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, 6)
    _write_header(figure, manifest, ref)
    _draw_border(prompt, [figure.add_subplot(grid[0, 2 * i : 2 * i + 2]) for i in range(3)])
    if example:
        axes = [figure.add_subplot(grid[1, 2 * i : 2 * i + 2]) for i in range(3)]
        _draw_example(prompt, example, axes)
    if manifest.history:
        draw_curve(figure.add_subplot(grid[-1, :3]), manifest)
    first = 3 if manifest.history else 0  # without a curve the numbers take its room
    draw_side_statistics(figure.add_subplot(grid[-1, first:]), prompt)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def color_spectrum(prompt: VisualPrompt) -> Image.Image:
    """The amplitude spectrum as a picture, (canvas, canvas): dark is weak, bright is strong."""
    from matplotlib import colormaps

    levels, low, high = _log_spectrum(prompt)
    shares = ((levels - low) / (high - low)).clamp(0, 1).numpy()
    return Image.fromarray(colormaps["cividis"](shares, bytes=True)[..., :3].copy())


def draw_curve(axes: Axes, manifest: Manifest) -> None:
    """Accuracies by epoch, the epoch that was taken, and the accuracies without a prompt.

    Args:
        axes: where to.
        manifest: with a history.
    """
    from matplotlib.ticker import MaxNLocator

    axes.set_title("Learning curve", loc="left", fontsize=11)
    points = thin_out(manifest.history, _MOST_POINTS)
    epochs = [point.epoch for point in points]
    mark = "o" if len(points) <= 40 else ""
    style: dict[str, Any] = {"marker": mark, "markersize": 4, "linewidth": 1.8}
    train = [100 * point.train_top1 for point in points]
    axes.plot(epochs, train, color=_ORANGE, linestyle="--", label="training images", **style)
    held = [(point.epoch, 100 * point.val_top1) for point in points if point.val_top1 is not None]
    if held:
        label = f"{manifest.selection.split if manifest.selection else 'val'} images"
        axes.plot(*zip(*held, strict=True), color=_BLUE, label=label, **style)
    _draw_landmarks(axes, manifest)
    axes.set_xlabel("epoch")
    axes.set_ylabel("top-1 (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9, framealpha=0.9)
    _strip(axes)


def draw_side_statistics(axes: Axes, prompt: VisualPrompt) -> None:
    """Smallest to largest value (thin) and mean ± deviation (thick) of each side and channel."""
    axes.set_title("Values by side: mean ± deviation, range", loc="left", fontsize=11)
    axes.axhspan(0, 1, color="#dddddd", zorder=0, label="what a PNG can hold")
    rows = {(row.side, row.channel): row for row in measure_border(prompt)}
    for index, channel in enumerate(CHANNELS):
        colour, mark = _CHANNEL_COLOURS[channel], _CHANNEL_MARKS[channel]
        places = [number + 0.22 * (index - 1) for number in range(len(SIDES))]
        stats = [rows[side, channel] for side in SIDES]
        ends = [row.minimum for row in stats], [row.maximum for row in stats]
        axes.vlines(places, *ends, color=colour, linewidth=1.2)
        inner = [row.mean - row.std for row in stats], [row.mean + row.std for row in stats]
        axes.vlines(places, *inner, color=colour, linewidth=5, alpha=0.55)
        means = [row.mean for row in stats]
        axes.plot(places, means, mark, color=colour, markeredgecolor="white", label=channel)
    axes.set_xticks(range(len(SIDES)), SIDES)
    axes.set_ylabel("pixel value")
    axes.grid(axis="y", alpha=0.25)
    axes.legend(fontsize=9, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False)
    _strip(axes)


def _write_header(figure: Any, manifest: Manifest, ref: str) -> None:
    gain = describe_gain(manifest) or "accuracy on test not measured"
    stamp = manifest.selection.label if manifest.selection else "selection unknown"
    if not manifest.history:
        stamp += ", imported without a history" if manifest.origin == "import" else ", no history"
    lines = "\n".join(_plain(line) for line in (f"Prompt {ref}", gain, stamp))
    figure.suptitle(lines, x=0.012, ha="left", fontsize=11, parse_math=False)


def _draw_border(prompt: VisualPrompt, axes: Sequence[Axes]) -> None:
    pixels = render_prompt(prompt)
    signed, limit = to_signed_picture(pixels)
    _show_picture(axes[0], signed, f"Prompt (grey is 0, range ±{limit:.2g})")
    _show_picture(axes[1], to_picture(pixels), "Prompt as a PNG holds it (0 to 1)")
    side = prompt.geometry.canvas_px
    edges = (-side / 2, side / 2, side / 2, -side / 2)
    levels, low, high = _log_spectrum(prompt)
    shown = axes[2].imshow(levels.numpy(), cmap="cividis", extent=edges, vmin=low, vmax=high)
    axes[2].set_title("Amplitude spectrum", loc="left", fontsize=11)
    axes[2].set_xlabel("cycles per canvas", fontsize=9)
    axes[2].tick_params(labelsize=8)
    bar = axes[2].figure.colorbar(shown, ax=axes[2], shrink=0.85)
    bar.set_label("log10 |FFT|, mean of channels", fontsize=9)
    bar.ax.tick_params(labelsize=8)


def _draw_example(prompt: VisualPrompt, example: Example, axes: Sequence[Axes]) -> None:
    canvas = to_picture(render_canvas(example.square, prompt.geometry))
    prompted = to_picture(render_prompted(example.square, prompt))
    size = f"{example.original.width} × {example.original.height} px"
    way = describe_way(example.original.size, prompt.geometry.image_px)
    _show_picture(axes[0], example.original, f"Before: original, {size}")
    _show_picture(axes[1], canvas, way.capitalize())
    _show_picture(axes[2], prompted, "After: prompted, border clipped to 0 … 1")


def _draw_landmarks(axes: Axes, manifest: Manifest) -> None:
    """The selected epoch, and what the same pictures give without a prompt."""
    chosen = manifest.selection
    if chosen is None:
        return
    axes.axvline(chosen.epoch, color=_GREY, linewidth=1, label=f"selected: {chosen.epoch}")
    for what, style in ((manifest.baseline, (0, (1, 1))), ("blank", (0, (5, 2, 1, 2)))):
        taken = manifest.find_measurement(what, chosen.split)
        if taken:
            axes.axhline(100 * taken.top1, color=_GREY, linestyle=style, label=f"{what}, no prompt")


def _show_picture(axes: Axes, picture: Image.Image, title: str) -> None:
    enlarged = picture.width < 300
    axes.imshow(picture, interpolation="nearest" if enlarged else "antialiased")
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])


def _log_spectrum(prompt: VisualPrompt) -> tuple[Tensor, float, float]:
    """Decimal logarithm of the amplitudes, and the range of all but the weakest hundredth."""
    levels = measure_spectrum(prompt).clamp_min(1e-8).log10()
    low = float(levels.flatten().kthvalue(1 + levels.numel() // 100).values)
    return levels, low, max(float(levels.max()), low + 1)


def _strip(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _plain(text: str) -> str:
    """One line of letters that the font has; others are escaped."""
    return "".join(
        c if c.isprintable() and ord(c) <= _LAST_FONT_LETTER else ascii(c)[1:-1] for c in text[:170]
    )
