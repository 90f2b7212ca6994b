from __future__ import annotations

import json
from pathlib import Path

import pytest

from evpcli.cli import main
from tests.small_data import write_digit_folder


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    """A folder with a prompt for it in the registry."""
    folder = write_digit_folder(tmp_path / "numbers", 6, 8)
    assert main(["fit", "-d", str(folder), "--epochs", "1", "--batch-size", "16"]) == 0
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
    assert rows[3][6].startswith("selected on val")
    assert rows[1][5] != ""  # six classes: top-5 means something
    assert "this is a photo of a {}" in err


def test_classes_are_shown_one_by_one(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = evaluate(capsys, "numbers/mini", "--per-class")
    rows = [line.split("\t") for line in out.splitlines()[1:]]
    assert code == 0
    assert [row[0] for row in rows] == ["five", "four", "one", "three", "two", "zero"]
    assert sum(int(row[1]) for row in rows) == 12


def test_minimum_decides_the_exit_code(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = evaluate(capsys, "numbers/mini", "--json")[1]
    top1 = next(m["top1"] for m in json.loads(out)["metrics"] if m["what"] == "prompted")
    assert evaluate(capsys, "numbers/mini", "--min", f"top1={top1}")[0] == 0
    code, out, err = evaluate(capsys, "numbers/mini", "--min", "top1=1", "--split", "test")
    assert code == (0 if top1 == 1 else 7)
    assert ("below the minimum" in err) is (top1 < 1)
    assert out.startswith("measured")


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
    assert "shared; only these are asked about" in err
    assert "on its own test split it reached" in err
    assert int(out.splitlines()[1].split("\t")[4]) < 360


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
    (evp_home / "runs").rename(tmp_path / "elsewhere")
    code, _, err = evaluate(capsys, str(tmp_path / "p.pt"))
    assert code == 4
    assert "-d FOLDER" in err
    assert evaluate(capsys, str(tmp_path / "p.pt"), "-d", str(fitted))[0] == 0
