"""The options of `evp fit`, as types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from evpcli.commands.configuration import apply_configuration

_LEARNING, _DATA, _RUN, _RESULT = (
    "Learning",
    "Data and classes",
    "The run",
    "The result",
)

DatasetOption = Annotated[
    str | None,
    typer.Option(
        "-d", "--dataset", help="Short name or folder of class folders.", show_default=False
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", help="File a folder under this name.", rich_help_panel=_DATA),
]
BackboneOption = Annotated[
    str, typer.Option("-b", "--backbone", help="Catalog name or open_clip MODEL.TAG.")
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", help="Local safetensors checkpoint in place of the published one."),
]
PresetOption = Annotated[
    Literal["default", "paper"],
    typer.Option(
        "--preset",
        help="`paper`: the reference's schedule: lr 70 at canvas 224, 1,000 epochs, batch 256, "
        "selected on test.",
        rich_help_panel=_LEARNING,
    ),
]
BorderOption = Annotated[
    int | None,
    typer.Option(
        "--border",
        min=1,
        help="Border in pixels (default: 30/224 of the canvas).",
        rich_help_panel=_LEARNING,
        show_default=False,
    ),
]
LrOption = Annotated[
    str | None,
    typer.Option(
        "--lr",
        help="Length of the first steps, or `auto` (default: the backbone's).",
        rich_help_panel=_LEARNING,
        show_default=False,
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        min=1,
        help="Length of the schedule (default: the backbone's).",
        rich_help_panel=_LEARNING,
        show_default=False,
    ),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        help="Images a step (default: the backbone's).",
        rich_help_panel=_LEARNING,
        show_default=False,
    ),
]
AugmentOption = Annotated[
    Literal["none", "evp"],
    typer.Option(
        "--augment",
        help="`evp`: random crop, and mirroring where classes allow it.",
        rich_help_panel=_LEARNING,
    ),
]
FlipOption = Annotated[
    bool | None,
    typer.Option(
        "--flip/--no-flip",
        help="Mirror pictures at random (default: where the dataset says classes allow it).",
        rich_help_panel=_LEARNING,
        show_default=False,
    ),
]
ProjectOption = Annotated[
    bool,
    typer.Option(
        "--project",
        help="Keep the border in [0, 1], so that a PNG is the exact input.",
        rich_help_panel=_LEARNING,
    ),
]
ProtocolOption = Annotated[
    Literal["validation", "paper"],
    typer.Option(
        "--protocol",
        help="What selects the best epoch: a validation split, or test.",
        rich_help_panel=_LEARNING,
    ),
]
ValFractionOption = Annotated[
    float,
    typer.Option(
        "--val-fraction",
        help="Share of train that validates where no split does.",
        rich_help_panel=_DATA,
    ),
]
SplitSeedOption = Annotated[
    int, typer.Option("--split-seed", min=0, help="Which pictures validate.", rich_help_panel=_DATA)
]
TemplateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        help="Sentence with {} for the class; repeat for an ensemble.",
        rich_help_panel=_DATA,
        show_default=False,
    ),
]
TemplatesOption = Annotated[
    Path | None,
    typer.Option("--templates", help="File with one template a line.", rich_help_panel=_DATA),
]
ClassNamesOption = Annotated[
    Path | None,
    typer.Option(
        "--classnames",
        help="File with one class name a line, in class order.",
        rich_help_panel=_DATA,
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Order, crops and mirroring.", rich_help_panel=_RUN)
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=1, help="Threads that decode.", rich_help_panel=_RUN)
]
PatienceOption = Annotated[
    int | None,
    typer.Option(
        "--patience",
        min=1,
        help="Stop after so many epochs without a better score.",
        rich_help_panel=_RUN,
    ),
]
MaxTimeOption = Annotated[
    float | None,
    typer.Option(
        "--max-time", help="Stop after so many minutes of training.", rich_help_panel=_RUN
    ),
]
ResumeOption = Annotated[
    str | None,
    typer.Option(
        "--resume", metavar="RUN|last", help="Go on with a stopped run.", rich_help_panel=_RUN
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say the plan and stop.", rich_help_panel=_RUN)
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", help="Also write the prompt to this .pt file.", rich_help_panel=_RESULT
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Overwrite the output file.", rich_help_panel=_RESULT)
]
TagOption = Annotated[
    str | None, typer.Option("--tag", help="Also name the new version.", rich_help_panel=_RESULT)
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=apply_configuration,
        is_eager=True,
        help="TOML file with a table for this verb.",
        rich_help_panel=_RUN,
    ),
]
