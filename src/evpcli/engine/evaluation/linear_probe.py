"""The linear probe: logistic regression on a frozen model's features of full pictures."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evpcli.domain.events import WorkProgress
from evpcli.domain.statistics import SplitScore
from evpcli.engine.backbones.interface import Backbone
from evpcli.engine.compute.memory import Asking, ask_whole, explained_memory
from evpcli.engine.datasets.interface import Dataset, SplitName
from evpcli.engine.datasets.loader import UNREADABLE, EventCallback, PixelSource, Reading
from evpcli.engine.evaluation.full_images import check_task, open_full_pictures
from evpcli.engine.evaluation.predict import MIN_CLASSES_FOR_TOP5, Predictions

C_GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 1e1, 3e1, 1e2)
"""The values of C that are tried, from the strongest penalty to the weakest."""

MAX_ITERATIONS = 2000
"""Steps that lbfgs may take for one value of C."""


@dataclass(frozen=True)
class ProbeTrial:
    """One value of C that was tried.

    Args:
        c: scikit-learn's C, the inverse of the penalty's strength.
        score: of the probe fitted on train, on validation.
        converged: whether lbfgs met its tolerance.
    """

    c: float
    score: SplitScore
    converged: bool


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe's answers and how it was chosen.

    Args:
        chosen: the trial with the best validation score.
        trials: every value of C, in the order of the grid.
        predictions: answers of the chosen probe, by split.
        width: features of each picture.
        elapsed_s: for encoding and fitting together.
    """

    chosen: ProbeTrial
    trials: tuple[ProbeTrial, ...]
    predictions: Mapping[SplitName, Predictions]
    width: int
    elapsed_s: float


@dataclass(frozen=True)
class Features:
    """A split as the frozen model sees it.

    Args:
        values: (n, width) float32.
        labels: (n,) int64; `UNREADABLE` for pictures that cannot be decoded.
    """

    values: Tensor
    labels: Tensor

    @property
    def readable(self) -> Features:
        """The pictures that could be decoded."""
        is_readable = self.labels != UNREADABLE
        return Features(self.values[is_readable], self.labels[is_readable])


def fit_linear_probe(
    backbone: Backbone,
    dataset: Dataset,
    *,
    splits: Sequence[SplitName] = ("val", "test"),
    batch_size: int,
    reading: Reading,
    seed: int = 0,
    asking: Asking = ask_whole,
) -> LinearProbe:
    """Fit multinomial logistic regression on train and choose C on validation.

    Each picture is encoded once. Features are standardised with train's mean and deviation. The
    chosen probe is used as it was fitted on train; it is not fitted again on train and val.

    Args:
        backbone: the frozen model, on `device`.
        dataset: already divided, with `val`.
        splits: what the chosen probe is measured on.
        batch_size: pictures encoded at a time.
        reading: how pictures become pixels, and the device that encodes them; the probe itself is
            fitted on the CPU.
        seed: scikit-learn's `random_state`; lbfgs draws nothing, so that no result depends on it.
        asking: how the encoder is asked about a batch.

    Raises:
        UsageError: a split is missing, or a class has no training picture.
    """
    began = time.monotonic()
    check_task(dataset, "a linear probe", splits)
    encoder = backbone.build_encoder()
    features: dict[SplitName, Features] = {}
    with explained_memory(batch_size):
        for split in dict.fromkeys(("train", "val", *splits)):
            pictures = dataset.splits[split]
            source = open_full_pictures(pictures, backbone.card, reading, once=True)
            with closing(source):
                features[split] = encode_pictures(
                    encoder,
                    source,
                    batch_size=batch_size,
                    device=reading.device,
                    asking=asking,
                )
    train = features["train"].readable
    chosen, model, trials = _choose_probe(train, features["val"], seed, reading.on_event)
    return LinearProbe(
        chosen=chosen,
        trials=trials,
        predictions={split: _answer(model, features[split]) for split in splits},
        width=features["train"].values.shape[1],
        elapsed_s=time.monotonic() - began,
    )


@torch.inference_mode()
def encode_pictures(
    encoder: nn.Module,
    source: PixelSource,
    *,
    batch_size: int,
    device: torch.device,
    asking: Asking = ask_whole,
) -> Features:
    """Features of every picture of a source, in order.

    Args:
        encoder: (batch, 3, canvas, canvas) in pixel space to (batch, width), on `device`.
        source: pictures of canvas size.
        batch_size: pictures at a time.
        device: where to compute.
        asking: how the encoder is asked about a batch.
    """
    parts, labels = [], []

    def encode(images: Tensor) -> Tensor:
        values: Tensor = encoder(images.float() / 255).float()  # (batch, width)
        return values

    for batch in source.center_batches(batch_size):
        parts.append(asking(encode, batch.to(device).images).cpu())  # (batch, width)
        labels.append(batch.labels)
    values = source.merge(torch.cat(parts), batch_size)
    return Features(values, source.merge(torch.cat(labels), batch_size))


def judge_logits(logits: Tensor, labels: Tensor) -> Predictions:
    """The answers that lie in (n, classes) logits, against (n,) labels."""
    confidence, answers = logits.softmax(dim=1).max(dim=1)
    in_top5 = None
    if logits.shape[1] >= MIN_CLASSES_FOR_TOP5:
        in_top5 = (logits.topk(5).indices == labels[:, None]).any(dim=1)
    loss_sum = float(functional.cross_entropy(logits, labels, reduction="sum"))
    return Predictions(labels, answers, confidence.float(), in_top5, loss_sum)


def _choose_probe(
    train: Features, val: Features, seed: int, on_event: EventCallback
) -> tuple[ProbeTrial, Any, tuple[ProbeTrial, ...]]:
    """The best trial on validation with its model, and all trials; of equal ones the first."""
    trials: list[ProbeTrial] = []
    best: tuple[ProbeTrial, Any] | None = None
    for c in C_GRID:
        model, converged = _fit_model(train, c, seed)
        trials.append(ProbeTrial(c, _answer(model, val).to_score(), converged))
        if best is None or trials[-1].score.is_better_than(best[0].score):
            best = trials[-1], model
        fitted = len(trials)
        on_event(WorkProgress(fitted, len(C_GRID), "fitting the linear probe", "fits"))
    assert best is not None
    return *best, tuple(trials)


def _fit_model(train: Features, c: float, seed: int) -> tuple[Any, bool]:
    """Standardisation and regression fitted on train, and whether lbfgs converged.

    float64, in which scikit-learn's lbfgs reaches its tolerance more surely. One BLAS thread: its
    many small products are slower on several, 2.4 times on two cores and far more beside others.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    regression = LogisticRegression(C=c, solver="lbfgs", max_iter=MAX_ITERATIONS, random_state=seed)
    model = make_pipeline(StandardScaler(), regression)
    one_thread = threadpool_limits(limits=1, user_api="blas")
    with one_thread, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(train.values.double().numpy(), train.labels.numpy())
    return model, not any(issubclass(found.category, ConvergenceWarning) for found in caught)


def _answer(model: Any, features: Features) -> Predictions:
    scores = torch.from_numpy(model.decision_function(features.values.double().numpy()))
    if scores.ndim == 1:  # of two classes scikit-learn scores the second, against 0 for the first
        scores = torch.stack([torch.zeros_like(scores), scores], dim=1)
    return judge_logits(scores, features.labels)  # (n, classes)
