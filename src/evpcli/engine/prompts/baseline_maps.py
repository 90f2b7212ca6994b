"""Label maps for images without a prompt: what a classifier's prompt is compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from evpcli.domain.errors import DamagedError
from evpcli.domain.manifest import WEIGHTED, LabelMapKind, LabelMapRecord
from evpcli.engine.prompts.label_map import AnswerCounts, LabelMap, estimate_map

TENSOR_NAMES = ("full_weight", "blank_weight")
"""What a prompt file calls them."""


@dataclass(frozen=True)
class StartCounts:
    """A classifier's answers to the training images, before anything is learned.

    Args:
        full: to full images.
        blank: to images on a blank border; the same where the prompt is overlaid.
    """

    full: AnswerCounts
    blank: AnswerCounts


@dataclass(frozen=True)
class BaselineMaps:
    """Maps of a prompt's own kind, estimated without the prompt.

    Only for the kinds whose weights come from counts; any other prompt is compared with one-to-one
    maps, which its manifest holds as indices.

    Args:
        full: (task classes, source classes) float32, estimated on full images.
        blank: the same, on images on a blank border.
    """

    full: Tensor
    blank: Tensor

    @classmethod
    def estimate(cls, kind: LabelMapKind, start: StartCounts | None) -> BaselineMaps | None:
        """The maps of a kind; nothing for a kind that is compared with one-to-one maps."""
        if start is None or kind not in WEIGHTED:
            return None
        full, blank = (estimate_map(kind, counts) for counts in (start.full, start.blank))
        return cls(full.weight.cpu(), blank.weight.cpu())

    @classmethod
    def read(
        cls,
        tensors: Mapping[str, Tensor],
        record: LabelMapRecord | None,
        label_map: LabelMap | None,
    ) -> BaselineMaps | None:
        """The maps that a manifest names, from a prompt file's tensors.

        Args:
            tensors: `TENSOR_NAMES` among them, if the record has a digest of them.
            record: what the manifest says of the prompt's map.
            label_map: of the prompt; the baselines' maps have its size.

        Raises:
            DamagedError: they are not as large as the prompt's map, not finite, or others.
        """
        if record is None or record.baseline_sha256 is None or label_map is None:
            return None
        full, blank = (tensors[name].detach() for name in TENSOR_NAMES)
        for weight in (full, blank):
            if weight.shape != label_map.weight.shape or weight.dtype != torch.float32:
                raise DamagedError(
                    "the prompt's baseline maps do not fit its classes",
                    found=f"{tuple(weight.shape)} for {tuple(label_map.weight.shape)}",
                )
            if not bool(weight.isfinite().all()):
                raise DamagedError("the prompt's baseline maps hold values that are not finite")
        found = cls(full, blank)
        if found.sha256 != record.baseline_sha256:
            raise DamagedError("the prompt's baseline maps are not those that its manifest names")
        return found

    @property
    def sha256(self) -> str:
        """SHA-256 over the values of both as little-endian float32, `full` first."""
        digest = hashlib.sha256()
        for weight in (self.full, self.blank):
            digest.update(weight.contiguous().numpy().astype("<f4", copy=False).data)
        return digest.hexdigest()

    def to_tensors(self) -> dict[str, Tensor]:
        """The weights as a prompt file keeps them."""
        return dict(zip(TENSOR_NAMES, (self.full, self.blank), strict=True))
