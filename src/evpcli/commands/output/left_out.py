"""What of a dataset was not used, for `--json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evpcli.engine.datasets.interface import Dataset


def describe_left_out(dataset: Dataset | None) -> dict[str, Any]:
    """Images that were left out, by name, and what else bears on results."""
    return {
        "left_out": list(dataset.skipped) if dataset else [],
        "warnings": list(dataset.warnings) if dataset else [],
    }
