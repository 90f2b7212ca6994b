"""Classes for any number of images, batch by batch; nothing is drawn or written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

from torch import Tensor

from evpcli.domain.errors import ImageError
from evpcli.engine.images.decoder import load_square
from evpcli.engine.prompts.prompt_file import StoredPrompt
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.rendering.applying import ImageSource
from evpcli.engine.rendering.canvases import render_prompted
from evpcli.engine.rendering.prediction import Prediction, Predictor, classify_some


@dataclass(frozen=True)
class ImagePrediction:
    """What the prompted model says of one image.

    Args:
        path: the image, as the user named it.
        predictions: best classes first; empty where `error` says why.
        note: what the user should know about the image.
        error: why it could not be read.
    """

    path: str
    predictions: tuple[Prediction, ...] = ()
    note: str | None = None
    error: ImageError | None = None


def predict_images(
    stored: StoredPrompt,
    sources: Iterable[ImageSource],
    predictor: Predictor,
    *,
    batch_size: int = 64,
    threads: int = 2,
) -> Iterator[ImagePrediction]:
    """Each image's classes, in order; no more than two batches are in memory.

    The next batch is decoded while this one is classified.

    Args:
        stored: the prompt with its manifest.
        sources: asked for as they are needed, so that there may be any number of them.
        predictor: names the classes of prompted canvases.
        batch_size: images at a time.
        threads: how many decode.
    """
    prepare = partial(_prepare, stored=stored, prompt=stored.to_visual_prompt())
    remaining = iter(sources)
    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="predict")
    try:
        following = pool.map(prepare, list(islice(remaining, batch_size)))
        while readies := list(following):
            following = pool.map(prepare, list(islice(remaining, batch_size)))
            yield from _classify(readies, predictor)
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Ready:
    """An image in its canvas, not yet classified."""

    path: str
    canvas: Tensor
    note: str | None


def _prepare(
    source: ImageSource, *, stored: StoredPrompt, prompt: VisualPrompt
) -> _Ready | ImagePrediction:
    interpolation = stored.manifest.preprocessing.interpolation
    try:
        decoded = source.decode()
        square = load_square(decoded.image, prompt.geometry.image_px, interpolation)
    except ImageError as error:
        return ImagePrediction(source.name, error=error)
    return _Ready(source.name, render_prompted(square, prompt), decoded.note)


def _classify(
    readies: list[_Ready | ImagePrediction], predictor: Predictor
) -> Iterator[ImagePrediction]:
    canvases = [ready.canvas if isinstance(ready, _Ready) else None for ready in readies]
    for ready, predictions in zip(readies, classify_some(canvases, predictor), strict=True):
        if isinstance(ready, _Ready):
            yield ImagePrediction(ready.path, predictions, ready.note)
        else:
            yield ready
