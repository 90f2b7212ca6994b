"""What `fit` and `evaluate` say of people's folders, names and models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evpcli.cli import main
from tests.small_data import write_digit_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_digit_folder(tmp_path / "mine", classes=2, per_class=10)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main([*words])
    out, err = capsys.readouterr()
    return code, out, err


FIT = ("--epochs", "1", "-b", "mini")


def test_left_out_images_are_listed_by_every_verb(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "zero/000.png").write_bytes(b"x")
    (folder / "one/000.png").rename(folder / "one/000.heic")
    words = ("-d", str(folder), "--bad-images", "skip")
    told = ("cannot be decoded and was left out: zero/000.png", "one/000.heic")
    code, out, err = run(capsys, "fit", *words, *FIT, "--json")
    assert code == 0 and all(text in err for text in told)
    document = json.loads(out)
    assert document["left_out"] == ["zero/000.png", "one/000.heic"]
    assert len(document["warnings"]) == 2
    code, out, err = run(capsys, "evaluate", "mine/mini", *words, "--json")
    assert code == 0 and all(text in err for text in told)
    assert json.loads(out)["left_out"] == ["zero/000.png", "one/000.heic"]
    _, _, err = run(capsys, "fit", *words, *FIT, "--dry-run")
    assert all(text in err for text in told)


def test_a_folder_that_was_not_trained_on_is_measured_whole(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_digit_folder(tmp_path / "other", classes=2, per_class=15)
    run(capsys, "fit", "-d", str(folder), *FIT)
    code, out, err = run(capsys, "evaluate", "mine/mini", "-d", str(other), "--json")
    document = json.loads(out)
    assert code == 0 and {m["n"] for m in document["metrics"]} == {30}
    assert "all its 30 images are measured" in err
    assert document["split_rule"].endswith("all of it is measured")
    code, out, _ = run(capsys, "evaluate", "mine/mini", "-d", str(folder), "--json")
    assert {m["n"] for m in json.loads(out)["metrics"]} == {4}


def test_renamed_classes_are_found_again_by_their_folders(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.txt").write_text("a round sign\na tall sign\n")
    run(capsys, "fit", "-d", str(folder), *FIT, "--classnames", "names.txt")
    shutil.copy(folder / "one/000.png", folder / "one/more.png")
    for words in ((), ("-d", str(folder))):
        code, out, _ = run(capsys, "evaluate", "mine/mini", *words, "--json")
        assert code == 0
        assert json.loads(out)["class_names"] == ["a tall sign", "a round sign"][::-1]
    other = write_digit_folder(tmp_path / "other", classes=3, per_class=5)
    code, out, _ = run(capsys, "evaluate", "mine/mini", "-d", str(other), "--json")
    assert code == 0 and json.loads(out)["classes_left_out"]["of_dataset"] == ["two"]


def test_two_folders_of_one_name_share_no_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_digit_folder(tmp_path / "a/photos", classes=2)
    second = write_digit_folder(tmp_path / "b/photos", classes=3)
    run(capsys, "fit", "-d", str(first), *FIT)
    _, _, err = run(capsys, "fit", "-d", str(second), *FIT)
    assert "photos/mini:v1 is for other classes (one, zero)" in err and "--name" in err
    _, out, _ = run(capsys, "inspect", "photos/mini:best", "--json")
    assert json.loads(out)["ref"] == "photos/mini:v2"


def test_texts_that_are_too_long_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentences = {name: [f"a {'very ' * 90}{name} thing"] for name in ("zero", "one")}
    (tmp_path / "long.json").write_text(json.dumps(sentences))
    code, _, err = run(capsys, "fit", "-d", str(folder), *FIT, "--descriptions", "long.json")
    assert code == 0
    assert "2 texts lose their ends, since mini reads 22 tokens: 'a very very" in err


def test_the_plan_says_whether_images_are_mirrored(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, err = run(capsys, "fit", "-d", str(folder), *FIT, "--dry-run")
    assert "not mirrored (the classes are numbers or letters, such as 'one')" in err
    _, _, err = run(capsys, "fit", "-d", str(folder), *FIT, "--flip", "--dry-run")
    assert "mirrored at random" in err
    _, _, err = run(capsys, "fit", "-d", "digits", "--dry-run")
    assert ", not mirrored, " in err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("openai/clip-vit-base-patch32", "that is -b ViT-B/32 here"),
        ("hf-hub:openai/clip-vit-large-patch14-336", "that is -b ViT-L/14@336px here"),
        ("hf-hub:timm/vit_base_patch32_clip_224.laion2b_e16", "that is -b ViT-B-32.laion2b_e16"),
        ("resnet50", "-b torchvision/resnet50 or -b timm/resnet50"),
        ("hf-hub:nobody/nothing", "name a model by open_clip's MODEL.TAG"),
        ("ViT-B/23", "did you mean ViT-B/32"),
    ],
)
def test_models_as_others_name_them(
    name: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "fit", "-d", str(folder), "-b", name)
    assert code == 4 and said in err
