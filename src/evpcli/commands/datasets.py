"""`evp datasets`: list, show, download."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evpcli.commands.options.completion import complete_datasets
from evpcli.commands.options.shared import BadImagesOption, JsonOption, OfflineOption
from evpcli.commands.output import terminal
from evpcli.engine.datasets import catalog
from evpcli.engine.datasets.public.completion import dataset_folder, find_state, uses_hub_copy
from evpcli.engine.datasets.public.spec import DatasetSpec, Split
from evpcli.engine.datasets.remembered import list_remembered
from evpcli.engine.files.paths import find_datasets

if TYPE_CHECKING:
    from evpcli.engine.datasets.interface import Dataset
    from evpcli.engine.files.download import Progress, ProgressCallback

app = typer.Typer(help="List, show and download datasets.", no_args_is_help=True)

_DatasetArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="A short name, or a folder of class folders.",
        show_default=False,
        autocompletion=complete_datasets,
    ),
]
_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_SECONDS_BETWEEN_NOTES = 3.0


@app.command("list")
def list_command(json: JsonOption = False) -> None:
    """List the datasets that have a short name, and what of them is on this machine.

    Own folders that a prompt was trained on come last, under the name of their prompts.
    """
    found = catalog.list_datasets(find_datasets())
    own = list_remembered()
    specs = [_describe_spec(entry.spec, entry.state) for entry in found]
    if json:
        terminal.show_json([*specs, *(_describe_own(*each) for each in own.items())])
        return
    rows = [
        (
            *(facts["name"], facts["classes"]),
            *(facts["sizes"].get(split) for split in _SPLITS),
            *(facts["state"], facts["licence"]),
        )
        for facts in specs
    ]
    nothing = (None,) * (1 + len(_SPLITS))
    rows += [(name, *nothing, _find_own_state(place), None) for name, place in own.items()]
    terminal.show_rows(
        ("name", "classes", *_SPLITS, "state", "licence"), rows, drops=("licence", "val")
    )


@app.command("show")
def show_command(
    dataset: _DatasetArgument,
    bad_images: BadImagesOption = "error",
    json: JsonOption = False,
) -> None:
    """Show a dataset: splits, pictures a class, licence, notes. Nothing is downloaded."""
    root = find_datasets()
    spec = catalog.find_dataset_spec(dataset)
    state = find_state(spec, root) if spec else "ready"
    facts: dict[str, Any] = _describe_spec(spec, state) if spec else {"state": state}
    loaded = None
    if state == "ready":
        loaded = catalog.load_dataset(
            dataset,
            root=root,
            offline=True,
            bad_images=bad_images,
            on_progress=build_progress_notes(),
        )
        facts |= _describe_dataset(loaded)
    if json:
        terminal.show_json(facts)
        return
    _show_facts(facts, loaded)
    if spec and state != "ready":
        terminal.note(_say_next(spec, state))


@app.command("download")
def download_command(
    dataset: Annotated[
        str, typer.Argument(metavar="NAME", help="A short name.", show_default=False)
    ],
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Download a dataset, check it, and unpack it; a half-unpacked one is repaired."""
    root = find_datasets()
    spec = catalog.find_dataset_spec(dataset)
    before = find_state(spec, root) if spec else None
    if before == "partial":
        terminal.note(f"{dataset} is not complete: what is missing is fetched or unpacked again")
    spec = catalog.fetch_by_name(
        dataset, root=root, offline=offline, on_progress=build_progress_notes()
    )
    if before == "ready":
        terminal.note(f"{spec.name} is already here")
    is_stored = bool(spec.files or spec.needed or spec.hub)
    place = str(dataset_folder(root, spec)) if is_stored else None
    if json:
        terminal.show_json({**_describe_spec(spec, "ready"), "folder": place})
    else:
        terminal.show_fields([("name", spec.name), ("state", "ready"), ("folder", place)])


def build_progress_notes() -> ProgressCallback:
    """A callback that says on stderr, every few seconds, how far a long step has come."""
    last = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SECONDS_BETWEEN_NOTES:
            return
        last = now
        terminal.note(_say_progress(progress))

    return tell


def _say_progress(progress: Progress) -> str:
    if progress.phase == "download":
        done = f"{progress.done / 1e6:.0f} MB"
        of = f" of {progress.total / 1e6:.0f} MB" if progress.total else ""
        return f"downloading {progress.name}: {done}{of}"
    verb = "unpacking" if progress.phase == "unpack" else "checking"
    of = f" of {progress.total}" if progress.total else ""
    return f"{verb} {progress.name}: {progress.done}{of} files"


def _say_next(spec: DatasetSpec, state: str) -> str:
    if state == "manual":
        place = dataset_folder(find_datasets(), spec)
        return f"get {', '.join(spec.needed)} from {spec.homepage} and put it into {place}"
    return f"`evp datasets download {spec.name}` fetches it"


def _describe_spec(spec: DatasetSpec, state: str) -> dict[str, Any]:
    copy = spec.hub if uses_hub_copy(find_datasets(), spec) else None
    return {
        "name": spec.name,
        "title": spec.title,
        "state": state,
        "classes": spec.classes,
        "sizes": dict(copy.sizes if copy else spec.sizes),
        "split_rule": copy.split_rule if copy else spec.split_rule,
        "download": (copy.repository if copy else spec.size) or None,
        "flip": spec.flip,
        "licence": spec.licence,
        "homepage": spec.homepage,
    }


def _find_own_state(folder: Path) -> str:
    return "own folder" if folder.is_dir() else "moved"


def _describe_own(name: str, folder: Path) -> dict[str, Any]:
    return {"name": name, "state": _find_own_state(folder), "folder": str(folder)}


def _describe_dataset(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "classes": len(dataset.class_names),
        "sizes": {name: len(part) for name, part in dataset.splits.items()},
        "split_rule": dataset.split_rule,
        "flip": dataset.flip,
        "licence": dataset.licence,
        "fingerprint": dataset.fingerprint,
        "templates": list(dataset.templates),
        "class_counts": _count_classes(dataset),
        "skipped": list(dataset.skipped),
        "warnings": list(dataset.warnings),
        "notes": list(dataset.notes),
    }


def _count_classes(dataset: Dataset) -> list[dict[str, Any]]:
    counts = {split: Counter(part.labels) for split, part in dataset.splits.items()}
    sources = dataset.source_classes or dataset.class_names
    return [
        {"class": words, "source": source}
        | {split: count[label] for split, count in sorted(counts.items())}
        for label, (words, source) in enumerate(zip(dataset.class_names, sources, strict=True))
    ]


def _show_facts(facts: dict[str, Any], dataset: Dataset | None) -> None:
    hidden = ("sizes", "class_counts", "skipped", "warnings", "notes", "templates")
    fields = [
        (name.replace("_", " "), value) for name, value in facts.items() if name not in hidden
    ]
    fields += [(split, facts["sizes"].get(split)) for split in _SPLITS]
    terminal.show_fields(fields)
    if dataset is None:
        return
    rows = [(row["class"], *(row.get(split) for split in _SPLITS)) for row in facts["class_counts"]]
    terminal.show_text("")
    terminal.show_rows(("class", *_SPLITS), rows, wraps=("class",))
    for text in dataset.notes:
        terminal.note(text)
    for text in dataset.warnings:
        terminal.warn(text)
