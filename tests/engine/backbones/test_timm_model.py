from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from evpcli.domain.errors import (
    DamagedError,
    IncompatibleError,
    NetworkError,
    NotFoundError,
    UsageError,
)
from evpcli.engine.backbones.catalog import check_backbone, find_entry, load_backbone
from evpcli.engine.backbones.interface import Backbone
from evpcli.engine.backbones.published import find_published
from evpcli.engine.backbones.weights import PublishedWeights
from evpcli.engine.benchmark.local_weights import hash_weights
from tests.builders import build_manifest

CPU = torch.device("cpu")
NAME = "timm/mobilenetv3_small_050"
CFG = {
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "input_size": [3, 64, 64],
    "interpolation": "bilinear",
    "fixed_input_size": False,
}


def load(weights: Path | None, name: str = NAME, **options: Any) -> Backbone:
    return load_backbone(name, device=CPU, weights=weights, offline=True, **options)


def make_folder(
    folder: Path, architecture: str = "mobilenetv3_small_050", classes: int = 7, **changes: Any
) -> Path:
    """A tiny model with random weights as timm keeps it on disk; `changes` only in its config."""
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    arguments = {"img_size": 64} if architecture.startswith("vit") else {}
    model = timm.create_model(architecture, num_classes=classes, **arguments)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {
        "architecture": architecture,
        "num_classes": classes,
        "global_pool": "avg",
        "pretrained_cfg": CFG,
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def ask(model: nn.Module, images: torch.Tensor, cfg: dict[str, Any] = CFG) -> torch.Tensor:
    mean, std = (torch.tensor(cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        answer: torch.Tensor = model((images - mean) / std)
    return answer


def test_a_weights_file_in_a_models_folder_is_read_as_the_folder(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    file = folder / "model.safetensors"
    assert load(file).card == load(folder).card
    assert hash_weights(file) == hash_weights(folder)
    with pytest.raises(IncompatibleError, match="another architecture"):
        load(file, name="timm/resnet18")


def test_a_folder_says_how_pictures_are_read_and_what_classes_there_are(tmp_path: Path) -> None:
    names = [f"n{i}" for i in range(7)]
    folder = make_folder(tmp_path, label_names=names, label_descriptions={"n1": "a cat"})
    backbone = load(folder)
    card = backbone.card
    assert (card.mean, card.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (card.canvas_px, card.interpolation) == (64, "bilinear")
    assert card.source_classes == ("n0", "a cat", "n2", "n3", "n4", "n5", "n6")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert (card.record.weights, card.record.weights_sha256) == ("local", digest)
    assert card.record.activation == "other"
    model = timm.create_model(NAME.removeprefix("timm/"), num_classes=7).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(backbone.build_classifier(["x"], [])(images), ask(model, images))


def test_the_model_is_frozen_and_gradient_reaches_the_canvas(tmp_path: Path) -> None:
    classifier: Any = load(make_folder(tmp_path)).build_classifier([], [])
    assert not classifier.tower.training
    canvas = torch.rand(2, 3, 64, 64, requires_grad=True)
    classifier(canvas).logsumexp(1).sum().backward()
    assert canvas.grad is not None and bool(canvas.grad.any())
    assert all(p.grad is None and not p.requires_grad for p in classifier.parameters())


def test_a_file_alone_takes_the_named_models_own_reading(tmp_path: Path) -> None:
    def make_file(classes: int) -> Path:
        file = make_folder(tmp_path, classes=classes) / "model.safetensors"
        return file.rename(tmp_path / "alone.safetensors")

    card = load(make_file(1000)).card
    own = timm.create_model(NAME.removeprefix("timm/")).pretrained_cfg
    assert (card.canvas_px, card.mean) == (own["input_size"][1], own["mean"])
    assert card.source_classes[:2] == ("tench", "goldfish")
    with pytest.raises(IncompatibleError, match="do not fit") as caught:
        load(make_file(7))
    assert "classifier.weight is (7, 1024), needed is (1000, 1024)" in str(caught.value.found)


def test_another_canvas_is_taken_where_the_model_takes_any(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    backbone = load(folder, canvas_px=96)
    assert backbone.card.canvas_px == 96
    assert backbone.build_classifier([], [])(torch.rand(1, 3, 96, 96)).shape == (1, 7)
    with pytest.raises(UsageError, match="this canvas cannot be"):
        load(folder, canvas_px=4096)


@pytest.mark.parametrize("architecture", ["mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_a_fixed_canvas_is_kept(tmp_path: Path, architecture: str) -> None:
    is_vit = architecture.startswith("vit")
    folder = make_folder(
        tmp_path,
        architecture,
        global_pool="token" if is_vit else "avg",
        pretrained_cfg=CFG | {"fixed_input_size": True},
        model_args={"img_size": 64} if is_vit else {},
    )
    assert load(folder, f"timm/{architecture}", canvas_px=64).card.canvas_px == 64
    with pytest.raises(UsageError, match="one canvas only"):
        load(folder, f"timm/{architecture}", canvas_px=96)


@pytest.mark.parametrize("architecture", ["resnet18", "hf-hub:someone/model", "../x"])
def test_a_folder_of_another_architecture_is_refused(tmp_path: Path, architecture: str) -> None:
    folder = make_folder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architecture": architecture}))
    with pytest.raises(IncompatibleError, match="another architecture"):
        load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_classes": 9},
        {"num_classes": 10**9},
        {"global_pool": "no-such-pool"},
        {"model_args": {"no_such_argument": 1}},
        {"model_args": {"pretrained": True}},
        {"model_args": {"checkpoint_path": "/etc/passwd"}},
        {"model_args": {"pretrained_cfg": "x"}},
        {"model_args": {"act_layer": ["x"]}},
        {"model_args": {"in_chans": 1}},
        {"model_args": {"Bad key": 1}},
        {"pretrained_cfg": CFG | {"mean": [0, 0]}},
        {"pretrained_cfg": CFG | {"std": [0, 0, 0]}},
        {"pretrained_cfg": CFG | {"input_size": [3, 64, 65]}},
        {"pretrained_cfg": CFG | {"input_size": [3, 10**6, 10**6]}},
        {"pretrained_cfg": CFG | {"input_size": [1, 64, 64]}},
        {"pretrained_cfg": CFG | {"interpolation": "random"}},
        {"pretrained_cfg": None},
    ],
    ids=lambda c: json.dumps(c)[:50],
)
def test_a_folder_that_cannot_be_honoured_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(IncompatibleError) as caught:
        load(make_folder(tmp_path, **changes))
    assert "\n" not in str(caught.value.found)


@pytest.mark.parametrize("text", ["", "[]", '{"a":1,"a":2}', '{"mean": NaN}', "[" * 9999])
def test_a_damaged_config_is_refused(tmp_path: Path, text: str) -> None:
    (make_folder(tmp_path) / "config.json").write_text(text)
    with pytest.raises(DamagedError, match=r"config.json"):
        load(tmp_path)


def test_a_folder_without_its_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load(tmp_path)
    (make_folder(tmp_path) / "model.safetensors").unlink()
    with pytest.raises(NotFoundError, match="no such weights file"):
        load(tmp_path)


def test_damaged_and_foreign_tensors_are_refused(tmp_path: Path) -> None:
    file = make_folder(tmp_path) / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"extra": torch.zeros(1)}, file)
    with pytest.raises(IncompatibleError) as caught:
        load(tmp_path)
    assert "the model has no extra" in str(caught.value.found)
    del tensors["conv_stem.weight"]
    save_file(tensors, file)
    with pytest.raises(IncompatibleError) as caught:
        load(tmp_path)
    assert "there is no conv_stem.weight" in str(caught.value.found)
    file.write_bytes(b"\x02" + b"\0" * 7 + b"{}" + b"rest")
    with pytest.raises(IncompatibleError, match="holds no weights"):
        load(tmp_path)


@pytest.mark.parametrize(
    "name", ["timm/resnet50.no_such_tag", "timm/no_such_model", "timm/tv_resnet50"]
)
def test_a_model_or_tag_that_timm_lacks_is_named(name: str) -> None:
    with pytest.raises(NotFoundError, match="timm has no such"):
        load(None, name)


def test_the_packaged_tower_is_no_model_of_timms() -> None:
    load_backbone("mini", device=CPU, offline=True)
    with pytest.raises(NotFoundError, match="timm has no such"):
        load(None, "timm/evp_mini_tower")


def test_published_weights_are_those_of_the_tag_or_of_the_default() -> None:
    found = find_published(find_entry("timm/resnet18.a2_in1k"))
    assert found == PublishedWeights("timm/resnet18.a2_in1k", "model.safetensors")
    default = find_published(find_entry("timm/resnet18"))
    assert isinstance(default, PublishedWeights)
    assert default.repository.startswith("timm/resnet18.")
    with pytest.raises(NetworkError) as caught:
        load(None, "timm/resnet18")
    assert "evp backbones download timm/resnet18" in str(caught.value.hint)
    with pytest.raises(NetworkError, match="own layout"):
        load(None, "timm/cspnext_s.rsb_a1_in1k")


def test_a_label_map_must_have_the_classifiers_classes(tmp_path: Path) -> None:
    card = load(make_folder(tmp_path)).card
    label_map = {"kind": "frequency", "source_classes": 7, "indices": (0, 1, 6)}
    base = build_manifest(preprocessing=card.to_preprocessing().model_dump(), label_map=label_map)
    base = base.model_copy(update={"backbone": card.record})
    sizes = base.geometry.model_copy(update={"canvas_px": 64})
    base = base.model_copy(update={"geometry": sizes})
    check_backbone(base, card)
    assert base.label_map is not None
    other = base.label_map.model_copy(update={"source_classes": 1000})
    with pytest.raises(IncompatibleError, match="another number of source classes"):
        check_backbone(base.model_copy(update={"label_map": other}), card)
    with pytest.raises(IncompatibleError, match="no label map"):
        check_backbone(base.model_copy(update={"label_map": None}), card)


@pytest.fixture(scope="module")
def real_folder() -> Path:
    folder = Path(__file__).parents[3].parent / "shared" / "weights" / "mobilenetv2_100_imagenet"
    if not folder.is_dir():
        pytest.skip("the ImageNet weights beside the project are not here")
    return folder


@pytest.mark.shared
def test_real_weights_answer_as_in_timm_with_the_folders_padding(real_folder: Path) -> None:
    cfg = json.loads((real_folder / "config.json").read_text())["pretrained_cfg"]
    tensors = load_file(real_folder / "model.safetensors")
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = []
    for arguments in ({"pad_type": "same"}, {}):
        model = timm.create_model("mobilenetv2_100", **arguments).eval()
        model.load_state_dict(tensors)
        expected.append(ask(model, images, cfg))
    backbone = load(real_folder, "timm/mobilenetv2_100")
    logits = backbone.build_classifier([], [])(images)
    torch.testing.assert_close(logits, expected[0], rtol=1e-4, atol=1e-4)  # other memory layout
    assert not torch.allclose(logits, expected[1], atol=0.1)
    assert backbone.card.source_classes[1] == "goldfish"


@pytest.mark.shared
def test_real_features_and_the_last_layer_give_the_logits(real_folder: Path) -> None:
    backbone = load(real_folder, "timm/mobilenetv2_100")
    images = torch.rand(2, 3, 128, 128)
    tensors = load_file(real_folder / "model.safetensors")
    features = backbone.build_encoder()(images)
    logits = features @ tensors["classifier.weight"].T + tensors["classifier.bias"]
    torch.testing.assert_close(logits, backbone.build_classifier([], [])(images))
