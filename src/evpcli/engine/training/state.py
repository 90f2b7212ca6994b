"""What training has come to: one step, an epoch under way, and the state to go on from."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from evpcli.domain.errors import DivergedError
from evpcli.domain.events import StepReport
from evpcli.domain.manifest import EpochRecord
from evpcli.domain.statistics import SplitScore
from evpcli.engine.prompts.label_map import LabelMap
from evpcli.engine.training.learner import Learner


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
        elapsed_s: time spent on steps and scores, over all sittings.
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
class StepResult:
    """What one batch said, left on the device.

    Args:
        loss: mean cross-entropy, a scalar.
        correct: right answers, a scalar.
        seen: pictures that count; a scalar tensor if several processes share the batch.
        gradients: of the mean loss by the prompt, (3, canvas, canvas), then by the head.
    """

    loss: Tensor
    correct: Tensor
    seen: Tensor | int
    gradients: list[Tensor]


class RunningEpoch:
    """Sums of an unfinished epoch, left on the device until somebody needs them.

    Args:
        state: when the sums were begun.
        learner: what is being changed.
    """

    def __init__(self, state: TrainingState, learner: Learner) -> None:
        self._state, self._learner = state, learner
        self._losses: list[Tensor] = []
        self._correct: list[Tensor] = []
        self._seen: list[Tensor | int] = []
        self._began = time.monotonic()

    @property
    def unsaved_s(self) -> float:
        """Time since the sums were begun."""
        return time.monotonic() - self._began

    def add(self, found: StepResult) -> None:
        """Count one more step."""
        self._losses.append(found.loss)
        self._correct.append(found.correct)
        self._seen.append(found.seen)

    def report(self, steps: int, images: int, loss: Tensor) -> StepReport:
        """What is told of the last step, of `steps` in the epoch."""
        step = self._state.steps_done + len(self._losses)
        return StepReport(self._state.epochs_done, step, steps, images, loss.item)

    def freeze_within(self) -> TrainingState:
        """The state in the middle of an epoch, which the first process saves for all."""
        self._learner.gather_observed()
        kept = self.freeze()
        self._learner.keep_observed_once()
        return kept

    def freeze(self) -> TrainingState:
        """The state as it is now.

        Raises:
            DivergedError: something is no longer finite.
        """
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
            seen=self._state.seen + sum(map(int, self._seen)),
            elapsed_s=self._state.elapsed_s + self.unsaved_s,
        )


def finish_epoch(
    state: TrainingState, score: SplitScore, lr: float, label_map: LabelMap | None
) -> TrainingState:
    """Sum an epoch up, and keep its prompt if it scores better than the best so far.

    Args:
        state: after the epoch's last step.
        score: of its prompt.
        lr: of its first step.
        label_map: of its prompt; nothing where there is none.
    """
    record = EpochRecord(
        epoch=state.epochs_done + 1,
        lr=lr,
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
