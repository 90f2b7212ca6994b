"""Accuracies with the interval that their sample size allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z_95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


def wilson_interval(correct: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Bounds of the score interval for a proportion (Wilson 1927), each in [0, 1].

    Args:
        correct: successes, 0 to `n`.
        n: trials, at least 1.
        z: normal quantile; the default gives 95 %.
    """
    share = correct / n
    spread = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    middle = share + z**2 / (2 * n)
    scale = 1 + z**2 / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers that keeps the count behind it.

    Args:
        correct: right answers, 0 to `n`.
        n: answers in all, at least 1.
    """

    correct: int
    n: int

    @property
    def value(self) -> float:
        """Share of right answers in [0, 1]."""
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % score interval, each bound in [0, 1]."""
        return wilson_interval(self.correct, self.n)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}] (n={self.n})"


@dataclass(frozen=True)
class SplitScore:
    """How good a prompt is on a split.

    Args:
        top1: accuracy.
        loss: mean cross-entropy, which decides between equal accuracies.
    """

    top1: Accuracy
    loss: float

    def is_better_than(self, other: SplitScore) -> bool:
        """Whether this is the higher accuracy, or an equal one with a lower loss."""
        return (self.top1.value, -self.loss) > (other.top1.value, -other.loss)
