from __future__ import annotations

import pytest
import torch

from evpcli.domain.errors import UsageError
from evpcli.engine.devices import choose_device


def test_cpu_is_always_there_and_auto_means_something() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize(
    "text", ["", "gpu", "cuda:x", "cuda:", "mps:0", "cuda:999", "cpu:cpu", "meta", "CPU"]
)
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        choose_device(text)
