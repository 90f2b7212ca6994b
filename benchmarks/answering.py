"""Part (c): what `evp evaluate` and `evp apply` need beyond the model's own forward passes."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bare import compose_batch, pass_forward
from cases import MINI, MOBILE, VIT, Pair, Workshop
from evpcli.engine.backbones.interface import Classifier
from evpcli.engine.compute.memory import SmallerParts, settle_batch_size
from evpcli.engine.datasets.loader import PixelSource
from evpcli.engine.evaluation import predict
from evpcli.engine.evaluation.classifiers import build_classifiers
from evpcli.engine.fitting.fit import fit_prompt
from evpcli.engine.fitting.task import FitTask
from evpcli.engine.images.decoder import list_image_files
from evpcli.engine.prompts.prompt_file import StoredPrompt, decode_prompt
from evpcli.engine.rendering.applying import ImageSource, apply_to_images
from evpcli.engine.rendering.prediction import build_predictor
from evpcli.engine.training.learner import Learner
from table import Case, Row, Target
from timing import Work, alternate

_TOP = 3


def list_answering_cases(shop: Workshop) -> list[Case]:
    """Evaluation with three backbones, and prompted photos with two."""
    pairs = (shop.pair("digits", MINI), shop.pair("narrow", VIT), shop.pair("photos", MOBILE))
    cases = [
        Case("c", _evaluate_title(pair, shop), partial(measure_evaluate, shop, pair))
        for pair in pairs
    ]
    for pair in (shop.pair("photos", MINI), shop.pair("photos", VIT)):
        cases.append(Case("c", _apply_title(pair, shop), partial(measure_apply, shop, pair)))
    return cases


def measure_evaluate(shop: Workshop, pair: Pair) -> Row:
    """Images per second of a pass over the test pictures, by those of bare forward passes."""
    found, batch_size = shop.load(pair), settle_batch_size("auto", shop.device)
    test = found.dataset.splits["test"]
    with shop.open_task(pair, batch_size) as task:
        learner = task.new_learner()
        classifier = build_prompted(task, learner)
        compose, side_px = learner.prompt.frame, task.geometry.image_px

        with closing(PixelSource(test, side_px, found.reading)) as source:
            passes = max(1, shop.count_pictures(pair) // len(test))
            evaluate = pass_evaluating(classifier, source, compose, batch_size, shop.device, passes)
            sizes = [len(batch.labels) for batch in source.center_batches(batch_size)]
            first = next(source.center_batches(batch_size)).to(shop.device)
            canvas = compose(first.images.float() / 255)
            bare = pass_forward(classifier, canvas, sizes * passes)
            speeds = alternate(evaluate, bare, shop.sizes.rounds, shop.device)
    ours, theirs = statistics.median(speeds.ours), statistics.median(speeds.theirs)
    return Row(
        "c",
        _evaluate_title(pair, shop),
        evp=f"{ours:.1f} images/s, from the second pass on",
        compared_with=f"bare forward: {theirs:.1f} images/s",
        ratio=speeds.ratio,
        ratios=speeds.ratios,
        target=Target(0.9),
    )


def pass_evaluating(
    classifier: Classifier,
    source: PixelSource,
    compose: Callable[[Tensor], Tensor],
    batch_size: int,
    device: torch.device,
    passes: int,
) -> Work:
    """Whole passes of `predict`, as `evp evaluate` calls it; arguments as there."""

    def work() -> int:
        for _ in range(passes):
            predict(
                classifier,
                source,
                compose,
                batch_size=batch_size,
                device=device,
                asking=SmallerParts(lambda trouble: None),
            )
        return passes * len(source)

    return work


def build_prompted(task: FitTask, learner: Learner) -> Classifier:
    """The classifier that `evp evaluate` asks about prompted pictures: float32, label map behind.

    Args:
        task: gives the model.
        learner: gives the map.
    """
    label_map = learner.copy_map()
    record = task.describe_map(label_map)
    return build_classifiers(task.source, label_map, record, learner.prompt.pixels.device).prompted


def measure_apply(shop: Workshop, pair: Pair) -> Row:
    """Photos per second from JPEG files to PNG files and predictions, by bare forward passes."""
    stored = learn_prompt(shop, pair)
    files = list_image_files([shop.find_pictures(pair)]).files[: shop.sizes.applied]
    folder = shop.folder / f"applied-{pair.backbone.replace('/', '-')}"
    jobs = [(ImageSource(path.name, path), _name_output(folder, n)) for n, path in enumerate(files)]
    batch_size = settle_batch_size("auto", shop.device)
    asking = SmallerParts(lambda trouble: None)
    predictor = build_predictor(stored, shop.load(pair).backbone, shop.device, _TOP, asking)

    def apply() -> int:
        done = apply_to_images(stored, jobs, predictor=predictor, batch_size=batch_size)
        return sum(1 for result in done if result.output)

    with shop.open_task(pair, batch_size) as task:
        learner = task.new_learner()
        canvas, _ = compose_batch(task, learner)
        sizes = [min(batch_size, len(jobs) - i) for i in range(0, len(jobs), batch_size)]
        bare = pass_forward(build_prompted(task, learner), canvas, sizes)
        speeds = alternate(apply, bare, shop.sizes.rounds, shop.device)
    ours, theirs = statistics.median(speeds.ours), statistics.median(speeds.theirs)
    return Row(
        "c",
        _apply_title(pair, shop),
        evp=f"{ours:.1f} photos/s: decode, frame, classify, write PNG files durably",
        compared_with=f"bare forward of the same batches, no files: {theirs:.1f} images/s",
        ratio=speeds.ratio,
        ratios=speeds.ratios,
    )


def learn_prompt(shop: Workshop, pair: Pair) -> StoredPrompt:
    """A prompt that `evp fit` makes of one picture a class."""
    return decode_prompt(fit_prompt(shop.request(pair, 16, shots=1)).data)


def _name_output(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.prompted.png"


def _evaluate_title(pair: Pair, shop: Workshop) -> str:
    batch_size = settle_batch_size("auto", shop.device)
    return f"evaluate: {pair.title}, batch {batch_size}, float32, {shop.device.type}"


def _apply_title(pair: Pair, shop: Workshop) -> str:
    batch_size = settle_batch_size("auto", shop.device)
    return f"apply --predict: {pair.title}, batch {batch_size}, {shop.device.type}"
