"""The options of `evp apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evpcli.engine.rendering.output_names import FileKind, What

ImagesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE",
        help="Files, folders or quoted patterns; - reads one image from stdin.",
        show_default=False,
    ),
]
WhatOption = Annotated[
    What,
    typer.Option(
        "--what",
        help="The image in the border, the image on black, the border alone, "
        "or a sheet that shows all of them.",
    ),
]
KindOption = Annotated[
    FileKind,
    typer.Option(
        "--to", help="png clips to 0..1 and rounds to 8 bits; the others keep every value."
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="A folder, or for one image a file; - is stdout. "
        "One image may do without: the current folder.",
        show_default=False,
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
PredictOption = Annotated[
    bool, typer.Option("--predict", help="Load the backbone and name the likeliest classes.")
]
TopOption = Annotated[
    int | None,
    typer.Option(
        "--top", min=1, metavar="K", help="With --predict: how many classes, 3 if left out."
    ),
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        "--backbone", "-b", metavar="NAME", help="Refuse a prompt for any other backbone."
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="The backbone's checkpoint, for predictions."),
]
