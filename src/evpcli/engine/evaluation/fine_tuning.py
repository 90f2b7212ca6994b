"""Full fine-tuning: every weight of a copy of the model is trained, on full pictures."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from evpcli.domain.errors import DivergedError, StoppedError, UsageError
from evpcli.domain.events import FitEvent, Phase, StepReport, Trial
from evpcli.domain.manifest import EpochRecord
from evpcli.domain.schedule import cosine_rate
from evpcli.domain.statistics import SplitScore
from evpcli.engine.backbones.interface import Backbone
from evpcli.engine.compute.memory import explained_memory
from evpcli.engine.datasets.crops import EpochPlan
from evpcli.engine.datasets.interface import Dataset, SplitName
from evpcli.engine.datasets.loader import Batch, PixelSource, Reading
from evpcli.engine.evaluation.full_images import check_task, open_full_pictures
from evpcli.engine.evaluation.predict import Predictions, predict

RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
"""First-epoch learning rates that are tried, each over the whole schedule."""


@dataclass(frozen=True)
class FineTuneSettings:
    """The numbers of one fine-tuning.

    Args:
        epochs: length of the cosine schedule, at least 1.
        batch_size: pictures a step, at least 1.
        rates: first-epoch learning rates, above 0; a single one is taken as it is, of several
            validation chooses.
        weight_decay: AdamW's, of every weight; at least 0.
        flip: mirror pictures at random; left out means where the dataset says that classes allow.
        seed: of order, crops and mirroring; at least 0.
    """

    epochs: int = 30
    batch_size: int = 64
    rates: tuple[float, ...] = RATES
    weight_decay: float = 0.01
    flip: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise UsageError(
                "fine-tuning needs at least one epoch and one picture a step",
                found=f"{self.epochs} epochs, batches of {self.batch_size}",
            )
        if not self.rates or not all(0 < rate < math.inf for rate in self.rates):
            raise UsageError(
                "fine-tuning needs learning rates above 0",
                found=", ".join(f"{rate:g}" for rate in self.rates) or "none",
            )


@dataclass(frozen=True)
class RateRun:
    """One learning rate's whole schedule.

    Args:
        lr: of the first epoch.
        epoch: after how many epochs it was best on validation; 0 is the untrained head.
        score: on validation, after that epoch.
        history: one record for each epoch.
    """

    lr: float
    epoch: int
    score: SplitScore
    history: tuple[EpochRecord, ...]


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned model's answers and how it was chosen.

    Args:
        chosen: the run with the best validation score.
        runs: every rate that gave finite values, in the order tried.
        start: the untrained head's score on validation.
        predictions: answers of the chosen run's best epoch, by split.
        parameters: trained values, the head's among them.
        elapsed_s: over all rates.
    """

    chosen: RateRun
    runs: tuple[RateRun, ...]
    start: SplitScore
    predictions: Mapping[SplitName, Predictions]
    parameters: int
    elapsed_s: float


def fine_tune(
    backbone: Backbone,
    dataset: Dataset,
    settings: FineTuneSettings = FineTuneSettings(),
    *,
    splits: Sequence[SplitName] = ("val", "test"),
    reading: Reading,
    on_event: Callable[[FitEvent], None] = lambda event: None,
    stop_signal: Callable[[], int] = lambda: 0,
) -> FineTuned:
    """Train a copy of the encoder and a linear head, end to end; the backbone is left as it is.

    AdamW, the rate of each epoch along a half cosine. The model stays in evaluation mode: batch
    norm keeps its statistics, dropout is off. Rate and epoch are chosen on validation.

    Args:
        backbone: the frozen model, on `device`.
        dataset: already divided, with `val`.
        settings: of the training.
        splits: what the chosen epoch is measured on, once.
        reading: how pictures become pixels, and the device that computes.
        on_event: told of each rate, step and epoch.
        stop_signal: the number of a signal that asks to stop, or 0.

    Raises:
        UsageError: a split is missing, or a class has no training picture.
        DivergedError: no rate gave finite values.
        StoppedError: a signal asked to stop; nothing is kept.
    """
    began = time.monotonic()
    check_task(dataset, "fine-tuning", splits)
    course = _Course(backbone, dataset, settings, reading, on_event, stop_signal)
    with closing(course), explained_memory(settings.batch_size):
        start = course.score(course.new_model())
        runs, (chosen, weights) = _try_rates(course, start)
        model = course.new_model()
        model.load_state_dict(weights)
        predictions = {split: course.answer(model, split) for split in splits}
    return FineTuned(
        chosen=chosen,
        runs=runs,
        start=start,
        predictions=predictions,
        parameters=sum(weight.numel() for weight in model.parameters()),
        elapsed_s=time.monotonic() - began,
    )


_Weights = dict[str, Tensor]


class _Course:
    """What all rates share: the frozen encoder, the pictures, and how to speak to the outside."""

    def __init__(
        self,
        backbone: Backbone,
        dataset: Dataset,
        settings: FineTuneSettings,
        reading: Reading,
        on_event: Callable[[FitEvent], None],
        stop_signal: Callable[[], int],
    ) -> None:
        self.settings, self.device, self.on_event = settings, reading.device, on_event
        self._stop_signal = stop_signal
        self._card, self._dataset, self._reading = backbone.card, dataset, reading
        self._encoder = backbone.build_encoder()
        self._train, self._val = self._open("train"), self._open("val")
        self._flip = dataset.flip if settings.flip is None else settings.flip

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self._train) // self.settings.batch_size)

    def new_model(self) -> nn.Module:
        """A copy of the encoder with a head of zeros, all of it to be trained, in evaluation mode.

        (batch, 3, canvas, canvas) in pixel space to (batch, classes) logits.
        """
        side = self._card.canvas_px
        with torch.no_grad():
            width = self._encoder(torch.zeros(1, 3, side, side, device=self.device)).shape[1]
        head = nn.Linear(width, len(self._dataset.class_names))
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        model = nn.Sequential(copy.deepcopy(self._encoder), head).to(self.device)
        return model.requires_grad_(True).eval()

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0), cropped and mirrored; the same on every call."""
        settings = self.settings
        plan = EpochPlan.draw(
            len(self._train), seed=settings.seed, epoch=epoch, flip=self._flip, crop=True
        )
        for batch in self._train.random_batches(plan, settings.batch_size):
            yield batch.to(self.device)

    def score(self, model: nn.Module) -> SplitScore:
        """How well a model does on the pictures that choose rate and epoch."""
        return self._predict(model, self._val).to_score()

    def answer(self, model: nn.Module, split: SplitName) -> Predictions:
        """A model's answers for a split."""
        with closing(self._open(split)) as source:
            return self._predict(model, source)

    def check_stop(self) -> None:
        """Raise StoppedError if a signal asks to stop."""
        signal_number = self._stop_signal()
        if signal_number:
            raise StoppedError(signal_number, "stopped; fine-tuning keeps nothing half done")

    def close(self) -> None:
        """End the decoding threads."""
        self._train.close()
        self._val.close()

    def _open(self, split: SplitName) -> PixelSource:
        return open_full_pictures(self._dataset.splits[split], self._card, self._reading)

    def _predict(self, model: nn.Module, source: PixelSource) -> Predictions:
        batch_size = self.settings.batch_size
        return predict(model, source, lambda x: x, batch_size=batch_size, device=self.device)


def _try_rates(
    course: _Course, start: SplitScore
) -> tuple[tuple[RateRun, ...], tuple[RateRun, _Weights]]:
    """Every rate's run, and the best one on validation with its weights; of equals the first."""
    runs: list[RateRun] = []
    best: tuple[RateRun, _Weights] | None = None
    for lr in course.settings.rates:
        try:
            run, weights = _run_rate(course, lr, start)
        except DivergedError:
            continue
        course.on_event(Trial(lr, run.score))
        runs.append(run)
        if best is None or run.score.is_better_than(best[0].score):
            best = run, weights
    if best is None:
        rates = ", ".join(f"{lr:g}" for lr in course.settings.rates)
        raise DivergedError("fine-tuning found no learning rate with finite values", found=rates)
    return tuple(runs), best


def _run_rate(course: _Course, lr: float, start: SplitScore) -> tuple[RateRun, _Weights]:
    """One whole schedule from the frozen weights, and the weights of its best epoch.

    Raises:
        DivergedError: the loss is no longer finite.
    """
    settings = course.settings
    course.on_event(Phase(f"fine-tuning at rate {lr:g}", epochs=settings.epochs))
    model = course.new_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=settings.weight_decay)
    best, weights = RateRun(lr, 0, start, ()), _copy_weights(model)
    history: list[EpochRecord] = []
    for epoch in range(settings.epochs):
        rate = cosine_rate(lr, epoch, settings.epochs)
        loss, top1 = _train_epoch(course, model, optimizer, rate, epoch)
        score = course.score(model)
        if not math.isfinite(loss + score.loss):
            raise DivergedError("fine-tuning diverged", found=f"rate {lr:g}, epoch {epoch + 1}")
        history.append(
            EpochRecord(
                epoch=epoch + 1,
                lr=rate,
                train_loss=loss,
                train_top1=top1,
                val_top1=score.top1.value,
            )
        )
        course.on_event(history[-1])
        if score.is_better_than(best.score):
            best, weights = RateRun(lr, epoch + 1, score, ()), _copy_weights(model)
    return RateRun(lr, best.epoch, best.score, tuple(history)), weights


def _train_epoch(
    course: _Course, model: nn.Module, optimizer: torch.optim.Optimizer, rate: float, epoch: int
) -> tuple[float, float]:
    """Take the steps of one epoch; mean loss of its steps and share of right answers."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    losses, correct, seen = [], [], 0
    for batch in course.batches(epoch):
        if not batch.readable:
            continue
        loss, right = _take_step(model, optimizer, batch)
        losses.append(loss)
        correct.append(right)
        seen += batch.readable
        steps = course.steps_per_epoch
        course.on_event(StepReport(epoch, len(losses), steps, batch.readable, loss.item))
        course.check_stop()
    return float(torch.stack(losses).mean()), int(torch.stack(correct).sum()) / seen


def _take_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch
) -> tuple[Tensor, Tensor]:
    """One step; mean cross-entropy and right answers before it, scalars on the device."""
    logits = model(batch.images.float() / 255).float()  # (batch, classes)
    loss = functional.cross_entropy(logits, batch.labels)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.detach(), (logits.detach().argmax(1) == batch.labels).sum()


def _copy_weights(model: nn.Module) -> _Weights:
    """The weights as they are now, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
