"""Local weights come as they were saved, and nothing in their file is ever run."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from evpcli.domain.errors import IncompatibleError, NotFoundError
from evpcli.engine.backbones import file_kinds
from evpcli.engine.backbones.checkpoint import read_checkpoint
from tests.hostile_files import build_code_pickles, build_pickle_zip, build_tensor_pickle, save

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool)


def make_state() -> dict[str, torch.Tensor]:
    """Tensors of every kind that weights have: scalars and other orders of the axes."""
    torch.manual_seed(0)
    state = {f"layer.{dtype}": torch.randn(3, 4).to(dtype) for dtype in DTYPES}
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    return {
        **state,
        "transposed": torch.randn(3, 4).clone().T,
        "channels_last": images,
        "scalar": torch.tensor(math.log(100)),
        "counter": torch.tensor(7),
    }


def train_once() -> dict[str, object]:
    """What a training script of open_clip saves after an epoch, for a small model."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    state = OrderedDict((f"module.{k}", v) for k, v in model.state_dict().items())
    return {
        "epoch": 3,
        "name": "2026_01_01-model_ViT-B-32",
        "state_dict": state,
        "optimizer": optimizer.state_dict(),
        "scaler": {"scale": 65536.0, "growth_interval": 2000, "_growth_tracker": None},
    }


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "model.pth", "model"])
def test_a_state_dict_comes_as_it_was_saved_under_any_name(tmp_path: Path, name: str) -> None:
    torch.save(make_state(), tmp_path / name)
    assert_equal(read_checkpoint(tmp_path / name), make_state())


def test_safetensors_come_as_they_were_saved_under_any_name(tmp_path: Path) -> None:
    state = {"module.a": torch.randn(3, 4), "module.b": torch.ones(2).to(torch.bfloat16)}
    save_file(state, tmp_path / "model.pt")
    found = read_checkpoint(tmp_path / "model.pt")
    assert_equal(dict(sorted(found.items())), {"a": state["module.a"], "b": state["module.b"]})


def test_of_a_training_checkpoint_the_model_counts_without_its_wrapper(tmp_path: Path) -> None:
    saved = train_once()
    torch.save(saved, tmp_path / "epoch_3.pt")
    wanted = {k.removeprefix("module."): v for k, v in saved["state_dict"].items()}  # type: ignore[attr-defined]
    assert_equal(read_checkpoint(tmp_path / "epoch_3.pt"), wanted)


def test_a_prefix_that_not_every_tensor_has_is_part_of_the_names(tmp_path: Path) -> None:
    state = {"module.a": torch.zeros(1), "b": torch.ones(1)}
    torch.save(state, tmp_path / "model.pt")
    assert list(read_checkpoint(tmp_path / "model.pt")) == ["module.a", "b"]


def test_a_checkpoint_of_many_tensors_is_read(tmp_path: Path) -> None:
    """ViT-B/32 with AdamW's state has 1,214 entries."""
    state = {f"layer.{number}.weight": torch.full((2,), number) for number in range(1_500)}
    torch.save({"state_dict": state}, tmp_path / "model.pt")
    assert_equal(read_checkpoint(tmp_path / "model.pt"), state)


@pytest.mark.parametrize("way", sorted(build_code_pickles("true")))
def test_a_file_that_asks_to_run_code_is_refused_and_nothing_runs(tmp_path: Path, way: str) -> None:
    trace, path = tmp_path / "it-ran", tmp_path / "model.pt"
    path.write_bytes(build_pickle_zip(build_code_pickles(f"touch {trace}")[way]))
    with pytest.raises(IncompatibleError, match="cannot read weights") as caught:
        read_checkpoint(path)
    assert "docs/backbones.md" in str(caught.value.hint)
    assert not trace.exists()


@pytest.mark.parametrize(
    "data",
    [
        build_pickle_zip(build_tensor_pickle(4, (2,), (1,)), bytes(16)),
        build_pickle_zip(build_tensor_pickle(10**9, (10**9,), (1,)), bytes(16)),
        build_pickle_zip(build_tensor_pickle(4, (4,), (1,)), bytes(20)),
        save({"a": torch.zeros(2)})[:-30],
        save({"a": torch.zeros(2)}) + b"more",
        save({"a": torch.zeros(9)[:2]}),
        build_pickle_zip(
            build_tensor_pickle(4, (4,), (1,), storage_type=b"BoolStorage"), b"\0\1\2\1"
        ),
        save({"a": torch.zeros(2, dtype=torch.complex64)}),
        save({"model": {"a": torch.zeros(2)}, "epoch": 3}),
        save({"state_dict": {"a": torch.zeros(2), "note": "hello"}}),
        save([torch.zeros(2)]),
        save({}),
    ],
    ids=[
        *("part of a storage", "huge", "left over", "cut off", "bytes behind", "a view"),
        *("truth value", "complex", "no state dict", "text in it", "a list", "empty"),
    ],
)
def test_odd_and_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    with pytest.raises(IncompatibleError, match="cannot read weights") as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value.found)


def test_every_flipped_bit_of_a_state_dict_is_noticed(tmp_path: Path) -> None:
    path, data = tmp_path / "model.pt", save({"a": torch.arange(3.0)})
    for place in range(0, 8 * len(data), 7):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(IncompatibleError):
            read_checkpoint(path)


def test_a_file_of_the_old_layout_is_named_with_a_command_that_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(IncompatibleError, match="old layout") as caught:
        read_checkpoint(path)
    run_hint(caught.value.hint, tmp_path)
    assert_equal(read_checkpoint(tmp_path / "new-old.pt"), {"a": torch.ones(2)})


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_program_is_named_with_a_command_that_takes_its_tensors(tmp_path: Path) -> None:
    path = tmp_path / "program.pt"
    torch.jit.script(torch.nn.Linear(2, 1)).save(str(path))
    with pytest.raises(IncompatibleError, match="TorchScript") as caught:
        read_checkpoint(path)
    run_hint(caught.value.hint, tmp_path)
    assert list(read_checkpoint(tmp_path / "new-program.pt")) == ["weight", "bias"]


def run_hint(hint: str | None, folder: Path) -> None:
    """Run the Python that a hint names, in the folder of the file."""
    script = str(hint).partition('-c "')[2].rpartition('"')[0]
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=folder, check=True)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git-lfs pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (b"\xff" * 8 + b"{", "starts with"),
        (b"hello", "starts with"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(IncompatibleError, match="no file of weights") as caught:
        read_checkpoint(tmp_path / "model.pt")
    assert kind in str(caught.value.found)


def test_what_is_not_there_and_what_is_too_large_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError, match="no such weights file"):
        read_checkpoint(tmp_path / "model.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "model.pt")
    monkeypatch.setattr(file_kinds, "MAX_TORCH_BYTES", 100)
    with pytest.raises(IncompatibleError, match="up to 4 GiB"):
        read_checkpoint(tmp_path / "model.pt")
