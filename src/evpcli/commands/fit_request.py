"""From the options of `evp fit` to a complete request, each value with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from evpcli.commands.text_files import read_class_names, read_lines
from evpcli.domain.errors import UsageError
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.engine.backbones.catalog import BackboneEntry, find_entry, paper_rate
from evpcli.engine.datasets.catalog import find_dataset_spec

_SOURCES = {"COMMANDLINE": "flag", "ENVIRONMENT": "environment", "DEFAULT_MAP": "config"}
_FIELD_NAMES = {"border": "border_px", "workers": "threads", "max_time": "max_time_s"}
_BESIDE_RESUME = {"resume", "output", "force", "tag", "json", "config"}


def build_request(context: typer.Context) -> FitRequest:
    """The request that the verb's options make.

    A value is the flag's, the environment's or the configuration's where one of them speaks, else
    the preset's, else the backbone's own from the catalog.

    Raises:
        UsageError: an option is missing or cannot be.
        NotFoundError: no such backbone, or no such file of names.
    """
    values = dict(context.params)
    if values["dataset"] is None:
        raise UsageError(
            "no dataset was named", hint="add -d digits, another short name, or a folder"
        )
    entry = find_entry(values["backbone"])
    sources = {name: _find_source(context, name) for name in values}
    find_lr = values["lr"] == "auto"
    if find_lr:
        values["lr"] = entry.defaults.lr
    _fill_defaults(values, sources, entry)
    return FitRequest(
        dataset=_settle_place(values["dataset"]),
        dataset_name=values["name"],
        backbone=entry.name,
        weights=str(values["weights"].absolute()) if values["weights"] else None,
        settings=_build_settings(values),
        find_lr=find_lr,
        templates=(
            *(values["template"] or ()),
            *(read_lines(values["templates"]) if values["templates"] else ()),
        ),
        class_names=read_class_names(values["classnames"]) if values["classnames"] else (),
        device=values["device"],
        threads=values["workers"],
        offline=values["offline"],
        bad_images=values["bad_images"],
        sources={_FIELD_NAMES.get(name, name): source for name, source in sources.items()},
    )


def _settle_place(dataset: str) -> str:
    """A short name as it is, a folder as an absolute path: a run may go on from elsewhere.

    Raises:
        NotFoundError: it is neither.
    """
    return dataset if find_dataset_spec(dataset) else str(Path(dataset).expanduser().absolute())


def check_resume_alone(context: typer.Context) -> None:
    """Refuse flags beside `--resume` that would change the run: it keeps its own settings.

    Raises:
        UsageError: names the first such flag.
    """
    for name in context.params:
        if name not in _BESIDE_RESUME and _find_source(context, name) == "flag":
            raise UsageError(
                "a resumed run keeps the settings that it was started with",
                found=f"--{name.replace('_', '-')}",
                hint="leave it out, or start a new run without --resume",
            )


def _find_source(context: typer.Context, name: str) -> str:
    source = context.get_parameter_source(name)
    return _SOURCES.get(source.name, "default") if source else "default"


def _fill_defaults(values: dict[str, Any], sources: dict[str, str], entry: BackboneEntry) -> None:
    """Put the preset's and then the catalog's values where nothing was said."""
    own = entry.defaults
    paper = {
        "lr": paper_rate(entry.canvas_px),
        "epochs": 1000,
        "batch_size": 256,
        "protocol": "paper",
    }
    layers: dict[str, dict[str, Any]] = {
        "preset": paper if values["preset"] == "paper" else {},
        "catalog": {"lr": own.lr, "epochs": own.epochs, "batch_size": own.batch_size},
    }
    for source, layer in layers.items():
        for name, value in layer.items():
            if sources[name] == "default":
                values[name], sources[name] = value, source


def _build_settings(values: dict[str, Any]) -> FitSettings:
    if not 0 < values["val_fraction"] < 1:
        raise UsageError(
            "--val-fraction must lie between 0 and 1", found=f"{values['val_fraction']:g}"
        )
    if values["max_time"] is not None and not 0 < values["max_time"] < float("inf"):
        raise UsageError("--max-time must be above 0 minutes", found=f"{values['max_time']:g}")
    return _validate_settings(
        border_px=values["border"],
        lr=_parse_rate(values["lr"]),
        epochs=values["epochs"],
        batch_size=values["batch_size"],
        augment=values["augment"],
        flip=values["flip"],
        project=values["project"],
        protocol=values["protocol"],
        val_fraction=values["val_fraction"],
        split_seed=values["split_seed"],
        seed=values["seed"],
        patience=values["patience"],
        max_time_s=None if values["max_time"] is None else 60 * values["max_time"],
    )


def _validate_settings(**values: Any) -> FitSettings:
    """The settings, or the first value that is out of range as a usage error."""
    try:
        return FitSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        option = {field: name for name, field in _FIELD_NAMES.items()}.get(field, field)
        raise UsageError(
            f"--{option.replace('_', '-')}: {first['msg'][0].lower()}{first['msg'][1:]}",
            found=str(first["input"])[:40],
        ) from error


def _parse_rate(value: str | float) -> float:
    try:
        rate = float(value)
    except ValueError:
        rate = -1.0
    if not 0 < rate < float("inf"):
        raise UsageError("--lr must be a number above 0, or auto", found=repr(str(value)[:40]))
    return rate
