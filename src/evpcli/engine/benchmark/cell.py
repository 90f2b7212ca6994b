"""One cell of a benchmark: what it is, and what is kept of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from evpcli.domain.manifest import WEIGHTED, Measurement, Selection, Sha256, What, canonical_json
from evpcli.domain.names import make_slug
from evpcli.domain.settings import FitRequest
from evpcli.engine.benchmark.methods import Method, MethodName
from evpcli.version import __version__

Status = Literal["finished", "failed", "absent"]

_RESULTS = {"tag", "output", "replace_output"}
_NEVER_ASKED = {"parent", "extended_after"}
_WITHOUT_EFFECT = (
    _RESULTS | _NEVER_ASKED | {"device", "threads", "store", "offline", "sources", "probe"}
)
"""Parts of a request that say how to compute, not what, and those that no cell has."""

_DIVISION = ("canvas_px", "protocol", "val_fraction", "split_seed", "shots", "fraction")
_SETTINGS: Mapping[MethodName, tuple[str, ...]] = {
    "zero-shot": (*_DIVISION, "label_map"),
    "blank": (*_DIVISION, "label_map", "border_px"),
    "noise": _DIVISION,
    "linear-probe": _DIVISION,
    "fine-tune": (*_DIVISION, "epochs", "batch_size", "flip"),
}
"""Settings of a fit that a baseline depends on."""

FINE_TUNE_EPOCHS = 30
"""Length of full fine-tuning's schedule where nobody says it; the prompt's is far too long."""


@dataclass(frozen=True)
class Cell:
    """A method on a dataset with a backbone and a seed, every setting settled.

    Args:
        method: what is done.
        dataset: as the user named it.
        seed: nothing where the result does not depend on it.
        request: for `evp fit`; a baseline takes its data, texts and splits from it.
        command: what a person types to make this very cell.
        source_id: of the cell whose prompt this one needs; for `noise`.
        weights_sha256: over the local checkpoint, where one is named and is there.
    """

    method: Method
    dataset: str
    seed: int | None
    request: FitRequest
    command: str
    source_id: str | None = None
    weights_sha256: str | None = None

    @property
    def backbone(self) -> str:
        """The backbone's name."""
        return self.request.backbone

    @cached_property
    def id(self) -> str:
        """SHA-256 over everything that the result depends on."""
        return hashlib.sha256(canonical_json(self._describe()).encode()).hexdigest()

    @property
    def file_name(self) -> str:
        """A readable part for people, and 16 digits of the id for machines."""
        slug = make_slug(f"{make_slug(self.dataset)[-24:]}-{self.method.name}")
        return f"{slug}--{self.id[:16]}.json"

    def __str__(self) -> str:
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.method.text} on {self.dataset}, {self.backbone}{seed}"

    def _describe(self) -> dict[str, Any]:
        request = self.request.model_dump(mode="json", exclude=_WITHOUT_EFFECT)
        wanted = _SETTINGS.get(self.method.name)
        if wanted is not None:
            request["settings"] = {name: request["settings"][name] for name in wanted}
            del request["find_lr"]
        if request["settings"].get("label_map") in WEIGHTED:
            request["mapped"] = "by the same kind of map"  # one-to-one in the first version
        if self.weights_sha256 is not None:
            request["weights"] = self.weights_sha256
        return {
            "evp": __version__,
            "method": self.method.text,
            "seed": self.seed,
            "request": request,
            "source": self.source_id,
        }


@dataclass(frozen=True)
class CellResult:
    """What measuring a cell gave.

    Args:
        what: which of the measurements is the method's own.
        measurements: all that were taken.
        selection: how its epoch was chosen; nothing where none was.
        chosen_on: the split that chose something; empty where nothing was chosen.
        prompt: reference of the prompt that was made.
        digest: of that prompt's file.
        fingerprint: of the dataset.
    """

    what: What
    measurements: tuple[Measurement, ...]
    selection: Selection | None = None
    chosen_on: str = ""
    prompt: str | None = None
    digest: str | None = None
    fingerprint: str | None = None


class CellRecord(BaseModel):
    """A cell's file. `error` and `hint` say why there is no result, where there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    id: Sha256
    evp: str = __version__
    dataset: str
    backbone: str
    method: str
    seed: int | None
    command: str
    status: Status
    what: What | None = None
    measurements: Annotated[tuple[Measurement, ...], Field(max_length=100)] = ()
    selection: Selection | None = None
    chosen_on: str = ""
    prompt: str | None = None
    digest: Sha256 | None = None
    fingerprint: str | None = None
    elapsed_s: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    error: str | None = None
    hint: str | None = None

    def find_own(self, split: str = "test") -> Measurement | None:
        """The method's own accuracy on a split, if it was measured."""
        return self._find(split, (self.what,))

    def find_baseline(self, split: str = "test") -> Measurement | None:
        """The full picture without a prompt, as this cell measured it."""
        return self._find(split, ("zero-shot", "mapped"))

    def _find(self, split: str, kinds: tuple[What | None, ...]) -> Measurement | None:
        return next(
            (
                taken
                for taken in self.measurements
                if taken.what in kinds and taken.split == split and not taken.condition
            ),
            None,
        )
