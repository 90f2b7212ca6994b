"""A short search for the learning rate, judged on the validation split."""

from __future__ import annotations

from collections.abc import Callable

from evpcli.domain.errors import DivergedError
from evpcli.domain.events import Trial
from evpcli.domain.statistics import SplitScore
from evpcli.engine.fitting.checks import check_search_split
from evpcli.engine.fitting.task import FitTask
from evpcli.engine.training.loop import Schedule, TrainingHooks, TrainingPlan, train_prompt

COARSE_FACTORS = (1 / 16, 1 / 4, 1.0, 4.0)
FINE_FACTORS = (1 / 2, 2.0)
TRIAL_EPOCHS = 2


def find_rate(
    task: FitTask,
    around: float,
    hooks: TrainingHooks,
    on_trial: Callable[[Trial], None] = lambda trial: None,
    *,
    schedule: Schedule = "epoch-cosine",
) -> Trial:
    """The rate whose short run from zero scores best on validation.

    Four rates a factor of four apart are tried around the catalog's, then the two beside the best.
    Each trial is a whole cosine schedule of two epochs. Test pictures are never looked at.

    Args:
        task: with a validation split.
        around: the middle of the search.
        hooks: only its stop signal is used.
        on_trial: told of each trial.
        schedule: as in the run that follows.

    Raises:
        UsageError: the task selects on test.
        DivergedError: no rate gave finite values.
    """
    check_search_split(task.selection_split)
    trials: dict[float, Trial] = {}

    def try_rate(lr: float) -> None:
        try:
            trials[lr] = Trial(lr, _run_trial(task, lr, hooks, schedule))
        except DivergedError:
            return
        on_trial(trials[lr])

    for factor in COARSE_FACTORS:
        try_rate(around * factor)
    if trials:
        middle = _best(trials).lr
        for factor in FINE_FACTORS:
            try_rate(middle * factor)
    if not trials:
        raise DivergedError("no learning rate gave finite values", found=f"around {around:g}")
    return _best(trials)


def _run_trial(task: FitTask, lr: float, hooks: TrainingHooks, schedule: Schedule) -> SplitScore:
    learner = task.new_learner()
    quiet = TrainingHooks(stop_signal=hooks.stop_signal)
    plan = TrainingPlan(lr=lr, epochs=TRIAL_EPOCHS, schedule=schedule)
    train_prompt(learner, task, plan, quiet)
    return task.score(learner)


def _best(trials: dict[float, Trial]) -> Trial:
    best = next(iter(trials.values()))
    for trial in trials.values():
        if trial.score.is_better_than(best.score):
            best = trial
    return best
