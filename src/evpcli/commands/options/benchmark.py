"""The options of `evp benchmark`, as types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from evpcli.commands.options.shared import SHOWN_THREADS

_ASKED, _RUN, _RESULT = "What is compared", "The run", "The result"

USUAL_BATCH_SIZE = 64
"""Of methods that `evp fit` does not make, where nobody says another."""

SuiteOption = Annotated[
    Literal["smoke", "paper12"] | None,
    typer.Option(
        "--suite",
        help="`smoke`: digits and mini, a minute or two on two cores; `paper12`: the paper's "
        "twelve datasets. -d, -b, --methods and --with take the place of the suite's own.",
        rich_help_panel=_ASKED,
        show_default=False,
    ),
]
DatasetsOption = Annotated[
    list[str] | None,
    typer.Option(
        "-d",
        "--dataset",
        help="Short name or folder of class folders; repeat for several.",
        rich_help_panel=_ASKED,
        show_default=False,
    ),
]
BackbonesOption = Annotated[
    list[str] | None,
    typer.Option(
        "-b",
        "--backbone",
        help="As `evp fit` takes it; repeat for several (default: mini).",
        rich_help_panel=_ASKED,
        show_default=False,
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="Local checkpoint in place of the published one; for a single backbone.",
        rich_help_panel=_ASKED,
    ),
]
MethodsOption = Annotated[
    str | None,
    typer.Option(
        "--methods",
        metavar="METHOD[ OPTIONS],...",
        help="Of evp, vp, zero-shot, blank, noise, linear-probe and fine-tune, each with options "
        "of `evp fit` after it (default: zero-shot,blank,evp,vp,linear-probe).",
        rich_help_panel=_ASKED,
        show_default=False,
    ),
]
SeedsOption = Annotated[
    int,
    typer.Option("--seeds", min=1, max=1000, help="Seeds 0 to N-1.", rich_help_panel=_ASKED),
]
WithOption = Annotated[
    str | None,
    typer.Option(
        "--with",
        metavar="OPTIONS",
        help='Options of `evp fit` for every method, such as "--epochs 3".',
        rich_help_panel=_ASKED,
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="Folder of cells, prompts and tables (default: below the data folder).",
        rich_help_panel=_RESULT,
        show_default=False,
    ),
]
HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", help="Also write the page to this file.", rich_help_panel=_RESULT),
]
MarkdownOption = Annotated[
    Path | None,
    typer.Option("--markdown", help="Also write Markdown to this file.", rich_help_panel=_RESULT),
]
CsvOption = Annotated[
    Path | None,
    typer.Option("--csv", help="Also write CSV to this file.", rich_help_panel=_RESULT),
]
LatexOption = Annotated[
    Path | None,
    typer.Option("--latex", help="Also write a LaTeX table to this file.", rich_help_panel=_RESULT),
]
ChooseOption = Annotated[
    bool,
    typer.Option(
        "--choose",
        help="Show for each dataset only the method with the highest validation accuracy.",
        rich_help_panel=_RESULT,
    ),
]
RetryOption = Annotated[
    bool,
    typer.Option("--retry-failed", help="Measure again what failed before.", rich_help_panel=_RUN),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="List the cells and their states, and stop.", rich_help_panel=_RUN
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
BatchSizeOption = Annotated[
    int,
    typer.Option(
        "--batch-size",
        min=1,
        help="Images at a time for methods that `evp fit` does not make.",
        rich_help_panel=_RUN,
    ),
]
