"""Local weights of a CLIP: every tensor fits as it is, or the first that does not is named."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from evpcli.cli import main
from evpcli.domain.errors import IncompatibleError
from evpcli.engine.backbones import clip
from evpcli.engine.backbones.catalog import load_backbone
from evpcli.engine.backbones.clip import load_clip
from evpcli.engine.backbones.entry import BackboneEntry, FitDefaults
from evpcli.engine.backbones.mini import mini_weights_path
from tests.small_data import write_digit_folder

CPU = torch.device("cpu")
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 64, "layers": 1, "width": 64, "patch_size": 16}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}


@pytest.fixture(params=["vit", "resnet", "custom-text"])
def entry(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> BackboneEntry:
    """A small CLIP that open_clip's factory knows, of each kind of its own."""
    name = f"evp-test-{request.param}"
    config = {
        "embed_dim": 16,
        "vision_cfg": RESNET if request.param == "resnet" else VIT,
        "text_cfg": TEXT,
        "custom_text": request.param == "custom-text",
    }
    (tmp_path / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / f"{name}.json")
    monkeypatch.setattr(clip, "find_tag_config", lambda entry: {"interpolation": "bicubic"})
    return BackboneEntry(name, name, "tag", 64, "MIT", "small", FitDefaults(1.0, 1, 1, "test"))


def make_state(entry: BackboneEntry, **options: object) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state: dict[str, Tensor] = open_clip.create_model(entry.architecture, **options).state_dict()
    return state


def load(entry: BackboneEntry, path: Path) -> clip.ClipBackbone:
    return load_clip(entry, device=CPU, weights=path, offline=True)


def ask(backbone: clip.ClipBackbone) -> Tensor:
    canvas = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return backbone.build_classifier(["cat", "dog"], ["a {}"])(canvas)


def test_every_kind_of_file_gives_the_same_answers(entry: BackboneEntry, tmp_path: Path) -> None:
    state = make_state(entry)
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pt")
    torch.save(dict(state), tmp_path / "c.bin")
    torch.save({"epoch": 1, "name": "x", "state_dict": wrapped}, tmp_path / "epoch_1.pt")
    found = [load(entry, path) for path in sorted(tmp_path.glob("[abce]*.[spb]*"))]
    assert len(found) == 4
    for backbone in found:
        assert torch.equal(ask(backbone), ask(found[0]))
        assert backbone.card.record.weights == "local"
        assert not any(p.requires_grad for p in backbone._model.parameters())


def test_half_precision_weights_compute_in_float32(entry: BackboneEntry, tmp_path: Path) -> None:
    state = make_state(entry)
    torch.save({name: tensor.half() for name, tensor in state.items()}, tmp_path / "half.pt")
    backbone = load(entry, tmp_path / "half.pt")
    assert {p.dtype for p in backbone._model.parameters()} == {torch.float32}


def test_the_first_missing_unexpected_or_misshapen_tensor_is_named(
    entry: BackboneEntry, tmp_path: Path
) -> None:
    state, path = make_state(entry), tmp_path / "w.pt"
    name = next(name for name in state if name.endswith("ln_final.weight"))
    cases = {
        f"there is no {name}": {k: v for k, v in state.items() if k != name},
        "the model has no head.weight": {**state, "head.weight": torch.zeros(2)},
        f"{name} is (3,), needed is (16,)": {**state, name: torch.zeros(3)},
        "there is no logit_scale": {k: v for k, v in state.items() if k != "logit_scale"},
    }
    for problem, tensors in cases.items():
        torch.save(tensors, path)
        with pytest.raises(IncompatibleError, match="do not fit the model") as caught:
            load(entry, path)
        assert caught.value.found == f"w.pt: {problem}"


def test_a_position_embedding_of_another_canvas_is_refused(
    entry: BackboneEntry, tmp_path: Path
) -> None:
    torch.save(make_state(entry, force_image_size=96), tmp_path / "w.pt")
    with pytest.raises(IncompatibleError, match="another canvas of 96 px") as caught:
        load(entry, tmp_path / "w.pt")
    assert "takes (17, 64) (64 px)" in str(caught.value.found) or "resnet" in entry.name


def test_a_scale_with_an_axis_of_its_own_is_the_same_scale(
    entry: BackboneEntry, tmp_path: Path
) -> None:
    state = make_state(entry)
    torch.save({**state, "logit_scale": state["logit_scale"].reshape(1)}, tmp_path / "w.pt")
    assert load(entry, tmp_path / "w.pt")._model.logit_scale.ndim == 0


def test_what_openais_programs_keep_beside_the_weights_is_left_out(
    entry: BackboneEntry, tmp_path: Path
) -> None:
    settings = {"input_resolution": 64, "context_length": 16, "vocab_size": 49408}
    numbers = {name: torch.tensor(value) for name, value in settings.items()}
    torch.save({**make_state(entry), **numbers}, tmp_path / "w.pt")
    assert ask(load(entry, tmp_path / "w.pt")).shape == (2, 2)


def test_a_text_tower_under_the_older_names_is_read(entry: BackboneEntry, tmp_path: Path) -> None:
    state = {name.removeprefix("text."): tensor for name, tensor in make_state(entry).items()}
    torch.save(state, tmp_path / "w.pt")
    assert ask(load(entry, tmp_path / "w.pt")).shape == (2, 2)


def test_nothing_is_said_about_random_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(load_file(mini_weights_path()), tmp_path / "w.pt")
    before = logging.root.manager.disable
    backbone = load_backbone("mini", device=CPU, weights=tmp_path / "w.pt", offline=True)
    assert caplog.text == ""
    assert logging.root.manager.disable == before
    published = load_backbone("mini", device=CPU, offline=True)
    assert torch.equal(ask(backbone), ask(published))  # type: ignore[arg-type]


def test_fit_takes_a_training_checkpoint_and_says_that_its_weights_are_local(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrapped = {f"module.{k}": v for k, v in load_file(mini_weights_path()).items()}
    torch.save({"epoch": 1, "state_dict": wrapped}, tmp_path / "epoch_1.pt")
    write_digit_folder(tmp_path / "data")
    words = ["-b", "mini", "--weights", str(tmp_path / "epoch_1.pt"), "--epochs", "1"]
    assert main(["fit", "-d", str(tmp_path / "data"), *words]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["inspect", "data/mini", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)["manifest"]["backbone"]
    assert record["weights"] == "local"
