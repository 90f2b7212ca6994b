from __future__ import annotations

import os
from pathlib import Path

import pytest

from evpcli.engine.fitting.machine import Finding, examine_folders


def examine(home: Path, monkeypatch: pytest.MonkeyPatch) -> Finding:
    monkeypatch.setenv("EVP_HOME", str(home))
    return next(f for f in examine_folders() if f.name == "registry")


def test_folders_that_do_not_exist_yet_are_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = examine(tmp_path / "new" / "home", monkeypatch)
    assert finding.is_fine
    assert "writable" in finding.value


@pytest.mark.parametrize("plant", [Path.touch, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_a_home_that_is_no_folder_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: object
) -> None:
    plant(tmp_path / "home")  # type: ignore[operator]
    finding = examine(tmp_path / "home", monkeypatch)
    assert not finding.is_fine
    assert f"{tmp_path / 'home'} is no folder" in finding.value


@pytest.mark.skipif(os.geteuid() == 0, reason="root ignores modes")
@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_a_closed_folder_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=mode)
    assert not examine(closed / "home", monkeypatch).is_fine
