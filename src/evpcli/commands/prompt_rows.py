"""How the registry's verbs show a version, as a row and as JSON."""

from __future__ import annotations

from typing import Any

from evpcli.domain.manifest import Manifest
from evpcli.domain.statistics import Accuracy
from evpcli.engine.storage.registry_record import Entry
from evpcli.engine.storage.registry_survey import Finding

LIST_HEADERS = (
    "prompt",
    "tags",
    "test accuracy",
    "zero-shot",
    "selected on",
    "digest",
    "created",
)


def _measure(manifest: Manifest, what: str) -> str | None:
    found = manifest.find_measurement(what)
    return str(Accuracy(found.top1_correct, found.n)) if found else None


def make_row(entry: Entry, tags: tuple[str, ...]) -> tuple[object, ...]:
    """One version as a line under `LIST_HEADERS`."""
    manifest = entry.manifest
    return (
        entry.ref,
        ",".join(tags),
        _measure(manifest, "prompted"),
        _measure(manifest, "zero-shot"),
        manifest.selection.label if manifest.selection else manifest.origin,
        entry.digest[:12],
        manifest.created_at,
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
        "metrics": [
            measured.model_dump(mode="json")
            | {"top1": measured.top1, "interval_95": list(measured.interval)}
            for measured in manifest.metrics
        ],
    }


def describe_finding(finding: Finding) -> dict[str, Any]:
    """Something odd in the registry as `--json` shows it."""
    return {
        "level": finding.level,
        "prompt": str(finding.ref) if finding.ref else None,
        "problem": finding.problem,
        "path": str(finding.path),
    }
