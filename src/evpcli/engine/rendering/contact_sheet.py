"""One picture of an image's way: original, shrunk, the prompt, and the prompted canvas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.rendering.canvases import (
    render_canvas,
    render_prompt,
    render_prompted,
    to_picture,
    to_signed_picture,
)

_SMALLEST_PANEL_PX = 224
_MARGIN_PX, _GAP_PX = 20, 16
_TITLE_PX, _NOTE_PX, _LINE_PX = 15, 12, 19
_PAPER, _INK, _FAINT_INK = (250, 250, 248), (26, 26, 26), (84, 84, 84)
_EDGE, _BACKDROP = (190, 190, 188), (232, 232, 229)


@dataclass(frozen=True)
class Panel:
    """One labelled picture of a sheet.

    Args:
        title: one or two words.
        note: one short line below the title.
        picture: RGB, at most as large as the sheet's panels.
    """

    title: str
    note: str
    picture: Image.Image


def build_sheet(
    original: Image.Image, square: Tensor, prompt: VisualPrompt, answer: str | None = None
) -> Image.Image:
    """A sheet of four labelled panels; small canvases are enlarged by whole pixels.

    Args:
        original: the decoded picture, RGB.
        square: (3, window, window) uint8, RGB: the same picture, shrunk and cropped.
        prompt: the learned border.
        answer: what the backbone said of the prompted canvas; a line below everything.
    """
    geometry = prompt.geometry
    factor = max(1, -(-_SMALLEST_PANEL_PX // geometry.canvas_px))
    side = factor * geometry.canvas_px
    signed, limit = to_signed_picture(render_prompt(prompt))
    shrunk = to_picture(render_canvas(square, geometry))
    prompted = to_picture(render_prompted(square, prompt))
    window = geometry.image_px
    panels = (
        Panel("Original", f"{original.width} × {original.height} px", fit_into(original, side)),
        Panel("Canvas", describe_way(original.size, window), enlarge(shrunk, factor)),
        Panel("Prompt", f"grey is 0, range ±{limit:.2g}", enlarge(signed, factor)),
        Panel("Prompted", "border clipped to 0 … 1", enlarge(prompted, factor)),
    )
    return draw_panels(panels, side, answer)


def describe_way(size: tuple[int, int], window_px: int) -> str:
    """How a picture came into the window: its shorter side fitted, then its centre cut out.

    Args:
        size: width and height of the decoded picture in pixels.
        window_px: side of the window.
    """
    verb = "shrunk" if min(size) > window_px else "enlarged" if min(size) < window_px else "kept"
    to = "at" if verb == "kept" else "to"
    return f"{verb} {to} {window_px} px, centre {window_px} × {window_px}"


def draw_panels(panels: tuple[Panel, ...], side_px: int, footer: str | None = None) -> Image.Image:
    """Labelled panels in one row.

    Args:
        panels: from left to right.
        side_px: width and height of every panel.
        footer: one line below them.
    """
    title_font, note_font = (_load_font(size) for size in (_TITLE_PX, _NOTE_PX))
    head = 2 * _LINE_PX + 8
    width = 2 * _MARGIN_PX + len(panels) * side_px + (len(panels) - 1) * _GAP_PX
    height = 2 * _MARGIN_PX + head + side_px + (_LINE_PX + 12 if footer else 0)
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, panel in enumerate(panels):
        left, top = _MARGIN_PX + index * (side_px + _GAP_PX), _MARGIN_PX
        _write(pen, (left, top), panel.title, title_font, _INK, side_px)
        _write(pen, (left, top + _LINE_PX + 2), panel.note, note_font, _FAINT_INK, side_px)
        frame = (left - 1, top + head - 1, left + side_px, top + head + side_px)
        pen.rectangle(frame, fill=_BACKDROP, outline=_EDGE)
        inset = tuple((side_px - length) // 2 for length in panel.picture.size)
        sheet.paste(panel.picture, (left + inset[0], top + head + inset[1]))
    if footer:
        place = (_MARGIN_PX, _MARGIN_PX + head + side_px + 14)
        _write(pen, place, footer, note_font, _INK, width - 2 * _MARGIN_PX)
    return sheet


def enlarge(picture: Image.Image, factor: int) -> Image.Image:
    """The picture with every pixel drawn as a `factor` x `factor` block."""
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)


def fit_into(picture: Image.Image, side_px: int) -> Image.Image:
    """The picture as large as a square allows, with its own proportions; pixels stay crisp."""
    scale = side_px / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    filter_ = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return picture.resize((width, height), filter_)


@cache
def _load_font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans out of matplotlib's package, which knows more scripts than Pillow's own font."""
    package = find_spec("matplotlib")
    if package and package.origin:
        file = Path(package.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
        if file.is_file():
            return ImageFont.truetype(file, size_px)
    return ImageFont.load_default(size_px)


def _write(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    colour: tuple[int, int, int],
    room_px: int,
) -> None:
    """Draw one line, shortened with an ellipsis until it fits its room."""
    line = "".join(c if c.isprintable() else "?" for c in text[:200])
    while pen.textlength(line, font=font) > room_px and len(line) > 1:
        line = line[:-2].rstrip() + "…"
    pen.text(place, line, font=font, fill=colour)
