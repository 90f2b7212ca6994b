"""Part (a): steps of `evp fit` against a bare forward and backward; a GPU's share of its peak."""

from __future__ import annotations

import statistics
from functools import partial

import torch
from torch.nn import functional

from bare import compose_batch, first_batches, fit_steps, pass_back
from cases import MINI, MOBILE, VIT, Pair, Workshop
from evpcli.engine.fitting.task import FitTask
from table import Case, Row, Target
from timing import Speeds, alternate, time_work

_SMALL_BATCH = 64
_PEAK_PRODUCTS = 20


def list_bare_cases(shop: Workshop) -> list[Case]:
    """One case a backbone, and of ViT-B/32 one a batch size."""
    wanted = [(shop.pair("narrow", VIT), size) for size in shop.sizes.vit_batches]
    wanted.append((shop.pair("digits", MINI), _SMALL_BATCH))
    wanted.append((shop.pair("photos", MOBILE), _SMALL_BATCH))
    cases = [
        Case("a", _title(pair, size, shop), partial(measure_against_bare, shop, pair, size))
        for pair, size in wanted
    ]
    vit = shop.pair("narrow", VIT)
    for size in shop.sizes.peak_batches:
        title = f"{_title(vit, size, shop)}: share of the GPU's peak"
        cases.append(Case("a", title, partial(measure_peak_share, shop, vit, size)))
    return cases


def measure_against_bare(shop: Workshop, pair: Pair, batch_size: int) -> Row:
    """Images per second of fit's steps, by those of bare passes over batches of the same sizes."""
    with shop.open_task(pair, batch_size) as task:
        speeds = _time_steps(shop, pair, task, batch_size)
        arithmetic = task.arithmetic
    ours, bare = statistics.median(speeds.ours), statistics.median(speeds.theirs)
    return Row(
        "a",
        _title(pair, batch_size, shop),
        evp=f"{ours:.1f} images/s, {arithmetic}",
        compared_with=f"bare forward and backward: {bare:.1f} images/s",
        ratio=speeds.ratio,
        ratios=speeds.ratios,
        target=Target(0.9) if shop.device.type == "cpu" else None,
    )


def measure_peak_share(shop: Workshop, pair: Pair, batch_size: int) -> Row:
    """What fit's steps compute per second, by what one large bfloat16 product reaches."""
    with shop.open_task(pair, batch_size) as task:
        reached = statistics.median(_time_steps(shop, pair, task, batch_size).ours)
        flops = count_step_flops(task) / batch_size * reached
    side = shop.sizes.peak_side
    peak = measure_matmul_peak(shop.device, side)
    return Row(
        "a",
        f"{_title(pair, batch_size, shop)}: share of the GPU's peak",
        evp=f"{flops / 1e12:.4g} TFLOP/s in fit's steps",
        compared_with=f"bfloat16 product of {side} x {side} matrices: {peak / 1e12:.4g} TFLOP/s",
        ratio=flops / peak,
        target=Target(0.5),
    )


def count_step_flops(task: FitTask) -> int:
    """Floating-point operations of one bare forward and backward of the task's first batch."""
    from torch.utils.flop_counter import FlopCounterMode

    learner = task.new_learner()
    canvas, labels = compose_batch(task, learner)
    canvas.requires_grad_(True)
    with FlopCounterMode(display=False) as counter:  # its hooks refuse autograd.grad
        loss = functional.cross_entropy(learner.source(canvas), labels)
        loss.backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def measure_matmul_peak(device: torch.device, side: int) -> float:
    """Floating-point operations per second of a square bfloat16 product, the best of five rounds.

    Args:
        device: that computes.
        side: of the matrices.
    """
    left = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    right = torch.randn(side, side, device=device, dtype=torch.bfloat16)

    def work() -> int:
        for _ in range(_PEAK_PRODUCTS):
            left @ right
        return _PEAK_PRODUCTS

    products = max([time_work(work, device) for _ in range(6)][1:])  # the first warms up
    return products * 2 * side**3


def _time_steps(shop: Workshop, pair: Pair, task: FitTask, batch_size: int) -> Speeds:
    learner = task.new_learner()
    number = max(1, shop.count_pictures(pair) // batch_size)
    sizes = first_batches(task, number)
    canvas, labels = compose_batch(task, learner)
    return alternate(
        fit_steps(task, learner, number, lr=1.0),
        pass_back(learner, canvas, labels, sizes),
        shop.sizes.rounds,
        shop.device,
    )


def _title(pair: Pair, batch_size: int, shop: Workshop) -> str:
    return f"fit: {pair.title}, batch {batch_size}, {shop.device.type}"
