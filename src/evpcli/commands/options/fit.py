"""The options of `evp fit`, as types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from evpcli.commands.options.completion import (
    complete_backbones,
    complete_datasets,
    complete_prompts,
    complete_runs,
)
from evpcli.commands.options.config_files import apply_configuration
from evpcli.commands.options.shared import SHOWN_THREADS

_LEARNING, _BEYOND, _DATA, _RUN, _RESULT = (
    "Learning",
    "Beyond the paper, and its ablation",
    "Data and classes",
    "The run",
    "The result",
)

DatasetOption = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--dataset",
        help="Short name, folder of class folders, or the --name of an earlier one.",
        autocompletion=complete_datasets,
        show_default=False,
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name", help="Name under which prompts for this folder are saved.", rich_help_panel=_DATA
    ),
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        "-b",
        "--backbone",
        help="Catalog name, open_clip MODEL.TAG, timm/NAME or torchvision/NAME; "
        "mini for digits and letters.",
        autocompletion=complete_backbones,
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="Local checkpoint, or a timm model's folder, in place of the published one.",
    ),
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
MethodOption = Annotated[
    Literal["evp", "vp"],
    typer.Option(
        "--method",
        help="`evp`: the image shrunk into the border, normalised steps; `vp`: the border added "
        "on top of the image, momentum and warm-up (Bahng et al. 2022).",
        rich_help_panel=_LEARNING,
    ),
]
CanvasOption = Annotated[
    int | None,
    typer.Option(
        "--canvas",
        min=3,
        help="Side of a classifier's input in pixels (default: the backbone's own).",
        rich_help_panel=_LEARNING,
        show_default=False,
    ),
]
LabelMapOption = Annotated[
    Literal["frequency", "iterative", "bayesian", "bayesian+", "linear"] | None,
    typer.Option(
        "--label-map",
        help="From a classifier's own classes to the task's (default for classifiers: frequency).",
        rich_help_panel=_LEARNING,
        show_default=False,
    ),
]
InitOption = Annotated[
    Literal["zeros", "normal"] | None,
    typer.Option(
        "--init",
        help="First border values (default: zeros for evp, normal for vp).",
        rich_help_panel=_BEYOND,
        show_default=False,
    ),
]
NormOption = Annotated[
    Literal["l2", "l1", "linf", "none"],
    typer.Option(
        "--gradient-norm",
        help="The length that EVP's gradient is divided by; `none` needs --lr.",
        rich_help_panel=_BEYOND,
    ),
]
NormAreaOption = Annotated[
    Literal["canvas", "border"],
    typer.Option("--norm-area", help="What counts for that length.", rich_help_panel=_BEYOND),
]
ResidualOption = Annotated[
    bool,
    typer.Option(
        "--residual",
        help="Also learn a class-to-class matrix behind the model, folded into one layer; not EVP.",
        rich_help_panel=_BEYOND,
    ),
]
DescriptionsOption = Annotated[
    Path | None,
    typer.Option(
        "--descriptions",
        metavar="FILE.json",
        help="Sentences for each class, in place of templates.",
        rich_help_panel=_BEYOND,
    ),
]
BestOfOption = Annotated[
    int,
    typer.Option(
        "--best-of",
        min=1,
        help="With --descriptions: how many of the most similar sentences count.",
        rich_help_panel=_BEYOND,
    ),
]
ShotsOption = Annotated[
    int | None,
    typer.Option(
        "--shots",
        min=1,
        metavar="K",
        help="Train on K images per class, and select on at most as many.",
        rich_help_panel=_DATA,
    ),
]
FractionOption = Annotated[
    float | None,
    typer.Option("--fraction", help="Train on this share of each class.", rich_help_panel=_DATA),
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
        help="Learning rate, or `auto` to search for it (default: the backbone's).",
        rich_help_panel=_LEARNING,
        show_default=False,
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        min=1,
        help="Length of the schedule (default: the backbone's); with --resume: extend the run to "
        "so many in all.",
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
AccumulateOption = Annotated[
    int,
    typer.Option(
        "--accumulate",
        min=1,
        help="Put each batch through the model in so many parts: less memory, the same step.",
        rich_help_panel=_RUN,
    ),
]
PrecisionOption = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option(
        "--precision",
        help="Of the frozen model while training; `auto` is half precision on a CUDA GPU. "
        "Accuracies that are kept are measured in float32.",
        rich_help_panel=_RUN,
    ),
]
CompileOption = Annotated[
    bool,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the model by torch first: a minute at the start, faster steps on a GPU.",
        rich_help_panel=_RUN,
    ),
]
AugmentOption = Annotated[
    Literal["none", "evp", "trivial"] | None,
    typer.Option(
        "--augment",
        help="`evp`: random crop, and mirroring where classes allow it; `trivial`: also "
        "TrivialAugmentWide before the shrink (default: the method's).",
        rich_help_panel=_LEARNING,
        show_default=False,
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
    typer.Option(
        "--templates",
        metavar="FILE|NAME",
        help="File with one template a line, or clip7 or clip80: the CLIP paper's for ImageNet.",
        rich_help_panel=_DATA,
    ),
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
    int,
    typer.Option(
        "--seed", min=0, help="Order, crops, mirroring, and which shots.", rich_help_panel=_RUN
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        help="Threads that decode.",
        show_default=SHOWN_THREADS,
        rich_help_panel=_RUN,
    ),
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
        "--resume",
        metavar="RUN|last",
        autocompletion=complete_runs,
        help="Go on with a stopped run; with --epochs extend a finished one.",
        rich_help_panel=_RUN,
    ),
]
ParentOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="PROMPT",
        envvar="EVP_FIT_FROM",
        autocompletion=complete_prompts,
        help="Start from a finished prompt for the same backbone, canvas and border: "
        "DATASET/BACKBONE[:vN|:TAG], a digest prefix, or a prompt file.",
        rich_help_panel=_RUN,
    ),
]
ProbeOption = Annotated[
    bool,
    typer.Option(
        "--probe/--no-probe",
        help="Also measure a linear probe on the same images, where that costs less than an epoch.",
        rich_help_panel=_RESULT,
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Check the options, say the plan and stop.", rich_help_panel=_RUN
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="Also write the prompt to this .pt file; - is stdout.",
        rich_help_panel=_RESULT,
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
