from __future__ import annotations

import pytest
import torch

from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.evaluation.noise import make_noise_border
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from tests.builders import SMALL, build_pixels

OVERLAID = FrameGeometry(canvas_px=16, border_px=2, composition="overlay")


@pytest.mark.parametrize("geometry", [SMALL, OVERLAID])
def test_noise_is_as_long_as_the_prompt_and_leaves_the_window_free(geometry: FrameGeometry) -> None:
    prompt = VisualPrompt(geometry, 30 * build_pixels())
    noise = make_noise_border(prompt, seed=3)
    length, wanted = (float(p.pixels.detach().norm()) for p in (noise, prompt))
    assert length == pytest.approx(wanted, rel=1e-5)
    assert not noise.pixels[:, 2:-2, 2:-2].any()
    assert noise.geometry == geometry
    assert torch.equal(prompt.pixels, 30 * build_pixels())


def test_noise_is_gaussian() -> None:
    """A border of 30 pixels on 224 has 69,840 values: moments within five standard errors."""
    geometry = FrameGeometry.for_canvas(224)
    pixels = torch.zeros(3, 224, 224)
    pixels[0, 0, 0] = geometry.learned_values**0.5
    noise = make_noise_border(VisualPrompt(geometry, pixels), seed=0)
    values = noise.pixels.detach()[noise.mask.expand_as(noise.pixels)]
    assert abs(float(values.mean())) < 5 / 69_840**0.5
    assert float((values.abs() < 1).float().mean()) == pytest.approx(0.6827, abs=0.009)


def test_a_seed_gives_the_same_noise_whatever_was_drawn_before() -> None:
    prompt = VisualPrompt(SMALL, build_pixels())
    first = make_noise_border(prompt, seed=1).pixels
    torch.rand(7)
    assert torch.equal(make_noise_border(prompt, seed=1).pixels, first)
    assert not torch.equal(make_noise_border(prompt, seed=2).pixels, first)


def test_a_prompt_of_zeros_gives_zeros() -> None:
    assert not make_noise_border(VisualPrompt(SMALL), seed=0).pixels.any()
