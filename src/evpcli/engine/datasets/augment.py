"""TrivialAugment Wide: one random change of each training picture (arXiv 2103.10158)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from evpcli.engine.datasets.loader import to_image, to_pixels


def augment_trivially(pixels: Tensor, seed: int) -> Tensor:
    """The picture after one operation of one strength, both drawn from `seed`.

    Operations and strengths are those of torchvision's `TrivialAugmentWide`, which shifts by up
    to 32 pixels whatever the picture's size, and leaves black where nothing was. It works on
    Pillow's pictures, in one thread and in integers: tensors would take the threads that train.

    Args:
        pixels: (3, h, w) uint8, RGB.
        seed: 0 to 2**32 - 1.

    Returns:
        (3, h, w) uint8, RGB, of the same height and width.
    """
    with _DrawFrom(seed):
        return to_pixels(_load_transform()(to_image(pixels)))


class _DrawFrom(TorchFunctionMode):
    """Random numbers of the code inside come from a generator of its own.

    Only the thread that enters it is concerned, so that neither torch's default generator nor
    whoever draws from it meanwhile is disturbed.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in (torch.rand, torch.randint):
            given["generator"] = self._generator
        return func(*args, **given)


@cache
def _load_transform() -> Callable[[Any], Any]:
    from torchvision.transforms.v2 import TrivialAugmentWide

    transform: Callable[[Any], Any] = TrivialAugmentWide()
    return transform
