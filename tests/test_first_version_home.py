"""Prompts of each kind, a stopped run and caches that the first version of evp made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from evpcli.cli import main
from evpcli.engine.backbones import text_cache
from evpcli.engine.datasets.loader import PixelSource, Reading
from evpcli.engine.datasets.pixel_cache import PixelCache
from evpcli.engine.prompts.prompt_file import StoredPrompt
from evpcli.engine.prompts.registry.registry import Registry
from tests.small_data import write_digit_folder

KEPT = Path(__file__).parent / "fixtures" / "first_version_home"
RUN = "20261127-041657-d1b5"
KINDS = {
    "digits/mini:v1": ("evp", None),
    "digits/mini:v2": ("vp", None),
    "digits/mini:v3": ("evp", "none"),
    "clothing/timm/mobilenetv2_100:v1": ("evp", "frequency"),
    "clothing/timm/mobilenetv2_100:v2": ("evp", "bayesian+"),
    "clothing/timm/mobilenetv2_100:v3": ("evp", "linear"),
}
"""Method and label map of each version; `none` with a residual head."""


@pytest.fixture
def home(evp_home: Path) -> Path:
    shutil.copytree(KEPT, evp_home, dirs_exist_ok=True)
    return evp_home


def read_all(home: Path) -> dict[str, StoredPrompt]:
    from evpcli.engine.prompts.prompt_file import decode_prompt

    registry = Registry(home / "registry")
    return {str(entry.ref): decode_prompt(registry.read(entry)) for entry in registry.entries()}


class Ramps:
    """Four images that cannot be decoded any more: only a cache has their pixels."""

    labels = (0, 1, 0, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def open_image(self, index: int) -> Image.Image:
        raise AssertionError("the cache was not used")

    def describe(self, index: int) -> str:
        return str(index)

    def identify(self, index: int) -> bytes:
        return index.to_bytes(16, "little")


def test_a_prompt_of_each_kind_opens(home: Path) -> None:
    found = read_all(home)
    assert {
        ref: (p.manifest.method, p.manifest.label_map and p.manifest.label_map.kind)
        for ref, p in found.items()
    } == KINDS
    for prompt in found.values():
        assert (prompt.label_map is None) == (prompt.manifest.label_map is None)
    assert main(["verify"]) == 0


def test_each_one_measures_what_it_did(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ref in list(KINDS)[:3]:
        capsys.readouterr()
        assert main(["evaluate", ref, "--json", "--device", "cpu"]) == 0
        measured = {m["what"]: m["top1"] for m in json.loads(capsys.readouterr().out)["metrics"]}
        kept = read_all(home)[ref].manifest
        for what in ("zero-shot", "blank", "prompted"):
            before = kept.find_measurement(what)
            assert before and measured[what] == pytest.approx(before.top1, abs=1 / before.n + 1e-9)


def test_a_stopped_run_goes_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (home / "runs" / RUN / "metrics.jsonl").read_text().splitlines()
    assert main(["fit", "--resume", RUN, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    after = (home / "runs" / RUN / "metrics.jsonl").read_text().splitlines()
    assert (len(before), len(after)) == (4, 6) and after[:4] == before
    assert document["prompt"] == "digits/mini:v4"


def test_the_cache_of_pixels_is_used(home: Path) -> None:
    cache = PixelCache(home / "cache" / "pixels", "f" * 64)
    [batch] = PixelSource(Ramps(), 8, Reading(cache=cache)).center_batches(4)
    assert batch.images.shape == (4, 3, 8, 8) and batch.labels.tolist() == [0, 1, 0, 1]


def test_the_cache_of_texts_is_used(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the cache was not used")

    write_digit_folder(tmp_path / "tiny", classes=2)
    monkeypatch.setattr(text_cache, "publish_new", refuse)
    kept = list((home / "cache" / "texts").iterdir())
    words = ["fit", "-d", str(tmp_path / "tiny"), "-b", "mini", "--device", "cpu"]  # as it was made
    assert main([*words, "--epochs", "1"]) == 0
    assert list((home / "cache" / "texts").iterdir()) == kept
