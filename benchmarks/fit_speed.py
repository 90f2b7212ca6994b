"""Images per second of `fit`, of a bare forward and backward on the same batch, and their ratio.

The bare pass does what no training can do without: one forward and one backward of the frozen
backbone to the canvas. What `fit` needs more time for is decoding, composition and the update.
Both run in turn in one process, and medians are compared, since other work slows both alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from evpcli.domain.settings import FitSettings
from evpcli.engine.backbones.catalog import load_backbone
from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.fit_task import FitTask, divide_dataset
from evpcli.engine.pictures.pixels import Reading
from evpcli.engine.storage.paths import find_datasets
from evpcli.engine.task_texts import settle_texts
from evpcli.engine.training import take_step

ROUNDS = 7


def build_task(dataset_name: str, backbone_name: str, batch_size: int, device: str) -> FitTask:
    """The real training task of `evp fit`."""
    settings = FitSettings(lr=1.0, epochs=1, batch_size=batch_size)
    dataset = divide_dataset(load_dataset(dataset_name, root=find_datasets()), settings)
    backbone = load_backbone(backbone_name, device=torch.device(device))
    texts = settle_texts(dataset)
    return FitTask(
        dataset,
        backbone,
        texts,
        settings,
        Reading(backbone.card.interpolation, device=torch.device(device)),
    )


def time_call(work: Callable[[], int]) -> float:
    """Images per second of one call that returns how many images it handled."""
    began = time.perf_counter()
    images = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return images / (time.perf_counter() - began)


def measure(task: FitTask) -> tuple[list[float], list[float]]:
    """Images per second of an epoch of `fit`, and of bare passes over as many batches, in turn."""
    learner = task.new_learner()
    prompt = learner.prompt
    fitted: list[float] = []
    bare: list[float] = []
    device = prompt.pixels.device
    batch = next(task.batches(0, 0))
    labels = batch.labels.to(device)
    canvas = prompt.frame(batch.images.to(device).float() / 255).detach().requires_grad_(True)

    def fit_epoch() -> int:
        seen = 0
        for part in task.batches(0, 0):
            take_step(learner, part.to(device), lr=1.0)
            seen += len(part.labels)
        return seen

    def pass_bare() -> int:
        for _ in range(task.steps_per_epoch):
            loss = functional.cross_entropy(task.source(canvas), labels)
            torch.autograd.grad(loss, canvas)
        return task.steps_per_epoch * len(labels)

    for number in range(ROUNDS + 1):
        speeds = time_call(fit_epoch), time_call(pass_bare)
        if number:  # the first round decodes and warms up
            fitted.append(speeds[0])
            bare.append(speeds[1])
    return fitted, bare


def main() -> None:
    """Print one line of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-d", "--dataset", default="digits")
    parser.add_argument("-b", "--backbone", default="mini")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    words = parser.parse_args()
    task = build_task(words.dataset, words.backbone, words.batch_size, words.device)
    fitted, bare = measure(task)
    task.close()
    ratio = statistics.median(f / b for f, b in zip(fitted, bare, strict=True))
    print(f"{words.dataset} x {words.backbone}, batch {words.batch_size}, {words.device}:")
    print(f"fit   {statistics.median(fitted):8.0f} images/s (median of {ROUNDS} epochs)")
    print(f"bare  {statistics.median(bare):8.0f} images/s (forward and backward, same batch)")
    print(f"ratio {ratio:8.2f}")


if __name__ == "__main__":
    main()
