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
    assert "epochs 3," in plan(capsys)
    (tmp_path / "evp.toml").write_text("[fit]\nepochs = 5\n")
    said = plan(capsys)
    assert "epochs 5," in said
    assert "seed 4" in said
    assert "epochs 7," in plan(capsys, "--epochs", "7")


@pytest.mark.parametrize(
    "text",
    [
        "[fit",
        "fit = 3",
        "[fit]\nepochz = 3",
        "[fitt]\nepochs = 3",
        "[fit]\nepochs = 'many'",
        "\xff",
        "a = " + "[" * 5000,
        "[fit]\nepochs = " + "9" * 5000,
        "[fit]\nepochs = true",
        "[fit]\nproject = 3",
        "[fit]\ndataset = ['a']",
        "[fit]\ntemplate = 'a {}'",
        "[fit]\noutput = 'p.pt'",
        "[fit]\nresume = 'last'",
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


def test_a_byte_order_mark_and_lists_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = '\ufeff[fit]\ntemplate = ["a {}", "the {}"]\nproject = true\n'
    (tmp_path / "evp.toml").write_text(text, encoding="utf-8")
    assert "plan: " in plan(capsys)


def test_a_wrong_variable_is_said_to_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVP_FIT_EPOCHS", "abc")
    assert main(["fit", "-d", "digits", "--dry-run"]) == 2
    err = capsys.readouterr().err
    assert "--epochs" in err
    assert "the environment" in err
    assert "evp fit --help" in err
