"""A network's weights in place of a prompt."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import evpcli
from evpcli.cli import main
from evpcli.domain.errors import DamagedError
from evpcli.engine.backbones.mini import mini_weights_path
from tests.engine.prompts.importers.checkpoints import (
    Delta,
    Pads,
    Program,
    build_attrvr,
    build_autovp,
    build_vp,
)
from tests.hostile_files import save

Captured = pytest.CaptureFixture[str]


def build_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def write(path: Path, form: str) -> Path:
    state = build_network().state_dict()
    if form == "safetensors":
        save_file(state, path)
    elif form == "half":
        save_file({name: value.half() for name, value in state.items()}, path)
    elif form == "old":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif form == "nested":
        torch.save({"epoch": 3, "state_dict": state}, path)
    elif form == "many":
        deep = nn.Sequential(*(nn.Linear(2, 2) for _ in range(40)))
        torch.save(deep.state_dict(), path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("form", ["safetensors", "half", "pt", "old", "nested", "many"])
@pytest.mark.parametrize("verb", ["inspect", "import", "evaluate"])
def test_weights_are_called_what_they_are(
    tmp_path: Path, form: str, verb: str, capsys: Captured
) -> None:
    ending = "safetensors" if form in ("safetensors", "half") else "pt"
    path = write(tmp_path / f"net.{ending}", form)
    assert main([verb, str(path)]) == 5
    err = capsys.readouterr().err
    assert f"this is no prompt but model weights: {path}" in err and "--weights FILE" in err


def test_weights_larger_than_any_prompt_are_too(tmp_path: Path, capsys: Captured) -> None:
    """As those of every published CLIP: the size is not what is wrong."""
    path = write(tmp_path / "net.safetensors", "safetensors")
    with path.open("r+b") as file:
        file.truncate(200 << 20)  # sparse
    assert main(["inspect", str(path)]) == 5
    assert "this is no prompt but model weights" in capsys.readouterr().err
    assert main(["inspect", str(mini_weights_path())]) == 5
    assert "this is no prompt but model weights" in capsys.readouterr().err


def test_bytes_of_weights_are_told_too() -> None:
    memory = io.BytesIO()
    torch.save(build_network().state_dict(), memory)
    with pytest.raises(DamagedError, match="model weights"):
        evpcli.load_prompt(memory.getvalue())


def test_other_projects_prompts_are_no_weights(tmp_path: Path, capsys: Captured) -> None:
    found = (
        build_vp(Pads()),
        build_attrvr(Program()),
        build_autovp(Delta(), nn.Linear(3, 2), None),
    )
    for number, checkpoint in enumerate(found):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(save(checkpoint))
        assert main(["inspect", str(path)]) == 5
        assert "model weights" not in capsys.readouterr().err


def test_a_few_tensors_are_no_network(tmp_path: Path, capsys: Captured) -> None:
    torch.save({"layer.weight": torch.zeros(2), "x": torch.ones(2)}, tmp_path / "x.pt")
    assert main(["inspect", str(tmp_path / "x.pt")]) == 5
    assert "no evp prompt" in capsys.readouterr().err
