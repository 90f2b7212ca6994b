"""What long work tells whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evpcli.domain.manifest import EpochRecord
from evpcli.domain.statistics import SplitScore


@dataclass(frozen=True)
class Phase:
    """A stage of the work begins.

    Args:
        text: what is done now.
        run_id: set once there is something to resume.
        epochs: length of the schedule, when training begins.
    """

    text: str
    run_id: str | None = None
    epochs: int | None = None

    @property
    def is_training(self) -> bool:
        """Whether this is the stage in which the first signal waits for a step to end."""
        return self.epochs is not None


@dataclass(frozen=True)
class Trouble:
    """Something went wrong that does not end the run."""

    text: str


@dataclass(frozen=True)
class WorkProgress:
    """How far a stage is: downloading, decoding, asking the frozen model, or fitting a probe.

    Args:
        done: of `total`.
        total: all that this stage has to do, if known.
        doing: what is done, where it is not what the phase says.
        unit: what is counted, in the plural.
    """

    done: int
    total: int | None
    doing: str = ""
    unit: str = "images"


@dataclass(frozen=True)
class Trial:
    """One learning rate that was tried, and the score it reached."""

    lr: float
    score: SplitScore


@dataclass(frozen=True)
class StepReport:
    """One training step; the loss is fetched from the device only when asked for.

    Args:
        epoch: from 0.
        step: from 1, within the epoch.
        steps: in an epoch.
        images: in this step.
        fetch_loss: mean cross-entropy of this step.
    """

    epoch: int
    step: int
    steps: int
    images: int
    fetch_loss: Callable[[], float]


@dataclass(frozen=True)
class BestEpoch:
    """The epoch that is reported next has the best selection score so far; `epoch` from 1."""

    epoch: int


ReadingEvent = Trouble | WorkProgress
"""What the reading of images tells."""

FitEvent = Phase | ReadingEvent | Trial | StepReport | BestEpoch | EpochRecord
