"""`-o -` is stdout in every verb that writes a file, and never a terminal."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from evpcli.cli import main
from evpcli.commands.output import terminal
from tests.shelf import build_mini_manifest, save_image, store_prompt


@pytest.fixture(autouse=True)
def _stand_in_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    store_prompt(build_mini_manifest())
    save_image(Path("x.png"))


def test_apply_passes_the_picture_on(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["apply", "digits/mini", "x.png", "-o", "-"]) == 0
    out, err = capsysbinary.readouterr()
    assert main(["apply", "digits/mini", "x.png", "-o", "file.png"]) == 0
    assert out == Path("file.png").read_bytes()
    assert b"PNG" in err  # how much was clipped
    with Image.open(io.BytesIO(out)) as image:
        assert image.size == (64, 64)
    assert sorted(path.name for path in Path().iterdir()) == ["file.png", "x.png"]


def test_apply_passes_the_border_on(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    words = ["apply", "digits/mini", "--what", "prompt", "--to", "npz"]
    assert main([*words, "-o", "-"]) == 0
    out = capsysbinary.readouterr().out
    assert main([*words, "-o", "border.npz"]) == 0
    assert out == Path("border.npz").read_bytes()


def test_export_passes_the_file_on(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    for format_name in ("pt", "npz", "png"):
        assert main(["export", "digits/mini", "--format", format_name, "-o", "-"]) == 0
        out = capsysbinary.readouterr().out
        path = Path(f"file.{format_name}")
        assert main(["export", "digits/mini", "-o", str(path)]) == 0
        capsysbinary.readouterr()
        assert out == path.read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["apply", "digits/mini", "x.png", "--json"], "--json both write to stdout"),
        (["apply", "digits/mini", "x.png", "--predict"], "--predict both write to stdout"),
        (["export", "digits/mini", "--json"], "--json both write to stdout"),
        (["fit", "-d", "digits", "--json"], "--json both write to stdout"),
        (["apply", "digits/mini", "x.png", "y.png"], "no such image"),
    ],
)
def test_two_results_do_not_share_stdout(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "-o", "-"]) != 0
    out, err = capsys.readouterr()
    assert out == "" and said in err


def test_several_images_do_not_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    save_image(Path("y.png"))
    assert main(["apply", "digits/mini", "x.png", "y.png", "-o", "-"]) == 2
    assert "2 images do not fit into one file" in capsys.readouterr().err


def test_a_terminal_is_not_filled_with_bytes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "is_live", lambda stream: stream is sys.stdout)
    for words in (["apply", "digits/mini", "x.png"], ["export", "digits/mini"]):
        assert main([*words, "-o", "-"]) == 2
        out, err = capsys.readouterr()
        assert out == "" and "would fill the terminal" in err


def test_several_images_need_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    save_image(Path("y.png"))
    assert main(["apply", "digits/mini", "x.png", "y.png"]) == 2
    assert "add -o FOLDER/" in capsys.readouterr().err
    assert main(["apply", "digits/mini", "x.png", "y.png", "-o", "."]) == 0
    assert len(list(Path().glob("*.prompted.png"))) == 2


def test_a_benchmark_does_not_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["benchmark", "-d", "digits", "-b", "mini", "-o", "-"]
    assert main(words) == 2
    assert "cannot go to stdout" in capsys.readouterr().err
