"""How a gradient moves the border: the EVP step, and the step of earlier visual prompting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from evpcli.domain.settings import GradientNorm, NormArea

NORM_FLOOR = 1e-10
"""Added to the gradient's length before the division (EVP code)."""

VP_MOMENTUM = 0.9
"""Of VP's gradient descent [VP code]."""


class UpdateRule(Protocol):
    """Moves a prompt's pixels; `memory` is all that it needs to go on later."""

    memory: dict[str, Tensor]

    def move(self, pixels: Tensor, gradient: Tensor, mask: Tensor, lr: float) -> None:
        """Change `pixels`, (3, canvas, canvas), in place; the window stays as it is.

        Args:
            pixels: in pixel space.
            gradient: of the mean loss with respect to the whole canvas.
            mask: (1, canvas, canvas) bool, true on the border.
            lr: this step's learning rate.
        """


def _measure_l2(values: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(values)
    return length


def _measure_l1(values: Tensor) -> Tensor:
    return values.abs().sum()


def _measure_linf(values: Tensor) -> Tensor:
    return values.abs().max()


_NORMS: Mapping[GradientNorm, Callable[[Tensor], Tensor]] = {
    "l2": _measure_l2,
    "l1": _measure_l1,
    "linf": _measure_linf,
}


class EvpRule:
    """The border moves by `lr` along the gradient scaled to unit length.

    The length is the L2 norm over the whole canvas, 3 * canvas * canvas values, before the window
    is masked out (EVP code); one gradient of the shared prompt equals the sum over its copies. The
    other norms, and the length over the border alone, are for the paper's ablation.

    Args:
        norm: how the length is measured; `none` leaves the gradient as it is.
        area: whether the window's gradient counts for the length.
        project: bring the border back into [0, 1] after every step.
    """

    def __init__(
        self, norm: GradientNorm = "l2", area: NormArea = "canvas", *, project: bool = False
    ) -> None:
        self.memory: dict[str, Tensor] = {}
        self._norm, self._area, self._project = norm, area, project

    @torch.no_grad()
    def move(self, pixels: Tensor, gradient: Tensor, mask: Tensor, lr: float) -> None:
        """Change `pixels` in place; see `UpdateRule`."""
        if self._norm != "none":
            measured = gradient if self._area == "canvas" else gradient * mask
            gradient = gradient / (_NORMS[self._norm](measured) + NORM_FLOOR)
        pixels.sub_(lr * gradient * mask)
        if self._project:
            pixels.clamp_(0, 1)


class VpRule:
    """Gradient descent with momentum on the border in normalised space [VP code].

    VP learns values that are added after the normalisation. Those are pixel values over `std`, so
    the same steps in pixel space carry one factor `std` for the gradient and one for the move.

    Args:
        std: per RGB channel, of the backbone's normalisation.
        pixels: (3, canvas, canvas), whose shape and device the velocity has.
    """

    def __init__(self, std: tuple[float, float, float], pixels: Tensor) -> None:
        self.memory = {"velocity": torch.zeros_like(pixels, requires_grad=False)}
        self._std = torch.tensor(std, device=pixels.device).view(3, 1, 1)

    @torch.no_grad()
    def move(self, pixels: Tensor, gradient: Tensor, mask: Tensor, lr: float) -> None:
        """Change `pixels` in place; see `UpdateRule`."""
        velocity = self.memory["velocity"]
        velocity.mul_(VP_MOMENTUM).add_(gradient * self._std * mask)
        pixels.sub_(lr * self._std * velocity)
