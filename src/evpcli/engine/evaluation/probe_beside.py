"""The linear probe beside a prompt that was just trained, where it costs little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from evpcli.domain.errors import EvpError
from evpcli.domain.manifest import Measurement
from evpcli.engine.backbones.interface import Backbone
from evpcli.engine.datasets.interface import Dataset, SplitName
from evpcli.engine.datasets.loader import Reading
from evpcli.engine.evaluation.full_images import check_task
from evpcli.engine.evaluation.linear_probe import fit_linear_probe

PASSES_OF_A_STEP = 3
"""Forward passes that training on an image costs: one, and about two for the way back."""

MAX_PRODUCTS = 50_000_000
"""Training images times features times classes: about a quarter of a minute of regressions."""


@dataclass(frozen=True)
class ProbeBeside:
    """What the probe reached, or why it was left out.

    Args:
        measurements: one a split; empty where it was left out.
        reason: why; empty where it was measured.
    """

    measurements: tuple[Measurement, ...] = ()
    reason: str = ""


def measure_probe_beside(
    backbone: Backbone,
    dataset: Dataset,
    reading: Reading,
    *,
    splits: Sequence[SplitName],
    batch_size: int,
) -> ProbeBeside:
    """Fit and measure a linear probe if its features cost less than an epoch of training.

    Whether it does follows from the numbers of images alone, so that equal fits have equal rows.

    Args:
        backbone: the frozen model, on the reading's device.
        dataset: divided as for the prompt.
        reading: how images become pixels.
        splits: what the probe is measured on.
        batch_size: images encoded at a time.
    """
    reason = find_reason_against(backbone, dataset, reading.device)
    if reason:
        return ProbeBeside(reason=reason)
    try:
        check_task(dataset, "a linear probe", splits)
        probe = fit_linear_probe(
            backbone, dataset, splits=splits, batch_size=batch_size, reading=reading
        )
    except EvpError as error:
        return ProbeBeside(reason=error.what)
    return ProbeBeside(
        tuple(probe.predictions[s].to_measurement("linear-probe", s) for s in splits)
    )


def find_reason_against(backbone: Backbone, dataset: Dataset, device: torch.device) -> str:
    """Why the probe is not measured unasked; empty where it is cheap and can be."""
    if not len(dataset.splits.get("val", ())):
        return "there are no validation images to choose its penalty"
    sizes = {split: len(pictures) for split, pictures in dataset.splits.items()}
    train = sizes["train"]
    if sum(sizes.values()) > PASSES_OF_A_STEP * train:
        return "its features cost more than an epoch of training"
    products = train * len(dataset.class_names) * _count_features(backbone, device)
    if products > MAX_PRODUCTS:
        return "its regressions would take long"
    return ""


@torch.inference_mode()
def _count_features(backbone: Backbone, device: torch.device) -> int:
    side = backbone.card.canvas_px
    return int(backbone.build_encoder()(torch.zeros(1, 3, side, side, device=device)).shape[1])
