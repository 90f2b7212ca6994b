from __future__ import annotations

from pathlib import Path

import pytest

from evpcli.cli import main


def plan(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["fit", "-d", "digits", "--dry-run", *words]) == 0
    return capsys.readouterr().err


def test_local_file_lies_before_the_users_own(
    tmp_path: Path,
    evp_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    evp_home.mkdir()
    (evp_home / "config.toml").write_text("[fit]\nepochs = 3\nseed = 4\n")
    assert "3 epochs" in plan(capsys)
    (tmp_path / "evp.toml").write_text("[fit]\nepochs = 5\n")
    said = plan(capsys)
    assert "5 epochs" in said
    assert "seed 4" in said
    assert "7 epochs" in plan(capsys, "--epochs", "7")


@pytest.mark.parametrize(
    "text",
    [
        "[fit",
        "fit = 3",
        "[fit]\nepochz = 3",
        "[fitt]\nepochs = 3",
        "[fit]\nepochs = 'many'",
        "\xff",
    ],
)
def test_a_file_that_is_wrong_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evp.toml").write_bytes(text.encode("latin-1"))
    assert main(["fit", "-d", "digits", "--dry-run"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
