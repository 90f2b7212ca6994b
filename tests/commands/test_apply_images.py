from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evpcli.cli import main
from tests.shelf import (
    build_mini_manifest,
    draw_image,
    encode_image,
    save_image,
    store_prompt,
)


@pytest.fixture(autouse=True)
def _stand_in_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


BOMB = b"P6 60000 60000 255\n"
BAD_IMAGES = {
    "truncated.png": truncate(encode_image(draw_image((400, 300)))),
    "truncated.jpg": truncate(encode_image(draw_image((400, 300)), "JPEG")),
    "empty.png": b"",
    "text.jpg": b"hello, I am no picture\n",
    "page.png": b"<!doctype html><html></html>",
    "huge.ppm": BOMB,
    "float.tif": encode_image(Image.new("F", (4, 4)), "TIFF"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_image_is_named_and_skipped(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt()
    save_image(Path("in/good.png"))
    Path("in", name).write_bytes(BAD_IMAGES[name])
    assert main(["apply", "digits/mini", "in", "-o", "out"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[1:] == ["in/good.png\tout/good.prompted.png"]
    assert os.listdir("out") == ["good.prompted.png"]
    assert f"left out: in/{name}" in err
    assert "Traceback" not in err


def test_only_bad_images_leave_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt()
    Path("bad.png").write_bytes(b"")
    assert main(["apply", "digits/mini", "bad.png"]) == 1
    assert capsys.readouterr().out == ""
    assert os.listdir() == ["bad.png"]


def save_odd_image(kind: str) -> Path:
    picture = draw_image()
    if kind == "1x1":
        picture.resize((1, 1)).save("odd.png")
    elif kind == "cmyk":
        picture.convert("CMYK").save("odd.jpg")
    elif kind == "16-bit":
        Image.fromarray(np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40)).save(
            "odd.png"
        )
    elif kind == "palette with alpha":
        picture.quantize(16).save("odd.png", transparency=3)
    elif kind == "animated":
        picture.save("odd.gif", save_all=True, append_images=[draw_image(seed=9)])
    return next(Path().glob("odd.*"))


@pytest.mark.parametrize("kind", ["1x1", "cmyk", "16-bit", "palette with alpha", "animated"])
def test_odd_images_are_understood(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt()
    image = save_odd_image(kind)
    assert main(["apply", "digits/mini", str(image)]) == 0
    with Image.open("odd.prompted.png") as picture:
        assert picture.size == (16, 16)
    assert ("several frames" in capsys.readouterr().err) == (kind == "animated")


def test_rotated_photo_is_set_upright() -> None:
    store_prompt()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = draw_image()
    picture.save("upright.png")
    picture.transpose(Image.Transpose.ROTATE_90).save("turned.png", exif=exif)
    assert main(["apply", "digits/mini", "upright.png", "turned.png", "-o", "."]) == 0
    assert Path("turned.prompted.png").read_bytes() == Path("upright.prompted.png").read_bytes()


def test_batches_and_threads_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt(build_mini_manifest())
    for seed in range(7):
        save_image(Path("in", f"{seed}.png"), seed)
    Path("in", "4b.png").write_bytes(BAD_IMAGES["text.jpg"])
    found = []
    for number, words in enumerate(
        (["--batch-size", "1", "--workers", "1"], ["--batch-size", "3"])
    ):
        code = main(["apply", "digits/mini", "in", "--predict", "-o", f"out{number}", *words])
        out, err = capsys.readouterr()
        assert code == 1
        assert err.count("left out: in/4b.png") == 1
        found.append([line.replace(f"out{number}", "out") for line in out.splitlines()])
        assert len(os.listdir(f"out{number}")) == 7
    assert found[0] == found[1]
    assert [line.split("\t")[0] for line in found[0][1:]] == [f"in/{seed}.png" for seed in range(7)]
    for name in os.listdir("out0"):
        assert Path("out0", name).read_bytes() == Path("out1", name).read_bytes()
