"""The frozen model in the arithmetic that its device does fast, and compiled if that is wanted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from evpcli.domain.errors import UsageError
from evpcli.domain.events import Trouble
from evpcli.domain.settings import Arithmetic, Precision
from evpcli.engine.backbones.interface import Classifier
from evpcli.engine.compute.memory import is_out_of_memory

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_LOSS_SCALE = 1024.0
"""With float16 the loss is multiplied by this, so that gradients of 1e-7 do not become 0."""


def settle_precision(asked: Precision, device: torch.device) -> Arithmetic:
    """What `auto` means on a device: half precision on a CUDA GPU, float32 everywhere else.

    Raises:
        UsageError: half precision was asked for where it is slow, inexact or missing.
    """
    if device.type == "cuda":
        if asked != "auto":
            return asked
        with torch.cuda.device(device):
            is_native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if is_native else "float16"
    if asked in ("auto", "float32"):
        return "float32"
    raise UsageError(
        f"--precision {asked} needs a CUDA GPU",
        found=str(device),
        hint="go on where there is one, or leave --precision away",
    )


class FastForward:
    """A frozen model as training asks it; its scores are float32 whatever it computes in.

    Args:
        classifier: canvases in pixel space to scores; float32 weights.
        device: where it computes.
        arithmetic: of its products; the prompt, the loss and the step stay float32.
    """

    def __init__(
        self, classifier: Classifier, device: torch.device, arithmetic: Arithmetic
    ) -> None:
        self._plain = classifier
        self._device, self._arithmetic = device, arithmetic
        self._compiled: Classifier | None = None
        self._compiled_shape: tuple[int, ...] = ()

    @property
    def loss_scale(self) -> float:
        """What the loss must be multiplied by before the gradient, and the gradient divided by."""
        return _LOSS_SCALE if self._arithmetic == "float16" else 1.0

    def __call__(self, canvas: Tensor) -> Tensor:
        """(batch, 3, canvas, canvas) in pixel space, float32, to (batch, outputs) float32."""
        is_tried = canvas.shape == self._compiled_shape and torch.is_grad_enabled()
        run = self._compiled if self._compiled is not None and is_tried else self._plain
        with self._autocast():
            return run(canvas).float()

    def try_batch(self, batch_size: int, canvas_px: int) -> None:
        """Go forward and backward with so many blank pictures, only to see whether that works."""
        shape = (batch_size, 3, canvas_px, canvas_px)
        canvas = torch.zeros(shape, device=self._device, requires_grad=True)
        torch.autograd.grad(self(canvas).sum(), canvas)

    def compile(self, batch_size: int, canvas_px: int, on_event: Callable[[Trouble], None]) -> None:
        """Compile the model by torch, and try it forward and backward on one blank batch.

        Where that fails for any reason, the model stays as it is and the user is told once.
        Batches of any other size, and those without a gradient, do not go through what was
        compiled: it would be compiled again for them, with nobody to catch a failure.

        Args:
            batch_size: of the steps that follow.
            canvas_px: side of a canvas.
            on_event: told that, and why, it goes on without.
        """
        self._compiled_shape = (batch_size, 3, canvas_px, canvas_px)
        try:
            self._compiled = torch.compile(self._plain)
            self.try_batch(batch_size, canvas_px)
        except Exception as error:  # compilers, drivers and torch's tracer fail in many ways
            if is_out_of_memory(error):
                raise
            self._compiled = None
            lines = str(error).strip().splitlines()
            reason = lines[0][:160] if lines else type(error).__name__
            on_event(Trouble(f"the model cannot be compiled, going on without ({reason})"))

    def _autocast(self) -> AbstractContextManager[object]:
        if self._arithmetic == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, _TYPES[self._arithmetic])
