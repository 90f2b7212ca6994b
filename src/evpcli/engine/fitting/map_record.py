"""What a manifest says of a fit's label map, and the most that it can come to say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from evpcli.domain.manifest import (
    MAX_SHOWN_SOURCES,
    ONE_TO_ONE,
    WEIGHTED,
    LabelMapKind,
    LabelMapRecord,
)
from evpcli.engine.prompts.baseline_maps import BaselineMaps, StartCounts
from evpcli.engine.prompts.label_map import (
    LabelMap,
    hash_map,
    list_strongest,
    map_by_frequency,
    read_indices,
)

_ESTIMATED_FROM = {
    "frequency": "training pictures on a blank border, before training",
    "iterative": "training pictures in the prompt, counted anew after every epoch",
    "bayesian": "answers of the training steps, counted anew in every epoch",
    "bayesian+": "probabilities of the training steps, summed anew in every epoch",
    "linear": "learned with the prompt, from the frequency map on",
    "none": "no label map",
}
_BEHIND_FIXED = "training pictures on a blank border, before training; a matrix learned behind it"

_TAKEN = "taken over from the prompt that training started from"
_BEHIND_TAKEN = f"{_TAKEN}; a matrix learned behind it"


@dataclass(frozen=True)
class MapDescriber:
    """One fit, as far as its label map goes.

    Args:
        kind: of the map.
        residual: whether a class-to-class matrix is learned behind it.
        source_names: of a classifier's own classes, in output order; empty for a CLIP.
        task_classes: how many classes the task has.
        from_parent: whether the map began as that of the prompt that training started from.
    """

    kind: LabelMapKind
    residual: bool
    source_names: tuple[str, ...]
    task_classes: int
    from_parent: bool = False

    def describe(self, label_map: LabelMap, start: StartCounts | None) -> LabelMapRecord:
        """What a manifest says of a map that this fit ended with.

        Args:
            label_map: the head as one map.
            start: answers before training; nothing for a CLIP.
        """
        names, has_baselines = self.source_names, self._has_baselines
        baselines = BaselineMaps.estimate(self.kind, start)
        return LabelMapRecord(
            kind=self.kind,
            residual=self.residual,
            source_classes=label_map.weight.shape[1],
            indices=read_indices(label_map) if self._is_plain else (),
            sha256=None if self._is_plain else hash_map(label_map.weight, label_map.bias),
            sources=list_strongest(label_map, names, MAX_SHOWN_SOURCES) if names else (),
            estimated_from=self._estimated_from,
            full_indices=map_by_frequency(start.full) if start and has_baselines else (),
            blank_indices=map_by_frequency(start.blank) if start and has_baselines else (),
            baseline_sha256=baselines.sha256 if baselines else None,
        )

    def foresee(self) -> tuple[LabelMapRecord, ...]:
        """The records that are longest, and richest in separators, of all that `describe` can give.

        Nothing where the fit has neither a label map nor a residual matrix.
        """
        if self.kind == "none" and not self.residual:
            return ()
        return tuple(self._foresee_by(measure) for measure in (_measure_text, _count_separators))

    def _foresee_by(self, measure: Callable[[str], int]) -> LabelMapRecord:
        source_classes = len(self.source_names) or self.task_classes
        last = (source_classes - 1,) * self.task_classes  # no number has more digits
        return LabelMapRecord(
            kind=self.kind,
            residual=self.residual,
            source_classes=source_classes,
            indices=last if self._is_plain else (),
            sha256=None if self._is_plain else "0" * 64,
            sources=self._choose_sources(measure),
            estimated_from=self._estimated_from,
            full_indices=last if self._has_baselines else (),
            blank_indices=last if self._has_baselines else (),
            baseline_sha256="0" * 64 if self.kind in WEIGHTED else None,
        )

    def _choose_sources(self, measure: Callable[[str], int]) -> tuple[tuple[str, ...], ...]:
        """The largest names: each for one class of a one-to-one map, else the same for every."""
        largest = sorted(self.source_names, key=measure, reverse=True)
        if self._is_plain:
            return tuple((name,) for name in largest[: self.task_classes])
        return (tuple(largest[:MAX_SHOWN_SOURCES]),) * (self.task_classes if largest else 0)

    @property
    def _is_plain(self) -> bool:
        """Whether the map is one-to-one, and kept as indices."""
        return self.kind in ONE_TO_ONE and not self.residual

    @property
    def _has_baselines(self) -> bool:
        """Whether frequency maps can be the baselines: enough source classes."""
        return len(self.source_names) >= self.task_classes

    @property
    def _estimated_from(self) -> str:
        if self.from_parent and self.kind == "frequency":
            return _BEHIND_TAKEN if self.residual else _TAKEN
        if self.residual and self.source_names:
            return _BEHIND_FIXED
        usual = _ESTIMATED_FROM[self.kind]
        return (
            f"{usual}; began as that of the prompt it started from" if self.from_parent else usual
        )


def _measure_text(name: str) -> int:
    """How long a name is in a manifest's ASCII."""
    return len(json.dumps(name))


def _count_separators(name: str) -> int:
    """How much a name adds to what `MAX_JSON_VALUES` bounds."""
    return sum(map(name.count, ",[{"))
