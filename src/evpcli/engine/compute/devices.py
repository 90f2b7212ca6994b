"""Which device computes, and in which arithmetic.

Only on a CPU are equal bits promised, on one machine and with as many threads.
"""

from __future__ import annotations

import re

import torch

from evpcli.domain.errors import UsageError


def choose_device(text: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda`, `cuda:N` or `mps` means on this machine.

    Raises:
        UsageError: no such device here.
    """
    if text == "auto":
        return torch.device(_find_fastest())
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]{1,3})?", text):
        raise UsageError(
            "there is no such device", found=repr(text), hint="use auto, cpu, cuda, cuda:N or mps"
        )
    if not is_available(text):
        raise UsageError(
            f"the device {text} is not usable on this machine",
            hint="see what is with evp doctor, or use --device cpu",
        )
    return torch.device(text)


def keep_float32(device: torch.device) -> None:
    """Have a GPU's convolutions compute in float32, as everything else does.

    Left to itself, torch lets cuDNN round what goes into a convolution to TF32, which keeps 10 of
    float32's 23 bits behind the point. Nothing changes for other devices.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False


def is_available(text: str) -> bool:
    """Whether torch can compute on this device here.

    The number is read from the text: `torch.device` keeps it in eight bits, so that 999 is -25.
    """
    kind, _, number = text.partition(":")
    if kind == "cuda":
        return torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count()
    return kind == "cpu" or torch.backends.mps.is_available()


def _find_fastest() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
