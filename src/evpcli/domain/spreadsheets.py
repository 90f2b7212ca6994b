"""Cells of text that a spreadsheet shows and does not compute."""

from __future__ import annotations

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula (OWASP, CSV injection)."""


def disarm(cell: str | float | None) -> str | float | None:
    """The cell, with an apostrophe before what a spreadsheet would compute."""
    if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS):
        return f"'{cell}"
    return cell
