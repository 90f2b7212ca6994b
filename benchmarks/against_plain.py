"""Part (b): `evp fit` against the plain loop that does what the reference implementation does."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path

from bare import fit_steps
from cases import MINI, VIT, Pair, Workshop
from evpcli.domain.settings import FitRequest
from evpcli.engine.backbones.mini import mini_weights_path
from evpcli.engine.fitting.task import FitTask
from plain_loop import PhotoFiles, PlainLoop, load_plain_clip
from table import Case, Row, Target
from timing import alternate

_MINI_BATCH = 64


def list_plain_cases(shop: Workshop) -> list[Case]:
    """Two of ViT-B/32, where texts cost much, and one of `mini`, where decoding does."""
    is_gpu = shop.device.type == "cuda"
    narrow, wide = shop.pair("narrow", VIT), shop.pair("wide", VIT)
    photos = shop.pair("photos", MINI)
    vit_steps, rounds = shop.sizes.plain_steps, shop.sizes.heavy_rounds
    wanted = (
        (narrow, shop.sizes.narrow[1], vit_steps, rounds, 5 if is_gpu else 2),
        (wide, shop.sizes.wide[1], vit_steps, rounds, 5 if is_gpu else 3),
        (photos, _MINI_BATCH, None, shop.sizes.rounds, 10),
    )
    cases = []
    for pair, batch_size, steps, case_rounds, limit in wanted:
        what = "steps" if steps else "whole epochs after the first"
        title = f"fit: {pair.title}, batch {batch_size}, {what}, {shop.device.type}"
        measure = partial(
            measure_against_plain, shop, pair, batch_size, steps, case_rounds, Target(limit), title
        )
        cases.append(Case("b", title, measure))
    return cases


def measure_against_plain(
    shop: Workshop,
    pair: Pair,
    batch_size: int,
    steps: int | None,
    rounds: int,
    target: Target,
    title: str,
) -> Row:
    """Images per second of fit's steps by those of the plain loop's.

    Args:
        shop: where models and pictures are.
        pair: which of them.
        batch_size: of a step, for both.
        steps: of a round; a whole epoch if left out. The first round of each does not count.
        rounds: that count.
        target: for the ratio.
        title: of the row.
    """
    request = shop.request(pair, batch_size)
    with shop.open_task(pair, batch_size) as task:
        number = min(steps or task.steps_per_epoch, task.steps_per_epoch)
        pictures = len(shop.load(pair).dataset.splits["train"].labels)
        loop = build_plain_loop(shop, pair, task, request)
        loader = loop.open_loader(min(pictures, number * batch_size))
        speeds = alternate(
            fit_steps(task, task.new_learner(), number, request.settings.lr),
            partial(loop.train, loader),
            rounds,
            shop.device,
        )
        arithmetic = task.arithmetic
    ours, plain = statistics.median(speeds.ours), statistics.median(speeds.theirs)
    return Row(
        "b",
        title,
        evp=f"{ours:.1f} images/s, {arithmetic}",
        compared_with=f"plain loop: {plain:.1f} images/s, {request.threads} decoding processes",
        ratio=speeds.ratio,
        ratios=speeds.ratios,
        target=target,
    )


def build_plain_loop(shop: Workshop, pair: Pair, task: FitTask, request: FitRequest) -> PlainLoop:
    """The plain loop over the same pictures, model, canvas, batch size and rate as the task."""
    found = shop.load(pair)
    train, root = found.dataset.splits["train"], Path(request.dataset)
    paths = [root / train.describe(number) for number in range(len(train))]
    weights = shop.find_weights(pair) or mini_weights_path()
    return PlainLoop(
        load_plain_clip(pair.backbone, weights, found.texts.class_names, shop.device),
        PhotoFiles(paths, train.labels, task.geometry.image_px),
        task.geometry,
        request.settings.batch_size,
        request.threads,
        request.settings.lr,
    )
