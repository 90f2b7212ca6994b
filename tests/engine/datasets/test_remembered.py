from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from evpcli.domain.errors import NotFoundError, StorageError
from evpcli.engine.datasets.catalog import find_dataset_spec, find_own_folder, load_dataset
from evpcli.engine.datasets.remembered import list_remembered, recall_folder, remember_folder
from evpcli.engine.files.paths import find_folders
from tests.small_data import write_digit_folder


def test_a_folder_is_recalled_by_its_name(tmp_path: Path) -> None:
    assert recall_folder("flowers") is None and list_remembered() == {}
    remember_folder("flowers", tmp_path / "a")
    remember_folder("birds", Path(os.fsdecode(b"/odd\xff")))
    assert recall_folder("flowers") == tmp_path / "a"
    remember_folder("flowers", tmp_path / "b")
    assert list_remembered() == {
        "birds": Path(os.fsdecode(b"/odd\xff")),
        "flowers": tmp_path / "b",
    }


@pytest.mark.parametrize("name", ["../x", "", "a/b", "nul\0", "x" * 300, "~"])
def test_what_cannot_be_a_name_is_not_looked_up(name: str) -> None:
    assert recall_folder(name) is None


@pytest.mark.parametrize("junk", ["", "{}", "[1]", '{"folder": "relative"}', "[" * 100_000])
def test_junk_is_as_if_nothing_was_remembered(junk: str) -> None:
    find_folders().mkdir(parents=True)
    (find_folders() / "flowers.json").write_text(junk)
    assert recall_folder("flowers") is None and list_remembered() == {}
    remember_folder("flowers", Path("/there"))
    assert json.loads((find_folders() / "flowers.json").read_text()) == {"folder": "/there"}


def test_a_remembered_name_loads_its_folder_under_that_name(tmp_path: Path) -> None:
    folder = write_digit_folder(tmp_path / "pictures")
    remember_folder("my-numbers", folder)
    assert find_dataset_spec("my-numbers") is None
    assert find_own_folder("my-numbers").path == folder
    dataset = load_dataset("my-numbers", root=tmp_path / "cache")
    assert dataset.name == "my-numbers"
    assert load_dataset(str(folder), root=tmp_path / "cache").name == "pictures"
    assert load_dataset("my-numbers", root=tmp_path / "cache", name="other").name == "other"


def test_a_folder_that_is_here_goes_before_one_that_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_folder("numbers", write_digit_folder(tmp_path / "there"))
    here = write_digit_folder(tmp_path / "here" / "numbers")
    monkeypatch.chdir(here.parent)
    assert find_own_folder("numbers").path == here
    monkeypatch.chdir(tmp_path)
    assert find_own_folder("numbers").path == tmp_path / "there"


def test_a_moved_folder_is_asked_for_and_a_near_name_is_suggested(tmp_path: Path) -> None:
    remember_folder("my-flowers", tmp_path / "gone")
    with pytest.raises(NotFoundError, match="not there any more") as caught:
        find_dataset_spec("my-flowers")
    assert caught.value.found == str(tmp_path / "gone")
    assert caught.value.hint == "say where it is now: -d FOLDER --name my-flowers"
    with pytest.raises(NotFoundError) as caught:
        find_dataset_spec("my-flower")
    assert "did you mean my-flowers?" in str(caught.value.hint)


def test_what_cannot_be_written_is_a_storage_error() -> None:
    find_folders().parent.mkdir(parents=True)
    find_folders().touch()
    with pytest.raises(StorageError):
        remember_folder("flowers", Path("/there"))
