"""`evp predict`: a table of classes, one row an image, and no pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evpcli.commands.loaded_prompts import load_predictor, open_checked
from evpcli.commands.options.apply import BackboneOption, WeightsOption
from evpcli.commands.options.shared import (
    DECODING_THREADS,
    DeviceOption,
    FlexibleBatchOption,
    JsonOption,
    OfflineOption,
    PromptArgument,
    WorkersOption,
    parse_batch_size,
)
from evpcli.commands.output import terminal
from evpcli.commands.stdin_image import STDIN, read_stdin
from evpcli.commands.stdout_file import STDOUT, is_stdout
from evpcli.domain.counts import say_count
from evpcli.domain.errors import EvpError, NotFoundError

if TYPE_CHECKING:
    from evpcli.engine.images.file_stream import FileStream
    from evpcli.engine.prompts.prompt_file import StoredPrompt
    from evpcli.engine.rendering.applying import ImageSource
    from evpcli.engine.rendering.predicting import ImagePrediction

_LINE_EVERY_S = 10.0

_ImagesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE...",
        help="Files, folders or quoted patterns; - reads one image from stdin.",
        show_default=False,
    ),
]
_OutputOption = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="A .csv, .jsonl or .parquet file; - is stdout, tab-separated.",
    ),
]
_TopOption = Annotated[int, typer.Option("--top", min=1, metavar="K", help="Classes in each row.")]
_ForceOption = Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")]


def predict(
    prompt: PromptArgument,
    images: _ImagesArgument,
    output: _OutputOption = STDOUT,
    top: _TopOption = 1,
    force: _ForceOption = False,
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    batch_size: FlexibleBatchOption = "auto",
    workers: WorkersOption = DECODING_THREADS,
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the class and its probability for each image, one row an image.

    Folders may be of any size: rows are written while the images are read. An
    image that cannot be read has a row with the error, and the exit code is
    then 1.
    """
    size = parse_batch_size(batch_size)
    path = _check_output(output, force)
    files = _find_images(images)
    stored = open_checked(prompt, backbone)
    columns = min(top, len(stored.manifest.class_names) or 1)
    from evpcli.engine.compute.devices import choose_device
    from evpcli.engine.compute.memory import explained_memory, settle_batch_size
    from evpcli.engine.rendering.predicting import predict_images

    where = choose_device(device)
    predictor = load_predictor(stored, columns, weights, offline, size, where)
    at_once, sources = settle_batch_size(size, where), _list_sources(files, STDIN in images)
    found = predict_images(stored, sources, predictor, batch_size=at_once, threads=workers)
    tally = _Tally()
    with explained_memory(at_once), _open_table(path, stored, columns, as_json) as write:
        for row in found:
            write(row)
            tally.count(row)
    _summarise(stored, path, tally, as_json)
    _tell_left_out(files, tally)


class _Tally:
    """How many images were done, and how many of them could not be read; told now and then."""

    def __init__(self) -> None:
        self.done = self.failed = 0
        self._began = self._told = time.monotonic()

    def count(self, row: ImagePrediction) -> None:
        """Take note of one more image."""
        self.done += 1
        self.failed += row.error is not None
        if row.note:
            terminal.warn(row.note)
        now = time.monotonic()
        if now - self._told >= _LINE_EVERY_S:
            self._told = now
            rate = self.done / (now - self._began)
            terminal.note(f"{self.done:,} images so far, {rate:,.0f} images/s")


def _check_output(output: str, force: bool) -> Path | None:
    """The file to write; nothing for stdout."""
    if is_stdout(output):
        return None
    from evpcli.engine.files.durable import check_target
    from evpcli.engine.files.paths import expand_path
    from evpcli.engine.rendering.output_names import check_replaceable
    from evpcli.engine.rendering.prediction_files import check_table_path

    path = expand_path(output)
    check_table_path(path)
    check_replaceable([path], force)
    check_target(path)
    return path


def _find_images(words: list[str]) -> FileStream:
    """Every image file that the words stand for; refused where there is none at all."""
    from evpcli.engine.images.file_stream import FileStream

    files = FileStream([word for word in words if word != STDIN])
    if STDIN not in words and next(iter(files), None) is None:
        raise NotFoundError("there is no image in these folders", found=", ".join(words)[:200])
    files.ignored = 0
    return files


def _list_sources(files: FileStream, has_stdin: bool) -> Iterator[ImageSource]:
    from evpcli.engine.rendering.applying import ImageSource

    yield from (ImageSource(str(path), path) for path in files)
    if has_stdin:
        yield ImageSource("stdin", read_stdin())


@contextmanager
def _open_table(
    path: Path | None, stored: StoredPrompt, top: int, as_json: bool
) -> Iterator[Callable[[ImagePrediction], None]]:
    """A function that adds a row to the file, or to stdout."""
    from evpcli.engine.rendering.prediction_files import (
        describe_row,
        list_cells,
        name_columns,
        open_table,
    )

    if path:
        with open_table(path, top) as write:
            yield write
    elif as_json:
        with terminal.growing_json(_describe_prompt(stored), "images") as add:
            yield lambda row: add(describe_row(row))
    else:
        terminal.show_line(name_columns(top))
        yield lambda row: terminal.show_line(_round(list_cells(row, top)))


def _round(cells: list[str | float | None]) -> list[str | None]:
    return [f"{cell:.4f}" if isinstance(cell, float) else cell for cell in cells]


def _describe_prompt(stored: StoredPrompt) -> dict[str, str]:
    return {"prompt": str(stored.manifest.key), "digest": stored.digest}


def _summarise(stored: StoredPrompt, path: Path | None, tally: _Tally, as_json: bool) -> None:
    if path is None:
        return
    if as_json:
        counts = {"output": str(path), "images": tally.done, "failed": tally.failed}
        terminal.show_json(_describe_prompt(stored) | counts)
    else:
        terminal.note(f"written: {path}, {say_count(tally.done, 'row')}")


def _tell_left_out(files: FileStream, tally: _Tally) -> None:
    if files.ignored:
        told = say_count(files.ignored, "file was", "files were")
        terminal.note(f"{told} ignored: the name has no image ending")
    if tally.failed:
        raise EvpError(
            f"{tally.failed} of {say_count(tally.done, 'image')} could not be read",
            hint="the column error says why",
        )
