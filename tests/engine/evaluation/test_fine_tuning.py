from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from evpcli.domain.errors import DivergedError, StoppedError, UsageError
from evpcli.domain.events import FitEvent, Phase, StepReport, Trial
from evpcli.domain.manifest import EpochRecord
from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.datasets.loader import Reading
from evpcli.engine.evaluation.fine_tuning import FineTuned, FineTuneSettings, fine_tune
from evpcli.engine.evaluation.predict import Predictions
from tests.engine.evaluation.tasks import (
    SmallBackbone,
    SmallNetwork,
    draw_plain,
    load_mini,
    make_dataset,
    take_digits,
)

QUICK = FineTuneSettings(epochs=4, batch_size=8, rates=(3e-2,))


def make_task() -> Dataset:
    train, val, test = (draw_plain(n, 3, seed) for seed, n in enumerate((96, 30, 30)))
    return make_dataset(3, train=train, val=val, test=test)


def tune(settings: FineTuneSettings = QUICK, **changes: object) -> FineTuned:
    backbone = changes.pop("backbone", None) or SmallBackbone(SmallNetwork())
    return fine_tune(backbone, make_task(), settings, reading=Reading(threads=1), **changes)  # type: ignore[arg-type]


def test_fine_tuning_beats_its_start() -> None:
    found = tune()
    assert found.start.top1.value == pytest.approx(1 / 3)  # a head of zeros names class 0
    assert found.start.loss == pytest.approx(torch.tensor(3.0).log().item())
    assert found.predictions["test"].top1.value > 0.9
    assert found.predictions["val"].to_score() == found.chosen.score


def test_fine_tuning_leaves_the_backbone_alone() -> None:
    backbone = SmallBackbone(SmallNetwork())
    before = copy.deepcopy(backbone.encoder.state_dict())
    tune(backbone=backbone)
    after = backbone.encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    weights = list(backbone.encoder.parameters())
    assert not any(weight.requires_grad or weight.grad is not None for weight in weights)


def test_equal_seeds_give_equal_answers() -> None:
    one, two = tune(), tune()
    other = tune(replace(QUICK, seed=1))
    assert one.chosen == two.chosen != other.chosen
    assert torch.equal(one.predictions["test"].confidence, two.predictions["test"].confidence)


def test_rate_and_epoch_are_the_best_on_validation() -> None:
    found = tune(replace(QUICK, rates=(1e-6, 3e-2, 3.0)))
    for run in found.runs:
        assert len(run.history) == QUICK.epochs
        curve = [found.start.top1.value, *(record.val_top1 for record in run.history)]
        assert run.score.top1.value == curve[run.epoch] == max(curve)
        assert not run.score.is_better_than(found.chosen.score)


def test_test_pictures_choose_nothing() -> None:
    task = make_task()
    wrong = draw_plain(30, 3, 2)
    wrong = replace(wrong, labels=tuple((label + 1) % 3 for label in wrong.labels))
    splits = {**task.splits, "test": wrong}
    settings = replace(QUICK, rates=(1e-3, 1e-2))
    backbone, task = SmallBackbone(SmallNetwork()), replace(task, splits=splits)
    found = fine_tune(backbone, task, settings, reading=Reading(threads=1))
    honest = tune(settings)
    assert found.chosen == honest.chosen
    assert torch.equal(found.predictions["test"].answers, honest.predictions["test"].answers)
    assert found.predictions["test"].top1 != honest.predictions["test"].top1


def test_a_rate_that_diverges_is_left_out() -> None:
    found = tune(replace(QUICK, rates=(1e30, 1e-2)))
    assert [run.lr for run in found.runs] == [1e-2]
    with pytest.raises(DivergedError, match="no learning rate"):
        tune(replace(QUICK, rates=(1e30,)))


def test_steps_epochs_and_rates_are_reported() -> None:
    events: list[FitEvent] = []
    tune(on_event=events.append)
    counts = {kind: sum(isinstance(e, kind) for e in events) for kind in (Phase, Trial)}
    assert counts == {Phase: 1, Trial: 1}
    steps = [event for event in events if isinstance(event, StepReport)]
    records = [event for event in events if isinstance(event, EpochRecord)]
    assert [step.step for step in steps] == [*range(1, 13)] * 4
    assert records[0].train_loss == pytest.approx(
        sum(step.fetch_loss() for step in steps[:12]) / 12, rel=1e-6
    )
    shares = [record.lr / 3e-2 for record in records]
    assert shares == pytest.approx([1, 0.8535534, 0.5, 0.1464466], rel=1e-6)


def test_a_signal_stops_after_the_step() -> None:
    asked = iter([0, 0, 15])
    with pytest.raises(StoppedError) as error:
        tune(stop_signal=lambda: next(asked))
    assert error.value.signal_number == 15


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"epochs": 0}, {"batch_size": 0}, {"rates": ()}, {"rates": (0.0,)}):
        with pytest.raises(UsageError, match="fine-tuning needs"):
            FineTuneSettings(**wrong)  # type: ignore[arg-type]


def test_mini_learns_digits_and_stays_what_it_is() -> None:
    backbone = load_mini()
    before = copy.deepcopy(backbone.build_encoder().state_dict())
    found = fine_tune(
        backbone,
        take_digits(200, 60, 60),
        FineTuneSettings(epochs=2, batch_size=32, rates=(1e-3,)),
        reading=Reading(threads=1),
    )
    answers: Predictions = found.predictions["test"]
    assert answers.top1.value > 0.7
    after = backbone.build_encoder().state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert found.parameters == sum(v.numel() for v in backbone.build_encoder().parameters()) + 1290
