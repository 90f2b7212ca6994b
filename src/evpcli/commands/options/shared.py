"""Option types that several verbs share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from evpcli.commands.options.completion import complete_prompts
from evpcli.domain.errors import UsageError
from evpcli.domain.settings import BatchSize
from evpcli.engine.compute.usable_cpus import MOST_DECODING_THREADS, count_decoding_threads

_MAX_BATCH_SIZE = 1_000_000

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
        autocompletion=complete_prompts,
    ),
]
DECODING_THREADS = count_decoding_threads()
SHOWN_THREADS = f"usable cores, at most {MOST_DECODING_THREADS}"
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Threads that decode.",
        show_default=SHOWN_THREADS,
    ),
]
FlexibleBatchOption = Annotated[
    str,
    typer.Option(
        "--batch-size",
        metavar="N|auto",
        help="Images at a time; auto takes fewer where memory runs out.",
    ),
]
BadImagesOption = Annotated[
    Literal["error", "skip"],
    typer.Option("--bad-images", help="What to do with pictures that cannot be decoded."),
]


def parse_batch_size(text: str) -> BatchSize:
    """What `--batch-size` says where it may be `auto`.

    Raises:
        UsageError: it is neither `auto` nor a whole number that can be.
    """
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:10]) <= _MAX_BATCH_SIZE:
        raise UsageError(
            "--batch-size takes auto or a whole number from 1",
            found=repr(text[:40]),
        )
    return int(text)
