"""What files and the environment changed is said; what sets nothing is warned of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evpcli.cli import main
from tests.small_data import write_digit_folder


@pytest.fixture(autouse=True)
def _stand_in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_digit_folder(tmp_path / "mine", classes=2)


def plan(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["fit", "-d", "mine", "-b", "mini", "--dry-run", *words]) == 0
    return capsys.readouterr().err


def test_nothing_is_said_where_nothing_was_configured(capsys: pytest.CaptureFixture[str]) -> None:
    err = plan(capsys, "--epochs", "3")
    assert "configured" not in err and "ignored" not in err


def test_each_file_and_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("evp.toml").write_text("[fit]\nepochs = 3\nlr = 4\n")
    Path("mine.toml").write_text("[fit]\nlr = 5\n")
    monkeypatch.setenv("EVP_FIT_BATCH_SIZE", "8")
    err = plan(capsys, "--config", "mine.toml")
    assert "configured: EVP_FIT_BATCH_SIZE sets batch_size; evp.toml sets epochs; " in err
    assert "mine.toml sets lr\n" in err
    assert "lr 5, epochs 3, batch 8" in err
    assert "lr" not in plan(capsys, "--lr", "7").partition("configured: ")[2].partition("\n")[0]


def test_a_variable_that_sets_nothing_is_told_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVP_FIT_EPOCH", "3")
    monkeypatch.setenv("EVP_EVALUATE_SPLITT", "val")
    err = plan(capsys)
    assert (
        "EVP_FIT_EPOCH is no setting of evp fit and is ignored; did you mean EVP_FIT_EPOCHS?" in err
    )
    assert "SPLITT" not in err
    main(["evaluate", "nothing/here"])
    assert "EVP_EVALUATE_SPLITT is no setting of evp evaluate" in capsys.readouterr().err


def test_a_typed_preset_keeps_its_values_and_says_what_it_ignores(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVP_FIT_EPOCHS", "3")
    Path("evp.toml").write_text("[fit]\nbatch_size = 8\n")
    err = plan(capsys, "--preset", "paper")
    assert "epochs 1000, batch 256" in err
    assert "--preset keeps its own batch_size, epochs" in err
    err = plan(capsys, "--preset", "paper", "--epochs", "5")
    assert "epochs 5, batch 256" in err and "keeps its own batch_size:" in err
    monkeypatch.setenv("EVP_FIT_PRESET", "paper")
    assert "epochs 3, batch 8" in plan(capsys)


def test_fit_ends_with_the_gain_and_a_command_that_predicts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["fit", "-d", "mine", "-b", "mini", "--no-probe", "--epochs", "1", "--json"]) == 0
    json.loads(capsys.readouterr().out)
    assert main(["fit", "-d", "mine", "-b", "mini", "--no-probe", "--epochs", "1"]) == 0
    err = capsys.readouterr().err
    assert "with the prompt, " in err and "points against zero-shot" in err
    assert err.rstrip().endswith("evp apply mine/mini:v2 IMAGE --predict")
