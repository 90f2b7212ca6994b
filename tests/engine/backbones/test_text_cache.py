from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from evpcli.engine.backbones.catalog import load_backbone
from evpcli.engine.backbones.clip import ClipBackbone
from evpcli.engine.backbones.text_cache import TextCache


class Counting:
    """Encodes to fixed vectors and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Tensor:
        self.calls += 1
        return torch.arange(6.0).view(2, 3)


@pytest.fixture
def cache(tmp_path: Path) -> TextCache:
    return TextCache(tmp_path / "texts", ("model", "digest"))


def test_texts_are_encoded_once(cache: TextCache) -> None:
    encode = Counting()
    for _ in range(3):
        assert torch.equal(cache.recall(["a", ["b"]], encode, "cpu"), torch.arange(6.0).view(2, 3))
    assert encode.calls == 1


@pytest.mark.parametrize(
    ("model", "texts", "kind"),
    [
        (("model", "other"), ["a"], "cpu"),
        (("model", "digest"), ["b"], "cpu"),
        (("model", "digest"), ["a"], "cuda"),
        (("modeldigest", ""), ["a"], "cpu"),
    ],
)
def test_other_models_texts_and_devices_are_encoded_anew(
    cache: TextCache, model: tuple[str, ...], texts: Sequence[object], kind: str
) -> None:
    encode = Counting()
    cache.recall(["a"], encode, "cpu")
    TextCache(cache.root, model).recall(texts, encode, kind)
    assert encode.calls == 2


def test_every_damaged_byte_is_noticed(cache: TextCache) -> None:
    cache.recall(["a"], Counting(), "cpu")
    (path,) = cache.root.iterdir()
    data = path.read_bytes()
    for place in (0, 9, len(data) // 2, len(data) - 1):
        damaged = bytearray(data)
        damaged[place] ^= 1
        path.unlink(missing_ok=True)
        path.write_bytes(damaged)
        encode = Counting()
        assert torch.equal(cache.recall(["a"], encode, "cpu"), torch.arange(6.0).view(2, 3))
        assert encode.calls == 1
        again = Counting()
        assert torch.equal(cache.recall(["a"], again, "cpu"), encode()) and again.calls == 0


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("in the way")
    encode = Counting()
    cache = TextCache(tmp_path / "texts", ("m",))
    assert cache.recall(["a"], encode, "cpu").shape == (2, 3) and encode.calls == 1


def test_a_loaded_model_asks_its_text_tower_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    embed = ClipBackbone.embed_texts

    def count(self: ClipBackbone, texts: Sequence[str]) -> Tensor:
        asked.append(len(texts))
        return embed(self, texts)

    monkeypatch.setattr(ClipBackbone, "embed_texts", count)
    canvas = torch.rand(2, 3, 64, 64)
    results = []
    for _ in range(2):
        backbone = load_backbone("mini", device=torch.device("cpu"))
        results.append(backbone.build_classifier(["a", "b"], ["an {} sign"])(canvas))
    assert torch.equal(*results) and asked == [2]
