from __future__ import annotations

from pathlib import Path

import pytest

from evpcli.domain.errors import UsageError
from evpcli.engine.files.paths import (
    expand_path,
    find_cache,
    find_datasets,
    find_home,
    find_registry,
    find_runs,
)


def test_one_variable_moves_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVP_HOME", str(tmp_path / "here"))
    for find in (find_home, find_cache, find_datasets, find_registry, find_runs):
        assert find().is_relative_to(tmp_path / "here")


def test_without_it_the_platforms_folders_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVP_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert find_registry().is_relative_to(tmp_path)
    assert not find_datasets().is_relative_to(find_home())


def test_a_tilde_is_the_users_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EVP_HOME", "~/kept")
    assert find_home() == tmp_path / "kept"


def test_paths_are_expanded_or_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_path("~/x") == tmp_path / "x"
    assert expand_path(Path("a/~b")) == Path("a/~b")
    with pytest.raises(UsageError, match="home folder"):
        expand_path("~nobody-at-all/x")
