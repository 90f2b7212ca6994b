"""The learning rate of each epoch or step."""

from __future__ import annotations

import math

from evpcli.domain.settings import GradientNorm


def cosine_rate(base: float, epoch: int, epochs: int) -> float:
    """Learning rate of `epoch` (from 0) when `base` falls to 0 along a half cosine (EVP code).

    Args:
        base: rate of the first epoch.
        epoch: 0 to `epochs - 1`.
        epochs: length of the whole run.
    """
    return base * (1 + math.cos(math.pi * epoch / epochs)) / 2


VP_WARMUP_STEPS = 1000
"""Steps over which VP's rate rises [VP code]."""


def warmup_rate(base: float, step: int, steps: int) -> float:
    """VP's rate: it rises over the first steps, then falls to 0 along a half cosine (VP code).

    Args:
        base: highest rate.
        step: 0 to `steps - 1`, counted over the whole run.
        steps: length of the whole run. Runs of fewer than 10,000 steps warm up for a tenth of
            them, so that the short ones reach the rate at all.
    """
    rising = min(VP_WARMUP_STEPS, steps // 10)
    if step < rising:
        return base * (step + 1) / rising
    return base * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2


def convert_rate(lr: float, norm: GradientNorm, values: int) -> float:
    """The rate in another norm that moves a border as far as `lr` does in L2.

    Exact only for a gradient of independent normal values, for which L1 is sqrt(2 n / pi) and the
    largest of n values about sqrt(2 ln n / n) times L2; a start for a search, nothing more.

    Args:
        lr: rate in L2.
        norm: to convert to; `none` has no such rate and keeps the number.
        values: how many the gradient has, at least 2.
    """
    factors = {
        "l1": math.sqrt(2 * values / math.pi),
        "linf": math.sqrt(2 * math.log(values) / values),
    }
    return lr * factors.get(norm, 1.0)
