"""Draw glyphs from fonts and set them into coloured, warped, blurred and framed scenes."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from captions import COLOUR_NAMES, COLOURS, GLYPHS

CANVAS = 64
GLYPH_EXTENT = 48  # longer side of every drawn glyph, in canvas pixels
DRAWING = 256  # em size of the first drawing, before it is reduced
LOW_RESOLUTIONS = (8, 8, 8, 10, 12, 16, 24, CANVAS)
DIGIT_SHARE = 0.4
MONOCHROME_SHARE = 0.5
FRAMED_SHARE = 0.5
MIN_CONTRAST = 0.45  # least distance between ink and paper in RGB


@dataclass(frozen=True)
class Scenes:
    """A batch of pictures and what is on them.

    Attributes:
        images: (batch, 3, canvas, canvas), RGB in [0, 1], not normalised.
        glyphs: (batch,) indices into `GLYPHS`.
        inks: (batch,) index of the glyph's colour in `COLOUR_NAMES`.
        papers: (batch,) index of the background's colour in `COLOUR_NAMES`.
    """

    images: Tensor
    glyphs: Tensor
    inks: Tensor
    papers: Tensor


def draw_glyph(face: Path, sign: str) -> Image.Image:
    """One glyph, white on black, centred, its longer side `GLYPH_EXTENT` of `CANVAS` pixels."""
    font = ImageFont.truetype(str(face), DRAWING)
    left, top, right, bottom = font.getbbox(sign)
    width, height = int(right - left), int(bottom - top)
    drawing = Image.new("L", (width, height), 0)
    ImageDraw.Draw(drawing).text((-left, -top), sign, fill=255, font=font)
    scale = GLYPH_EXTENT / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("L", (CANVAS, CANVAS), 0)
    canvas.paste(
        drawing.resize(size, Image.Resampling.BOX),
        ((CANVAS - size[0]) // 2, (CANVAS - size[1]) // 2),
    )
    return canvas


def draw_bank(faces: list[Path]) -> Tensor:
    """Every glyph of every face.

    Returns:
        (faces, glyphs, canvas, canvas) uint8, 255 where there is ink.
    """
    pictures = [draw_glyph(face, sign).tobytes() for face in faces for sign in GLYPHS]
    flat = torch.frombuffer(bytearray(b"".join(pictures)), dtype=torch.uint8)
    return flat.reshape(len(faces), len(GLYPHS), CANVAS, CANVAS)


def render_scenes(bank: Tensor, count: int, rng: torch.Generator, chunk: int = 16) -> Scenes:
    """Random scenes; those of one chunk share stroke width, resolution and window.

    Args:
        bank: What `draw_bank` gives.
        count: Number of scenes.
        rng: The only source of randomness.
        chunk: Scenes that share what can only be done to a whole batch.
    """
    glyphs = _choose_glyphs(count, rng)
    faces = torch.randint(len(bank), (count,), generator=rng)
    inks, papers, ink_rgb, paper_rgb = _choose_colours(count, rng)
    masks = bank[faces, glyphs].unsqueeze(1).float() / 255
    masks = torch.cat([_thicken(part, rng) for part in masks.split(chunk)])
    masks = _warp(masks, rng)
    images = paper_rgb + (ink_rgb - paper_rgb) * masks  # (batch, 3, canvas, canvas)
    images = torch.cat([_frame(_coarsen(part, rng), rng) for part in images.split(chunk)])
    noise = (
        torch.randn(images.shape, generator=rng)
        * _uniform(count, 0.0, 0.03, rng)[:, None, None, None]
    )
    return Scenes((images + noise).clamp(0, 1), glyphs, inks, papers)


def _uniform(count: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    return torch.rand(count, generator=rng) * (high - low) + low


def _choose(options: tuple[int, ...], rng: torch.Generator) -> int:
    return options[int(torch.randint(len(options), (1,), generator=rng))]


def _choose_glyphs(count: int, rng: torch.Generator) -> Tensor:
    digits = torch.randint(10, (count,), generator=rng)
    letters = torch.randint(10, len(GLYPHS), (count,), generator=rng)
    return torch.where(torch.rand(count, generator=rng) < DIGIT_SHARE, digits, letters)


def _choose_colours(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Names and RGB of ink and paper, at least `MIN_CONTRAST` apart; half are black and white."""
    palette = torch.tensor([COLOURS[name] for name in COLOUR_NAMES])
    far_apart = (
        torch.cdist(palette, palette) > MIN_CONTRAST + 0.2
    )  # the jitter below takes at most 0.2
    pairs = far_apart.nonzero()
    chosen = pairs[torch.randint(len(pairs), (count,), generator=rng)]
    monochrome = torch.rand(count, generator=rng) < MONOCHROME_SHARE
    polarity = (
        torch.rand(count, generator=rng) < 0.6
    ).long()  # white on black is the commoner half
    chosen = torch.where(monochrome[:, None], torch.stack([polarity, 1 - polarity], dim=1), chosen)
    jitter = (torch.rand(2, count, 3, generator=rng) - 0.5) * 0.11
    ink = (palette[chosen[:, 0]] + jitter[0]).clamp(0, 1)
    paper = (palette[chosen[:, 1]] + jitter[1]).clamp(0, 1)
    paper = torch.where((monochrome & (polarity == 1))[:, None], paper * 0.3, paper)
    return chosen[:, 0], chosen[:, 1], ink[:, :, None, None], paper[:, :, None, None]


def _thicken(masks: Tensor, rng: torch.Generator) -> Tensor:
    width_px = _choose((1, 1, 3, 3, 5, 7), rng)
    if width_px == 1:
        return masks
    return functional.max_pool2d(masks, width_px, stride=1, padding=width_px // 2)


def _warp(masks: Tensor, rng: torch.Generator) -> Tensor:
    """Turn, shear, scale, move and gently bend each glyph."""
    count = len(masks)
    turn = _uniform(count, -0.26, 0.26, rng)  # 15 degrees
    shear = _uniform(count, -0.3, 0.3, rng)
    filling = torch.rand(count, generator=rng) < 0.6
    extent = torch.where(filling, _uniform(count, 0.88, 1.05, rng), _uniform(count, 0.5, 0.9, rng))
    zoom = extent * CANVAS / GLYPH_EXTENT
    stretch = _uniform(count, math.log(0.75), math.log(1.3), rng).exp()
    room = (1 - extent).clamp(min=0.04)
    shift = (torch.rand(2, count, generator=rng) * 2 - 1) * room
    cos, sin = turn.cos() / zoom, turn.sin() / zoom
    rows = [
        torch.stack([cos / stretch, shear * cos - sin, -shift[0]], dim=1),
        torch.stack([sin / stretch, shear * sin + cos, -shift[1]], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(masks.shape), align_corners=False)
    bend = torch.randn(count, 2, 4, 4, generator=rng) * 0.04
    bend = functional.interpolate(bend, size=(CANVAS, CANVAS), mode="bicubic", align_corners=False)
    return functional.grid_sample(masks, grid + bend.permute(0, 2, 3, 1), align_corners=False)


def _coarsen(images: Tensor, rng: torch.Generator) -> Tensor:
    """Reduce to a few pixels by area and enlarge again, as small pictures reach the model."""
    size = _choose(LOW_RESOLUTIONS, rng)
    if size == CANVAS:
        return images
    small = functional.interpolate(images, size=(size, size), mode="area")
    return functional.interpolate(small, size=(CANVAS, CANVAS), mode="bicubic").clamp(0, 1)


def _frame(images: Tensor, rng: torch.Generator) -> Tensor:
    """Shrink half of the chunks into a window on black, or on one other colour each."""
    if torch.rand(1, generator=rng) >= FRAMED_SHARE:
        return images
    window = _choose((40, 42, 44, 46, 46, 46, 48, 50, 52, 56), rng)
    size = (window, window)
    inner = functional.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)
    colour = torch.rand(len(images), 3, 1, 1, generator=rng)
    black = torch.rand(len(images), 1, 1, 1, generator=rng) < 0.7
    framed = torch.where(black, torch.zeros(()), colour).expand(-1, -1, CANVAS, CANVAS).clone()
    top = (CANVAS - window) // 2
    framed[:, :, top : top + window, top : top + window] = inner
    return framed
