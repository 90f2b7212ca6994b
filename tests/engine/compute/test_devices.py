from __future__ import annotations

import pytest
import torch

from evpcli.domain.errors import UsageError
from evpcli.engine.backbones.catalog import load_backbone
from evpcli.engine.compute.devices import choose_device, is_available, keep_float32


def test_cpu_is_always_there_and_auto_means_something() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize(
    "text", ["", "gpu", "cuda:x", "cuda:", "mps:0", "cuda:999", "cpu:cpu", "meta", "CPU"]
)
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        choose_device(text)


@pytest.mark.parametrize(
    ("text", "is_there"), [("cuda", True), ("cuda:1", True), ("cuda:2", False)]
)
def test_a_number_is_compared_with_the_gpus_that_there_are(
    text: str, is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert is_available(text) is is_there
    assert not is_available("cuda:999")  # torch's own number for it is below 0


@pytest.mark.parametrize(("name", "kept"), [("cuda", False), ("cuda:1", False), ("cpu", True)])
def test_only_a_gpus_convolutions_are_kept_from_rounding(
    name: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's default
    keep_float32(torch.device(name))
    assert torch.backends.cudnn.allow_tf32 is kept


def test_every_backbone_is_kept_from_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []
    monkeypatch.setattr("evpcli.engine.compute.devices.keep_float32", asked.append)
    load_backbone("mini", device=torch.device("cpu"), offline=True)
    assert asked == [torch.device("cpu")]
