"""The loop, readable from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from evpcli.domain.errors import DivergedError, StoppedError
from evpcli.domain.events import StepReport
from evpcli.domain.manifest import EpochRecord
from evpcli.domain.schedule import cosine_rate, warmup_rate
from evpcli.domain.statistics import SplitScore
from evpcli.engine.label_map import LabelMap
from evpcli.engine.learner import Learner
from evpcli.engine.pictures.pixels import Batch

Schedule = Literal["epoch-cosine", "step-warmup"]


@dataclass(frozen=True)
class TrainingPlan:
    """The numbers of one run.

    Args:
        lr: highest learning rate; an EVP step of it moves the canvas by this length.
        epochs: length of the schedule.
        schedule: `epoch-cosine` falls by epoch (EVP), `step-warmup` rises and falls by step (VP).
        patience: stop after so many epochs without a better selection score.
        max_time_s: stop after the epoch in which this much time has gone.
    """

    lr: float
    epochs: int
    schedule: Schedule = "epoch-cosine"
    patience: int | None = None
    max_time_s: float | None = None

    def rate_at(self, epoch: int, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, both counted from 0, the step within the epoch."""
        if self.schedule == "epoch-cosine":
            return cosine_rate(self.lr, epoch, self.epochs)
        steps = self.epochs * steps_per_epoch
        return warmup_rate(self.lr, epoch * steps_per_epoch + step, steps)


class TrainingTask(Protocol):
    """What is learned from: batches to step on, and a score to select by."""

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0), from step `start` on; the same on every call."""

    def score(self, learner: Learner) -> SplitScore:
        """How well a prompt and its head do on the pictures that select the best epoch."""


@dataclass(frozen=True)
class TrainingState:
    """Everything that a run needs to go on exactly where it was.

    Args:
        pixels: (3, canvas, canvas) float32, the prompt after `steps_done` steps of the epoch.
        best_pixels: the prompt with the best selection score so far.
        best_score: that score.
        memory: what the update rule and the head remember, by name.
        best_map: the head that belongs to the best prompt; nothing where there is none.
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
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    best_map: LabelMap | None = None

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


def start_state(learner: Learner, task: TrainingTask) -> TrainingState:
    """The state before the first step: the prompt as it is, scored, is the one to beat."""
    pixels = learner.prompt.pixels.detach().cpu().clone()
    return TrainingState(
        pixels=pixels,
        best_pixels=pixels,
        best_score=task.score(learner),
        memory=learner.copy_memory(),
        best_map=learner.copy_map(),
    )


def train_prompt(
    learner: Learner,
    task: TrainingTask,
    plan: TrainingPlan,
    hooks: TrainingHooks = TrainingHooks(),
    state: TrainingState | None = None,
) -> TrainingState:
    """Learn a prompt, and its head if it has one to learn, in place, and keep the best epoch.

    Args:
        learner: where to start; afterwards the last step's values (the best are in the state).
        task: batches and the selection score.
        plan: the run's numbers.
        hooks: saving, progress and stopping.
        state: an earlier run's state to go on from.

    Returns:
        The state after the last epoch.

    Raises:
        DivergedError: the loss or the prompt is no longer finite; saved states stay.
        StoppedError: a signal asked to stop; the state was saved first.
        DamagedError: the state given belongs to another kind of run.
    """
    state = state or start_state(learner, task)
    learner.restore(state.pixels, state.memory)
    while not _is_over(state, plan):
        state = _train_epoch(learner, task, plan, hooks, state)
        learner.head.end_epoch()
        state = replace(state, memory=learner.copy_memory())
        score = task.score(learner)
        state = _finish_epoch(state, score, plan, learner.copy_map())
        hooks.on_event(state.history[-1])
        hooks.save(state)
        signal_number = hooks.stop_signal()
        if signal_number:  # it came while the epoch was scored
            raise StoppedError(signal_number, "stopped; the state was saved")
    return state


def take_step(
    learner: Learner, batch: Batch, lr: float, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """One step: the border moves as the rule says, a learned head along with it.

    Args:
        learner: changed in place.
        batch: images of the prompt's image size and labels, on the prompt's device.
        lr: the border's learning rate.
        share: the same rate as a share of the highest, for the head.

    Returns:
        Mean cross-entropy and the number of right answers before the step; scalars on the device.
    """
    prompt, head = learner.prompt, learner.head
    if not batch.readable:
        return prompt.pixels.new_zeros(()), batch.labels.new_zeros(())
    outputs = learner.source(prompt.frame(batch.images.float() / 255))  # (batch, outputs)
    logits = head(outputs)  # (batch, classes)
    loss = functional.cross_entropy(logits, batch.labels)
    gradient, *others = torch.autograd.grad(loss, (prompt.pixels, *head.parameters))
    learner.rule.move(prompt.pixels, gradient, prompt.mask, lr)
    if others:
        head.learn(others, share)
    head.observe(outputs.detach(), batch.labels)
    return loss.detach(), (logits.detach().argmax(1) == batch.labels).sum()


def _train_epoch(
    learner: Learner,
    task: TrainingTask,
    plan: TrainingPlan,
    hooks: TrainingHooks,
    state: TrainingState,
) -> TrainingState:
    """Take the epoch's remaining steps; the returned state holds them, not yet summed up."""
    epoch, device = state.epochs_done, learner.prompt.pixels.device
    running = _RunningEpoch(state, learner)
    for step, batch in enumerate(task.batches(epoch, state.steps_done), state.steps_done):
        lr = plan.rate_at(epoch, step, task.steps_per_epoch)
        loss, correct = take_step(learner, batch.to(device), lr, lr / plan.lr)
        running.add(loss, correct, batch.readable)
        hooks.on_event(running.report(task.steps_per_epoch, batch.readable, loss))
        signal_number = hooks.stop_signal()
        if signal_number:
            hooks.save(running.freeze())
            raise StoppedError(signal_number, "stopped; the state was saved")
        if running.unsaved_s > hooks.save_every_s:
            hooks.save(running.freeze())
            running = _RunningEpoch(running.freeze(), learner)
    return running.freeze()


class _RunningEpoch:
    """Sums of an unfinished epoch, left on the device until somebody needs them."""

    def __init__(self, state: TrainingState, learner: Learner) -> None:
        self._state, self._learner = state, learner
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
        pixels = self._learner.prompt.pixels.detach().cpu().clone()
        memory = self._learner.copy_memory()
        kept = (pixels, *memory.values())
        if not (all(map(math.isfinite, losses)) and all(bool(v.isfinite().all()) for v in kept)):
            raise DivergedError(
                "training produced values that are not finite",
                found=f"in epoch {self._state.epochs_done + 1}",
                hint="lower --lr; nothing was filed",
            )
        correct = int(torch.stack(self._correct).sum()) if self._correct else 0
        return replace(
            self._state,
            pixels=pixels,
            memory=memory,
            losses=(*self._state.losses, *losses),
            correct=self._state.correct + correct,
            seen=self._seen,
            elapsed_s=self._state.elapsed_s + self.unsaved_s,
        )


def _finish_epoch(
    state: TrainingState, score: SplitScore, plan: TrainingPlan, label_map: LabelMap | None
) -> TrainingState:
    """Sum the epoch up, and keep its prompt if it scores better than the best so far."""
    record = EpochRecord(
        epoch=state.epochs_done + 1,
        lr=plan.rate_at(state.epochs_done, 0, len(state.losses)),
        train_loss=math.fsum(state.losses) / len(state.losses),
        train_top1=state.correct / max(1, state.seen),
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
        return replace(
            state,
            best_pixels=state.pixels,
            best_score=score,
            best_epoch=record.epoch,
            best_map=label_map,
        )
    return state


def _is_over(state: TrainingState, plan: TrainingPlan) -> bool:
    if state.epochs_done >= plan.epochs:
        return True
    if plan.patience and state.epochs_done - state.best_epoch >= plan.patience:
        return True
    return plan.max_time_s is not None and state.elapsed_s >= plan.max_time_s
