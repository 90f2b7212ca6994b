"""Weights of the user's own: remembered on this machine, never written into the prompt file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evpcli.cli import main
from evpcli.engine.backbones.mini import mini_weights_path
from evpcli.engine.backbones.remembered_weights import recall_weights, remember_weights
from tests.small_data import write_digit_folder


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_digit_folder(tmp_path / "mine", classes=2)
    tensors = load_file(mini_weights_path())
    tensors["logit_scale"] = tensors["logit_scale"] + 0.125
    torch.save(tensors, tmp_path / "own.pt")
    words = (
        "fit",
        "-d",
        "mine",
        "-b",
        "mini",
        "--no-probe",
        "--epochs",
        "1",
        "--weights",
        "own.pt",
    )
    assert main([*words, "-o", "prompt.pt"]) == 0
    return tmp_path / "own.pt"


def test_they_are_found_again_from_anywhere(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (weights.parent / "elsewhere").mkdir()
    monkeypatch.chdir(weights.parent / "elsewhere")
    image = str(weights.parent / "mine/one/000.png")
    capsys.readouterr()
    assert main(["evaluate", "mine/mini"]) == 0
    assert main(["predict", "mine/mini", image]) == 0
    assert main(["apply", "../prompt.pt", image, "--predict"]) == 0
    assert "download" not in capsys.readouterr().err
    assert str(weights.parent).encode() not in (weights.parent / "prompt.pt").read_bytes()


def test_without_them_the_message_asks_for_them(
    weights: Path, evp_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(evp_home / "weights")
    capsys.readouterr()
    assert main(["evaluate", "mine/mini"]) == 4
    err = capsys.readouterr().err
    assert "made with its maker's own weights for mini: sha256 " in err
    assert "add --weights FILE" in err and "download" not in err
    assert main(["evaluate", "mine/mini", "--weights", str(weights)]) == 0
    assert main(["evaluate", "mine/mini"]) == 0


def test_other_weights_are_told_from_those_that_are_meant(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(load_file(mini_weights_path()), "other.safetensors")
    capsys.readouterr()
    assert main(["evaluate", "mine/mini", "--weights", "other.safetensors"]) == 5
    err = capsys.readouterr().err
    assert "other.safetensors has sha256 " in err and "the prompt's have " in err


def test_what_is_remembered_may_be_gone_or_damaged(evp_home: Path, tmp_path: Path) -> None:
    digest, path = "a" * 64, tmp_path / "w.pt"
    path.touch()
    remember_weights(digest, path)
    assert recall_weights(digest) == path
    path.unlink()
    assert recall_weights(digest) is None
    (evp_home / "weights" / f"{digest}.json").write_text("{")
    assert recall_weights(digest) is None
    assert recall_weights("../x") is None and recall_weights(None) is None
