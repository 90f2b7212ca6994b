"""`evp apply`: prompted images, and what the backbone says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from evpcli.commands.loaded_prompts import load_predictor, open_checked
from evpcli.commands.options import apply as options
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
from evpcli.commands.output.progress import WorkDisplay
from evpcli.commands.stdin_image import STDIN, read_stdin
from evpcli.commands.stdout_file import check_stdout, is_stdout, passed_to_stdout
from evpcli.domain.counts import say_count
from evpcli.domain.errors import EvpError, NotFoundError, UsageError
from evpcli.domain.events import Trouble, WorkProgress
from evpcli.domain.names import make_slug
from evpcli.domain.settings import BatchSize
from evpcli.engine.compute.launcher import is_shared, read_rank
from evpcli.engine.rendering.output_names import FileKind, What, check_replaceable, plan_outputs

if TYPE_CHECKING:
    import torch

    from evpcli.engine.prompts.prompt_file import StoredPrompt
    from evpcli.engine.rendering.applying import Applied, ImageSource
    from evpcli.engine.rendering.prediction import Prediction, Predictor

_DEFAULT_TOP = 3


def apply_prompt(
    prompt: PromptArgument,
    images: options.ImagesArgument = None,
    what: options.WhatOption = "prompted",
    to: options.KindOption = "png",
    output: options.OutputOption = None,
    force: options.ForceOption = False,
    predict: options.PredictOption = False,
    top: options.TopOption = None,
    backbone: options.BackboneOption = None,
    weights: options.WeightsOption = None,
    batch_size: FlexibleBatchOption = "auto",
    workers: WorkersOption = DECODING_THREADS,
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Set images into a learned border, and write what the backbone would see.

    Each result is named after its image: cat.jpg becomes cat.prompted.png.
    A picture file holds only values from 0 to 1; how much of the border is
    lost to that is said on stderr. Images that cannot be read are named and
    left out, and the exit code is then 1.
    """
    _check_combination(images, what, to, predict, top)
    size = parse_batch_size(batch_size)
    plan = _Plan(what, to, device, size, workers, as_json, on_stdout=is_stdout(output))
    if plan.on_stdout:
        check_stdout(taken_by="--predict" if predict else "--json" if as_json else None)
    sources = [] if what == "prompt" else _gather_sources(images or [])
    with _settle_output(output, plan) as place:
        if what == "prompt":
            _write_border(prompt, plan, place, force, backbone)
            return
        jobs = _list_jobs(sources, place, plan, force)
        stored = open_checked(prompt, backbone)
        load = partial(load_predictor, stored, top or _DEFAULT_TOP, weights, offline, size)
        results = _apply(stored, jobs, plan, load if predict else None)
        _show(stored, results, plan)


@dataclass(frozen=True)
class _Plan:
    """What is made of each image, and how."""

    what: What
    kind: FileKind
    device: str
    batch_size: BatchSize
    threads: int
    as_json: bool
    on_stdout: bool


@contextmanager
def _settle_output(output: str | None, plan: _Plan) -> Iterator[str | None]:
    """Where the results go; for stdout a file that is handed on when the block ends."""
    if not plan.on_stdout:
        yield output
        return
    with passed_to_stdout(f".{plan.kind}") as path:
        yield str(path)


def _list_jobs(
    sources: Sequence[ImageSource], output: str | None, plan: _Plan, force: bool
) -> list[tuple[ImageSource, Path]]:
    """Each image with its output file."""
    outputs = plan_outputs([_name_path(s) for s in sources], output, plan.what, plan.kind)
    originals = [s.content for s in sources if isinstance(s.content, Path)]
    check_replaceable(outputs, force, originals)
    return list(zip(sources, outputs, strict=True))


def _apply(
    stored: StoredPrompt,
    jobs: Sequence[tuple[ImageSource, Path]],
    plan: _Plan,
    load: Callable[[torch.device], Predictor] | None,
) -> tuple[Applied, ...]:
    """Every image's result; of several processes each does a part and knows the whole."""
    from evpcli.engine.compute.distributed import join_world
    from evpcli.engine.compute.memory import explained_memory, settle_batch_size
    from evpcli.engine.rendering.applying import apply_to_images, merge_results

    wanted = plan.device if load else "cpu"
    with (
        WorkDisplay("loading the model" if load else "opening images") as display,
        join_world(wanted) as world,
    ):
        with world.one_a_machine_first():
            device = world.settle_device(wanted)
            predictor = load(device) if load else None
        size = -(-settle_batch_size(plan.batch_size, device, world.size) // world.size)
        own = jobs[world.rank :: world.size]
        with explained_memory(size):
            results = apply_to_images(
                stored,
                own,
                what=plan.what,
                kind=plan.kind,
                predictor=predictor,
                batch_size=size,
                threads=plan.threads,
                report=_Teller(display, len(own)),
            )
        return merge_results(results, world)


def _check_combination(
    images: Sequence[str] | None, what: What, kind: FileKind, predict: bool, top: int | None
) -> None:
    if what == "prompt" and predict:
        raise UsageError("the border alone shows no class", hint="leave --what or --predict away")
    if what == "prompt" and images:
        terminal.note("the border is the same for every image: it is written once")
    if what != "prompt" and not images:
        raise UsageError("there is no image", hint="name files, folders or - for stdin")
    if what == "sheet" and kind != "png":
        raise UsageError("a sheet is a picture", found=f"--to {kind}", hint="leave --to away")
    if top is not None and not predict:
        raise UsageError("--top needs --predict")


def _gather_sources(words: Sequence[str]) -> list[ImageSource]:
    """What the words stand for: each file once, sorted, then stdin."""
    from evpcli.engine.images.decoder import list_image_files
    from evpcli.engine.rendering.applying import ImageSource

    listed = list_image_files([word for word in words if word != STDIN])
    sources = [ImageSource(str(path), path) for path in listed.files]
    ignored = len(listed.ignored)
    if ignored:
        terminal.note(f"{say_count(ignored, 'file')} ignored: no picture by its name")
    if STDIN in words:
        if is_shared():
            raise UsageError("stdin cannot be shared", hint="name files, or leave torchrun away")
        sources.append(ImageSource("stdin", read_stdin()))
    if not sources:
        raise NotFoundError("there is no picture in these folders", found=", ".join(words))
    return sources


def _name_path(source: ImageSource) -> Path:
    return source.content if isinstance(source.content, Path) else Path(source.name)


def _write_border(
    prompt: str, plan: _Plan, output: str | None, force: bool, backbone: str | None
) -> None:
    stem = Path(prompt).stem if Path(prompt).suffix else prompt
    [path] = plan_outputs([Path(make_slug(stem))], output, "prompt", plan.kind)
    check_replaceable([path], force)
    stored = open_checked(prompt, backbone)

    from evpcli.engine.rendering.applying import Applied, write_prompt

    write_prompt(stored, path, plan.kind)
    _show(stored, (Applied("the prompt", path),), plan)


class _Teller:
    """Tells how many images are done, and at once what is wrong with one."""

    def __init__(self, display: WorkDisplay, total: int) -> None:
        self._display, self._done, self._total = display, 0, total

    def __call__(self, result: Applied) -> None:
        self._done += 1
        if result.error:
            self._display.show(Trouble(f"left out: {result.error.summary}"))
        if result.note:
            self._display.show(Trouble(result.note))
        self._display.show(WorkProgress(self._done, self._total, "writing"))


def _show(stored: StoredPrompt, results: Sequence[Applied], plan: _Plan) -> None:
    from evpcli.engine.prompts.visual_prompt import clipped_share

    share = clipped_share(stored.to_visual_prompt())
    done = [result for result in results if result.output]
    if plan.as_json:
        terminal.show_json(_to_json(stored, results, plan.what, plan.kind, share))
    elif not plan.on_stdout:
        _show_rows(done)
    if plan.what != "canvas" and done:
        predicted = bool(done[0].predictions)
        terminal.note(_describe_clipping(stored, share, plan.kind, predicted=predicted))
    if len(done) < len(results):
        if read_rank():
            raise typer.Exit(EvpError.exit_code)  # the first process says it
        missing, images = len(results) - len(done), say_count(len(results), "image")
        raise EvpError(f"{missing} of {images} {'was' if missing == 1 else 'were'} left out")


def _show_rows(done: Sequence[Applied]) -> None:
    columns = max((len(result.predictions) for result in done), default=0)
    headers = ["image", "output"]
    for rank in range(1, columns + 1):
        headers += [f"class_{rank}", f"p_{rank}"]
    rows = [[result.image, result.output, *_flatten(result.predictions)] for result in done]
    if rows:
        terminal.show_rows(headers, rows, drops=headers[:3:-1], paths=headers[:2])


def _flatten(predictions: Sequence[Prediction]) -> list[str]:
    return [cell for p in predictions for cell in (p.class_name, f"{p.probability:.4f}")]


def _describe_clipping(
    stored: StoredPrompt, share: float, kind: FileKind, *, predicted: bool
) -> str:
    """How far the written files are from the values that the backbone is given."""
    if stored.manifest.composition == "overlay" and kind == "png":
        return (
            "picture and border are added, and a PNG cuts what leaves 0..1; "
            "--to safetensors keeps it"
        )
    if kind != "png":
        return f"{100 * share:.1f} % of the border's values lie outside 0..1; all are kept exactly"
    if share == 0:
        return "no border value lies outside 0..1, so the PNGs lose nothing but rounding"
    text = f"the PNGs are approximate ({100 * share:.1f} % of border values clipped)"
    exact = "; predictions used the exact values" if predicted else ""
    return f"{text}{exact}; --to safetensors keeps them"


def _to_json(
    stored: StoredPrompt, results: Sequence[Applied], what: What, kind: FileKind, share: float
) -> dict[str, Any]:
    done = [result for result in results if result.output]
    failed = [result for result in results if result.error]
    return {
        "prompt": str(stored.manifest.key),
        "digest": stored.digest,
        "what": what,
        "to": kind,
        "clipped_share": share,
        "images": [
            {
                "image": result.image,
                "output": str(result.output),
                "predictions": [
                    {"class": p.class_name, "probability": p.probability}
                    for p in result.predictions
                ],
            }
            for result in done
        ],
        "failed": [
            {
                "image": result.image,
                "error": result.error.summary,
            }
            for result in failed
            if result.error
        ],
    }
