from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.datasets.loader import PixelSource, Reading
from evpcli.engine.evaluation.classifiers import TaskClassifiers
from evpcli.engine.evaluation.predict import (
    Comparison,
    Gauge,
    Predictions,
    compare_classes,
    compare_prompt,
    predict,
)
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from tests.engine.datasets.test_loader import Gradients

CPU = torch.device("cpu")


def read_number(classes: int) -> object:
    """A classifier that answers with the picture's number, which its red value tells."""

    def classify(canvas: Tensor) -> Tensor:
        number = (canvas[:, 0].amax((1, 2)) * 255).round().long()
        return functional.one_hot(number % classes, classes).float() * 4

    return classify


@pytest.mark.parametrize(("classes", "has_top5"), [(3, False), (5, False), (6, True)])
def test_top5_needs_six_classes(classes: int, has_top5: bool) -> None:
    found = predict(
        read_number(classes), PixelSource(Gradients(), 8), lambda x: x, batch_size=2, device=CPU
    )
    assert (found.top5 is not None) is has_top5


def test_counts_confidence_and_loss_agree_with_a_direct_computation() -> None:
    source = PixelSource(Gradients(), 8)
    found = predict(read_number(6), source, lambda x: x, batch_size=2, device=CPU)
    logits = functional.one_hot(torch.arange(5), 6).float() * 4
    assert found.answers.tolist() == [0, 1, 2, 3, 4]
    assert found.top1.correct == 3  # numbers 3 and 4 have the labels 0 and 1
    assert found.loss_sum == pytest.approx(
        float(functional.cross_entropy(logits, source.labels, reduction="sum")), rel=1e-6
    )
    assert torch.allclose(found.confidence, logits.softmax(1).amax(1))


def test_the_mean_per_class_weighs_every_class_alike() -> None:
    from sklearn.metrics import recall_score

    labels = torch.tensor([0, 0, 0, 0, 0, 0, 3, 3, 1])
    answers = torch.tensor([0, 0, 0, 0, 0, 1, 3, 0, -100])
    found = Predictions(labels, answers, torch.ones(9), None, 0.0)
    expected = recall_score(labels, answers, labels=[0, 1, 3], average="macro")  # none of class 2
    assert found.mean_per_class == pytest.approx((5 / 6 + 1 / 2 + 0) / 3)
    assert found.mean_per_class == pytest.approx(expected)
    assert found.to_measurement("prompted", "test").mean_per_class == found.mean_per_class


def test_pictures_without_a_readable_label_have_no_class_of_their_own() -> None:
    labels = torch.tensor([-100, 1, 1])
    found = Predictions(labels, torch.tensor([1, 1, 0]), torch.ones(3), None, 0.0)
    assert found.mean_per_class == 0.5
    assert Predictions(labels[:1], labels[:1], torch.ones(1), None, 0.0).mean_per_class is None


def test_batch_size_changes_no_answer() -> None:
    source = PixelSource(Gradients(), 8)
    one = predict(read_number(6), source, lambda x: x, batch_size=1, device=CPU)
    all_at_once = predict(read_number(6), source, lambda x: x, batch_size=9, device=CPU)
    assert torch.equal(one.answers, all_at_once.answers)
    assert one.loss_sum == pytest.approx(all_at_once.loss_sum)


def test_comparison_fills_the_canvas_then_the_window_then_the_frame() -> None:
    seen: list[Tensor] = []

    def spy(canvas: Tensor) -> Tensor:
        seen.append(canvas.clone())
        return torch.zeros(len(canvas), 3)

    geometry = FrameGeometry(canvas_px=8, border_px=2)
    pixels = torch.ones(3, 8, 8)
    pixels[:, 2:6, 2:6] = 0
    compare_prompt(
        VisualPrompt(geometry, pixels),
        TaskClassifiers.without_map(spy),
        Gradients(),
        Gauge(Reading(threads=1), batch_size=9),
    )
    full, blank, prompted = seen
    assert full[1, 1, -1, 0] > 0  # rows reach the canvas's edge
    assert not blank[:, :, 0].any()
    assert blank[1, 1, 5, 3] > 0
    assert torch.equal(prompted - blank, pixels.expand(5, 3, 8, 8))


def test_classes_are_compared_one_by_one() -> None:
    source = PixelSource(Gradients(), 8)
    right = predict(read_number(3), source, lambda x: x, batch_size=9, device=CPU)
    wrong = predict(
        lambda c: torch.eye(3)[[2] * len(c)], source, lambda x: x, batch_size=9, device=CPU
    )
    rows = compare_classes(("a", "b", "c", "never"), Comparison(wrong, wrong, right))
    before = [(r.name, r.full.n, r.full.correct, r.blank.correct) for r in rows]
    assert before == [("a", 2, 0, 0), ("b", 2, 0, 0), ("c", 1, 1, 1)]
    assert [r.prompted.correct for r in rows] == [2, 2, 1]
