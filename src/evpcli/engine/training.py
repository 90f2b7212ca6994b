"""The loop, readable from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from evpcli.domain.errors import DivergedError, StoppedError
from evpcli.domain.events import StepReport
from evpcli.domain.manifest import EpochRecord
from evpcli.domain.schedule import cosine_rate
from evpcli.domain.statistics import SplitScore
from evpcli.engine.backbones.interface import Classifier
from evpcli.engine.pictures.pixels import Batch
from evpcli.engine.prompt import VisualPrompt

NORM_FLOOR = 1e-10
"""Added to the gradient's length before the division (EVP code)."""


@dataclass(frozen=True)
class TrainingPlan:
    """The numbers of one run.

    Args:
        lr: first epoch's learning rate; a step moves the canvas by this length in pixel values.
        epochs: length of the cosine schedule.
        project: whether the border is brought back into [0, 1] after every step.
        patience: stop after so many epochs without a better selection score.
        max_time_s: stop after the epoch in which this much time has gone.
    """

    lr: float
    epochs: int
    project: bool = False
    patience: int | None = None
    max_time_s: float | None = None


class TrainingTask(Protocol):
    """What is learned from: batches to step on, and a score to select by."""

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0), from step `start` on; the same on every call."""

    def score(self, prompt: VisualPrompt) -> SplitScore:
        """How well a prompt does on the pictures that select the best epoch."""


@dataclass(frozen=True)
class TrainingState:
    """Everything that a run needs to go on exactly where it was.

    Args:
        pixels: (3, canvas, canvas) float32, the prompt after `steps_done` steps of the epoch.
        best_pixels: the prompt with the best selection score so far.
        best_score: that score.
        best_epoch: after how many epochs it was reached; 0 is the blank prompt.
        epochs_done: whole epochs behind us.
        losses: mean loss of each step of the unfinished epoch.
        correct: right answers in the unfinished epoch.
        seen: images in the unfinished epoch.
        history: one record for each finished epoch.
        elapsed_s: time spent training, over all sittings.
    """

    pixels: Tensor
    best_pixels: Tensor
    best_score: SplitScore
    best_epoch: int = 0
    epochs_done: int = 0
    losses: tuple[float, ...] = ()
    correct: int = 0
    seen: int = 0
    history: tuple[EpochRecord, ...] = field(default=())
    elapsed_s: float = 0.0

    @property
    def steps_done(self) -> int:
        """Steps behind us in the unfinished epoch."""
        return len(self.losses)


@dataclass(frozen=True)
class TrainingHooks:
    """How the loop speaks to the outside.

    Args:
        save: keep this state; called after every epoch and before a stop.
        on_event: told of each step and of each finished epoch.
        stop_signal: the number of a signal that asks the run to stop, or 0.
        save_every_s: also save within an epoch after this much time.
    """

    save: Callable[[TrainingState], None] = lambda state: None
    on_event: Callable[[StepReport | EpochRecord], None] = lambda event: None
    stop_signal: Callable[[], int] = lambda: 0
    save_every_s: float = 60.0


def start_state(prompt: VisualPrompt, task: TrainingTask) -> TrainingState:
    """The state before the first step: the prompt as it is, scored, is the one to beat."""
    pixels = prompt.pixels.detach().cpu().clone()
    return TrainingState(pixels=pixels, best_pixels=pixels, best_score=task.score(prompt))


def train_prompt(
    prompt: VisualPrompt,
    classifier: Classifier,
    task: TrainingTask,
    plan: TrainingPlan,
    hooks: TrainingHooks = TrainingHooks(),
    state: TrainingState | None = None,
) -> TrainingState:
    """Learn `prompt` in place with the EVP step and keep its best epoch.

    Args:
        prompt: where to start; afterwards the last step's values (the best are in the state).
        classifier: the frozen model.
        task: batches and the selection score.
        plan: the run's numbers.
        hooks: saving, progress and stopping.
        state: an earlier run's state to go on from.

    Returns:
        The state after the last epoch.

    Raises:
        DivergedError: the loss or the prompt is no longer finite; saved states stay.
        StoppedError: a signal asked to stop; the state was saved first.
    """
    state = state or start_state(prompt, task)
    _put_pixels(prompt, state.pixels)
    while not _is_over(state, plan):
        state = _train_epoch(prompt, classifier, task, plan, hooks, state)
        score = task.score(prompt)
        state = _finish_epoch(state, score, plan)
        hooks.on_event(state.history[-1])
        hooks.save(state)
        signal_number = hooks.stop_signal()
        if signal_number:  # it came while the epoch was scored
            raise StoppedError(signal_number, "stopped; the state was saved")
    return state


def take_step(
    prompt: VisualPrompt, classifier: Classifier, batch: Batch, lr: float, *, project: bool = False
) -> tuple[Tensor, Tensor]:
    """One EVP step: the border moves by `lr` along the gradient scaled to unit length.

    The length is the L2 norm over the whole canvas, 3 * canvas * canvas values, before the window
    is masked out (EVP code); one gradient of the shared prompt equals the sum over its copies.

    Args:
        prompt: changed in place.
        classifier: the frozen model.
        batch: images of window size and labels, on the prompt's device.
        lr: length of the step in pixel values.
        project: bring the border back into [0, 1] afterwards.

    Returns:
        Mean cross-entropy and the number of right answers before the step; scalars on the device.
    """
    logits = classifier(prompt.frame(batch.images.float() / 255))  # (batch, classes)
    loss = functional.cross_entropy(logits, batch.labels)
    (gradient,) = torch.autograd.grad(loss, prompt.pixels)  # (3, canvas, canvas)
    with torch.no_grad():
        unit = gradient / (torch.linalg.vector_norm(gradient) + NORM_FLOOR)
        prompt.pixels.sub_(lr * unit * prompt.mask)
        if project:
            prompt.pixels.clamp_(0, 1)
    return loss.detach(), (logits.detach().argmax(1) == batch.labels).sum()


def _train_epoch(
    prompt: VisualPrompt,
    classifier: Classifier,
    task: TrainingTask,
    plan: TrainingPlan,
    hooks: TrainingHooks,
    state: TrainingState,
) -> TrainingState:
    """Take the epoch's remaining steps; the returned state holds them, not yet summed up."""
    lr = cosine_rate(plan.lr, state.epochs_done, plan.epochs)
    running = _RunningEpoch(state, prompt)
    for batch in task.batches(state.epochs_done, state.steps_done):
        moved = Batch(batch.images.to(prompt.pixels.device), batch.labels.to(prompt.pixels.device))
        loss, correct = take_step(prompt, classifier, moved, lr, project=plan.project)
        running.add(loss, correct, len(batch.labels))
        hooks.on_event(running.report(task.steps_per_epoch, len(batch.labels), loss))
        signal_number = hooks.stop_signal()
        if signal_number:
            hooks.save(running.freeze())
            raise StoppedError(signal_number, "stopped; the state was saved")
        if running.unsaved_s > hooks.save_every_s:
            hooks.save(running.freeze())
            running = _RunningEpoch(running.freeze(), prompt)
    return running.freeze()


class _RunningEpoch:
    """Sums of an unfinished epoch, left on the device until somebody needs them."""

    def __init__(self, state: TrainingState, prompt: VisualPrompt) -> None:
        self._state, self._prompt = state, prompt
        self._losses: list[Tensor] = []
        self._correct: list[Tensor] = []
        self._seen = state.seen
        self._began = time.monotonic()

    @property
    def unsaved_s(self) -> float:
        return time.monotonic() - self._began

    def add(self, loss: Tensor, correct: Tensor, images: int) -> None:
        self._losses.append(loss)
        self._correct.append(correct)
        self._seen += images

    def report(self, steps: int, images: int, loss: Tensor) -> StepReport:
        step = self._state.steps_done + len(self._losses)
        return StepReport(self._state.epochs_done, step, steps, images, loss.item)

    def freeze(self) -> TrainingState:
        losses = torch.stack(self._losses).tolist() if self._losses else []
        pixels = self._prompt.pixels.detach().cpu().clone()
        if not (all(math.isfinite(v) for v in losses) and bool(pixels.isfinite().all())):
            raise DivergedError(
                "training produced values that are not finite",
                found=f"in epoch {self._state.epochs_done + 1}",
                hint="lower --lr; nothing was filed",
            )
        correct = int(torch.stack(self._correct).sum()) if self._correct else 0
        return replace(
            self._state,
            pixels=pixels,
            losses=(*self._state.losses, *losses),
            correct=self._state.correct + correct,
            seen=self._seen,
            elapsed_s=self._state.elapsed_s + self.unsaved_s,
        )


def _finish_epoch(state: TrainingState, score: SplitScore, plan: TrainingPlan) -> TrainingState:
    """Sum the epoch up, and keep its prompt if it scores better than the best so far."""
    record = EpochRecord(
        epoch=state.epochs_done + 1,
        lr=cosine_rate(plan.lr, state.epochs_done, plan.epochs),
        train_loss=math.fsum(state.losses) / len(state.losses),
        train_top1=state.correct / state.seen,
        val_top1=score.top1.value,
    )
    state = replace(
        state,
        epochs_done=record.epoch,
        losses=(),
        correct=0,
        seen=0,
        history=(*state.history, record),
    )
    if score.is_better_than(state.best_score):
        return replace(state, best_pixels=state.pixels, best_score=score, best_epoch=record.epoch)
    return state


def _is_over(state: TrainingState, plan: TrainingPlan) -> bool:
    if state.epochs_done >= plan.epochs:
        return True
    if plan.patience and state.epochs_done - state.best_epoch >= plan.patience:
        return True
    return plan.max_time_s is not None and state.elapsed_s >= plan.max_time_s


@torch.no_grad()
def _put_pixels(prompt: VisualPrompt, pixels: Tensor) -> None:
    prompt.pixels.copy_(pixels)
