from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.datasets.loader import Batch
from evpcli.engine.prompts.visual_prompt import VisualPrompt, build_border_mask
from evpcli.engine.training.learner import Learner
from evpcli.engine.training.loop import take_step
from evpcli.engine.training.update_rules import EvpRule, VpRule
from tests.builders import build_pixels

GEOMETRY = FrameGeometry(6, 1, "overlay")
MASK = build_border_mask(GEOMETRY)
MEAN, STD = (0.48, 0.45, 0.40), (0.5, 0.25, 0.125)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def move(rule: EvpRule, gradient: Tensor, lr: float = 7.0) -> Tensor:
    pixels = torch.zeros(3, 6, 6)
    rule.move(pixels, gradient, MASK, lr)
    return pixels


def measure_in_loops(values: list[float], norm: str) -> float:
    if norm == "l2":
        return float(sum(v * v for v in values) ** 0.5)
    return sum(map(abs, values)) if norm == "l1" else max(map(abs, values))


@pytest.mark.parametrize("area", ["canvas", "border"])
@pytest.mark.parametrize("norm", ["l2", "l1", "linf"])
def test_the_step_is_the_gradient_over_its_length(norm: str, area: str) -> None:
    gradient = draw(3, 6, 6)
    counted = gradient if area == "canvas" else gradient[MASK.expand(3, 6, 6)]
    length = measure_in_loops(counted.flatten().tolist(), norm)
    expected = torch.where(MASK, -7 * gradient / length, 0.0)
    torch.testing.assert_close(move(EvpRule(norm, area), gradient), expected)


def test_without_a_norm_the_gradient_stays_as_it_is() -> None:
    gradient = draw(3, 6, 6)
    found = move(EvpRule("none"), gradient, lr=0.5)
    torch.testing.assert_close(found, torch.where(MASK, -gradient / 2, 0.0))


@pytest.mark.parametrize("norm", ["l2", "l1", "linf", "none"])
def test_a_gradient_of_zeros_moves_nothing(norm: str) -> None:
    assert not move(EvpRule(norm), torch.zeros(3, 6, 6)).any()


def test_the_window_counts_for_the_length_of_the_canvas_only() -> None:
    gradient, areas = torch.where(MASK, 1.0, 100.0).expand(3, 6, 6), ("canvas", "border")
    whole, border = (float(move(EvpRule("linf", area), gradient).min()) for area in areas)
    assert (whole, border) == (pytest.approx(-0.07), pytest.approx(-7.0))


def test_projection_keeps_the_unit_interval() -> None:
    pixels = build_pixels(GEOMETRY)
    EvpRule(project=True).move(pixels, draw(3, 6, 6), MASK, 3.0)
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1
    assert not pixels[:, 1:5, 1:5].any()


def test_vp_equals_torchs_momentum_in_normalised_space() -> None:
    """Twenty steps of a parameter that is added behind the normalisation, as VP has it."""
    weight = draw(4, 3 * 36, seed=1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    start = build_pixels(GEOMETRY) * std
    added = torch.nn.Parameter((start / std).clone())
    optimizer = torch.optim.SGD([added], lr=1.0, momentum=0.9)
    prompt = VisualPrompt(GEOMETRY, start)
    learner = Learner(
        prompt,
        lambda canvas: ((canvas - mean) / std).flatten(1) @ weight.T,
        rule=VpRule(STD, prompt.pixels),
    )
    for step in range(20):
        generator = torch.Generator().manual_seed(step)
        images = torch.randint(0, 256, (5, 3, 6, 6), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, 4, (5,), generator=generator)
        lr = 2.0 - 0.1 * step
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        outputs = ((images.float() / 255 - mean) / std + added * MASK).flatten(1) @ weight.T
        functional.cross_entropy(outputs, labels).backward()
        optimizer.step()
        take_step(learner, Batch(images, labels), lr)
        torch.testing.assert_close(
            prompt.pixels.detach(), added.detach() * std, rtol=1e-5, atol=1e-5
        )
    assert float((prompt.pixels.detach() - start).norm()) > 1


def test_vp_remembers_its_velocity_and_nothing_else() -> None:
    rule = VpRule(STD, torch.zeros(3, 6, 6))
    gradient, pixels = draw(3, 6, 6), torch.zeros(3, 6, 6)
    rule.move(pixels, gradient, MASK, 0.0)
    assert not pixels.any()
    assert set(rule.memory) == {"velocity"}
    std = torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(rule.memory["velocity"], gradient * std * MASK)
    assert EvpRule().memory == {}
