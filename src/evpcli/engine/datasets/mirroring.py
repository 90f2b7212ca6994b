"""Whether a mirrored image keeps its class, by the classes' names alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evpcli.domain.names import clean_class_name

_SIDES = (
    ("left", "right"),
    ("leftward", "rightward"),
    ("clockwise", "counterclockwise"),
    ("clockwise", "anticlockwise"),
    ("links", "rechts"),
    ("gauche", "droite"),
    ("izquierda", "derecha"),
    ("sinistra", "destra"),
)
"""Pairs that a mirror exchanges."""

_NUMBER_WORDS = frozenset(
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
)


def explain_no_mirroring(class_names: Sequence[str]) -> str | None:
    """Why images of these classes should not be mirrored; nothing where no name speaks against it.

    Sides that a mirror exchanges, and numbers and letters, which it makes unreadable.

    Args:
        class_names: as folders or people name them.
    """
    names = [clean_class_name(name) for name in class_names]
    words = {word: name for name in names for word in re.findall(r"\w+", name)}
    for one, other in _SIDES:
        if one in words and other in words:
            return f"a mirror exchanges {words[one]!r} and {words[other]!r}"
    if len(names) > 1 and all(map(_is_glyph, names)):
        return f"the classes are numbers or letters, such as {names[0]!r}"
    return None


def _is_glyph(name: str) -> bool:
    return name.isdecimal() or name in _NUMBER_WORDS or (len(name) == 1 and name.isalpha())
