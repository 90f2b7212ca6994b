"""How the registry's verbs show a version, as a row and as JSON."""

from __future__ import annotations

from typing import Any

from evpcli.commands.output.measurements import describe_kept
from evpcli.domain.manifest import Manifest
from evpcli.domain.statistics import Accuracy
from evpcli.engine.prompts.registry.record import Entry
from evpcli.engine.prompts.registry.survey import Finding

LIST_HEADERS = (
    "prompt",
    "tags",
    "test accuracy",
    "no prompt",
    "selection",
    "digest",
    "created",
)
SHORT_HEADERS = ("prompt", "tags", "test", *LIST_HEADERS[3:])
_DATE_LETTERS = len("2026-01-02")


def _measure(manifest: Manifest, what: str) -> str | None:
    found = manifest.find_measurement(what)
    return str(Accuracy(found.top1_correct, found.n)) if found else None


def _describe_selection(manifest: Manifest) -> str:
    """What selected the prompt, or where it came from when nobody said so."""
    if manifest.selection:
        return manifest.selection.label
    return "imported" if manifest.origin == "import" else "unknown"


def make_row(entry: Entry, tags: tuple[str, ...]) -> tuple[object, ...]:
    """One version as a line under `LIST_HEADERS`, for a pipe."""
    manifest = entry.manifest
    return (
        entry.ref,
        ",".join(tags),
        _measure(manifest, "prompted"),
        _measure(manifest, manifest.baseline),
        _describe_selection(manifest),
        entry.digest[:12],
        manifest.created_at,
    )


def make_short_row(entry: Entry, tags: tuple[str, ...]) -> tuple[object, ...]:
    """The same under `SHORT_HEADERS`, for a person: made to fit 100 columns."""
    manifest, chosen = entry.manifest, entry.manifest.selection
    baseline = manifest.find_measurement(manifest.baseline)
    return (
        entry.ref,
        ",".join(tags),
        _measure(manifest, "prompted"),
        f"{100 * baseline.top1:.1f} %" if baseline else None,
        f"{chosen.split} {chosen.epoch}/{chosen.epochs}"
        if chosen
        else _describe_selection(manifest),
        entry.digest[:12],
        manifest.created_at[:_DATE_LETTERS],
    )


def describe_entry(entry: Entry, tags: tuple[str, ...]) -> dict[str, Any]:
    """One version as `--json` shows it; accuracies are shares in [0, 1]."""
    manifest = entry.manifest
    return {
        "ref": str(entry.ref),
        "dataset": entry.key.dataset,
        "backbone": entry.key.backbone,
        "version": entry.version,
        "tags": list(tags),
        "digest": entry.digest,
        "size_bytes": entry.size_bytes,
        "created_at": manifest.created_at,
        "published_at": entry.published_at,
        "origin": manifest.origin,
        "selected_on": manifest.selection.label if manifest.selection else None,
        "metrics": [describe_kept(measured) for measured in manifest.metrics],
    }


def state_problem(finding: Finding) -> str:
    """What is wrong, without the path when that is the finding's own, which stands beside it."""
    return finding.problem.removesuffix(f": {finding.path}")


def describe_finding(finding: Finding) -> dict[str, Any]:
    """Something odd in the registry as `--json` shows it."""
    return {
        "level": finding.level,
        "prompt": str(finding.ref) if finding.ref else None,
        "problem": state_problem(finding),
        "path": str(finding.path),
    }
