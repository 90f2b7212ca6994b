"""Images from anywhere to prompted images on disk, batch by batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from evpcli.domain.errors import ImageError, StorageError
from evpcli.engine.compute.distributed import World
from evpcli.engine.files.durable import write_durably
from evpcli.engine.files.temporaries import sweep_temporaries
from evpcli.engine.images.decoder import Decoded, decode_picture, load_square
from evpcli.engine.prompts.prompt_file import StoredPrompt
from evpcli.engine.rendering.canvases import (
    encode_canvas,
    encode_picture,
    render_canvas,
    render_prompt,
    render_prompted,
)
from evpcli.engine.rendering.contact_sheet import build_sheet
from evpcli.engine.rendering.output_names import FileKind, What
from evpcli.engine.rendering.prediction import Prediction, Predictor, classify_some


@dataclass(frozen=True)
class ImageSource:
    """One image to work on.

    Args:
        name: what messages call it.
        content: a file, or the bytes of one.
    """

    name: str
    content: Path | bytes

    def decode(self) -> Decoded:
        """The picture, upright, RGB.

        Raises:
            ImageError: it cannot be decoded.
        """
        return decode_picture(self.content, name=self.name)


@dataclass(frozen=True)
class Applied:
    """What became of one image.

    Args:
        image: its name.
        output: the file that was written; nothing where `error` says why not.
        predictions: best classes first; empty unless they were asked for.
        note: what the user should know about the image.
        error: why it was left out.
    """

    image: str
    output: Path | None = None
    predictions: tuple[Prediction, ...] = ()
    note: str | None = None
    error: ImageError | None = None


def apply_to_images(
    stored: StoredPrompt,
    jobs: Sequence[tuple[ImageSource, Path]],
    *,
    what: What = "prompted",
    kind: FileKind = "png",
    predictor: Predictor | None = None,
    batch_size: int = 64,
    threads: int = 2,
    report: Callable[[Applied], None] = lambda _: None,
) -> tuple[Applied, ...]:
    """Write each image's result; an image that cannot be decoded is left out and named.

    The next batch is decoded while this one is classified.

    Args:
        stored: the prompt with its manifest.
        jobs: each image with its output file, which is replaced if it exists.
        what: `prompted` sets the image into the border, `canvas` into black, `sheet` draws both
            beside the original.
        kind: the file format; a sheet is always a PNG picture.
        predictor: names the classes of the prompted (for `canvas`: the black) canvas.
        batch_size: images at a time; sheets, which need their originals, are made one by one.
        threads: how many decode and write.
        report: called after each image, in order.

    Raises:
        StorageError: a result cannot be written.
    """
    size = 1 if what == "sheet" else batch_size
    parts = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    maker, results = _Maker(stored, what, kind), []
    for folder in {output.parent for _, output in jobs}:
        sweep_temporaries(folder)
    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="apply")
    try:
        following = pool.map(maker.prepare, parts[0] if parts else ())
        for number in range(len(parts)):
            readies = list(following)
            following = pool.map(maker.prepare, parts[number + 1] if parts[number + 1 :] else ())
            for result in pool.map(maker.finish, readies, _classify(readies, predictor)):
                report(result)
                results.append(result)
    finally:
        pool.shutdown(cancel_futures=True)
    return tuple(results)


def merge_results(own: Sequence[Applied], world: World) -> tuple[Applied, ...]:
    """The results of all processes, in the order of the images that they took in turn."""
    if world.is_alone:
        return tuple(own)
    text = json.dumps([_flatten(result) for result in own])  # ASCII, odd file names escaped
    told = world.gather_bytes(text.encode())
    parts = [[_restore(**row) for row in json.loads(data)] for data in told]
    longest = max(map(len, parts))
    return tuple(part[i] for i in range(longest) for part in parts if i < len(part))


def _flatten(result: Applied) -> dict[str, Any]:
    """An image's result as one process tells it to the others."""
    error = result.error
    return {
        "image": result.image,
        "output": None if result.output is None else str(result.output),
        "predictions": [(one.class_name, one.probability) for one in result.predictions],
        "note": result.note,
        "error": None if error is None else (error.what, error.found),
    }


def _restore(
    image: str,
    output: str | None,
    predictions: list[tuple[str, float]],
    note: str | None,
    error: tuple[str, str | None] | None,
) -> Applied:
    return Applied(
        image,
        None if output is None else Path(output),
        tuple(Prediction(name, share) for name, share in predictions),
        note,
        None if error is None else ImageError(error[0], found=error[1]),
    )


def write_prompt(stored: StoredPrompt, output: Path, kind: FileKind) -> None:
    """Write the border alone, around a window of zeros.

    Raises:
        StorageError: it cannot be written.
    """
    canvas = render_prompt(stored.to_visual_prompt())
    _write(output, encode_canvas(canvas, kind, _describe(stored, "prompt")))


@dataclass(frozen=True)
class _Ready:
    """An image on its way: set into its canvas, not yet classified or written."""

    source: ImageSource
    output: Path
    canvas: Tensor
    square: Tensor
    original: Image.Image | None
    note: str | None


class _Maker:
    """The two halves of an image's way, before and after the model; threads take part in both."""

    def __init__(self, stored: StoredPrompt, what: What, kind: FileKind) -> None:
        self._stored, self._what, self._kind = stored, what, kind
        self._prompt = stored.to_visual_prompt()

    def prepare(self, job: tuple[ImageSource, Path]) -> _Ready | Applied:
        """Decode an image and set it into its canvas; what cannot be decoded is done with."""
        source, output = job
        geometry = self._prompt.geometry
        try:
            decoded = source.decode()
            interpolation = self._stored.manifest.preprocessing.interpolation
            square = load_square(decoded.image, geometry.image_px, interpolation)
        except ImageError as error:
            return Applied(source.name, error=error)
        if self._what == "canvas":
            canvas = render_canvas(square, geometry)
        else:
            canvas = render_prompted(square, self._prompt)
        original = decoded.image if self._what == "sheet" else None
        return _Ready(source, output, canvas, square, original, decoded.note)

    def finish(self, ready: _Ready | Applied, answers: tuple[Prediction, ...]) -> Applied:
        """Write an image's result.

        Raises:
            StorageError: it cannot be written.
        """
        if isinstance(ready, Applied):
            return ready
        if ready.original:
            text = _quote(self._stored, answers)
            sheet = build_sheet(ready.original, ready.square, self._prompt, text)
            data = encode_picture(sheet)
        else:
            data = encode_canvas(ready.canvas, self._kind, _describe(self._stored, self._what))
        _write(ready.output, data)
        return Applied(ready.source.name, ready.output, answers, ready.note)


def _classify(
    readies: Sequence[_Ready | Applied], predictor: Predictor | None
) -> list[tuple[Prediction, ...]]:
    """Each image's best classes; nothing for those that are done with, or without a predictor."""
    if predictor is None:
        return [()] * len(readies)
    canvases = [ready.canvas if isinstance(ready, _Ready) else None for ready in readies]
    return classify_some(canvases, predictor)


def _quote(stored: StoredPrompt, answers: Sequence[Prediction]) -> str | None:
    said = ", ".join(map(str, answers))
    return f"{stored.manifest.backbone.name} says: {said}" if answers else None


def _describe(stored: StoredPrompt, what: str) -> dict[str, str]:
    return {
        "what": what,
        "prompt": stored.digest,
        "backbone": stored.manifest.backbone.name,
        "space": "RGB, images in [0, 1], border unbounded, before the backbone's normalisation",
    }


def _write(output: Path, data: bytes) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            "the output's folder cannot be made", found=f"{output.parent}: {error.strerror}"
        ) from error
    write_durably(output, data)
