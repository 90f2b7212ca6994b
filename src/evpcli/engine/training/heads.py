"""What stands between a backbone's outputs and the task's classes while a prompt is learned."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from evpcli.domain.manifest import LabelMapKind
from evpcli.engine.prompts.label_map import AnswerCounts, LabelMap, estimate_map

HEAD_RATE = 1e-3
"""First learning rate of Adam for the numbers of a learned head; it falls as the prompt's does."""


class Head(Protocol):
    """Turns outputs into class scores; may learn or be estimated again along the way."""

    def __call__(self, outputs: Tensor) -> Tensor:
        """(batch, outputs) to (batch, task classes) logits."""

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """What the loss is differentiated by, beside the prompt."""

    def learn(self, gradients: Sequence[Tensor], share: float) -> None:
        """Take a step along the gradients of `parameters`; `share` of the first rate, in [0, 1]."""

    def observe(self, outputs: Tensor, labels: Tensor) -> None:
        """See one training batch's outputs, which the epoch's end may be estimated from."""

    @property
    def observed(self) -> tuple[Tensor, ...]:
        """Sums over what was observed in this epoch, as they change in place."""

    def end_epoch(self) -> None:
        """Use what was observed since the last call."""

    def export(self) -> LabelMap | None:
        """The whole head as one linear map; nothing where outputs are class scores already."""

    @property
    def memory(self) -> dict[str, Tensor]:
        """All that is needed to go on later, by name; changed in place by `learn` and the like."""


@dataclass(frozen=True)
class HeadStart:
    """What a head begins with in place of what the counts give; nothing by default.

    Args:
        label_map: the map; with a residual matrix the one in front of it.
        whole: with a residual matrix, both as one map.
    """

    label_map: LabelMap | None = None
    whole: LabelMap | None = None

    @property
    def is_given(self) -> bool:
        """Whether there is anything to begin with."""
        return self.label_map is not None or self.whole is not None

    def copy_to(self, device: torch.device) -> HeadStart:
        """A copy on a device, which may be changed in place."""
        return HeadStart(_copy_map(self.label_map, device), _copy_map(self.whole, device))


def _copy_map(label_map: LabelMap | None, device: torch.device) -> LabelMap | None:
    if label_map is None:
        return None
    return LabelMap(label_map.weight.clone(), label_map.bias.clone()).to(device)


class FixedHead:
    """A label map that stays as it is, or none."""

    def __init__(self, label_map: LabelMap | None = None) -> None:
        self._map = label_map

    def __call__(self, outputs: Tensor) -> Tensor:
        """(batch, outputs) to (batch, task classes) logits."""
        return outputs if self._map is None else self._map(outputs)

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Nothing."""
        return ()

    def learn(self, gradients: Sequence[Tensor], share: float) -> None:
        """Nothing is learned."""

    def observe(self, outputs: Tensor, labels: Tensor) -> None:
        """Nothing is kept."""

    @property
    def observed(self) -> tuple[Tensor, ...]:
        """Nothing."""
        return ()

    def end_epoch(self) -> None:
        """Nothing changes."""

    def export(self) -> LabelMap | None:
        """The map."""
        return self._map

    @property
    def memory(self) -> dict[str, Tensor]:
        """The map, so that a resumed run goes on with the very same."""
        if self._map is None:
            return {}
        return {"weight": self._map.weight, "bias": self._map.bias}


class AdaptiveHead(FixedHead):
    """A label map that every epoch's end estimates again from that epoch's own answers.

    The answers are those that the training steps computed anyway, on augmented pictures and while
    the border was moving, where BLM takes an extra pass over the training pictures. Weights that
    are sums over all source classes bear that; a one-to-one map does not, see `RecountedHead`.

    Args:
        kind: `bayesian` or `bayesian+`.
        label_map: to begin with.
        counts: as the kind needs them; cleared here.
    """

    def __init__(self, kind: LabelMapKind, label_map: LabelMap, counts: AnswerCounts) -> None:
        super().__init__(label_map)
        self._kind, self._current, self._counts = kind, label_map, counts
        counts.clear()

    def observe(self, outputs: Tensor, labels: Tensor) -> None:
        """Count the batch's answers."""
        self._counts.add(outputs, labels)

    @property
    def observed(self) -> tuple[Tensor, ...]:
        """The tables of counts."""
        return tuple(self._counts.tables.values())

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Estimate the map from the epoch's counts, and begin to count again."""
        found = estimate_map(self._kind, self._counts)
        self._current.weight.copy_(found.weight)
        self._current.bias.copy_(found.bias)
        self._counts.clear()

    @property
    def memory(self) -> dict[str, Tensor]:
        """The map and the counts of the unfinished epoch."""
        return {**super().memory, **self._counts.tables}


class RecountedHead(FixedHead):
    """A one-to-one map that every epoch's end derives again from a pass with the current prompt.

    As ILM-VP does it (section 4). The training steps' own answers would save the pass, but they are
    of a border that has moved since, and one early answer too many gives a class another source.

    Args:
        label_map: to begin with.
        recount: asks the backbone about every training picture inside the current prompt.
    """

    def __init__(self, label_map: LabelMap, recount: Callable[[], AnswerCounts]) -> None:
        super().__init__(label_map)
        self._current, self._recount = label_map, recount

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Count again, and change the map in place."""
        found = estimate_map("iterative", self._recount())
        self._current.weight.copy_(found.weight)
        self._current.bias.copy_(found.bias)


class LearnedHead:
    """A linear layer behind the label map, or a residual class-to-class matrix, learned by Adam.

    `linear` learns the label map itself, from the frequency map on (AutoVP's fully connected map).
    `residual` adds a matrix of zeros to the identity behind a fixed map (RVP); neither is EVP.

    Args:
        label_map: what comes first; nothing for outputs that are class scores.
        task_classes: how many.
        residual: learn a class-to-class matrix and leave the map alone.
        device: where it computes.
        whole: what `export` gave for an earlier head with the same map in front, to go on from.
    """

    def __init__(
        self,
        label_map: LabelMap | None,
        task_classes: int,
        device: torch.device,
        *,
        residual: bool,
        whole: LabelMap | None = None,
    ) -> None:
        self._map, self._residual = label_map, residual
        if residual and whole is not None:
            weight, bias = _unfold(whole, label_map)
        elif residual or label_map is None:
            weight = torch.zeros(task_classes, task_classes, device=device)
            bias = torch.zeros(task_classes, device=device)
        else:
            weight, bias = label_map.weight.clone(), label_map.bias.clone()
        self._weight, self._bias = weight.requires_grad_(), bias.requires_grad_()
        self._adam = torch.optim.Adam([self._weight, self._bias], lr=HEAD_RATE)
        # what Adam would make at its first step, made now so that it can be saved from the start
        for values in self.parameters:
            self._adam.state[values] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(values, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(values, requires_grad=False),
            }

    def __call__(self, outputs: Tensor) -> Tensor:
        """(batch, outputs) to (batch, task classes) logits."""
        if not self._residual:
            return outputs @ self._weight.T + self._bias
        scores = outputs if self._map is None else self._map(outputs)
        return scores + scores @ self._weight.T + self._bias

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Weight and bias."""
        return self._weight, self._bias

    def learn(self, gradients: Sequence[Tensor], share: float) -> None:
        """One step of Adam at that share of its first rate."""
        for values, gradient in zip(self.parameters, gradients, strict=True):
            values.grad = gradient
        self._adam.param_groups[0]["lr"] = HEAD_RATE * share
        self._adam.step()

    def observe(self, outputs: Tensor, labels: Tensor) -> None:
        """Nothing is kept."""

    @property
    def observed(self) -> tuple[Tensor, ...]:
        """Nothing."""
        return ()

    def end_epoch(self) -> None:
        """Nothing changes."""

    @torch.no_grad()
    def export(self) -> LabelMap:
        """The layer itself, or the residual matrix folded into the map in front of it."""
        if not self._residual:
            return LabelMap(self._weight.detach().clone(), self._bias.detach().clone())
        whole = torch.eye(len(self._bias), device=self._bias.device) + self._weight
        if self._map is None:
            return LabelMap(whole, self._bias.detach().clone())
        return LabelMap(whole @ self._map.weight, whole @ self._map.bias + self._bias)

    @property
    def memory(self) -> dict[str, Tensor]:
        """Weight and bias with Adam's moments, and the map in front of a residual matrix."""
        kept = {"weight": self._weight.detach(), "bias": self._bias.detach()}
        for name, values in zip(("weight", "bias"), self.parameters, strict=True):
            kept |= {f"{name}_{what}": value for what, value in self._adam.state[values].items()}
        if self._residual and self._map is not None:
            kept |= {"map_weight": self._map.weight, "map_bias": self._map.bias}
        return kept


def _unfold(whole: LabelMap, in_front: LabelMap | None) -> tuple[Tensor, Tensor]:
    """A residual matrix and its bias out of the one map that `LearnedHead.export` made of them.

    Args:
        whole: as `export` gave it, so that it reads no other sources than the map in front.
        in_front: one-to-one, without a bias; nothing for outputs that are class scores.
    """
    weight = whole.weight if in_front is None else whole.weight @ in_front.weight.T
    return weight - torch.eye(len(whole.bias), device=weight.device), whole.bias.clone()


def build_head(
    kind: LabelMapKind,
    counts: AnswerCounts | None,
    task_classes: int,
    device: torch.device,
    *,
    recount: Callable[[], AnswerCounts],
    residual: bool = False,
    start: HeadStart = HeadStart(),
) -> Head:
    """The head that a run begins with.

    Args:
        kind: of the label map; `none` for a backbone that scores the task's own classes.
        counts: of the training pictures on a blank border; nothing for `none`.
        task_classes: how many.
        device: where it computes.
        recount: asks the backbone about the training pictures in the current prompt; for
            `iterative`.
        residual: whether a class-to-class matrix is learned behind it.
        start: an earlier prompt's head to begin with.

    Raises:
        UsageError: the map cannot be made of these counts.
    """
    label_map = start.label_map
    if label_map is None and counts is not None:
        label_map = estimate_map(kind, counts)
    if residual or kind == "linear":
        return LearnedHead(label_map, task_classes, device, residual=residual, whole=start.whole)
    if label_map is None or counts is None or kind == "frequency":
        return FixedHead(label_map)
    if kind == "iterative":
        return RecountedHead(label_map, recount)
    return AdaptiveHead(kind, label_map, copy.deepcopy(counts))
