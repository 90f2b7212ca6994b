"""What a run changes: the border, the head behind the model, and the rule that moves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from evpcli.domain.errors import DamagedError
from evpcli.engine.backbones.interface import Classifier
from evpcli.engine.compute.distributed import ALONE, World
from evpcli.engine.prompts.label_map import LabelMap, MappedClassifier
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.training.heads import FixedHead, Head
from evpcli.engine.training.precision import FastForward
from evpcli.engine.training.update_rules import EvpRule, UpdateRule


@dataclass(frozen=True)
class Learner:
    """What a run changes, and the frozen model that it asks.

    Args:
        prompt: the border.
        source: the frozen model.
        head: from the model's outputs to the task's classes.
        rule: how a gradient moves the border.
        world: who shares the batches.
        accumulate: in how many parts a batch goes through the model.
    """

    prompt: VisualPrompt
    source: Classifier
    head: Head = field(default_factory=FixedHead)
    rule: UpdateRule = field(default_factory=EvpRule)
    world: World = ALONE
    accumulate: int = 1

    @property
    def loss_scale(self) -> float:
        """What the loss is multiplied by before the gradient, and the gradient divided by."""
        return self.source.loss_scale if isinstance(self.source, FastForward) else 1.0

    @property
    def classifier(self) -> Classifier:
        """The model with the head behind it, as it is now."""
        return MappedClassifier(self.source, self.head)

    @property
    def memory(self) -> dict[str, Tensor]:
        """All but the pixels that is needed to go on, by name."""
        parts = {"rule": self.rule.memory, "head": self.head.memory}
        return {f"{part}.{n}": value for part, kept in parts.items() for n, value in kept.items()}

    def copy_memory(self) -> dict[str, Tensor]:
        """The memory as it is now, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.memory.items()}

    def copy_map(self) -> LabelMap | None:
        """The head as one label map as it is now, on the CPU."""
        label_map = self.head.export()
        if label_map is None:
            return None
        return LabelMap(label_map.weight.cpu().clone(), label_map.bias.cpu().clone())

    @torch.no_grad()
    def restore(self, pixels: Tensor, memory: Mapping[str, Tensor]) -> None:
        """Go back to where an earlier run was.

        Raises:
            DamagedError: its memory is of another method or label map.
        """
        own = self.memory
        if {n: v.shape for n, v in own.items()} != {n: v.shape for n, v in memory.items()}:
            raise DamagedError(
                "the saved state belongs to another method or label map",
                hint="start the run again without --resume",
            )
        self.prompt.pixels.copy_(pixels)
        for name, value in own.items():
            value.copy_(memory[name])
        self.keep_observed_once()

    @torch.no_grad()
    def gather_observed(self) -> None:
        """Bring what every process's head observed in this epoch together, in each of them."""
        self.world.sum_in_place(*self.head.observed)

    @torch.no_grad()
    def keep_observed_once(self) -> None:
        """Leave to the first process what all have, so that it is not summed twice."""
        if not self.world.is_first:
            for table in self.head.observed:
                table.zero_()
