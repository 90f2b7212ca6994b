from __future__ import annotations

import pytest
import torch

from evpcli.domain.errors import ImageError, IncompatibleError
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.prompts.visual_prompt import (
    VisualPrompt,
    build_border_mask,
    clipped_share,
    hash_pixels,
    pad_to_canvas,
)
from tests.builders import build_pixels

GEOMETRY = FrameGeometry(canvas_px=16, border_px=2)


def test_frame_keeps_the_image_and_adds_the_border() -> None:
    pixels = build_pixels(GEOMETRY)
    images = torch.rand(2, 3, 12, 12)
    canvas = VisualPrompt(GEOMETRY, pixels).frame(images)
    assert canvas.shape == (2, 3, 16, 16)
    assert torch.equal(canvas[:, :, 2:14, 2:14], images)
    assert torch.equal(canvas[0, :, :2], pixels[:, :2])


def test_only_the_prompt_receives_a_gradient() -> None:
    prompt = VisualPrompt(GEOMETRY)
    images = torch.rand(2, 3, 12, 12)
    prompt.frame(images).sum().backward()
    assert prompt.pixels.grad is not None
    assert images.grad is None
    assert [name for name, _ in prompt.named_parameters()] == ["pixels"]


def test_learned_values_are_the_border_pixels() -> None:
    assert int(build_border_mask(GEOMETRY).sum()) * 3 == GEOMETRY.learned_values


@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 3, 11, 12), (1, 1, 12, 12), (1, 3, 16, 16)])
def test_images_that_do_not_fit_the_window_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="to fit the prompt"):
        VisualPrompt(GEOMETRY).frame(torch.zeros(shape))


def test_pixels_of_another_shape_or_in_the_window_are_refused() -> None:
    with pytest.raises(IncompatibleError, match="canvas"):
        VisualPrompt(GEOMETRY, torch.zeros(3, 15, 16))
    with pytest.raises(IncompatibleError, match="image should be"):
        VisualPrompt(GEOMETRY, torch.ones(3, 16, 16))


def test_clipped_share_counts_border_values_only() -> None:
    pixels = torch.zeros(3, 16, 16)
    pixels[:, 0, :8] = 2.0
    share = clipped_share(VisualPrompt(GEOMETRY, pixels))
    assert share == pytest.approx(3 * 8 / GEOMETRY.learned_values)


def test_hash_depends_on_every_value() -> None:
    pixels = build_pixels(GEOMETRY)
    changed = pixels.clone()
    changed[2, 15, 15] += 1e-6
    assert hash_pixels(pixels) == hash_pixels(pixels.clone())
    assert hash_pixels(pixels) != hash_pixels(changed)


def test_an_overlaid_prompt_is_added_to_an_image_that_fills_the_canvas() -> None:
    geometry = FrameGeometry(16, 2, "overlay")
    pixels, images = build_pixels(geometry), torch.rand(2, 3, 16, 16)
    prompt = VisualPrompt(geometry, pixels)
    torch.testing.assert_close(prompt(images).detach(), images + pixels)
    assert geometry.image_px == 16
    assert torch.equal(pad_to_canvas(images, geometry), images)
