"""How `evp runs` shows a run: as a row, as a card, and as JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evpcli.domain.curve import describe_curve
from evpcli.domain.manifest import EpochRecord
from evpcli.domain.settings import FitRequest
from evpcli.engine.training.run_survey import RunFacts

HEADERS = ("run", "dataset", "backbone", "state", "epoch", "size", "changed")
DROPS = ("changed", "size", "backbone", "epoch")

_UNITS = ("bytes", "kB", "MB", "GB")
_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"))


def make_row(facts: RunFacts, *, short: bool) -> tuple[object, ...]:
    """One run as a line under `HEADERS`; `short` has an age for the time and no folders."""
    request = facts.config.request if facts.config else None
    return (
        facts.run.id,
        request and name_dataset(request, short=short),
        request and request.backbone,
        facts.state,
        say_epoch(facts),
        say_size(facts.size_bytes),
        say_age(time.time() - facts.changed_at) if short else say_time(facts.changed_at),
    )


def describe_run(facts: RunFacts) -> dict[str, Any]:
    """One run as JSON."""
    request = facts.config.request if facts.config else None
    return {
        "run": facts.run.id,
        "folder": str(facts.run.folder),
        "state": facts.state,
        "process": facts.process,
        "problem": facts.problem,
        "dataset": request and request.dataset,
        "name": request and request.dataset_name,
        "backbone": request and request.backbone,
        "epochs_done": facts.epochs_done,
        "epochs": facts.epochs,
        "prompt": facts.run.read_prompt_name(),
        "size_bytes": facts.size_bytes,
        "changed_at": say_time(facts.changed_at),
        "next": say_next(facts),
    }


def describe_run_fully(facts: RunFacts) -> dict[str, Any]:
    """The same with every setting, where it came from, and the learning curve."""
    request = facts.config.request if facts.config else None
    return {
        **describe_run(facts),
        "evp": facts.config and facts.config.evp,
        "settings": dict(_list_settings(request)) if request else {},
        "sources": request.sources if request else {},
        "best_epoch": facts.numbers and facts.numbers.best_epoch,
        "elapsed_s": facts.numbers and facts.numbers.elapsed_s,
        "history": [record.model_dump() for record in _read_history(facts)],
    }


def list_fields(facts: RunFacts) -> list[tuple[str, object]]:
    """What a run is, how it stands and how to go on with it, as named lines."""
    request = facts.config.request if facts.config else None
    return [
        ("run", facts.run.id),
        ("state", f"running ({facts.process})" if facts.process else facts.state),
        ("problem", facts.problem),
        ("dataset", request and name_dataset(request, short=False)),
        ("backbone", request and request.backbone),
        ("epoch", say_epoch(facts)),
        ("best epoch", facts.numbers and facts.numbers.best_epoch),
        ("training time", facts.numbers and f"{facts.numbers.elapsed_s:.0f} s"),
        ("prompt", facts.run.read_prompt_name()),
        ("folder", facts.run.folder),
        ("size", say_size(facts.size_bytes)),
        ("changed", say_time(facts.changed_at)),
        ("next", say_next(facts)),
    ]


def list_settings_rows(facts: RunFacts) -> list[tuple[str, object, str]]:
    """Each setting, its value and where it came from; those that nobody set come last."""
    if facts.config is None:
        return []
    request = facts.config.request
    rows = [
        (name, value, request.sources.get(name, "default"))
        for name, value in _list_settings(request)
        if value is not None
    ]
    return sorted(rows, key=lambda row: row[2] == "default")


def list_curve_fields(facts: RunFacts, *, drawn: bool) -> list[tuple[str, str]]:
    """First, best and last value of each curve; with `drawn` as a line of blocks too."""
    history = _read_history(facts)
    chosen_by = [record.val_top1 for record in history if record.val_top1 is not None]
    curves: tuple[tuple[str, Sequence[float], bool], ...] = (
        ("train loss", [record.train_loss for record in history], True),
        ("train top-1", [record.train_top1 for record in history], False),
        ("selection top-1", chosen_by, False),
    )
    return [
        (name, describe_curve(values, low_is_best=low_is_best, drawn=drawn))
        for name, values, low_is_best in curves
        if values
    ]


def say_next(facts: RunFacts) -> str | None:
    """The command that goes on with a run; nothing while it is running."""
    name = facts.run.id
    if facts.state == "running":
        return None
    if facts.state == "damaged":
        return f"evp runs rm {name}"
    if facts.state == "finished":
        return f"evp fit --resume {name} --epochs {2 * (facts.epochs or facts.epochs_done)}"
    return f"evp fit --resume {name}"


def name_dataset(request: FitRequest, *, short: bool) -> str:
    """The name that was given, or else the short name or folder; `short` is its last part."""
    if short:
        return request.dataset_name or Path(request.dataset).name
    return (
        f"{request.dataset_name} ({request.dataset})" if request.dataset_name else request.dataset
    )


def say_epoch(facts: RunFacts) -> str:
    """How far it came, such as 3/10."""
    return f"{facts.epochs_done}/{facts.epochs or '?'}"


def say_size(size_bytes: int) -> str:
    """A size in the largest unit of which there is at least one."""
    amount, unit = float(size_bytes), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return (
        f"{amount:.0f} {_UNITS[unit]}"
        if amount >= 10 or unit == 0
        else f"{amount:.1f} {_UNITS[unit]}"
    )


def say_age(seconds: float) -> str:
    """How long ago something was, in whole days, hours or minutes."""
    for length, unit in _AGES:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def say_time(moment: float) -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _list_settings(request: FitRequest) -> list[tuple[str, Any]]:
    parts = request.model_dump(mode="json", exclude={"settings", "sources", "descriptions"})
    hidden = ("dataset", "dataset_name", "backbone", "class_names")
    own = [(name, value) for name, value in parts.items() if name not in hidden and value]
    return [*request.settings.model_dump(mode="json").items(), *own]


def _read_history(facts: RunFacts) -> tuple[EpochRecord, ...]:
    return facts.numbers.history if facts.numbers else ()
