from __future__ import annotations

import math
from statistics import fmean

import pytest
import torch

from evpcli.domain.schedule import VP_WARMUP_STEPS, convert_rate, cosine_rate, warmup_rate


def test_cosine_agrees_with_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=70.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for epoch in range(20):
        assert cosine_rate(70.0, epoch, 20) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        schedule.step()


def list_vp_rates(base: float, rising: int, falling: int) -> list[float]:
    """A straight line up, whose last point is the top, then half a cosine that begins there."""
    up = [base * (step + 1) / rising for step in range(rising)]
    return up + [base / 2 * (1 + math.cos(math.pi * step / falling)) for step in range(falling)]


@pytest.mark.parametrize(
    ("steps", "rising"),
    [(1, 0), (9, 0), (10, 1), (99, 9), (9_999, 999), (10_000, 1_000), (12_345, VP_WARMUP_STEPS)],
)
def test_vps_rate_rises_for_a_thousand_steps_or_a_tenth(steps: int, rising: int) -> None:
    found = [warmup_rate(40.0, step, steps) for step in range(steps)]
    assert found == pytest.approx(list_vp_rates(40.0, rising, steps - rising), rel=1e-9)
    assert max(found) == 40.0
    assert min(found) > 0


def test_l2_and_no_norm_keep_the_number() -> None:
    assert convert_rate(70.0, "l2", 1_000) == convert_rate(70.0, "none", 1_000) == 70.0


@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("linf", math.inf)])
def test_converted_rates_move_a_random_gradient_about_as_far(norm: str, order: float) -> None:
    """For the linf norm the formula is an upper estimate: 15 % off at this size."""
    generator = torch.Generator().manual_seed(0)
    values, moved = 3 * 64**2, []
    for _ in range(20):
        gradient = torch.randn(values, generator=generator)
        step = gradient / torch.linalg.vector_norm(gradient, order)
        moved.append(float(convert_rate(10.0, norm, values) * step.norm()))
    assert fmean(moved) == pytest.approx(10.0, rel=0.01 if norm == "l1" else 0.15)
