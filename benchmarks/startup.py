"""Part (d): how long commands take that compute next to nothing."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path

from processes import time_evp
from table import Case, Row, Target

_HELP_TARGET = Target(0.4, is_least=False, unit=" s")

_COMMANDS: tuple[tuple[tuple[str, ...], Target | None], ...] = (
    (("--help",), _HELP_TARGET),
    (("fit", "--help"), _HELP_TARGET),
    (("evaluate", "--help"), _HELP_TARGET),
    (("list",), None),
    (("inspect", "digits/mini"), None),
    (("datasets", "list"), None),
    (("doctor",), None),
)


def list_startup_cases(home: Path, starts: int) -> list[Case]:
    """One case a command.

    Args:
        home: EVP_HOME of these processes; gets one prompt.
        starts: runs that count, after one that does not.
    """
    return [
        Case("d", _title(words), partial(measure_startup, words, home, starts, target))
        for words, target in _COMMANDS
    ]


def measure_startup(words: tuple[str, ...], home: Path, starts: int, target: Target | None) -> Row:
    """The median time of fresh processes."""
    if not (home / "registry").exists():
        home.mkdir(parents=True, exist_ok=True)
        time_evp(("fit", "-d", "digits", "-b", "mini", "--epochs", "1", "--device", "cpu"), home)
    times_s = [time_evp(words, home) for _ in range(starts + 1)][1:]
    median_s = statistics.median(times_s)
    spread = f"{min(times_s):.2f} to {max(times_s):.2f} s"
    return Row(
        "d",
        _title(words),
        evp=f"{median_s:.3f} s, median of {starts} ({spread})",
        target=target,
        judged=median_s,
    )


def _title(words: tuple[str, ...]) -> str:
    return f"`evp {' '.join(words)}`"
