from __future__ import annotations

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load

from evpcli.domain.errors import ImageError
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.rendering.canvases import (
    encode_canvas,
    render_canvas,
    render_half_blocks,
    render_prompt,
    render_prompted,
    to_picture,
    to_signed_picture,
)
from tests.builders import SMALL, build_pixels

WINDOW = slice(SMALL.border_px, SMALL.canvas_px - SMALL.border_px)


def build_square() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (3, SMALL.window_px, SMALL.window_px)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def test_canvas_is_the_image_on_black() -> None:
    square = build_square()
    canvas = render_canvas(square, SMALL)
    expected = np.zeros((3, 16, 16), np.float32)
    expected[:, 2:14, 2:14] = square.numpy() / np.float32(255)
    np.testing.assert_array_equal(canvas.numpy(), expected)


def test_prompted_is_the_training_composition() -> None:
    prompt, square = VisualPrompt(SMALL, build_pixels()), build_square()
    framed = prompt.frame(square[None].float() / 255)[0].detach()
    assert torch.equal(render_prompted(square, prompt), framed)


def test_rendered_prompt_is_a_copy_of_the_exact_values() -> None:
    prompt = VisualPrompt(SMALL, build_pixels())
    rendered = render_prompt(prompt)
    assert torch.equal(rendered, build_pixels())
    rendered.zero_()
    assert prompt.pixels.abs().sum() > 0


def test_wrong_window_is_refused() -> None:
    with pytest.raises(ImageError, match=r"\(3, 12, 12\)"):
        render_canvas(torch.zeros(3, 11, 12, dtype=torch.uint8), SMALL)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (-3.0, 0),
        (0.0, 0),
        (0.49 / 255, 0),
        (0.5 / 255, 1),
        (127.5 / 255, 128),
        (1.0, 255),
        (9, 255),
    ],
)
def test_picture_clips_and_rounds_half_up(value: float, level: int) -> None:
    picture = to_picture(torch.full((3, 2, 2), value))
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == (level, level, level)


def test_picture_keeps_axes_and_channels_apart() -> None:
    canvas = torch.zeros(3, 4, 6)
    canvas[0, 1, 5] = 1  # red, row 1, column 5
    picture = to_picture(canvas)
    assert picture.size == (6, 4)
    assert picture.getpixel((5, 1)) == (255, 0, 0)


def test_picture_of_an_image_is_the_image() -> None:
    square = build_square()
    picture = to_picture(render_canvas(square, SMALL))
    array = np.asarray(picture).transpose(2, 0, 1)
    np.testing.assert_array_equal(array[:, WINDOW, WINDOW], square.numpy())


def test_signed_picture_has_grey_for_zero() -> None:
    canvas = torch.zeros(3, 2, 2)
    canvas[:, 0, 0], canvas[:, 1, 1] = -2.0, 2.0
    picture, limit = to_signed_picture(canvas)
    assert limit == 2.0
    levels = [picture.getpixel(place)[0] for place in ((0, 0), (1, 0), (1, 1))]
    assert levels == [0, 128, 255]


def test_signed_picture_of_nothing_learned_is_grey() -> None:
    picture, limit = to_signed_picture(torch.zeros(3, 3, 3))
    assert (picture.getpixel((1, 1)), limit) == ((128, 128, 128), 1.0)


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_exact_formats_keep_every_bit(kind: str) -> None:
    canvas = render_prompted(build_square(), VisualPrompt(SMALL, build_pixels()))
    data = encode_canvas(canvas, kind, {"what": "prompted"})
    if kind == "npz":
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            assert str(archive["what"]) == "prompted"
            loaded = torch.from_numpy(archive["canvas"])
    else:
        loaded = load(data)["canvas"]
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, canvas)


def test_png_is_the_clipped_picture() -> None:
    canvas = render_prompted(build_square(), VisualPrompt(SMALL, build_pixels()))
    with Image.open(io.BytesIO(encode_canvas(canvas, "png", {}))) as picture:
        expected = np.floor(np.clip(canvas.numpy(), 0, 1) * np.float32(255) + np.float32(0.5))
        np.testing.assert_array_equal(np.asarray(picture).transpose(2, 0, 1), expected)


def test_half_blocks_hold_two_rows_a_line() -> None:
    picture = Image.new("RGB", (3, 4), (10, 20, 30))
    picture.putpixel((0, 1), (1, 2, 3))
    lines = render_half_blocks(picture, 80).split("\n")
    assert len(lines) == 2
    assert lines[0].startswith("\x1b[38;2;10;20;30;48;2;1;2;3m▀")
    assert all(line.count("▀") == 3 and line.endswith("\x1b[0m") for line in lines)


def test_half_blocks_shrink_to_the_columns() -> None:
    text = render_half_blocks(Image.new("RGB", (224, 224)), 40)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n")
    assert [len(line) for line in plain] == [40] * 20
