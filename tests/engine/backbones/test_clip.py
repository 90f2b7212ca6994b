from __future__ import annotations

import copy
import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from evpcli.domain.errors import IncompatibleError, NotFoundError, UsageError
from evpcli.domain.manifest import Descriptions
from evpcli.engine.backbones import clip
from evpcli.engine.backbones.catalog import load_backbone
from evpcli.engine.backbones.clip import load_clip
from evpcli.engine.backbones.entry import BackboneEntry, FitDefaults

CPU = torch.device("cpu")
NAME = "evp-test-vit"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
TAG = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bilinear"}
ENTRY = BackboneEntry(NAME, NAME, "tag", 32, "MIT", "small", FitDefaults(1.0, 1, 1, "test"))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights of a tiny transformer CLIP that open_clip's factory knows."""
    path = tmp_path / f"{NAME}.json"
    path.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(path)
    monkeypatch.setattr(clip, "find_tag_config", lambda entry: dict(TAG))
    torch.manual_seed(0)
    model = open_clip.create_model(NAME)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "w.safetensors"
    )
    return tmp_path / "w.safetensors"


def load(weights: Path) -> clip.ClipBackbone:
    return load_clip(ENTRY, device=CPU, weights=weights, offline=True)


def test_model_is_frozen_in_evaluation_mode_with_its_tags_preprocessing(weights: Path) -> None:
    backbone = load(weights)
    model = backbone._model
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    card = backbone.card
    assert (card.canvas_px, card.mean, card.std) == (32, TAG["mean"], TAG["std"])
    assert card.interpolation == "bilinear"
    assert card.record.activation == "gelu"


def test_activation_follows_the_tag(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "find_tag_config", lambda entry: {**TAG, "quick_gelu": True})
    backbone = load(weights)
    assert backbone.card.record.activation == "quick-gelu"


def test_an_activation_that_the_tag_was_not_trained_with_is_an_error(
    weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"{NAME}.json"
    path.write_text(json.dumps({**CONFIG, "quick_gelu": True}))
    open_clip.add_model_config(path)
    with pytest.raises(IncompatibleError, match="another activation"):
        load(weights)


def test_logits_are_scaled_cosines_of_normalised_pictures(weights: Path) -> None:
    backbone = load(weights)
    names, template = ["red cat", "dog"], "this is a photo of a {}"
    canvas = torch.rand(3, 3, 32, 32)
    found = backbone.build_classifier(names, [template])(canvas)
    mean, std = (torch.tensor(TAG[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    tokens = open_clip.get_tokenizer(NAME)([template.format(n) for n in names])
    with torch.no_grad():
        image, text, scale = backbone._model((canvas - mean) / std, tokens)
    torch.testing.assert_close(found, scale * image @ text.T)


def test_gradient_reaches_the_canvas_and_nothing_else(weights: Path) -> None:
    backbone = load(weights)
    classifier = backbone.build_classifier(["cat", "dog"], ["a {}"])
    canvas = torch.rand(2, 3, 32, 32, requires_grad=True)
    functional.cross_entropy(classifier(canvas), torch.tensor([0, 1])).backward()
    assert canvas.grad is not None and bool(canvas.grad.any())
    assert all(p.grad is None for p in backbone._model.parameters())


@pytest.mark.parametrize(
    "content", [b"", b"not weights", b"\x80\x02c__builtin__\neval\n.", b"\xff" * 8 + b"{"]
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_that_holds_no_weights_is_refused(
    weights: Path, tmp_path: Path, content: bytes, suffix: str
) -> None:
    bad = tmp_path / f"bad{suffix}"
    bad.write_bytes(content)
    with pytest.raises(IncompatibleError, match=r"no file of weights|old layout"):
        load(bad)


def test_weights_of_another_shape_are_refused(weights: Path, tmp_path: Path) -> None:
    save_file({"logit_scale": torch.zeros(())}, tmp_path / "few.safetensors")
    with pytest.raises(IncompatibleError, match="do not fit the model"):
        load(tmp_path / "few.safetensors")


def test_a_missing_weights_file_is_named(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such weights file"):
        load(tmp_path / "nothing.safetensors")


def test_mini_answers_offline() -> None:
    backbone = load_backbone("mini", device=CPU, offline=True)
    logits = backbone.build_classifier(["zero", "one"], ["a {}"])(torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 2)


def test_the_encoder_is_the_image_tower_and_its_copy_can_be_trained(weights: Path) -> None:
    backbone = load(weights)
    encoder = backbone.build_encoder()
    canvas = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(TAG[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        expected = backbone._model.encode_image((canvas - mean) / std)
    torch.testing.assert_close(encoder(canvas), expected)
    learner = copy.deepcopy(encoder).requires_grad_(True)
    learner(canvas).square().sum().backward()
    assert all(p.grad is not None for p in learner.parameters())
    assert all(p.grad is None and not p.requires_grad for p in backbone._model.parameters())


def test_described_classes_score_the_mean_of_their_best_sentences(weights: Path) -> None:
    backbone = load(weights)
    sentences = (("a red cat", "fur", "claws", "tail"), ("a dog",), ("wings", "a beak"))
    described = Descriptions(sentences=sentences, best_of=3)
    canvas = torch.rand(2, 3, 32, 32, requires_grad=True)
    found = backbone.build_classifier(["cat", "dog", "bird"], [], described)(canvas)
    features = functional.normalize(backbone.build_encoder()(canvas), dim=-1)
    scale = backbone._model.logit_scale.exp()
    for column, of_class in enumerate(sentences):
        cosines = features @ backbone.embed_texts(of_class).clone().T
        best = cosines.sort(dim=1, descending=True).values[:, :3].mean(dim=1)
        torch.testing.assert_close(found[:, column], scale * best)
    found.sum().backward()
    assert canvas.grad is not None and bool(canvas.grad.isfinite().all())


def test_descriptions_must_be_as_many_as_classes(weights: Path) -> None:
    with pytest.raises(UsageError, match="sentences for every class"):
        load(weights).build_classifier(["cat", "dog"], [], Descriptions(sentences=(("a",),)))


def test_another_canvas_than_its_own_is_refused(weights: Path) -> None:
    assert load_clip(ENTRY, device=CPU, weights=weights, offline=True, canvas_px=32)
    with pytest.raises(UsageError, match="one canvas only"):
        load_clip(ENTRY, device=CPU, weights=weights, offline=True, canvas_px=64)
