"""Corruptions as users write them: `jpeg`, `jpeg:3` or `jpeg:1..5`; torch-free."""

from __future__ import annotations

import re
from dataclasses import dataclass

from evpcli.domain.errors import UsageError
from evpcli.domain.names import suggest

CORRUPTION_NAMES = (
    "gaussian-noise",
    "gaussian-blur",
    "brightness",
    "darkness",
    "contrast",
    "saturation",
    "jpeg",
    "pixelate",
    "posterize",
    "rotation",
)
SEVERITIES = (1, 2, 3, 4, 5)

_RANGE = re.compile(r"([1-5])(?:\.\.([1-5]))?")


@dataclass(frozen=True)
class CorruptionChoice:
    """One corruption and the severities asked for, rising."""

    name: str
    severities: tuple[int, ...]


def parse_corruption(text: str) -> CorruptionChoice:
    """What `NAME` (all five severities), `NAME:3` or `NAME:1..5` asks for.

    Raises:
        UsageError: no corruption has this name, or the severities are not within 1 to 5.
    """
    name, colon, wanted = text.partition(":")
    check_corruption_name(name)
    return CorruptionChoice(name, _parse_severities(wanted, name) if colon else SEVERITIES)


def check_corruption_name(name: str) -> str:
    """Give `name` back if a corruption is called so.

    Raises:
        UsageError: none is.
    """
    if name not in CORRUPTION_NAMES:
        raise UsageError(
            "no corruption has this name",
            found=repr(name[:80]),
            hint=suggest(name[:80], CORRUPTION_NAMES) or f"use {_list_names()}",
        )
    return name


def _parse_severities(wanted: str, name: str) -> tuple[int, ...]:
    match = _RANGE.fullmatch(wanted)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if first > last:
        raise UsageError(
            f"{name} has no such severity",
            found=repr(wanted[:80]),
            hint=f"use {name}:3 for one, {name}:1..5 for several, 1 the mildest and 5 the hardest",
        )
    return tuple(range(first, last + 1))


def _list_names() -> str:
    return f"{', '.join(CORRUPTION_NAMES[:-1])} or {CORRUPTION_NAMES[-1]}"
