"""Text from a stranger made safe to show: what a reader cannot see is spelled out."""

from __future__ import annotations


def spell_out(text: str) -> str:
    """The text with every character that is not printable as an escape of Python's.

    Not printable are control characters, line ends too, the marks that turn the direction of
    reading or join letters unseen, lone surrogates, and unassigned or private characters.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
