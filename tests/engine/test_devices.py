from __future__ import annotations

import pytest
import torch

from evpcli.domain.errors import UsageError
from evpcli.engine.backbones.catalog import load_backbone
from evpcli.engine.devices import choose_device, keep_float32


def test_cpu_is_always_there_and_auto_means_something() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize(
    "text", ["", "gpu", "cuda:x", "cuda:", "mps:0", "cuda:999", "cpu:cpu", "meta", "CPU"]
)
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        choose_device(text)


@pytest.mark.parametrize(("name", "kept"), [("cuda", False), ("cuda:1", False), ("cpu", True)])
def test_only_a_gpus_convolutions_are_kept_from_rounding(
    name: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's default
    keep_float32(torch.device(name))
    assert torch.backends.cudnn.allow_tf32 is kept


def test_every_backbone_is_kept_from_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []
    monkeypatch.setattr("evpcli.engine.devices.keep_float32", asked.append)
    load_backbone("mini", device=torch.device("cpu"), offline=True)
    assert asked == [torch.device("cpu")]
