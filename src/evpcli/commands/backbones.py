"""`evp backbones`: list, show, download."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from evpcli.commands.options.completion import complete_backbones
from evpcli.commands.options.shared import JsonOption, OfflineOption
from evpcli.commands.output import terminal
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.backbones.catalog import CATALOG, find_entry
from evpcli.engine.backbones.entry import BackboneEntry
from evpcli.engine.backbones.published import fetch_published, find_published
from evpcli.engine.backbones.weights import Published, PublishedWeights

app = typer.Typer(help="List, show and download backbones.", no_args_is_help=True)

_NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="BACKBONE",
        help="Catalog name, open_clip MODEL.TAG, timm/NAME[.TAG] or torchvision/NAME.",
        autocompletion=complete_backbones,
    ),
]


@app.command("list")
def list_command(json: JsonOption = False) -> None:
    """List the catalog; other models of open_clip, timm and torchvision work by name too."""
    if json:
        terminal.show_json([_describe(entry) for entry in CATALOG])
        return
    rows = [
        (e.name, e.kind, e.canvas_px, f"{e.defaults.lr:g}", e.size, _find_state(e), e.licence)
        for e in CATALOG
    ]
    terminal.show_rows(
        ("name", "kind", "canvas", "lr", "size", "state", "licence"),
        rows,
        drops=("licence", "lr", "kind"),
    )


@app.command("show")
def show_command(backbone: _NameArgument, json: JsonOption = False) -> None:
    """Show one backbone: architecture, canvas, border, training defaults, weights.

    A name that evp fit could not use is refused.
    """
    entry = find_entry(backbone)
    published = None if entry.is_packaged else find_published(entry)  # refuses what fit refuses
    described = _describe(entry, published)
    if json:
        terminal.show_json(described)
    else:
        terminal.show_fields(list(described.items()))


@app.command("download")
def download_command(
    backbone: _NameArgument, offline: OfflineOption = False, json: JsonOption = False
) -> None:
    """Fetch a backbone's weights: from the Hugging Face hub, or torchvision's from pytorch.org."""
    entry = find_entry(backbone)
    if entry.is_packaged:
        terminal.note(f"{entry.name} comes with evp")
    else:
        terminal.note(f"fetching the weights of {entry.name} ({entry.size})")
        fetch_published(entry, offline=offline)
    if json:
        terminal.show_json(_describe(entry) | {"state": "ready"})
    else:
        terminal.show_text(f"{entry.name}\tready")


def _find_state(entry: BackboneEntry, published: Published | None = None) -> str:
    if entry.is_packaged:
        return "ready"
    weights = published or PublishedWeights.from_entry(entry)
    if weights is None:
        return "unknown"
    return "ready" if weights.find_local() else "absent"


def _describe(entry: BackboneEntry, published: Published | None = None) -> dict[str, Any]:
    border = FrameGeometry.for_canvas(entry.canvas_px).border_px if entry.canvas_px else None
    return {
        "name": entry.name,
        "kind": entry.kind,
        "architecture": entry.architecture,
        "tag": entry.tag or None,
        "canvas_px": entry.canvas_px or None,
        "border_px": border,
        "lr": entry.defaults.lr,
        "epochs": entry.defaults.epochs,
        "batch_size": entry.defaults.batch_size,
        "defaults_from": entry.defaults.origin,
        "licence": entry.licence,
        "size": entry.size,
        "repository": entry.repository or None,
        "state": _find_state(entry, published),
    }
