"""When memory runs out: name a batch that fits, or ask the model in smaller parts."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from evpcli.domain.errors import OutOfMemoryError
from evpcli.domain.events import Trouble
from evpcli.domain.settings import BatchSize

Asking = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
"""A model and a batch to the model's answers, row by row."""

_WORDS = (
    "can't allocate memory",  # CPU
    "CUDA error: out of memory",  # what is pinned on the host
    "CUBLAS_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)
_AUTO = {"cuda": 512}
_AUTO_ELSEWHERE = 64


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is how Python or torch says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


@contextmanager
def explained_memory(
    batch_size: int | None, suggest: Callable[[], str] | None = None
) -> Iterator[None]:
    """Turn out-of-memory errors of Python and torch into ours.

    Args:
        batch_size: of the work inside; nothing where the model alone is loaded.
        suggest: finds out what would fit and says so; called when what the work held is free
            again. Half the batch is suggested without it.

    Raises:
        OutOfMemoryError: the device or the machine ran out of memory.
    """
    try:
        yield
        return
    except (MemoryError, RuntimeError) as error:  # torch's own error is a RuntimeError
        if not is_out_of_memory(error):
            raise
        failed = error
    _free_frames(failed)
    if batch_size is None:
        hint = "take a smaller backbone, or --device cpu"
        raise OutOfMemoryError("the model does not fit into memory", hint=hint) from failed
    raise OutOfMemoryError(
        "the batch does not fit into memory",
        found=f"batch size {batch_size}",
        hint=suggest() if suggest else f"try --batch-size {max(1, batch_size // 2)}",
    ) from failed


def find_fitting(try_batch: Callable[[int], object], below: int) -> int:
    """The largest of `below` / 2, / 4, ... for which the trial does not run out of memory; or 0.

    Args:
        try_batch: does the work for so many pictures.
        below: what did not fit.
    """
    size = below // 2
    while size and not _fits_memory(try_batch, size):
        size //= 2
    return size


def settle_batch_size(asked: BatchSize, device: torch.device, processes: int = 1) -> int:
    """How many pictures at a time, over all processes; `auto` begins with many on a CUDA GPU."""
    return processes * _AUTO.get(device.type, _AUTO_ELSEWHERE) if asked == "auto" else asked


def ask_whole(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The model's answers to a whole batch at once."""
    return model(images)


def choose_asking(batch_size: BatchSize, on_event: Callable[[Trouble], None]) -> Asking:
    """How a model is asked: `auto` takes smaller parts where memory runs out, a number does not."""
    return SmallerParts(on_event) if batch_size == "auto" else ask_whole


class SmallerParts:
    """Asks a model about whole batches as long as they fit, and about halves from then on.

    Args:
        on_event: told each time that the parts become smaller.
    """

    def __init__(self, on_event: Callable[[Trouble], None]) -> None:
        self._on_event = on_event
        self._most: int | None = None

    def __call__(self, model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """The model's answers, (batch, ...), in the order of the batch.

        Raises:
            OutOfMemoryError: not even one picture fits.
        """
        while True:
            size = min(len(images), self._most or len(images))
            try:
                return torch.cat([model(part) for part in torch.split(images, size)])
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                failed = error
            _free_frames(failed)
            if size == 1:
                raise OutOfMemoryError(
                    "not even one picture fits into memory", hint="use --device cpu"
                ) from failed
            self._most = size // 2
            self._on_event(
                Trouble(
                    f"{size} pictures at a time do not fit into memory, going on with {size // 2}"
                )
            )


def _fits_memory(try_batch: Callable[[int], object], size: int) -> bool:
    try:
        try_batch(size)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _free_frames(error)
        return False
    return True


def _free_frames(error: BaseException) -> None:
    """Free what the frames of a failed attempt still hold."""
    traceback.clear_frames(error.__traceback__)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
