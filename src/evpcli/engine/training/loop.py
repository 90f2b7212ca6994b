"""The loop, readable from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch.nn import functional

from evpcli.domain.errors import StoppedError
from evpcli.domain.events import BestEpoch, StepReport
from evpcli.domain.manifest import EpochRecord
from evpcli.domain.schedule import cosine_rate, warmup_rate
from evpcli.domain.statistics import SplitScore
from evpcli.engine.compute.distributed import World
from evpcli.engine.datasets.loader import Batch
from evpcli.engine.training.learner import Learner
from evpcli.engine.training.state import (
    RunningEpoch,
    StepResult,
    TrainingState,
    finish_epoch,
)

_AGREE_EVERY = 16
"""Steps between two exchanges about stopping and saving, for several processes on GPUs."""

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
class TrainingHooks:
    """How the loop speaks to the outside.

    Args:
        save: keep this state; called after every epoch and before a stop.
        on_event: told of each step and of each finished epoch.
        stop_signal: the number of a signal that asks the run to stop, or 0.
        save_every_s: also save within an epoch after this much time.
    """

    save: Callable[[TrainingState], None] = lambda state: None
    on_event: Callable[[StepReport | BestEpoch | EpochRecord], None] = lambda event: None
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
        began = time.monotonic()
        learner.gather_observed()
        learner.head.end_epoch()
        state = replace(state, memory=learner.copy_memory())
        score = task.score(learner)
        lr = plan.rate_at(state.epochs_done, 0, len(state.losses))
        state = finish_epoch(state, score, lr, learner.copy_map())
        elapsed_s = state.elapsed_s + time.monotonic() - began
        (elapsed_s,) = learner.world.find_largest(elapsed_s)
        state = replace(state, elapsed_s=elapsed_s)
        if state.best_epoch == state.epochs_done:
            hooks.on_event(BestEpoch(state.best_epoch))
        hooks.on_event(state.history[-1])
        hooks.save(state)
        (signal_number,) = map(int, learner.world.find_largest(hooks.stop_signal()))
        if signal_number:  # it came while the epoch was scored
            raise StoppedError(signal_number, "stopped; the state was saved")
    return state


def take_step(learner: Learner, batch: Batch, lr: float, share: float = 1.0) -> StepResult:
    """One step: the border moves as the rule says, a learned head along with it.

    Args:
        learner: changed in place.
        batch: images of the prompt's image size and labels, on the prompt's device; of several
            processes each has its own part.
        lr: the border's learning rate.
        share: the same rate as a share of the highest, for the head.

    Returns:
        What was found before the step, over all processes.
    """
    parts = [_differentiate(learner, part) for part in batch.split(learner.accumulate)]
    found = parts[0] if len(parts) == 1 else _add_up(parts)
    if not learner.world.is_alone:
        found = _exchange(learner.world, found)
    gradient, *others = found.gradients
    learner.rule.move(learner.prompt.pixels, gradient, learner.prompt.mask, lr)
    if others:
        learner.head.learn(others, share)
    return found


def _differentiate(learner: Learner, batch: Batch) -> StepResult:
    """Loss and gradients of this process's part of a batch; zeros where it has no picture."""
    prompt, head = learner.prompt, learner.head
    learned = (prompt.pixels, *head.parameters)
    if not batch.readable:
        nothing = prompt.pixels.new_zeros(())
        zeros = [torch.zeros_like(values) for values in learned]
        return StepResult(nothing, nothing.long(), 0, zeros)
    outputs = learner.source(prompt.frame(batch.images.float() / 255))  # (batch, outputs)
    logits = head(outputs)  # (batch, classes)
    loss = functional.cross_entropy(logits, batch.labels)
    scale = learner.loss_scale
    scaled = torch.autograd.grad(loss * scale if scale != 1 else loss, learned)
    gradients = [one / scale for one in scaled] if scale != 1 else list(scaled)
    head.observe(outputs.detach(), batch.labels)
    correct = (logits.detach().argmax(1) == batch.labels).sum()
    return StepResult(loss.detach(), correct, batch.readable, gradients)


def _add_up(parts: Sequence[StepResult]) -> StepResult:
    """The batch's result from those of its parts, which each are means over their own pictures."""
    shares = [int(part.seen) / max(1, sum(int(part.seen) for part in parts)) for part in parts]
    weighted = list(zip(shares, parts, strict=True))
    return StepResult(
        torch.stack([share * part.loss for share, part in weighted]).sum(),
        torch.stack([part.correct for part in parts]).sum(),
        sum(int(part.seen) for part in parts),
        [
            torch.stack([share * part.gradients[i] for share, part in weighted]).sum(0)
            for i in range(len(parts[0].gradients))
        ],
    )


def _exchange(world: World, own: StepResult) -> StepResult:
    """The whole batch's result in every process, by one sum over gradients and counts."""
    number = own.loss.new_tensor(float(own.seen))
    counts = torch.stack([own.loss * own.seen, own.correct.float(), number])
    weighted = [gradient * own.seen for gradient in own.gradients]
    world.sum_in_place(*weighted, counts)
    seen = counts[2].clamp(min=1)
    return StepResult(
        counts[0] / seen, counts[1], counts[2], [gradient / seen for gradient in weighted]
    )


def _train_epoch(
    learner: Learner,
    task: TrainingTask,
    plan: TrainingPlan,
    hooks: TrainingHooks,
    state: TrainingState,
) -> TrainingState:
    """Take the epoch's remaining steps; the returned state holds them, not yet summed up."""
    epoch, device = state.epochs_done, learner.prompt.pixels.device
    running = RunningEpoch(state, learner)
    for step, batch in enumerate(task.batches(epoch, state.steps_done), state.steps_done):
        lr = plan.rate_at(epoch, step, task.steps_per_epoch)
        found = take_step(learner, batch.to(device), lr, lr / plan.lr)
        running.add(found)
        images = batch.readable * learner.world.size
        hooks.on_event(running.report(task.steps_per_epoch, images, found.loss))
        signal_number, unsaved_s = _agree(learner.world, step, hooks, running)
        if signal_number:
            hooks.save(running.freeze_within())
            raise StoppedError(signal_number, "stopped; the state was saved")
        if unsaved_s > hooks.save_every_s:
            kept = running.freeze_within()
            hooks.save(kept)
            running = RunningEpoch(kept, learner)
    return running.freeze()


def _agree(
    world: World, step: int, hooks: TrainingHooks, running: RunningEpoch
) -> tuple[int, float]:
    """The signal to stop and the time since the last save, the same in every process.

    Several processes on GPUs ask each other only now and then, since it makes them wait.
    """
    if not world.is_alone and world.device.type == "cuda" and step % _AGREE_EVERY:
        return 0, 0.0
    signal_number, unsaved_s = world.find_largest(hooks.stop_signal(), running.unsaved_s)
    return int(signal_number), unsaved_s


def _is_over(state: TrainingState, plan: TrainingPlan) -> bool:
    if state.epochs_done >= plan.epochs:
        return True
    if plan.patience and state.epochs_done - state.best_epoch >= plan.patience:
        return True
    return plan.max_time_s is not None and state.elapsed_s >= plan.max_time_s
