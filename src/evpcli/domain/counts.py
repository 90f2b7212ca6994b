"""How many of something, in words that fit the number."""

from __future__ import annotations

from collections.abc import Sequence


def say_count(number: int, one: str, many: str = "") -> str:
    """The number and its noun: `1 picture`, `2 pictures`.

    Args:
        number: how many.
        one: what follows 1; more words than the noun may.
        many: what follows every other number; with an `s` at the end of `one` when left out.
    """
    return f"{number} {one if number == 1 else many or one + 's'}"


def list_some(names: Sequence[str], limit: int = 5) -> str:
    """The first names, separated by commas, and three dots where there are more."""
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
