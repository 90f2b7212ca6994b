from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from evpcli.domain.errors import DivergedError, UsageError
from evpcli.domain.events import Trial
from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.statistics import Accuracy, SplitScore
from evpcli.engine.datasets.loader import Batch
from evpcli.engine.fitting.lr_search import find_rate
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.training.learner import Learner
from evpcli.engine.training.loop import TrainingHooks


class DistanceTask:
    """Scores a prompt by how near it has moved to a given distance from zero."""

    steps_per_epoch = 1
    selection_split = "val"

    def __init__(self, wanted: float, scale: float = 1.0) -> None:
        self.wanted, self.scale = wanted, scale

    def new_learner(self) -> Learner:
        return Learner(VisualPrompt(FrameGeometry(8, 3)), self.classifier)

    def classifier(self, canvas: Tensor) -> Tensor:
        total = canvas.sum((1, 2, 3)) * self.scale
        return torch.stack([total, -total], dim=1)

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        yield Batch(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))

    def score(self, learner: Learner) -> SplitScore:
        pixels = learner.prompt.pixels
        return SplitScore(Accuracy(1, 2), abs(float(pixels.detach().norm()) - self.wanted))


@pytest.mark.parametrize(("wanted", "nearest"), [(0.3, 0.25), (1.0, 0.5), (4.2, 2.0), (100.0, 8.0)])
def test_the_rate_that_scores_best_is_found(wanted: float, nearest: float) -> None:
    """Two epochs move by lr * (1 + 1/2) along a constant direction, less what the window takes."""
    trials: list[Trial] = []
    found = find_rate(DistanceTask(wanted), 1.0, TrainingHooks(), trials.append)  # type: ignore[arg-type]
    assert len({trial.lr for trial in trials}) == len(trials) <= 6
    assert found.score.loss == min(trial.score.loss for trial in trials)
    assert found.lr in (nearest, nearest / 2, nearest * 2)


def test_test_pictures_choose_no_rate() -> None:
    task = DistanceTask(1.0)
    task.selection_split = "test"
    with pytest.raises(UsageError, match="searched on test"):
        find_rate(task, 1.0, TrainingHooks())  # type: ignore[arg-type]


def test_no_finite_rate_is_an_error() -> None:
    with pytest.raises(DivergedError, match="no learning rate"):
        find_rate(DistanceTask(1.0, scale=float("nan")), 1.0, TrainingHooks())  # type: ignore[arg-type]
