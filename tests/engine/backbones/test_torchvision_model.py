from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from evpcli.domain.errors import IncompatibleError, NetworkError, NotFoundError, UsageError
from evpcli.engine.backbones.catalog import find_entry, load_backbone
from evpcli.engine.backbones.torchvision_model import TorchvisionWeights
from evpcli.engine.fitting.downloads import list_downloads

CPU = torch.device("cpu")
NAME = "torchvision/mobilenet_v3_small"


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return models.get_model("mobilenet_v3_small", weights=None).eval()


@pytest.fixture
def weights(model: torch.nn.Module, tmp_path: Path) -> Path:
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.fixture(autouse=True)
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_a_local_file_answers_as_torchvisions_own_model(
    weights: Path, model: torch.nn.Module
) -> None:
    backbone = load_backbone(NAME, device=CPU, weights=weights)
    reading = models.get_model_weights("mobilenet_v3_small").DEFAULT.transforms()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (reading.mean, reading.std))
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        expected = model((images - mean) / std)
    torch.testing.assert_close(backbone.build_classifier([], [])(images), expected)
    card = backbone.card
    assert (card.canvas_px, card.interpolation, card.record.weights) == (224, "bilinear", "local")
    assert len(card.source_classes) == 1000 and card.source_classes[0] == "tench"


def test_the_encoder_gives_the_input_of_the_last_layer(
    weights: Path, model: torch.nn.Module
) -> None:
    backbone = load_backbone(NAME, device=CPU, weights=weights, canvas_px=96)
    encoder = backbone.build_encoder()
    images = torch.rand(2, 3, 96, 96)
    last = model.classifier[-1]
    torch.testing.assert_close(last(encoder(images)), backbone.build_classifier([], [])(images))
    learner = copy.deepcopy(encoder).requires_grad_(True)
    learner(images).sum().backward()
    assert all(p.grad is not None for p in learner.parameters())
    assert not any(p.requires_grad for p in encoder.parameters())


@pytest.mark.parametrize(
    "name", ["squeezenet1_0", "inception_v3", "fcn_resnet50", "r3d_18", "no_such_model"]
)
def test_only_classifiers_with_a_clean_last_layer_are_taken(name: str) -> None:
    with pytest.raises(NotFoundError, match="torchvision has no such classifier"):
        load_backbone(f"torchvision/{name}", device=CPU, offline=True)


def test_a_transformer_keeps_its_canvas() -> None:
    with pytest.raises(UsageError, match="one canvas only"):
        load_backbone("torchvision/vit_b_16", device=CPU, offline=True, canvas_px=96)


def test_weights_of_another_model_are_refused(weights: Path) -> None:
    with pytest.raises(IncompatibleError, match="do not fit"):
        load_backbone("torchvision/shufflenet_v2_x0_5", device=CPU, weights=weights)


def test_a_folder_of_weights_is_for_timm_models(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match="only a timm model's weights may be a folder"):
        load_backbone(NAME, device=CPU, weights=tmp_path)


def test_offline_is_believed_and_the_download_is_named() -> None:
    entry = find_entry(NAME)
    (download,) = list_downloads(None, entry)
    assert download.command == f"evp backbones download {NAME}"
    with pytest.raises(NetworkError, match="offline"):
        load_backbone(NAME, device=CPU, offline=True)


def test_a_kept_file_with_another_digest_is_refused(hub_folder: Path) -> None:
    kept = TorchvisionWeights.from_entry(find_entry(NAME)).path
    assert kept.parent == hub_folder
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"something else")
    with pytest.raises(IncompatibleError, match="damaged"):
        load_backbone(NAME, device=CPU, offline=True)


def test_kept_weights_are_used_offline(
    hub_folder: Path, model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = find_entry(NAME)
    kept = TorchvisionWeights.from_entry(entry).path
    kept.parent.mkdir(parents=True)
    torch.save(model.state_dict(), kept)
    monkeypatch.setattr(TorchvisionWeights, "_matches", lambda self, digest: True)
    backbone = load_backbone(NAME, device=CPU, offline=True)
    assert backbone.card.record.weights == "IMAGENET1K_V1"
    assert list_downloads(None, entry) == ()
