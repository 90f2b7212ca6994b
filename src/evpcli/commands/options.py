"""Option types that several verbs share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Write the result as one JSON document.")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never open a network connection.")]
StoreOption = Annotated[
    bool,
    typer.Option(
        "--store/--no-store",
        help="Keep decoded, shrunk pictures in the cache folder, and use those that are there.",
    ),
]
PromptArgument = Annotated[
    str,
    typer.Argument(
        metavar="PROMPT",
        help="DATASET/BACKBONE[:vN|:TAG], a digest prefix, or a prompt file.",
        show_default=False,
    ),
]
BadImagesOption = Annotated[
    Literal["error", "skip"],
    typer.Option("--bad-images", help="What to do with pictures that cannot be decoded."),
]
