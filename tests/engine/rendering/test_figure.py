from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.images.decoder import load_square
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.rendering.figure import Example, color_spectrum, draw_figure
from tests.builders import SMALL, build_manifest, build_pixels
from tests.shelf import draw_image

PROMPT = VisualPrompt(SMALL, build_pixels())


def open_figure(ref: str = "digits/mini:v1", **changes: Any) -> Image.Image:
    data = draw_figure(PROMPT, build_manifest(**changes), ref)
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        return picture.convert("L")


def assert_nothing_cut_off(picture: Image.Image) -> None:
    """Whatever is drawn keeps a white edge of two pixels."""
    pixels = np.asarray(picture)
    edges = (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:])
    assert all(edge.min() == 255 for edge in edges)


def test_figure_is_drawn_with_clear_margins() -> None:
    picture = open_figure()
    assert picture.width == 1320
    assert np.asarray(picture).min() < 50
    assert_nothing_cut_off(picture)


def test_example_adds_a_row() -> None:
    original = draw_image()
    example = Example(original, load_square(original, SMALL.window_px))
    data = draw_figure(PROMPT, build_manifest(), "digits/mini:v1", example)
    picture = Image.open(io.BytesIO(data)).convert("L")
    assert picture.height > open_figure().height
    assert_nothing_cut_off(picture)


@pytest.mark.parametrize("changes", [{"history": ()}, {"metrics": ()}, {"selection": None}])
def test_figure_manages_without_parts_of_the_manifest(changes: dict[str, Any]) -> None:
    assert_nothing_cut_off(open_figure(**changes))


@pytest.mark.parametrize("ref", ["$\\frac{$", "\x1b[31m\n\0", "零🐈", "x" * 3000])
def test_strange_names_neither_break_nor_widen_the_figure(ref: str) -> None:
    assert open_figure(ref).width == 1320


def test_long_histories_are_drawn() -> None:
    point = {"lr": 1.0, "train_loss": 1.0, "train_top1": 0.5, "val_top1": 0.4}
    history = tuple({"epoch": number, **point} for number in range(1, 3001))
    assert open_figure(history=history).width == 1320


def test_untrained_prompt_can_be_drawn() -> None:
    assert draw_figure(VisualPrompt(SMALL), build_manifest(), "blank")
    assert color_spectrum(VisualPrompt(SMALL)).size == (16, 16)


def test_spectrum_is_brightest_where_the_amplitude_is() -> None:
    geometry = FrameGeometry(16, 2)
    picture = color_spectrum(VisualPrompt(geometry, build_pixels(geometry).abs()))
    brightness = np.asarray(picture.convert("L")).astype(int)
    assert brightness[8, 8] == brightness.max()


def test_without_a_history_the_numbers_take_the_whole_row() -> None:
    ink = np.asarray(open_figure(history=(), origin="import")) < 230
    lower = ink[2 * len(ink) // 3 :]
    assert lower[:, 600:720].any(axis=0).all()  # the band of 0 to 1 runs through the middle
