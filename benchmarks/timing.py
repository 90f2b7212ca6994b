"""Two pieces of work timed in turn, and the middle of their ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Work = Callable[[], int]
"""Does something with pictures and returns how many it handled."""


@dataclass(frozen=True)
class Speeds:
    """Pictures per second of two pieces of work, round by round.

    Args:
        ours: of evp.
        theirs: of what evp is compared with, in the same rounds.
    """

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours by theirs, round by round: what else runs on the machine slows both alike."""
        return tuple(mine / other for mine, other in zip(self.ours, self.theirs, strict=True))

    @property
    def ratio(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.ratios)


def alternate(ours: Work, theirs: Work, rounds: int, device: torch.device) -> Speeds:
    """Time both once a round, after a first round that does not count.

    Who begins changes from round to round, so that neither always works on a cooler machine.

    Args:
        ours: evp's work.
        theirs: what it is compared with.
        rounds: that count, at least 1.
        device: where both compute; a GPU is waited for.
    """
    speeds: dict[Work, list[float]] = {ours: [], theirs: []}
    for number in range(rounds + 1):
        for work in (ours, theirs) if number % 2 else (theirs, ours):
            speed = time_work(work, device)
            if number:
                speeds[work].append(speed)
    return Speeds(tuple(speeds[ours]), tuple(speeds[theirs]))


def time_work(work: Work, device: torch.device) -> float:
    """Pictures per second of one call."""
    wait_for(device)
    began = time.perf_counter()
    pictures = work()
    wait_for(device)
    return pictures / (time.perf_counter() - began)


def wait_for(device: torch.device) -> None:
    """Return when a GPU has done all that it was given; at once for a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
