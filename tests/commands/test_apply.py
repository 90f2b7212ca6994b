from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from evpcli.cli import main
from evpcli.engine.images.decoder import decode_image, load_square
from evpcli.engine.prompts.prompt_file import encode_prompt
from evpcli.engine.rendering.canvases import (
    render_canvas,
    render_prompt,
    render_prompted,
    to_picture,
)
from tests.builders import SMALL, build_manifest, build_pixels
from tests.shelf import build_mini_manifest, draw_image, encode_image, save_image, store_prompt


@pytest.fixture(autouse=True)
def _stand_in_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)


def read_rows(text: str) -> list[dict[str, str]]:
    head, *lines = [line.split("\t") for line in text.splitlines()]
    return [dict(zip(head, line, strict=True)) for line in lines]


def load_picture(path: str) -> Image.Image:
    with Image.open(path) as picture:
        return picture.copy()


def feed_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_writes_the_prompted_picture_beside_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    stored = store_prompt()
    image = save_image(Path("pictures/cat.png"))
    assert main(["apply", "digits/mini", str(image)]) == 0
    square = load_square(decode_image(image), SMALL.window_px)
    expected = to_picture(render_prompted(square, stored.to_visual_prompt()))
    found = load_picture("cat.prompted.png")
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    out, err = capsys.readouterr()
    assert read_rows(out) == [{"image": "pictures/cat.png", "output": "cat.prompted.png"}]
    assert "of border values clipped" in err


def test_takes_files_folders_and_patterns_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt()
    for name in ("a/one.png", "a/deep/two.jpg", "b/three.webp", "b/four.png"):
        save_image(Path(name))
    Path("a/notes.txt").write_text("no picture")
    assert main(["apply", "digits/mini", "a", "b/*.png", "b/four.png", "-o", "out"]) == 0
    out, err = capsys.readouterr()
    assert [row["image"] for row in read_rows(out)] == ["a/deep/two.jpg", "a/one.png", "b/four.png"]
    assert sorted(os.listdir("out")) == [f"{name}.prompted.png" for name in ("four", "one", "two")]
    assert "1 file ignored" in err


def test_equal_names_from_two_folders_are_both_kept() -> None:
    store_prompt()
    save_image(Path("a/x.png"), seed=1)
    save_image(Path("b/x.png"), seed=2)
    assert main(["apply", "digits/mini", "a", "b", "-o", "."]) == 0
    assert Path("a-x.prompted.png").read_bytes() != Path("b-x.prompted.png").read_bytes()


def test_reads_one_image_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    store_prompt()
    feed_stdin(monkeypatch, encode_image(draw_image(), "JPEG"))
    assert main(["apply", "digits/mini", "-"]) == 0
    assert load_picture("stdin.prompted.png").size == (16, 16)


def test_bad_stdin_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store_prompt()
    feed_stdin(monkeypatch, b"not an image")
    assert main(["apply", "digits/mini", "-"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "stdin cannot be decoded" in err


@pytest.mark.parametrize("what", ["prompted", "canvas", "prompt"])
@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_exact_formats_hold_the_float_canvas(what: str, kind: str) -> None:
    stored = store_prompt()
    image = save_image(Path("cat.png"))
    words = [] if what == "prompt" else [str(image)]
    output = f"exact.{kind}"
    assert main(["apply", "digits/mini", *words, "--what", what, "--to", kind, "-o", output]) == 0
    square = load_square(decode_image(image), SMALL.window_px)
    prompt = stored.to_visual_prompt()
    expected = {
        "prompted": render_prompted(square, prompt),
        "canvas": render_canvas(square, SMALL),
        "prompt": render_prompt(prompt),
    }[what]
    if kind == "npz":
        with np.load(output, allow_pickle=False) as archive:
            found = torch.from_numpy(archive["canvas"])
            assert str(archive["prompt"]) == stored.digest
    else:
        found = load_file(output)["canvas"]
    assert torch.equal(found, expected)


def test_the_border_alone_is_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    stored = store_prompt()
    image = save_image(Path("cat.png"))
    assert main(["apply", "digits/mini:v1", str(image), str(image), "--what", "prompt"]) == 0
    assert "written once" in capsys.readouterr().err
    found = load_picture("digits-mini-v1.prompt.png")
    np.testing.assert_array_equal(np.asarray(found), np.asarray(to_picture(stored.pixels)))


def test_sheet_is_large_enough_to_see() -> None:
    store_prompt()
    assert main(["apply", "digits/mini", str(save_image(Path("cat.png"))), "--what", "sheet"]) == 0
    width, height = load_picture("cat.sheet.png").size
    assert width > 4 * 224
    assert height > 224


def test_a_prompt_file_needs_no_registry(tmp_path: Path) -> None:
    file = tmp_path / "my.pt"
    file.write_bytes(encode_prompt(build_pixels(), build_manifest()))
    assert main(["apply", str(file), str(save_image(Path("cat.png")))]) == 0
    assert main(["apply", str(file), "--what", "prompt"]) == 0
    assert Path("my.prompt.png").exists()


def test_predict_names_classes_and_probabilities(capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt(build_mini_manifest())
    image = str(save_image(Path("cat.png")))
    assert main(["apply", "digits/mini", image, "--predict", "--device", "cpu", "--offline"]) == 0
    [row] = read_rows(capsys.readouterr().out)
    assert {row[f"class_{rank}"] for rank in (1, 2, 3)} == {"zero", "one", "two"}
    shares = [float(row[f"p_{rank}"]) for rank in (1, 2, 3)]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=2e-4)


def test_predictions_are_written_on_the_sheet_and_in_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store_prompt(build_mini_manifest())
    image = str(save_image(Path("cat.png")))
    words = ["apply", "digits/mini", image, "--what", "sheet"]
    assert main([*words, "-o", "plain.png"]) == 0
    capsys.readouterr()
    assert main([*words, "-o", "told.png", "--predict", "--top", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["images"][0]["predictions"]) == 1
    assert load_picture("told.png").height > load_picture("plain.png").height


def test_json_tells_outputs_failures_and_clipping(capsys: pytest.CaptureFixture[str]) -> None:
    stored = store_prompt()
    save_image(Path("in/cat.png"))
    Path("in/bad.png").write_bytes(b"")
    assert main(["apply", "digits/mini", "in", "-o", ".", "--json"]) == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["digest"] == stored.digest
    assert [item["output"] for item in document["images"]] == ["cat.prompted.png"]
    assert [item["image"] for item in document["failed"]] == ["in/bad.png"]
    border = build_pixels()[build_pixels() != 0]
    expected = float(((border < 0) | (border > 1)).float().mean())
    assert document["clipped_share"] == pytest.approx(expected)
    assert "1 of 2 images was left out" in err


def test_nothing_is_overwritten_without_force(capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt()
    save_image(Path("in/a.png"))
    save_image(Path("in/b.png"))
    Path("b.prompted.png").write_bytes(b"mine")
    assert main(["apply", "digits/mini", "in", "-o", "."]) == 1
    assert "exists already: b.prompted.png; add --force" in capsys.readouterr().err
    assert sorted(os.listdir()) == ["b.prompted.png", "in"]
    assert Path("b.prompted.png").read_bytes() == b"mine"
    assert main(["apply", "digits/mini", "in", "-o", ".", "--force"]) == 0
    assert load_picture("b.prompted.png").size == (16, 16)


def test_force_does_not_replace_the_image_itself() -> None:
    store_prompt()
    before = save_image(Path("cat.png")).read_bytes()
    assert main(["apply", "digits/mini", "cat.png", "-o", "cat.png", "--force"]) == 2
    assert Path("cat.png").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["cat.png", "-o", "x.jpg"], 2, "JPEG at quality 95"),
        (["cat.png", "-o", "x.tiff"], 2, "must end in .png"),
        (["cat.png", "cat2.png", "-o", "x.png"], 2, "2 images do not fit"),
        (["cat.png", "--what", "sheet", "--to", "npz"], 2, "a sheet is a picture"),
        (["cat.png", "--what", "everything"], 2, "everything"),
        (["cat.png", "--top", "2"], 2, "--top needs --predict"),
        (["cat.png", "--predict", "--top", "0"], 2, "top"),
        (["--what", "prompt", "--predict"], 2, "shows no class"),
        ([], 2, "there is no image"),
        (["nowhere.png"], 4, "no such image"),
        (["no*.png"], 4, "no such image"),
        (["empty"], 4, "there is no picture"),
        (["cat.png", "-b", "ViT-B/32"], 5, "learned for another backbone"),
        (["cat.png", "-o", "cat.png/deep/"], 8, "folder cannot be made"),
    ],
)
def test_wrong_words_are_explained(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store_prompt()
    save_image(Path("cat.png"))
    save_image(Path("cat2.png"))
    Path("empty").mkdir()
    before = sorted(os.listdir())
    assert main(["apply", "digits/mini", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("ref", "code"), [("digits/other", 4), ("./none.pt", 4), ("cat.pt", 5), ("what is this", 2)]
)
def test_wrong_prompts_are_explained(
    ref: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    store_prompt()
    image = save_image(Path("cat.png"))
    Path("cat.pt").write_bytes(image.read_bytes())
    assert main(["apply", ref, "cat.png"]) == code
    assert "Traceback" not in capsys.readouterr().err
    assert sorted(os.listdir()) == ["cat.png", "cat.pt"]


def test_predict_refuses_a_prompt_for_another_canvas(capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt()  # calls itself mini, but has a canvas of 16 px
    assert main(["apply", "digits/mini", str(save_image(Path("cat.png"))), "--predict"]) == 5
    assert "learned for another" in capsys.readouterr().err


def test_predict_never_loads_what_a_file_names(capsys: pytest.CaptureFixture[str]) -> None:
    stored = store_prompt(build_manifest(backbone="hf-hub:attacker/model"))
    words = ["apply", stored.digest[:12], str(save_image(Path("cat.png"))), "--predict"]
    assert main(words) == 4
    assert "no such backbone" in capsys.readouterr().err


def test_predict_needs_class_names(capsys: pytest.CaptureFixture[str]) -> None:
    store_prompt(build_mini_manifest(class_names=()))
    assert main(["apply", "digits/mini", str(save_image(Path("cat.png"))), "--predict"]) == 5
    assert "which classes" in capsys.readouterr().err


def test_hostile_names_cannot_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("\x1b]0;owned\x07one", "[bold]two[/bold]", "three\nfour")
    store_prompt(build_mini_manifest(class_names=names))
    save_image(Path("in/\x1b[31mred.png"))
    Path("in/\x1b[31mbad.png").write_bytes(b"")
    assert main(["apply", "digits/mini", "in", "-o", ".", "--predict"]) == 1
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert len(out.splitlines()) == 2
    assert "[bold]two[/bold]" in out
