"""The least that can be done: one forward and one backward of the frozen model, or one forward."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count, islice

import torch
from torch import Tensor
from torch.nn import functional

from evpcli.engine.backbones.interface import Classifier
from evpcli.engine.datasets.loader import Batch
from evpcli.engine.fitting.task import FitTask
from evpcli.engine.training.learner import Learner
from evpcli.engine.training.loop import take_step
from timing import Work


def first_batches(task: FitTask, number: int) -> list[int]:
    """Sizes of the batches that `fit_steps` takes."""
    return [len(batch.labels) for batch in _batches(task, number)]


def fit_steps(task: FitTask, learner: Learner, number: int, lr: float) -> Work:
    """Steps of `evp fit`, from the first batch of the first epoch on; into the next if need be."""
    device = learner.prompt.pixels.device

    def work() -> int:
        pictures = 0
        for batch in _batches(task, number):
            take_step(learner, batch.to(device), lr)
            pictures += len(batch.labels)
        return pictures

    return work


def pass_back(learner: Learner, canvas: Tensor, labels: Tensor, sizes: Sequence[int]) -> Work:
    """For each batch one forward and one backward to the canvas, and nothing else.

    The model is the one that `evp fit` asks, in its arithmetic and memory format: normalisation,
    image encoder, product with the fixed class vectors. A classifier's own outputs are not mapped.

    Args:
        learner: gives the model.
        canvas: (batch, 3, canvas, canvas) in pixel space, composed beforehand.
        labels: (batch,).
        sizes: of the batches.
    """
    canvases = {n: part.requires_grad_(True) for n, part in _cut(canvas, sizes).items()}
    answers = _cut(labels, sizes)

    def work() -> int:
        for size in sizes:
            loss = functional.cross_entropy(learner.source(canvases[size]), answers[size])
            torch.autograd.grad(loss, canvases[size])
        return sum(sizes)

    return work


def pass_forward(classifier: Classifier, canvas: Tensor, sizes: Sequence[int]) -> Work:
    """For each batch one forward in inference mode, and nothing else.

    Args:
        classifier: canvases in pixel space to scores.
        canvas: (batch, 3, canvas, canvas), composed beforehand.
        sizes: of the batches.
    """
    canvases = _cut(canvas, sizes)

    @torch.inference_mode()
    def work() -> int:
        for size in sizes:
            classifier(canvases[size])
        return sum(sizes)

    return work


def compose_batch(task: FitTask, learner: Learner) -> tuple[Tensor, Tensor]:
    """(batch, 3, canvas, canvas) in pixel space and (batch,) labels of the task's first batch."""
    batch = next(task.batches(0, 0)).to(learner.prompt.pixels.device)
    return learner.prompt.frame(batch.images.float() / 255).detach(), batch.labels


def _cut(rows: Tensor, sizes: Sequence[int]) -> dict[int, Tensor]:
    """The first rows, again from the start where there are too few, for each size of a batch."""
    places = torch.arange(max(sizes), device=rows.device) % len(rows)
    return {size: rows.detach()[places[:size]] for size in set(sizes)}


def _batches(task: FitTask, number: int) -> islice[Batch]:
    return islice(chain.from_iterable(task.batches(epoch, 0) for epoch in count()), number)
