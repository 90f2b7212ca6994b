from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.images.decoder import load_square
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.rendering.canvases import render_prompted, to_picture
from evpcli.engine.rendering.contact_sheet import (
    build_sheet,
    describe_way,
    enlarge,
    fit_into,
)
from tests.builders import build_pixels
from tests.shelf import draw_image


@pytest.mark.parametrize(
    ("canvas_px", "border_px", "factor"), [(16, 2, 14), (64, 8, 4), (224, 30, 1), (336, 45, 1)]
)
def test_sheet_holds_the_prompted_canvas_pixel_by_pixel(
    canvas_px: int, border_px: int, factor: int
) -> None:
    geometry = FrameGeometry(canvas_px, border_px)
    prompt = VisualPrompt(geometry, build_pixels(geometry))
    original = draw_image()
    square = load_square(original, geometry.window_px)
    sheet = build_sheet(original, square, prompt)
    wanted = enlarge(to_picture(render_prompted(square, prompt)), factor)
    side = factor * canvas_px
    left, top = sheet.width - 20 - side, sheet.height - 20 - side
    found = sheet.crop((left, top, left + side, top + side))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


def test_answer_adds_a_line_below() -> None:
    geometry = FrameGeometry(64, 8)
    prompt = VisualPrompt(geometry)
    original = draw_image()
    square = load_square(original, geometry.window_px)
    plain = build_sheet(original, square, prompt)
    told = build_sheet(original, square, prompt, "mini says: zero 93.1 %")
    assert told.height > plain.height
    below = np.asarray(told)[plain.height - 10 :]
    assert below.min() < 100  # ink


@pytest.mark.parametrize("answer", ["\x1b[31m\n\0", "x" * 5000, "零 🐈 \u202e"])
def test_strange_answers_are_drawn_within_the_sheet(answer: str) -> None:
    geometry = FrameGeometry(64, 8)
    original = draw_image()
    sheet = build_sheet(
        original, load_square(original, geometry.window_px), VisualPrompt(geometry), answer
    )
    right_margin = np.asarray(sheet)[-40:, -15:]
    assert right_margin.min() > 200


@pytest.mark.parametrize("size", [(1, 1), (2000, 1), (1, 2000), (8, 8), (640, 480)])
def test_originals_of_any_shape_fit_their_panel(size: tuple[int, int]) -> None:
    fitted = fit_into(Image.new("RGB", size), 256)
    assert max(fitted.size) == 256
    assert min(fitted.size) >= 1


def test_enlarging_repeats_pixels() -> None:
    picture = to_picture(torch.rand(3, 2, 3, generator=torch.Generator().manual_seed(0)))
    expected = np.kron(np.asarray(picture), np.ones((3, 3, 1), np.uint8))
    np.testing.assert_array_equal(np.asarray(enlarge(picture, 3)), expected)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ((640, 480), "shrunk to 46 px, centre 46 × 46"),
        ((8, 80), "enlarged to 46 px, centre 46 × 46"),
        ((46, 60), "kept at 46 px, centre 46 × 46"),
    ],
)
def test_the_caption_tells_of_the_centre_crop(size: tuple[int, int], told: str) -> None:
    assert describe_way(size, 46) == told
