from __future__ import annotations

import pytest
import torch

from evpcli.domain.errors import IncompatibleError, NetworkError, NotFoundError, UsageError
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.backbones.catalog import CATALOG, check_backbone, find_entry, load_backbone
from evpcli.engine.backbones.clip import find_tag_config
from evpcli.engine.backbones.timm_model import find_timm_cfg
from evpcli.engine.backbones.weights import PublishedWeights
from tests.builders import build_manifest

CPU = torch.device("cpu")


@pytest.mark.parametrize("entry", CATALOG, ids=lambda e: e.name)
def test_every_entry_keeps_its_promises(entry: object) -> None:
    assert entry.licence and entry.size and entry.defaults.origin
    assert FrameGeometry.for_canvas(entry.canvas_px).window_px > 0
    assert entry.defaults.lr > 0 and entry.defaults.epochs > 0
    if entry.kind == "timm":
        cfg = find_timm_cfg(entry)
        assert PublishedWeights.from_timm(entry, cfg) == PublishedWeights.from_entry(entry)
        assert cfg.input_size == (3, entry.canvas_px, entry.canvas_px)
        assert cfg.license.lower() == entry.licence.lower()
    elif not entry.is_packaged:
        config = find_tag_config(entry)
        assert config["quick_gelu"] is True
        assert PublishedWeights.from_tag(entry, config) == PublishedWeights.from_entry(entry)


def test_the_papers_rate_belongs_to_clip_at_224() -> None:
    assert find_entry("ViT-B/32").defaults.lr == 70
    assert find_entry("RN50x4").defaults.lr == 90
    assert find_entry("mini").defaults.lr != 70


@pytest.mark.parametrize(
    "name",
    [
        *("", "minni", "hf-hub:attacker/x", "local-dir:/tmp", "../x", "ViT-B-32", "a.b/c"),
        *("timm/", "timm/hf-hub:a/b", "timm/local-dir:/tmp", "timm/../x", "timm/resnet50.", "timm"),
        *("torchvision/", "torchvision/../x", "torchvision/resnet50.v1", "timm/" + "a" * 999),
    ],
)
def test_unknown_names_are_not_handed_on(name: str) -> None:
    with pytest.raises(NotFoundError):
        find_entry(name)


@pytest.mark.parametrize("name", ["NoSuch-Model.openai", "ViT-B-32.nosuchtag"])
def test_a_model_or_tag_that_open_clip_lacks_is_named(name: str) -> None:
    with pytest.raises(NotFoundError, match="open_clip has no such"):
        load_backbone(name, device=CPU, offline=True)


def test_any_model_and_tag_of_open_clip_is_accepted() -> None:
    entry = find_entry("ViT-B-32.laion2b_s34b_b79k")
    assert (entry.architecture, entry.tag) == ("ViT-B-32", "laion2b_s34b_b79k")


def test_models_of_timm_and_torchvision_are_accepted_by_name() -> None:
    entry = find_entry("timm/resnet50.tv_in1k")
    assert (entry.kind, entry.canvas_px, entry.defaults.lr) == ("timm", 224, 70)
    entry = find_entry("timm/vit_tiny_patch16_224")
    assert (entry.kind, entry.architecture, entry.tag) == ("timm", "vit_tiny_patch16_224", "")
    entry = find_entry("torchvision/resnet18")
    assert (entry.kind, entry.architecture, entry.canvas_px) == ("torchvision", "resnet18", 0)


def test_a_clip_is_refused_on_another_canvas_before_anything_is_fetched() -> None:
    with pytest.raises(UsageError, match="one canvas only"):
        load_backbone("ViT-B/32", device=CPU, offline=True, canvas_px=64)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "EVP_OFFLINE", None])
def test_offline_names_what_is_missing_and_the_command(
    variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    with pytest.raises(NetworkError) as caught:
        load_backbone("ViT-B/32", device=CPU, offline=variable is None)
    assert "evp backbones download ViT-B/32" in str(caught.value.hint)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": {"name": "other"}},
        {"geometry": {"canvas_px": 224, "border_px": 30}},
        {"preprocessing": {"mean": (0.1, 0.1, 0.1)}},
        {"backbone": {"activation": "quick-gelu"}},
        {"backbone": {"architecture": "other"}},
        {"backbone": {"weights_sha256": "0" * 64}},
    ],
)
def test_a_prompt_for_another_model_is_refused(changes: dict[str, dict[str, object]]) -> None:
    card = load_backbone("mini", device=CPU).card
    base = build_manifest(geometry=FrameGeometry(64, 9)).model_dump()
    base["backbone"] = card.record.model_dump()
    base["preprocessing"] = card.to_preprocessing().model_dump()
    manifest = type(build_manifest()).model_validate(base)
    check_backbone(manifest, card)
    for part, values in changes.items():
        base[part] = {**base[part], **values}
    with pytest.raises(IncompatibleError, match=r"learned for another|weights differ"):
        check_backbone(type(manifest).model_validate(base), card)
