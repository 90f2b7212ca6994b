"""Label maps: a classifier's own classes made into scores for a task's classes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from evpcli.domain.errors import UsageError
from evpcli.domain.manifest import LabelMapKind
from evpcli.engine.backbones.interface import Classifier

SMOOTHING = 1.0
"""Added to each source class's sum before the division (BLM's Laplace factor, its default)."""

MAX_MAP_VALUES = 16 << 20
"""Largest label map, as task classes times source classes: 64 MiB in a prompt file.

A run's state holds it up to five times: the map itself, three tables that it is counted in or two
moments of Adam, and the best epoch's. The bounds on both files leave room for that.
"""

TOP_SHARE = 0.15
"""Of the number of task classes: how many source probabilities of a picture count (BLM+)."""


@dataclass(frozen=True)
class LabelMap:
    """A linear map from a backbone's outputs to scores for the task's classes.

    Args:
        weight: (task classes, source classes) float32.
        bias: (task classes,) float32.
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def from_indices(cls, indices: Sequence[int], source_classes: int) -> LabelMap:
        """The one-to-one map that reads one source class for each task class."""
        weight = torch.zeros(len(indices), source_classes)
        weight[torch.arange(len(indices)), torch.tensor(indices, dtype=torch.int64)] = 1
        return cls(weight, torch.zeros(len(indices)))

    def __call__(self, outputs: Tensor) -> Tensor:
        """(batch, source classes) logits to (batch, task classes) logits."""
        return outputs @ self.weight.T + self.bias

    def to(self, device: torch.device) -> LabelMap:
        """The same map on a device."""
        return LabelMap(self.weight.to(device), self.bias.to(device))


@dataclass(frozen=True)
class MappedClassifier:
    """A frozen model with a map behind it: canvases to scores for the task's classes."""

    source: Classifier
    label_map: Callable[[Tensor], Tensor]

    def __call__(self, canvas: Tensor) -> Tensor:
        """(batch, 3, canvas, canvas) in pixel space to (batch, task classes) logits."""
        return self.label_map(self.source(canvas))


def hash_map(weight: Tensor, bias: Tensor) -> str:
    """SHA-256 over the values of both as little-endian float32, weight first."""
    digest = hashlib.sha256()
    for values in (weight, bias):
        array = values.detach().to("cpu", torch.float32).contiguous().numpy()
        digest.update(array.astype("<f4", copy=False).data)
    return digest.hexdigest()


class AnswerCounts:
    """How often each source class was answered to pictures of each task class.

    Args:
        source_classes: how many classes the backbone knows.
        task_classes: how many the task has.
        device: where the sums are kept.
        top: how many of a picture's largest probabilities `best` sums; all when left out.
    """

    def __init__(
        self,
        source_classes: int,
        task_classes: int,
        device: torch.device,
        top: int | None = None,
    ) -> None:
        self.answers = torch.zeros(source_classes, task_classes, device=device)
        self.mass = torch.zeros(source_classes, task_classes, device=device)
        self.best = self.mass if top is None else torch.zeros_like(self.mass)
        self._top = top

    @torch.no_grad()
    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Count (batch, source classes) logits of pictures with (batch,) task labels."""
        outputs = outputs.detach().float()
        source, task = self.answers.shape
        right = functional.one_hot(labels.clamp(min=0), task).float()
        right *= (labels >= 0)[:, None]  # broken pictures count nowhere
        # products give equal sums on every run
        self.answers += functional.one_hot(outputs.argmax(dim=1), source).float().T @ right
        shares = outputs.softmax(dim=1)
        self.mass += shares.T @ right
        if self._top is not None:
            best = shares.topk(min(self._top, shares.shape[1]), dim=1)
            shares = torch.zeros_like(shares).scatter_(1, best.indices, best.values)
            self.best += shares.T @ right

    @property
    def tables(self) -> dict[str, Tensor]:
        """All sums by name; changed in place by `add` and `clear`."""
        tables = {"answers": self.answers, "mass": self.mass}
        return tables if self._top is None else {**tables, "best": self.best}

    def clear(self) -> None:
        """Begin to count again."""
        for table in self.tables.values():
            table.zero_()


def count_top(task_classes: int) -> int:
    """How many source probabilities of a picture BLM+ counts, at least one."""
    return max(1, int(TOP_SHARE * task_classes))


def map_by_frequency(counts: AnswerCounts) -> tuple[int, ...]:
    """One source class a task class, no source class twice: the most frequent pairs first.

    The pre-processing of EVP and VP for classifiers. Equal counts are decided by the summed
    probability, then by the lower class numbers.

    Returns:
        The source class of each task class.

    Raises:
        UsageError: there are more task classes than source classes.
    """
    answers, mass = counts.answers.cpu().double(), counts.mass.cpu().double()
    source, task = answers.shape
    check_one_to_one(source, task)
    scores = answers + mass / (mass.sum() + 1)  # the second part is always below one answer
    chosen = [-1] * task
    for _ in range(task):
        best = int(scores.argmax())
        here, there = divmod(best, task)
        chosen[there] = here
        scores[here], scores[:, there] = -1, -1
    return tuple(chosen)


def check_one_to_one(source_classes: int, task_classes: int) -> None:
    """Refuse a one-to-one map that cannot be.

    Raises:
        UsageError: there are fewer source classes than task classes.
    """
    if task_classes > source_classes:
        raise UsageError(
            "a one-to-one label map needs as many source classes as task classes",
            found=f"{source_classes} source classes for {task_classes} task classes",
            hint="use --label-map bayesian or --label-map bayesian+",
        )


def check_map_size(source_classes: int, task_classes: int) -> None:
    """Refuse a label map that no prompt file can hold.

    Raises:
        UsageError: it is larger than `MAX_MAP_VALUES`.
    """
    if source_classes * task_classes > MAX_MAP_VALUES:
        raise UsageError(
            "the label map would be too large for a prompt file",
            found=f"{task_classes} task classes of {source_classes} source classes",
            hint="use a backbone or a dataset with fewer classes, or leave --residual away",
        )


def weigh_by_answers(counts: AnswerCounts) -> Tensor:
    """(task, source) weights of BLM: how likely each task class is, given a source answer.

    Joint counts over the source class's smoothed sum, then each task class's weights are scaled to
    sum 1 (BLM, NeurIPS 2024, section 4).
    """
    return _normalise_columns(counts.answers)


def weigh_by_probability(counts: AnswerCounts) -> Tensor:
    """(task, source) weights of BLM+: as BLM, from summed top-k probabilities, not from counts."""
    return _normalise_columns(counts.best)


def _normalise_columns(joint: Tensor) -> Tensor:
    conditional = joint / (joint.sum(dim=1, keepdim=True) + SMOOTHING)  # (source, task)
    return (conditional / conditional.sum(dim=0)).T.contiguous()


def _to_one_to_one(counts: AnswerCounts) -> LabelMap:
    return LabelMap.from_indices(map_by_frequency(counts), counts.answers.shape[0])


def _without_bias(weight: Tensor) -> LabelMap:
    return LabelMap(weight, torch.zeros(weight.shape[0], device=weight.device))


ESTIMATORS: Mapping[LabelMapKind, Callable[[AnswerCounts], LabelMap]] = {
    "frequency": _to_one_to_one,
    "iterative": _to_one_to_one,
    "bayesian": lambda counts: _without_bias(weigh_by_answers(counts)),
    "bayesian+": lambda counts: _without_bias(weigh_by_probability(counts)),
    "linear": _to_one_to_one,
}
"""What each kind makes of the counts; `linear` starts from the frequency map."""


def estimate_map(kind: LabelMapKind, counts: AnswerCounts) -> LabelMap:
    """The map of a kind, on the device of the counts.

    Args:
        kind: any but `none`.
        counts: of the training split, every class of which has a picture.

    Raises:
        UsageError: a one-to-one map cannot be.
    """
    return ESTIMATORS[kind](counts).to(counts.answers.device)


def read_indices(label_map: LabelMap) -> tuple[int, ...]:
    """The source class of each task class in a one-to-one map."""
    return tuple(label_map.weight.argmax(dim=1).tolist())


def list_strongest(
    label_map: LabelMap, source_names: Sequence[str], limit: int
) -> tuple[tuple[str, ...], ...]:
    """Names of the source classes with the largest positive weights, for each task class."""
    best = label_map.weight.detach().cpu().topk(min(limit, label_map.weight.shape[1]), dim=1)
    pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return tuple(
        tuple(source_names[i] for weight, i in zip(weights, indices, strict=True) if weight > 0)
        for weights, indices in pairs
    )
