"""Images from anywhere to prompted images on disk, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from evpcli.domain.errors import ImageError, StorageError
from evpcli.engine.pictures.decoder import Decoded, decode_picture, load_square
from evpcli.engine.prompt_files.prompt_file import StoredPrompt
from evpcli.engine.rendering.canvases import (
    encode_canvas,
    encode_picture,
    render_canvas,
    render_prompt,
    render_prompted,
)
from evpcli.engine.rendering.contact_sheet import build_sheet
from evpcli.engine.rendering.output_names import FileKind, What
from evpcli.engine.rendering.prediction import Prediction, Predictor
from evpcli.engine.storage.durable import write_durably
from evpcli.engine.world import World


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


class _Row(BaseModel):
    """An image's result as one process tells it to the others."""

    image: str
    output: str | None
    predictions: list[tuple[str, float]]
    note: str | None
    error: tuple[str, str | None] | None


_RESULTS = TypeAdapter(list[_Row])


def apply_to_images(
    stored: StoredPrompt,
    jobs: Sequence[tuple[ImageSource, Path]],
    *,
    what: What = "prompted",
    kind: FileKind = "png",
    predictor: Predictor | None = None,
    report: Callable[[Applied], None] = lambda _: None,
) -> tuple[Applied, ...]:
    """Write each image's result; an image that cannot be decoded is left out and named.

    Args:
        stored: the prompt with its manifest.
        jobs: each image with its output file, which is replaced if it exists.
        what: `prompted` sets the image into the border, `canvas` into black, `sheet` draws both
            beside the original.
        kind: the file format; a sheet is always a PNG picture.
        predictor: names the classes of the prompted (for `canvas`: the black) canvas.
        report: called after each image.

    Raises:
        StorageError: a result cannot be written.
    """
    results = []
    for result in _apply_each(stored, jobs, what, kind, predictor):
        report(result)
        results.append(result)
    return tuple(results)


def merge_results(own: Sequence[Applied], world: World) -> tuple[Applied, ...]:
    """The results of all processes, in the order of the images that they took in turn."""
    if world.is_alone:
        return tuple(own)
    told = world.gather_bytes(_RESULTS.dump_json(list(map(_flatten, own))))
    parts = [[_restore(row) for row in _RESULTS.validate_json(data)] for data in told]
    longest = max(map(len, parts))
    return tuple(part[i] for i in range(longest) for part in parts if i < len(part))


def _flatten(result: Applied) -> _Row:
    error = result.error
    return _Row(
        image=result.image,
        output=None if result.output is None else str(result.output),
        predictions=[(one.class_name, one.probability) for one in result.predictions],
        note=result.note,
        error=None if error is None else (error.what, error.found),
    )


def _restore(row: _Row) -> Applied:
    return Applied(
        row.image,
        None if row.output is None else Path(row.output),
        tuple(Prediction(name, share) for name, share in row.predictions),
        row.note,
        None if row.error is None else ImageError(row.error[0], found=row.error[1]),
    )


def write_prompt(stored: StoredPrompt, output: Path, kind: FileKind) -> None:
    """Write the border alone, around a window of zeros.

    Raises:
        StorageError: it cannot be written.
    """
    canvas = render_prompt(stored.to_visual_prompt())
    _write(output, encode_canvas(canvas, kind, _describe(stored, "prompt")))


def _apply_each(
    stored: StoredPrompt,
    jobs: Sequence[tuple[ImageSource, Path]],
    what: What,
    kind: FileKind,
    predictor: Predictor | None,
) -> Iterator[Applied]:
    prompt = stored.to_visual_prompt()
    interpolation = stored.manifest.preprocessing.interpolation
    for source, output in jobs:
        try:
            decoded = source.decode()
            square = load_square(decoded.image, prompt.geometry.image_px, interpolation)
        except ImageError as error:
            yield Applied(source.name, error=error)
            continue
        if what == "canvas":
            canvas = render_canvas(square, prompt.geometry)
        else:
            canvas = render_prompted(square, prompt)
        answers = predictor(canvas) if predictor else ()
        if what == "sheet":
            sheet = build_sheet(decoded.image, square, prompt, _quote(stored, answers))
            data = encode_picture(sheet)
        else:
            data = encode_canvas(canvas, kind, _describe(stored, what))
        _write(output, data)
        yield Applied(source.name, output, answers, decoded.note)


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
