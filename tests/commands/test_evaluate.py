from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from evpcli.cli import main
from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.images.decoder import load_square
from evpcli.engine.prompts.prompt_file import StoredPrompt, read_prompt_file
from evpcli.engine.prompts.visual_prompt import clipped_share
from tests.shelf import load_mini, narrow_the_model
from tests.small_data import write_digit_folder


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    """A folder with a prompt for it in the registry."""
    folder = write_digit_folder(tmp_path / "numbers", 6, 8)
    assert (
        main(
            [
                "fit",
                "-d",
                str(folder),
                "-b",
                "mini",
                "--epochs",
                "1",
                "--batch-size",
                "16",
                "--no-probe",
            ]
        )
        == 0
    )
    return folder


def evaluate(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["evaluate", *words])
    return code, *capsys.readouterr()


def test_the_numbers_of_the_fit_come_back(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "numbers/mini", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    for split in ("val", "test"):
        code, out, _ = evaluate(capsys, "numbers/mini", "--split", split, "--json")
        assert code == 0
        found = {m["what"]: (m["n"], m["top1"]) for m in json.loads(out)["metrics"]}
        kept = [m for m in card["manifest"]["metrics"] if m["split"] == split]
        assert found == {m["what"]: (m["n"], m["top1_correct"] / m["n"]) for m in kept}


def test_baselines_stand_beside_the_prompted_number(
    fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = evaluate(capsys)
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["measured", "zero-shot", "blank", "prompted"]
    assert rows[3][7].startswith("selected on val")
    assert rows[1][6] != ""  # six classes: top-5 means something
    assert "this is a photo of a {}" in err


def test_classes_are_shown_one_by_one(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = evaluate(capsys, "numbers/mini", "--per-class")
    _, classes = out.split("\n\n")
    rows = [line.split("\t") for line in classes.splitlines()[1:]]
    assert code == 0
    assert [row[0] for row in rows] == ["five", "four", "one", "three", "two", "zero"]
    assert sum(int(row[1]) for row in rows) == 12


def test_rows_of_classes_leave_out_nothing_that_was_measured(
    fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--baseline", "noise", "--through-png", "--corrupt", "darkness:1"]
    _, plain, _ = evaluate(capsys, *words)
    _, out, _ = evaluate(capsys, *words, "--per-class")
    assert out.startswith(plain + "\nclass\t")
    assert plain.count("\n") == 8


def test_pictures_that_were_learned_from_are_said_to_be_no_estimate(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, probe = "so this accuracy is too high; use --split test", ["--baseline", "linear-probe"]
    _, _, err = evaluate(capsys, "--split", "train")
    assert f"warning: these are training images of the prompt, {said}" in err
    _, _, err = evaluate(capsys, "--split", "train", *probe)
    assert f"warning: these are training images of the prompt and the linear probe, {said}" in err
    for split in ("val", "test"):
        assert said not in evaluate(capsys, "--split", split, *probe)[2]
    others = ["-d", str(write_digit_folder(tmp_path / "others", 6, 12)), "--split", "train"]
    assert said not in evaluate(capsys, "numbers/mini", *others)[2]
    _, _, err = evaluate(capsys, *others, *probe)
    assert f"warning: these are training images of the linear probe, {said}" in err


def test_minimum_decides_the_exit_code(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = evaluate(capsys, "numbers/mini", "--json")[1]
    top1 = next(m["top1"] for m in json.loads(out)["metrics"] if m["what"] == "prompted")
    assert evaluate(capsys, "numbers/mini", "--min", f"top1={top1}")[0] == 0
    code, out, err = evaluate(capsys, "numbers/mini", "--min", "top1=1", "--split", "test")
    assert code == (0 if top1 == 1 else 7)
    assert ("below the minimum" in err) is (top1 < 1)
    assert out.startswith("measured")


def test_a_switch_of_the_constant_answer_is_no_gain_by_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count, colour in (("common", 90, (40, 200, 40)), ("rare", 10, (200, 40, 40))):
        (tmp_path / "uneven" / name).mkdir(parents=True)
        for number in range(count):
            picture = Image.new("RGB", (32, 32), tuple(c + number % 30 for c in colour))
            picture.save(tmp_path / "uneven" / name / f"{number}.png")
    assert (
        main(["fit", "-d", str(tmp_path / "uneven"), "-b", "mini", "--epochs", "2", "--no-probe"])
        == 0
    )
    said = "top-1 rose with the prompt, but mean per-class accuracy did not (50.0 % against 50.0 %)"
    fit_out, fit_err = capsys.readouterr()
    _, out, err = evaluate(capsys, "uneven/mini")
    _, json_out, _ = evaluate(capsys, "uneven/mini", "--json")
    assert f"warning: on val {said}" in fit_err and f"warning: on test {said}" in err
    for table in (fit_out, out):
        headers, *rows = (line.split("\t") for line in table.splitlines())
        assert {row[headers.index("per class %")] for row in rows} == {"50.0"}
    metrics = {m["what"]: m for m in json.loads(json_out)["metrics"]}
    assert metrics["zero-shot"]["top1"] == 0.1 and metrics["prompted"]["top1"] == 0.9
    assert metrics["prompted"]["mean_per_class"] == 0.5
    assert evaluate(capsys, "uneven/mini", "--min", "mean_per_class=0.5")[0] == 0
    code, _, err = evaluate(capsys, "uneven/mini", "--min", "mean_per_class=0.6")
    assert code == 7 and "mean per-class accuracy is below the minimum: 0.5000 < 0.6" in err
    assert main(["inspect", "uneven/mini"]) == 0
    card = capsys.readouterr().out
    assert (
        "mean_per_class\ttest: 50.0 % with the prompt, +0.0 points against zero-shot 50.0 %" in card
    )


def test_other_pictures_of_the_same_classes_are_said_to_be_others(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_digit_folder(tmp_path / "others", 6, 12)
    code, _, err = evaluate(capsys, "numbers/mini", "-d", str(other))
    assert code == 0
    assert "not the pictures" in err


def test_only_shared_classes_of_other_pictures_are_asked_about(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = evaluate(capsys, "numbers/mini", "-d", "digits")
    assert code == 0
    assert "classes shared: 6 of its 6; only these are asked about" in err
    assert "on its own test split it reached" in err
    assert int(out.splitlines()[1].split("\t")[4]) < 360


def test_a_dataset_that_shares_no_class_is_refused(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = write_digit_folder(tmp_path / "others", 3, 6)
    for number, folder in enumerate(sorted(others.iterdir())):
        folder.rename(others / f"thing {number}")
    code, out, err = evaluate(capsys, "numbers/mini", "-d", str(others))
    assert (code, out) == (5, "")
    assert "share no class" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["digits/mini"], 4, "no such prompt"),
        (["./nothing.pt"], 4, "nothing.pt"),
        (["what"], 2, "does not address"),
        ([], 4, "evp fit -d digits"),
        (["digits/mini", "--min", "top5=1"], 2, "--min"),
        (["digits/mini", "--min", "top1=2"], 2, "--min"),
        (["digits/mini", "--split", "all"], 2, "--split"),
        (["digits/mini", "--baseline", "nois"], 2, "did you mean noise"),
        (["digits/mini", "--baseline", "noise,luck"], 2, "no such baseline"),
        (["digits/mini", "--corrupt", "jpg"], 2, "no corruption"),
        (["digits/mini", "--corrupt", "jpeg:6"], 2, "no such severity"),
        (["digits/mini", "--corrupt", "jpeg:3..1"], 2, "no such severity"),
    ],
)
def test_mistakes_are_said_on_one_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = evaluate(capsys, *words)
    assert (found, out) == (code, "")
    assert said in err.splitlines()[-1]


def test_a_prompt_for_another_backbone_is_refused(
    fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = evaluate(capsys, "numbers/mini", "--backbone", "ViT-B/32")
    assert (code, out) == (5, "")
    assert "another backbone" in err


def test_a_prompt_from_elsewhere_needs_its_pictures_named(
    fitted: Path, tmp_path: Path, evp_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "numbers/mini", "-o", str(tmp_path / "p.pt")]) == 0
    for known in ("runs", "folders"):
        (evp_home / known).rename(tmp_path / f"elsewhere-{known}")
    code, _, err = evaluate(capsys, str(tmp_path / "p.pt"))
    assert code == 4
    assert "-d FOLDER" in err
    assert evaluate(capsys, str(tmp_path / "p.pt"), "-d", str(fitted))[0] == 0


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home, pictures of six digits, and three prompt files for them.

    `free` has a border far outside [0, 1], `bound` one inside it, `vp` an overlaid one.
    """
    root = tmp_path_factory.mktemp("shelf")
    folder = write_digit_folder(root / "numbers", 6, 20)
    common = [
        "fit",
        "-d",
        str(folder),
        "-b",
        "mini",
        "--epochs",
        "2",
        "--batch-size",
        "16",
        "--seed",
        "1",
    ]
    ways = {
        "free": ["--lr", "60", "--init", "normal"],
        "bound": ["--lr", "30", "--project"],
        "vp": ["--method", "vp"],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVP_HOME", str(root / "home"))
        for way, words in ways.items():
            assert main([*common, *words, "-o", str(root / f"{way}.pt")]) == 0
    return root


@pytest.fixture
def place(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, and its home in use."""
    monkeypatch.setenv("EVP_HOME", str(shelf / "home"))
    return shelf


def measure(capsys: pytest.CaptureFixture[str], *words: str) -> dict[tuple[str, str], float]:
    """Top-1 by kind and condition."""
    code, out, _ = evaluate(capsys, *words, "--json")
    assert code == 0
    rows = [((m["what"], m["condition"]), m["top1"]) for m in json.loads(out)["metrics"]]
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def ask_mini(stored: StoredPrompt, canvases: Tensor) -> Tensor:
    """(batch, classes) scores of canvases in pixel space."""
    manifest = stored.manifest
    with torch.inference_mode():
        scores: Tensor = load_mini().build_classifier(manifest.class_names, manifest.templates)(
            canvases
        )
    return scores


@pytest.mark.parametrize("way", ["free", "bound", "vp"])
def test_through_png_is_the_accuracy_of_the_pictures_that_apply_writes(
    way: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = read_prompt_file(place / f"{way}.pt")
    share = clipped_share(stored.to_visual_prompt())
    assert share == 0 if way == "bound" else share > 0.3
    pictures = load_dataset(str(place / "numbers"), root=place, offline=True).splits["test"]
    (tmp_path / "in").mkdir()
    for number in range(len(pictures)):
        pictures.open_image(number).save(tmp_path / "in" / f"{number:03}.png")
    words = [str(place / f"{way}.pt"), str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    assert main(["apply", *words]) == 0
    read = [np.asarray(Image.open(file)) for file in sorted((tmp_path / "out").iterdir())]
    canvases = torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).float() / 255
    right = (ask_mini(stored, canvases).argmax(1) == torch.tensor(pictures.labels)).float()
    found = measure(capsys, words[0], "--through-png")
    assert found[("through-png", "")] == pytest.approx(float(right.mean()))
    if way == "bound":  # rounding alone may move a picture
        assert abs(found[("through-png", "")] - found[("prompted", "")]) <= 1 / len(pictures)


def test_further_baselines_come_in_a_fixed_order_and_the_same_each_time(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(place / "free.pt"), "--baseline", "linear-probe, noise,zero-shot", "--through-png"]
    found = measure(capsys, *words)
    names = ["zero-shot", "blank", "prompted", "through-png", "noise", "linear-probe"]
    assert list(found) == [(name, "") for name in names]
    assert measure(capsys, *words) == found
    _, out, _ = evaluate(capsys, *words)
    stamps = {row.split("\t")[0]: row.split("\t")[7] for row in out.splitlines()[1:]}
    assert stamps.pop("linear-probe") == "selected on val"
    chosen = {name for name, stamp in stamps.items() if stamp != "none"}
    assert chosen == {"prompted", "through-png"}


def test_corrupted_pictures_stand_against_clean_ones(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(place / "free.pt"), "--corrupt", "darkness:5", "--corrupt", "gaussian-noise:1..2"]
    found = measure(capsys, *words)
    conditions = ["", "darkness:5", "gaussian-noise:1", "gaussian-noise:2"]
    assert list(dict.fromkeys(condition for _, condition in found)) == conditions
    assert [what for what, condition in found if condition] == ["zero-shot", "prompted"] * 3
    assert measure(capsys, *words) == found
    _, out, _ = evaluate(capsys, *words)
    header, *rows = [line.split("\t") for line in out.splitlines()]
    assert header[-2:] == ["condition", "against clean"]
    for row in rows:
        condition = row[-2].replace("clean", "")
        points = 100 * (found[(row[0], condition)] - found[(row[0], "")])
        assert row[-1] == (f"{points:+.1f}" if condition else "")


def test_the_minimum_is_held_against_clean_pictures(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(place / "bound.pt"), "--corrupt", "darkness:5"]
    top1 = measure(capsys, *words)[("prompted", "")]
    assert evaluate(capsys, *words, "--min", f"top1={top1}")[0] == 0


def write_other_classes(root: Path) -> Path:
    """Zero to two under other class numbers, one of them spelt otherwise, and a stranger."""
    others = write_digit_folder(root, 3, 30)
    (others / "two").rename(others / "Two")
    (others / "aardvark").mkdir()
    for number in range(5):
        Image.new("RGB", (20, 20), (50 * number, 0, 0)).save(others / "aardvark" / f"{number}.png")
    return others


def test_only_the_shared_classes_of_another_dataset_may_be_answered(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = write_other_classes(tmp_path / "others")
    words = [str(place / "bound.pt"), "-d", str(others), "--baseline", "noise,linear-probe"]
    code, out, err = evaluate(capsys, *words, "--json")
    assert code == 0
    assert "classes shared: 3 of its 6; only" in err
    found = json.loads(out)
    assert found["same_data"] is False
    assert found["class_names"] == ["one", "two", "zero"]
    left_out = {"of_dataset": ["aardvark"], "of_prompt": ["five", "four", "three"]}
    assert found["classes_left_out"] == left_out

    stored = read_prompt_file(place / "bound.pt")
    dataset = load_dataset(str(others), root=tmp_path, offline=True)
    pictures, prompt, right = dataset.splits["test"], stored.to_visual_prompt(), []
    columns = [stored.manifest.class_names.index(name) for name in found["class_names"]]
    for number, label in enumerate(pictures.labels):
        name = dataset.class_names[label].lower()
        if name == "aardvark":
            continue
        square = load_square(pictures.open_image(number), prompt.geometry.image_px, "bicubic")
        scores = ask_mini(stored, prompt.frame(square[None].float() / 255).detach())
        right.append(found["class_names"][int(scores[0, columns].argmax())] == name)
    [prompted] = [m for m in found["metrics"] if m["what"] == "prompted"]
    assert prompted["n"] == len(right) == sum(c["n"] for c in found["classes"])
    assert prompted["top1"] == pytest.approx(sum(right) / len(right))


def write_divided(root: Path, **classes: tuple[int, int]) -> Path:
    """Class folders under `train` and `test`, with so many pictures in each."""
    for name, counts in classes.items():
        for split, count in zip(("train", "test"), counts, strict=True):
            for number in range(count):
                (root / split / name).mkdir(parents=True, exist_ok=True)
                grey = (20 * number, 20 * number, len(name))
                Image.new("RGB", (20, 20), grey).save(root / split / name / f"{number}.png")
    return root


def test_a_split_without_shared_classes_is_said_on_one_line(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = write_divided(tmp_path / "others", zero=(6, 0), cat=(6, 4))
    code, out, err = evaluate(capsys, "numbers/mini", "-d", str(others))
    assert (code, out) == (5, "")
    assert "test split of others has no picture" in err.splitlines()[-1]


def test_a_probe_without_validation_pictures_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from evpcli.engine.evaluation import evaluate_prompt as assessing

    def refuse(*values: object, **options: object) -> None:
        raise AssertionError("it was measured first")

    folder = write_digit_folder(tmp_path / "numbers", 3, 8)
    assert (
        main(["fit", "-d", str(folder), "-b", "mini", "--epochs", "1", "--protocol", "paper"]) == 0
    )
    monkeypatch.setattr(assessing, "compare_prompt", refuse)
    code, out, err = evaluate(capsys, "numbers/mini", "--baseline", "linear-probe")
    assert (code, out) == (2, "")
    assert "numbers has none" in err
    assert "leave linear-probe out" in err
    assert "use --protocol" not in err


def test_fewer_pictures_at_a_time_where_memory_runs_out(
    fitted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, plain, _ = evaluate(capsys, "--json")
    narrow_the_model(monkeypatch, 9)
    code, out, err = evaluate(capsys, "--json")
    assert (code, out) == (0, plain)
    assert err.count("do not fit into memory") == 1
    assert "12 pictures at a time do not fit into memory, going on with 6" in err


def test_a_fixed_batch_that_does_not_fit_is_answered_with_one_that_does(
    fitted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow_the_model(monkeypatch, 9)
    code, _, err = evaluate(capsys, "--batch-size", "32")
    assert code == 9
    assert "use --batch-size 8" in err


@pytest.mark.parametrize("text", ["0", "many", "-1", "9999999", "1.5", "²"])
def test_a_batch_size_is_auto_or_a_number(
    text: str, fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = evaluate(capsys, "--batch-size", text)
    assert code == 2
    assert "--batch-size takes auto or a whole number" in err
