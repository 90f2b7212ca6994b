"""From the options of `evp fit` to a complete request, each value with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import ValidationError

from evpcli.commands.backbone_choice import choose_backbone
from evpcli.commands.stdout_file import is_stdout
from evpcli.commands.text_files import read_class_names, read_descriptions, read_lines
from evpcli.domain.errors import UsageError
from evpcli.domain.manifest import Manifest
from evpcli.domain.schedule import convert_rate
from evpcli.domain.settings import Extension, FitRequest, FitSettings, TemplateSet
from evpcli.engine.backbones.catalog import find_entry, paper_rate
from evpcli.engine.backbones.entry import BackboneEntry
from evpcli.engine.datasets.catalog import find_dataset_spec, find_own_folder
from evpcli.engine.files.paths import find_registry
from evpcli.engine.fitting.checks import check_early_parent
from evpcli.engine.prompts.opening import find_manifest
from evpcli.engine.prompts.registry.registry import Registry

_SOURCES = {"COMMANDLINE": "flag", "ENVIRONMENT": "environment", "DEFAULT_MAP": "config"}
_FIELD_NAMES = {
    "canvas": "canvas_px",
    "border": "border_px",
    "gradient_norm": "norm",
    "workers": "threads",
    "max_time": "max_time_s",
}
VP_RATE = 40.0
"""First learning rate of VP, in normalised space [VP code]."""
_METHODS: dict[str, dict[str, Any]] = {
    "evp": {"augment": "evp", "init": "zeros"},
    "vp": {"augment": "none", "init": "normal", "lr": VP_RATE},
}
_BESIDE_RESUME = {"resume", "epochs", "output", "force", "tag", "json", "config"}


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
    sources = {name: _find_source(context, name) for name in values}
    parent = _take_from_parent(values, sources)
    values["backbone"] = choose_backbone(values["dataset"], values["backbone"])
    entry = find_entry(values["backbone"])
    find_lr = values["lr"] == "auto"
    if find_lr:  # around what would have been taken
        values["lr"], sources["lr"] = None, "default"
    _fill_defaults(values, sources, entry)
    _convert_rate(values, sources, entry)
    _check_texts(values, sources, entry)
    dataset, own_name = _settle_place(values["dataset"])
    request = FitRequest(
        dataset=dataset,
        dataset_name=values["name"] or own_name,
        backbone=entry.name,
        weights=str(values["weights"].absolute()) if values["weights"] else None,
        settings=_build_settings(values),
        find_lr=find_lr,
        templates=_gather_templates(values),
        template_set=_find_template_set(values["templates"]),
        class_names=read_class_names(values["classnames"]) if values["classnames"] else (),
        descriptions=read_descriptions(values["descriptions"]) if values["descriptions"] else {},
        best_of=values["best_of"],
        device=values["device"],
        threads=values["workers"],
        store=values["store"],
        probe=values["probe"],
        offline=values["offline"],
        bad_images=values["bad_images"],
        parent=values["parent"],
        tag=values["tag"],
        output=_name_output(values["output"]),
        replace_output=values["force"],
        sources={_FIELD_NAMES.get(name, name): source for name, source in sources.items()},
    )
    if parent:
        check_early_parent(parent, request, entry)
    return request


def _take_from_parent(values: dict[str, Any], sources: dict[str, str]) -> Manifest | None:
    """The manifest of the prompt to start from; what it fixes stands in for what nobody said.

    Raises:
        UsageError: another start was asked for as well.
        NotFoundError: there is no such prompt.
    """
    if values["parent"] is None:
        return None
    if sources["init"] != "default":
        raise UsageError(
            "--from and --init both say where the border starts", hint="leave one of them out"
        )
    values["parent"], manifest = find_manifest(values["parent"], Registry(find_registry()))
    own = manifest.to_geometry()
    fixed = {
        "backbone": manifest.backbone.name,
        "method": "vp" if own.composition == "overlay" else "evp",
        "border": own.border_px,
    }
    has_map = manifest.label_map is not None and manifest.label_map.kind != "none"
    if has_map:  # a classifier, some of which take several canvases
        fixed["canvas"] = own.canvas_px
    for name, value in fixed.items():
        if sources[name] == "default":
            values[name], sources[name] = value, "parent"
    return manifest


def _name_output(output: Path | None) -> str | None:
    """The file for a resumed run to write, wherever it is started; stdout is not remembered."""
    return None if output is None or is_stdout(output) else str(output.expanduser().absolute())


def _check_texts(values: dict[str, Any], sources: dict[str, str], entry: BackboneEntry) -> None:
    """Refuse sentences for a backbone that reads none, and those that others would displace."""
    for name in ("template", "templates", "descriptions"):
        if values[name] and entry.kind != "clip":
            raise UsageError(
                f"{entry.name} reads no text, so --{name} has no effect",
                hint="leave it away; a classifier answers through --label-map",
            )
    for name in ("template", "templates"):
        if values[name] and values["descriptions"]:
            raise UsageError(
                f"descriptions take the place of templates, so --{name} has no effect",
                hint=f"leave --{name} or --descriptions away",
            )
    if sources["best_of"] != "default" and not values["descriptions"]:
        raise UsageError(
            "--best-of counts sentences of --descriptions, and there are none",
            hint="add --descriptions FILE, or leave --best-of away",
        )


def _gather_templates(values: dict[str, Any]) -> tuple[str, ...]:
    typed, path = tuple(values["template"] or ()), values["templates"]
    return typed if path is None or _find_template_set(path) else (*typed, *read_lines(path))


def _find_template_set(path: Path | None) -> TemplateSet | None:
    return next((name for name in get_args(TemplateSet) if str(path) == name), None)


def _settle_place(dataset: str) -> tuple[str, str | None]:
    """A short name as it is; a folder as an absolute path, with the name remembered for it.

    A run may go on from elsewhere.

    Raises:
        NotFoundError: it is neither.
    """
    if find_dataset_spec(dataset):
        return dataset, None
    own = find_own_folder(dataset)
    return str(own.path), own.name


def read_extension(context: typer.Context) -> Extension | None:
    """What `--epochs` beside `--resume` asks for; other flags would change what the run learns.

    Raises:
        UsageError: names the first such flag.
    """
    spelled = {parameter.name: parameter.opts[-1] for parameter in context.command.params}
    for name in context.params:
        if name not in _BESIDE_RESUME and _find_source(context, name) == "flag":
            raise UsageError(
                "a resumed run keeps the settings that it was started with",
                found=spelled[name],
                hint="leave it out, or start a new run without --resume",
            )
    values = context.params
    if _find_source(context, "epochs") != "flag":
        return None
    return Extension(
        epochs=values["epochs"],
        tag=values["tag"],
        output=_name_output(values["output"]),
        replace_output=values["force"],
    )


def _find_source(context: typer.Context, name: str) -> str:
    source = context.get_parameter_source(name)
    return _SOURCES.get(source.name, "default") if source else "default"


def _fill_defaults(values: dict[str, Any], sources: dict[str, str], entry: BackboneEntry) -> None:
    """Put the preset's and then the catalog's values where nothing was said.

    A preset that was typed goes before files and the environment as well.
    """
    own, canvas_px = entry.defaults, values["canvas"] or entry.canvas_px
    scale = canvas_px / entry.canvas_px if entry.canvas_px else canvas_px / 224 or 1
    method = _METHODS[values["method"]]
    paper = {
        "lr": method.get("lr") or paper_rate(canvas_px),
        "epochs": 1000,
        "batch_size": 256,
        "protocol": "paper",
        "precision": "float32",
    }
    layers: dict[str, dict[str, Any]] = {
        "preset": paper if values["preset"] == "paper" else {},
        "method": method,
        "catalog": {"lr": own.lr * scale, "epochs": own.epochs, "batch_size": own.batch_size},
    }
    is_typed = sources["preset"] == "flag"
    for source, layer in layers.items():
        weaker = ["default"]
        if source == "preset" and is_typed:
            weaker += ["config", "environment"]
        for name, value in layer.items():
            if sources[name] in weaker:
                values[name], sources[name] = value, source


def _convert_rate(values: dict[str, Any], sources: dict[str, str], entry: BackboneEntry) -> None:
    """Bring a rate that nobody gave into the norm that was asked for."""
    norm, given = values["gradient_norm"], sources["lr"]
    if values["method"] == "vp":
        _check_evp_only(values)
        return
    if norm == "l2" or given in ("flag", "environment", "config"):
        return
    if norm == "none":
        raise UsageError(
            "without gradient normalisation no learning rate is known",
            hint="add --lr NUMBER; VP's is 40, in normalised space",
        )
    canvas_px = values["canvas"] or entry.canvas_px or 224
    values["lr"] = convert_rate(values["lr"], norm, 3 * canvas_px**2)


def _check_evp_only(values: dict[str, Any]) -> None:
    why_not = "VP does not normalise gradients"
    for name, usual, reason in (
        ("gradient_norm", "l2", why_not),
        ("norm_area", "canvas", why_not),
        ("project", False, "picture and border are added, which a PNG cannot hold"),
    ):
        if values[name] != usual:
            raise UsageError(
                f"--{name.replace('_', '-')} belongs to --method evp",
                hint=f"leave it away: {reason}",
            )


def _build_settings(values: dict[str, Any]) -> FitSettings:
    if not 0 < values["val_fraction"] < 1:
        raise UsageError(
            "--val-fraction must lie between 0 and 1", found=f"{values['val_fraction']:g}"
        )
    if values["max_time"] is not None and not 0 < values["max_time"] < float("inf"):
        raise UsageError("--max-time must be above 0 minutes", found=f"{values['max_time']:g}")
    if values["fraction"] is not None and not 0 < values["fraction"] <= 1:
        raise UsageError(
            "--fraction must lie above 0 and be at most 1", found=f"{values['fraction']:g}"
        )
    return _validate_settings(
        method=values["method"],
        canvas_px=values["canvas"],
        border_px=values["border"],
        init=values["init"],
        norm=values["gradient_norm"],
        norm_area=values["norm_area"],
        label_map=values["label_map"],
        residual=values["residual"],
        shots=values["shots"],
        fraction=values["fraction"],
        lr=_parse_rate(values["lr"]),
        epochs=values["epochs"],
        batch_size=values["batch_size"],
        accumulate=values["accumulate"],
        precision=values["precision"],
        compile=values["compile"],
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
