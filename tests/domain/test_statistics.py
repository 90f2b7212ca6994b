from __future__ import annotations

import pytest
from scipy.stats import binomtest

from evpcli.domain.statistics import Accuracy, SplitScore, wilson_interval


@pytest.mark.parametrize(
    ("correct", "n"), [(0, 1), (1, 1), (0, 360), (360, 360), (261, 360), (1, 7)]
)
def test_interval_agrees_with_scipy(correct: int, n: int) -> None:
    expected = binomtest(correct, n).proportion_ci(method="wilson")
    assert wilson_interval(correct, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_accuracy_shows_its_interval_and_n() -> None:
    assert str(Accuracy(90, 100)) == "90.0 % [82.6, 94.5] (n=100)"


def test_equal_accuracies_are_decided_by_the_loss() -> None:
    low, high = SplitScore(Accuracy(5, 10), 1.0), SplitScore(Accuracy(5, 10), 2.0)
    assert low.is_better_than(high)
    assert not high.is_better_than(low)
    assert SplitScore(Accuracy(6, 10), 9.0).is_better_than(low)
